"""Order statistics, shares and differences, each with its uncertainty. Pure: numbers in, numbers out.

A quantile here is always a value that was recorded (nearest rank), because an interpolated one
between a fast and a slow mode is a response time that nobody ever had. Its interval is made of two
order statistics, so it assumes nothing about the shape of the distribution. It does assume
independent samples: within one run neighbours resemble each other, so the interval tells how well
*this run* is known, not how the next one will turn out. What two versions differ by is therefore told
from pairs of runs (`hodges_lehmann`), never from pooled samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct
from scipy import special  # not scipy.stats: its import alone costs a second

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONFIDENCE = 0.95
TAIL = 10
"""A quantile is shown only where at least this many samples are expected above it."""

LEAST_WINDOWS = 5
"""So many windows of time, at least, can tell how much neighbours are alike."""

SECOND = 1_000_000_000


class Quantile(Struct, frozen=True):
    """A recorded value, the interval that holds the true one, and of how many it was taken."""

    value: int
    low: int
    high: int
    n: int


class Share(Struct, frozen=True):
    """`count` of `n`, as a fraction, and the interval that holds the true fraction."""

    count: int
    n: int
    value: float
    low: float
    high: float


class Shift(Struct, frozen=True):
    """The typical value of n differences and its interval; no interval where n is too small for one."""

    value: float
    low: float | None
    high: float | None
    n: int


def rank(n: int, q: float) -> int:
    """Return the 1-based rank of the smallest of n sorted values that at least q of them do not exceed."""
    # Exact: 0.07 * 100 is 7.000000000000001 in binary, and its ceiling would be one too high.
    return max(1, ceil(Fraction(repr(q)) * n))


def quantile(values: NDArray[np.int64], q: float) -> int:
    """Return the smallest recorded value that at least q of all values do not exceed."""
    if not 0 <= q <= 1:
        raise ValueError(f"a quantile lies between 0 and 1, not at {q}")
    if len(values) == 0:
        raise ValueError("no values, no quantile")
    at = rank(len(values), q) - 1
    return int(np.partition(values, at)[at])


def quantile_interval(n: int, q: float, confidence: float = CONFIDENCE) -> tuple[int, int] | None:
    """Return the 1-based ranks that hold the true quantile with at least this confidence.

    The number of samples below the true quantile is binomial(n, q), hence the pair of ranks with at
    most half of the error on each side (Conover, Practical Nonparametric Statistics, 3rd ed., 3.2).
    None where n is too small for such a pair to exist.
    """
    side = (1 - confidence) / 2
    low = _first(n, lambda k: float(special.bdtr(k, n, q)) > side)  # the largest rank still outside
    high = _first(n, lambda k: float(special.bdtr(k, n, q)) >= 1 - side) + 1
    return (low, high) if low >= 1 and high <= n else None


def shown(n: int, q: float) -> bool:
    """Tell whether n samples are enough to show this quantile: n (1 - q) >= 10."""
    return n * (1 - Fraction(repr(q))) >= TAIL


def quantiles(values: NDArray[np.int64], qs: Sequence[float]) -> list[Quantile | None]:
    """Return each quantile with its interval; None where there are too few samples to show it."""
    ordered = np.sort(values)
    return [_quantile(ordered, q) for q in qs]


def share(count: int, n: int, confidence: float = CONFIDENCE) -> Share | None:
    """Return count / n with its Clopper-Pearson interval; None of nothing.

    Clopper and Pearson, Biometrika 26 (1934): never covers less than it says, which is what an SLO
    that says "met" owes; Wilson's is narrower but may.
    """
    if not 0 <= count <= n:
        raise ValueError(f"{count} of {n} is not a share")
    if n == 0:
        return None
    return Share(count, n, count / n, *_beta_interval(count, n, confidence))


def exceedance(
    counts: NDArray[np.int64], sizes: NDArray[np.int64], confidence: float = CONFIDENCE
) -> Share | None:
    """Return the share sum(counts) / sum(sizes) with an interval that knows that neighbours are alike.

    counts, sizes: exceedances and samples by window of time; at least 5 windows with samples, otherwise the
    samples are taken as independent. Korn and Graubard, Survey Methodology 24 (1998): Clopper and Pearson's
    interval at the effective sample size, which the spread between the windows gives.
    """
    counts, sizes = counts[sizes > 0], sizes[sizes > 0]
    count, n, k = int(counts.sum()), int(sizes.sum()), len(sizes)
    plain = share(count, n, confidence)
    if plain is None or count in (0, n) or k < LEAST_WINDOWS:
        return plain
    variance = k / (k - 1) * float(((counts - plain.value * sizes) ** 2).sum()) / n**2
    tail = (1 - confidence) / 2
    # Few windows know their own spread badly, hence Student's t in place of the normal quantile.
    penalty = (float(special.ndtri(tail)) / float(special.stdtrit(k - 1, tail))) ** 2
    effective = min(n, penalty * plain.value * (1 - plain.value) / variance) if variance else n
    low, high = _beta_interval(plain.value * effective, effective, confidence)
    return Share(count, n, plain.value, low, high)


def effective_size(counts: NDArray[np.int64], sizes: NDArray[np.int64]) -> float:
    """Return how many independent samples would tell as much about the share sum(counts) / sum(sizes).

    counts, sizes: by window of time. The spread is that between neighbours, so that a share which rises all
    the while, as in an overload, does not pass for noise (von Neumann, Ann. Math. Statist. 12, 1941). What
    shows no spread counts as independent.
    """
    counts, sizes = counts[sizes > 0], sizes[sizes > 0]
    count, n, k = int(counts.sum()), int(sizes.sum()), len(sizes)
    if count in (0, n) or k < LEAST_WINDOWS:
        return n
    value, steps = count / n, np.diff(counts / sizes)
    variance = float((steps**2).mean()) / 2 / k
    return min(float(n), value * (1 - value) / variance) if variance else n


def decorrelation(values: NDArray[np.floating]) -> float:
    """Return how many steps of a series are worth one independent value: 1 for white noise.

    The integrated autocorrelation time 1 + 2 sum rho(t), summed up to the first lag that is at least 5 times
    the sum so far (Sokal, Monte Carlo Methods in Statistical Mechanics, 1997, section 3).
    """
    n = len(values)
    centred = np.asarray(values, dtype=np.float64) - np.mean(values) if n else np.zeros(0)
    power = np.abs(np.fft.rfft(centred, 2 * n)) ** 2 if n else np.zeros(0)
    if n < 2 or not power.any():
        return 1.0
    covariance = np.fft.irfft(power)[:n]
    time = 2 * np.cumsum(covariance / covariance[0]) - 1
    enough = np.arange(n) >= 5 * time
    return max(1.0, float(time[np.argmax(enough) if enough.any() else n - 1]))


def warm_up(values: NDArray[np.floating]) -> int | None:
    """Return how many leading values to cut so that the rest is steady; None where it never settles.

    MSER-5: the cut that makes the standard error of the remaining mean smallest, over means of 5 values
    (White, Simulation 69, 1997). A cut in the second half means that the series is still moving.
    """
    batches = len(values) // 5
    if batches < 4:
        return None
    means = np.asarray(values[: 5 * batches], dtype=np.float64).reshape(batches, 5).mean(axis=1)
    left = np.arange(batches, 0, -1)
    sums, squares = np.cumsum(means[::-1])[::-1], np.cumsum(means[::-1] ** 2)[::-1]
    errors = (squares - sums**2 / left) / left**2
    # The last few are alike by chance once in a while, and their error says nothing.
    cut = int(np.argmin(errors[: batches - max(3, batches // 10)]))
    return 5 * cut if cut <= batches // 2 else None


def hodges_lehmann(differences: Sequence[float], side: float = (1 - CONFIDENCE) / 2) -> Shift:
    """Return the median of all pairwise means, with at most `side` of error on each side of its interval.

    Hodges and Lehmann, Annals of Mathematical Statistics 34 (1963); the interval is made of the order
    statistics of those means that the exact signed-rank distribution gives (Hollander and Wolfe, section
    3.3), as in R's `wilcox.test(conf.int = TRUE)`. 5 differences have no 95 % interval.
    """
    walsh = _walsh(differences)
    n, m = len(differences), len(walsh)
    outside = int(np.searchsorted(_signed_rank(n), side, side="right"))
    low, high = (float(walsh[outside - 1]), float(walsh[m - outside])) if outside else (None, None)
    return Shift(float(np.median(walsh)), low, high, n)


def signed_rank_p(differences: Sequence[float]) -> float:
    """Return the exact two-sided p-value of "the differences lie around 0" (Wilcoxon's signed-rank test)."""
    walsh = _walsh(differences)
    # As many means above 0 as the ranks of the positive differences add up to; ties count half.
    above = float((walsh > 0).sum() + (walsh == 0).sum() / 2)
    lesser = min(above, len(walsh) - above)
    return min(1.0, 2 * float(_signed_rank(len(differences))[int(lesser)]))


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Return each p-value adjusted for having looked at all of them, in the same order.

    Benjamini and Hochberg, Journal of the Royal Statistical Society B 57 (1995): where those at most 0.05 are
    called different, at most 5 % of such calls are wrong on average.
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values)[::-1]
    ranks = np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1, np.minimum.accumulate(values[order] * len(values) / ranks))
    return [float(each) for each in adjusted]


