"""Order statistics and shares, each with its uncertainty. Pure: numbers in, numbers out.

A quantile here is always a value that was recorded (nearest rank), because an interpolated one
between a fast and a slow mode is a response time that nobody ever had. Its interval is made of two
order statistics, so it assumes nothing about the shape of the distribution. It does assume
independent samples: within one run neighbours resemble each other, so the interval tells how well
*this run* is known, not how the next one will turn out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
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
    side = (1 - confidence) / 2
    low = float(special.betaincinv(count, n - count + 1, side)) if count else 0.0
    high = float(special.betaincinv(count + 1, n - count, 1 - side)) if count < n else 1.0
    return Share(count, n, count / n, low, high)


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
