"""Order statistics and shares, against published values and against distributions whose truth is known."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import false_discovery_control, wilcoxon

from analysis import stats

VALUES = st.lists(st.integers(0, 2**50), min_size=1, max_size=200)


@given(VALUES, st.sampled_from([0.0, 0.07, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0]))
def test_a_quantile_is_the_smallest_value_that_enough_do_not_exceed(found: list[int], q: float) -> None:
    """At least q of all values are at most the quantile, and no smaller recorded value has that property."""
    value = stats.quantile(np.array(found), q)
    assert value in found
    enough = ceil(Fraction(repr(q)) * len(found))
    assert sum(each <= value for each in found) >= enough
    smaller = [each for each in found if each < value]
    assert not smaller or sum(each <= max(smaller) for each in found) < max(enough, 1)


def test_a_rank_is_exact_where_floats_are_not() -> None:
    """0.07 * 100 is 7.000000000000001 in binary; the rank is 7 all the same."""
    assert stats.rank(100, 0.07) == 7


@pytest.mark.parametrize(
    ("n", "expected"), [(5, None), (6, (1, 6)), (10, (2, 9)), (20, (6, 15)), (25, (8, 18)), (100, (40, 61))]
)
def test_ranks_of_the_median_are_the_published_ones(n: int, expected: tuple[int, int] | None) -> None:
    """The 95 % ranks of a median agree with the tables (Conover; Hahn and Meeker), and n = 5 has none."""
    assert expected == stats.quantile_interval(n, 0.5)


@pytest.mark.parametrize(("n", "q"), [(1000, 0.5), (1000, 0.99), (400, 0.9)])
def test_an_interval_covers_the_truth_as_often_as_it_says(n: int, q: float) -> None:
    """Of 10,000 seeded experiments with a known quantile, at least 95 % hold it, and not nearly all."""
    rng = np.random.default_rng(11)
    truth = -np.log(1 - q)
    ordered = np.sort(rng.exponential(size=(10_000, n)), axis=1)
    ranks = stats.quantile_interval(n, q)
    assert ranks is not None
    covered = (ordered[:, ranks[0] - 1] <= truth) & (truth <= ordered[:, ranks[1] - 1])
    assert 0.945 <= covered.mean() <= 0.985


@given(st.integers(1, 5000), st.sampled_from([0.5, 0.9, 0.99, 0.999]))
def test_an_interval_holds_its_quantile(n: int, q: float) -> None:
    """The ranks stand on both sides of the quantile's own rank, and within the sample."""
    ranks = stats.quantile_interval(n, q)
    if ranks is not None:
        assert 1 <= ranks[0] <= stats.rank(n, q) <= ranks[1] <= n


@pytest.mark.parametrize(
    ("n", "q", "expected"), [(19, 0.5, False), (20, 0.5, True), (999, 0.99, False), (1000, 0.99, True)]
)
def test_a_quantile_needs_ten_samples_above_it(n: int, q: float, expected: bool) -> None:
    """It is shown from n (1 - q) = 10 on, computed without rounding."""
    assert expected == stats.shown(n, q)
    assert expected == (stats.quantiles(np.arange(n), [q])[0] is not None)


def test_quantiles_of_nothing_are_not_shown() -> None:
    """No values give no quantile, and asking for one by force is an error."""
    none: np.ndarray[Any, np.dtype[np.int64]] = np.array([], dtype=np.int64)
    assert stats.quantiles(none, [0.5, 0.99]) == [None, None]
    with pytest.raises(ValueError, match="no values"):
        stats.quantile(none, 0.5)


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [(0, 10, 0.0, 0.3085), (5, 10, 0.1871, 0.8129), (10, 10, 0.6915, 1.0), (1, 100, 0.00025, 0.0545)],
)
def test_a_share_has_the_published_interval(count: int, n: int, low: float, high: float) -> None:
    """Clopper and Pearson's interval, as in R's `binom.test`."""
    found = stats.share(count, n)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_a_share_of_nothing_is_not_zero() -> None:
    """0 of 0 has no figure, and more than all is refused."""
    assert stats.share(0, 0) is None
    with pytest.raises(ValueError, match="is not a share"):
        stats.share(3, 2)


def test_a_share_covers_the_truth_at_least_as_often_as_it_says() -> None:
    """Of 4,000 seeded experiments with a true 1 %, at least 95 % hold it."""
    rng = np.random.default_rng(5)
    found = [stats.share(int(count), 2000) for count in rng.binomial(2000, 0.01, 4000)]
    assert np.mean([each is not None and each.low <= 0.01 <= each.high for each in found]) >= 0.95