def mean_low(batches: NDArray[np.float64], confidence: float = CONFIDENCE) -> float:
    """Return the low end of the interval that holds the true mean of these batches, by Student's t.

    For what comes in clusters, such as lateness: the samples within a batch need not be independent, only
    the batches (Law, Simulation Modeling and Analysis, 9.5.3, batch means). -inf of fewer than two.
    """
    n = len(batches)
    if n < 2:
        return float("-inf")
    t = float(special.stdtrit(n - 1, (1 + confidence) / 2))
    return float(batches.mean() - t * batches.std(ddof=1) / n**0.5)


def per_second(count: int, duration: int) -> float:
    """Return events per second over a duration in ns; 0 over no time at all."""
    return count * SECOND / duration if duration > 0 else 0.0


def samples_to_decide(n: int, observed: float, limit: float) -> int | None:
    """Return how many more samples would tell the share `observed` from `limit`, if it stays as it is.

    From the normal approximation n = z² p (1 - p) / (p - p0)², z for 95 %. None where they are so
    close that a hundred times as many samples would not do.
    """
    if observed == limit:
        return None
    z = float(special.ndtri((1 + CONFIDENCE) / 2))
    spread = max(observed * (1 - observed), limit * (1 - limit))
    needed = ceil(z * z * spread / (observed - limit) ** 2)
    if needed > 100 * max(n, 1_000):
        return None
    return max(needed - n, max(n // 10, 1))


def _beta_interval(count: float, n: float, confidence: float) -> tuple[float, float]:
    side = (1 - confidence) / 2
    low = float(special.betaincinv(count, n - count + 1, side)) if count else 0.0
    high = float(special.betaincinv(count + 1, n - count, 1 - side)) if count < n else 1.0
    return low, high


def _walsh(differences: Sequence[float]) -> NDArray[np.float64]:
    """Return the sorted means of all pairs of values, each value with itself included."""
    if not len(differences):
        raise ValueError("no differences, no estimate")
    values = np.asarray(differences, dtype=np.float64)
    i, j = np.triu_indices(len(values))
    means: NDArray[np.float64] = np.sort((values[i] + values[j]) / 2)
    return means


@cache
def _signed_rank(n: int) -> NDArray[np.float64]:
    """Return P(T <= t) for t = 0 .. n (n + 1) / 2, T the sum of a random subset of the ranks 1 .. n."""
    ways = np.zeros(n * (n + 1) // 2 + 1)
    ways[0] = 1
    for each in range(1, n + 1):
        ways[each:] += ways[:-each].copy()
    probabilities: NDArray[np.float64] = np.cumsum(ways) / 2.0**n
    return probabilities


def _quantile(ordered: NDArray[np.int64], q: float) -> Quantile | None:
    n = len(ordered)
    ranks = quantile_interval(n, q) if shown(n, q) else None
    if ranks is None:
        return None
    at = rank(n, q) - 1
    return Quantile(int(ordered[at]), int(ordered[ranks[0] - 1]), int(ordered[ranks[1] - 1]), n)


def _first(n: int, holds: Callable[[int], bool]) -> int:
    """Return the smallest k of 0..n for which a monotone condition holds; n + 1 if it never does."""
    low, high = 0, n + 1
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
