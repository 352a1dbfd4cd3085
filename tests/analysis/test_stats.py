"""Order statistics and shares, against published values and against distributions whose truth is known."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