def test_a_rate_over_no_time_is_zero() -> None:
    """Events per second, of a duration in ns; no division by zero."""
    assert stats.per_second(120, 60 * stats.SECOND) == 2.0
    assert stats.per_second(120, 0) == 0.0


def test_more_samples_are_asked_for_the_closer_the_figure_is_to_its_limit() -> None:
    """The nearer, the more; at the limit itself, or next to it, no number would do."""
    far, near = stats.samples_to_decide(500, 0.001, 0.01), stats.samples_to_decide(500, 0.008, 0.01)
    assert far is not None
    assert near is not None
    assert 0 < far < near
    assert stats.samples_to_decide(500, 0.01, 0.01) is None
    assert stats.samples_to_decide(500, 0.0099999, 0.01) is None


def test_the_low_end_of_a_mean_is_that_of_students_t() -> None:
    """Ten batches of mean 2 and deviation 1: 2 - 2.262 / sqrt(10); fewer than two batches show nothing."""
    batches = np.array([1.0, 3.0] * 5) * 0.9486832980505138 + 2 * (1 - 0.9486832980505138)
    assert stats.mean_low(batches) == pytest.approx(2 - 2.2621571628 / 10**0.5)
    assert stats.mean_low(np.array([5.0])) == -np.inf


def test_the_low_end_of_a_mean_covers_it() -> None:
    """Of 2,000 samples of 20 batches the true mean is above the low end in 97.5 %, within chance."""
    rng = np.random.default_rng(11)
    below = sum(stats.mean_low(rng.normal(1, 3, 20)) <= 1 for _ in range(2_000))
    assert abs(below / 2_000 - 0.975) < 4 * (0.975 * 0.025 / 2_000) ** 0.5


def autoregressive(rng: np.random.Generator, n: int, rho: float) -> NDArray[np.float64]:
    """Return n steps of x[t] = rho x[t-1] + noise, with variance 1."""
    noise = rng.standard_normal(n + 500) * np.sqrt(1 - rho**2)
    series: NDArray[np.float64] = lfilter([1], [1, -rho], noise)[500:]
    return series


def exceedances(rng: np.random.Generator, rho: float, windows: int) -> Iterator[tuple[Any, Any]]:
    """Yield (exceedances, samples) by window of 2,000 correlated samples, of which truly 5 % exceed."""
    limit = 1.6448536
    for _ in range(1000):
        over = autoregressive(rng, 2000, rho) > limit
        parts = np.array_split(over, windows)
        yield np.array([part.sum() for part in parts]), np.array([len(part) for part in parts])


@pytest.mark.parametrize("windows", [5, 10, 20])
def test_an_exceedance_interval_covers_the_truth_though_neighbours_resemble_each_other(windows: int) -> None:
    """Of 1,000 seeded runs at least 93 % hold the true 5 %; the plain interval does in less than 80 %."""
    found = list(exceedances(np.random.default_rng(3), 0.9, windows))
    wide = [stats.exceedance(counts, sizes) for counts, sizes in found]
    plain = [stats.share(int(counts.sum()), int(sizes.sum())) for counts, sizes in found]
    assert np.mean([each is not None and each.low <= 0.05 <= each.high for each in wide]) >= 0.93
    assert np.mean([each is not None and each.low <= 0.05 <= each.high for each in plain]) < 0.80


def test_an_exceedance_interval_never_claims_more_than_independent_samples_would() -> None:
    """Windows that happen to be alike don't narrow it; few windows, or none exceeded, give the plain one."""
    alike = stats.exceedance(np.full(10, 5), np.full(10, 100))
    assert alike == stats.share(50, 1000)
    assert stats.exceedance(np.array([9, 0, 1]), np.full(3, 100)) == stats.share(10, 300)
    assert stats.exceedance(np.zeros(8, dtype=np.int64), np.full(8, 100)) == stats.share(0, 800)
    assert stats.exceedance(np.zeros(8, dtype=np.int64), np.zeros(8, dtype=np.int64)) is None


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_a_decorrelation_time_is_the_known_one(rho: float) -> None:
    """Of an autoregressive series it is (1 + rho) / (1 - rho)."""
    rng = np.random.default_rng(17)
    found = [stats.decorrelation(autoregressive(rng, 20_000, rho)) for _ in range(20)]
    assert np.mean(found) == pytest.approx((1 + rho) / (1 - rho), rel=0.06)


def test_a_series_that_does_not_vary_has_no_correlation() -> None:
    """Nothing, one value, or the same value again and again: each step counts for itself."""
    for series in ([], [3.0], [3.0] * 50):
        assert stats.decorrelation(np.array(series)) == 1.0


