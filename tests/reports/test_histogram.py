"""reports.histogram: the bucket layout, and the laws of merging."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import histogram
from reports.histogram import (
    LAST_BUCKET,
    Histogram,
    bucket_high,
    bucket_index,
    bucket_low,
    bucket_of,
    value_of,
    values_of,
)

LARGEST = 2**63 - 1
instants = st.integers(0, LARGEST) | st.integers(0, 1 << 14)
edges = st.integers(0, 62).flatmap(lambda n: st.sampled_from([2**n - 1, 2**n, 2**n + 1]))
values = st.lists(instants | edges)


def made_of(numbers: list[int]) -> Histogram:
    made = Histogram()
    made.add(numbers)
    return made


def published_index(value: int) -> int:
    """HdrHistogram's own countsArrayIndex, for 3 significant digits and unit magnitude 0."""
    sub_bucket_count, half_magnitude = 2048, 10
    bucket = (value | (sub_bucket_count - 1)).bit_length() - half_magnitude - 1
    sub_bucket = value >> bucket
    return ((bucket + 1) << half_magnitude) + (sub_bucket - sub_bucket_count // 2)


@given(instants | edges)
def test_layout_is_that_of_hdr_histogram(value: int) -> None:
    """The bucket of a value is HdrHistogram's, for every value of an int64."""
    assert published_index(value) == bucket_index(value)


@given(values)
def test_array_and_scalar_agree(numbers: list[int]) -> None:
    """`bucket_of` is `bucket_index` for each value: no rounding at 2**53, none at 2**63."""
    assert [bucket_index(v) for v in numbers] == bucket_of(np.array(numbers, dtype=np.int64)).tolist()


@given(instants | edges)
def test_bucket_contains_its_value(value: int) -> None:
    """A value lies between the ends of its bucket, and its midpoint is at most 0.05 % away."""
    b = bucket_index(value)
    assert bucket_low(b) <= value <= bucket_high(b)
    assert abs(value_of(b) - value) * 2000 <= value


@given(st.integers(0, LAST_BUCKET - 1))
def test_buckets_leave_no_gap(b: int) -> None:
    """Each bucket begins right after the one before: hence larger values never have smaller buckets."""
    assert bucket_high(b) + 1 == bucket_low(b + 1)
    assert b == bucket_index(bucket_low(b)) == bucket_index(bucket_high(b))


def test_representatives_of_all_buckets() -> None:
    """`values_of` is `value_of` for every bucket that there is."""
    assert [value_of(b) for b in range(LAST_BUCKET + 1)] == values_of(np.arange(LAST_BUCKET + 1)).tolist()


@given(values, st.randoms(use_true_random=False), st.integers(1, 16))
def test_any_split_in_any_order_is_the_whole(numbers: list[int], chance: random.Random, parts: int) -> None:
    """Split over any number of workers and merged in any order, a histogram is what one worker would have."""
    pieces: list[list[int]] = [[] for _ in range(parts)]
    for number in chance.sample(numbers, len(numbers)):
        chance.choice(pieces).append(number)
    merged = Histogram()
    for piece in pieces:
        merged = merged.merge(made_of(piece))
    assert made_of(numbers) == merged
    assert [a.tobytes() for a in made_of(numbers).to_arrays()] == [a.tobytes() for a in merged.to_arrays()]


@given(values, values, values)
def test_merging_is_addition(a: list[int], b: list[int], c: list[int]) -> None:
    """Merging is associative and commutative, an empty histogram changes nothing, counts add up."""
    x, y, z = made_of(a), made_of(b), made_of(c)
    assert x.merge(y).merge(z) == x.merge(y.merge(z))
    assert x.merge(y) == y.merge(x)
    assert x.merge(Histogram()) == x
    assert len(a) + len(b) == x.merge(y).count


@given(values.filter(bool), st.integers(0, 1000))
def test_quantile_is_exact_within_a_thousandth(numbers: list[int], permille: int) -> None:
    """A quantile is within 0.1 % of the smallest value that at least q of all values do not exceed."""
    rank = max(1, math.ceil(permille * len(numbers) / 1000))
    exact = sorted(numbers)[rank - 1]
    answer = made_of(numbers).quantile(permille / 1000)
    assert answer is not None
    assert abs(answer - exact) * 1000 <= exact


@given(values.filter(bool))
def test_quantiles_never_fall(numbers: list[int]) -> None:
    """A higher quantile is never smaller, the first is min, the last is max."""
    made = made_of(numbers)
    found = [made.quantile(q / 20) for q in range(21)]
    assert found == sorted(v for v in found if v is not None)
    assert (made.min, made.max) == (found[0], found[-1])


@given(values.filter(bool))
def test_mean_is_within_a_thousandth(numbers: list[int]) -> None:
    """The mean is within 0.1 % of the exact one."""
    mean = made_of(numbers).mean
    assert mean is not None
    exact = sum(numbers) / len(numbers)
    assert abs(mean - exact) <= exact * 0.001


def test_written_fraction_counts() -> None:
    """0.07 of 100 values is 7 of them, though 0.07 * 100 is more than 7 in floats."""
    assert made_of(list(range(1, 101))).quantile(0.07) == 7


@given(values)
def test_arrays_keep_everything(numbers: list[int]) -> None:
    """What was made of arrays is what they were taken from."""
    made = made_of(numbers)
    assert made == Histogram.from_arrays(*made.to_arrays())


def test_empty_has_no_figures() -> None:
    """A histogram without values has no quantile, min, max or mean, rather than a 0."""
    empty = Histogram()
    assert (empty.count, empty.quantile(0.5), empty.min, empty.max, empty.mean) == (0, None, None, None, None)


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan, math.inf])
def test_quantile_outside_is_refused(q: float) -> None:
    """A quantile that is no fraction is refused."""
    with pytest.raises(ValueError, match="quantile"):
        made_of([1]).quantile(q)


def test_nonsense_is_refused() -> None:
    """Negative values, buckets that do not exist, negative counts and unequal lengths are refused."""
    made = made_of([5])
    with pytest.raises(ValueError, match="-1 ns"):
        made.add([3, -1])
    assert made.to_arrays()[0].tolist() == [5]
    with pytest.raises(ValueError, match="-1 ns"):
        bucket_index(-1)
    with pytest.raises(ValueError, match="between 0 and"):
        bucket_index(2**63)
    for buckets, counts in (([-1], [1]), ([LAST_BUCKET + 1], [1]), ([1], [-1]), ([1, 2], [1])):
        with pytest.raises(ValueError, match=r"bucket|count"):
            Histogram.from_arrays(buckets, counts)
    with pytest.raises(ValueError, match="bucket"):
        histogram.values_of(np.array([-1]))