def test_a_warm_up_is_found_where_it_is() -> None:
    """A rise that has a time constant of 10 is cut between two and ten of them, and noise hardly at all."""
    rng = np.random.default_rng(23)
    rising = [
        stats.warm_up(100 - 60 * np.exp(-np.arange(400) / 10) + rng.normal(0, 3, 400)) for _ in range(100)
    ]
    assert np.mean([cut is not None and 20 <= cut <= 100 for cut in rising]) >= 0.98
    flat = [stats.warm_up(rng.normal(100, 3, 400)) for _ in range(100)]
    assert np.median([400 if cut is None else cut for cut in flat]) <= 40


def test_a_series_that_never_settles_has_no_steady_part() -> None:
    """A step near the end leaves nothing to rely on, nor do a handful of values."""
    assert stats.warm_up(np.r_[np.zeros(340), np.full(60, 50.0)]) is None
    assert stats.warm_up(np.arange(19.0)) is None


DEPRESSION = [-0.952, 0.147, -1.022, -0.43, -0.62, -0.59, -0.49, 0.08, -0.01]
"""Differences of Hollander and Wolfe's table 3.1, the example of R's `?wilcox.test`."""


def test_a_shift_is_the_published_one() -> None:
    """As in Hollander and Wolfe (example 3.3) and R: -0.46, between -0.786 and -0.010; V = 5, p = 0.039."""
    found = stats.hodges_lehmann(DEPRESSION)
    assert found.value == pytest.approx(-0.46)
    assert (found.low, found.high) == pytest.approx((-0.786, -0.010))
    assert stats.signed_rank_p(DEPRESSION) == pytest.approx(0.0390625)


@pytest.mark.parametrize(("n", "outside"), [(5, 0), (6, 1), (8, 4), (10, 9), (14, 22), (20, 53)])
def test_an_exact_interval_leaves_out_as_many_means_as_the_tables_say(n: int, outside: int) -> None:
    """R's qsignrank(0.025, n) is 1, 4, 9, 22, 53 for n = 6, 8, 10, 14, 20; 5 pairs show nothing."""
    differences = list(np.random.default_rng(n).normal(size=n))
    found = stats.hodges_lehmann(differences)
    means = sorted((a + b) / 2 for i, a in enumerate(differences) for b in differences[i:])
    expected = (means[outside - 1], means[-outside]) if outside else (None, None)
    assert (found.low, found.high) == pytest.approx(expected) if outside else found.low is None


@given(st.lists(st.floats(-5, 5).map(lambda x: round(x, 3)), min_size=3, max_size=25, unique_by=abs))
def test_a_signed_rank_p_value_is_the_exact_one(differences: list[float]) -> None:
    """Without ties it equals scipy's exact test."""
    if 0 not in differences:
        expected = wilcoxon(differences, method="exact").pvalue
        assert stats.signed_rank_p(differences) == pytest.approx(expected)


def test_a_shift_covers_the_truth_as_often_as_it_says() -> None:
    """Of 4,000 seeded experiments with heavy tails at most 2.5 % miss the truth on either side."""
    rng = np.random.default_rng(29)
    found = [stats.hodges_lehmann(list(0.3 + rng.standard_t(3, 10))) for _ in range(4000)]
    assert np.mean([each.low is not None and each.low > 0.3 for each in found]) <= 0.028
    assert np.mean([each.high is not None and each.high < 0.3 for each in found]) <= 0.028


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_p_values_are_adjusted_as_by_scipy(p: list[float]) -> None:
    """Benjamini and Hochberg's adjustment, in the order that was given."""
    assert stats.benjamini_hochberg(p) == pytest.approx(list(false_discovery_control(p)))
    assert stats.benjamini_hochberg([]) == []


def test_a_share_that_rises_is_not_noise() -> None:
    """What is beyond a limit in the second half alone tells nearly as much as independent samples would."""
    sizes = np.full(10, 90)
    rising = np.array([0, 0, 0, 0, 45, 90, 90, 90, 90, 90])
    bursts = np.array([0, 90, 90, 0, 0, 90, 90, 0, 0, 90])
    assert stats.effective_size(rising, sizes) > 80
    assert stats.effective_size(bursts, sizes) < 15


def test_independent_samples_count_in_full() -> None:
    """On average: the estimate is that of ten windows."""
    rng, sizes = np.random.default_rng(1), np.full(10, 200)
    found = [1 / stats.effective_size(rng.binomial(sizes, 0.1), sizes) for _ in range(300)]
    assert 1 / np.mean(found) == pytest.approx(2_000, rel=0.25)
    assert stats.effective_size(np.zeros(10, int), sizes) == 2_000
