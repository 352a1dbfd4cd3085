"""A histogram of nanoseconds with a relative error of at most 0.1 %, merged by addition.

Rule: a value of up to 11 significant bits is kept exactly; of a larger one the top 11 bits are kept.

    k = max(0, bit_length(v) - 11)        how many low bits are dropped
    bucket = (k << 10) + (v >> k)         consecutive: 0, 1, 2, ... up to 55,295 for 2**63 - 1

It is the layout of an HdrHistogram with 3 significant digits and unit 1, and therefore comparable with one.
A bucket is 2**k wide and begins at 2**(k + 10) or above, so its midpoint is at most 0.05 % away from any
value in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

# Searching 52 powers of two is exact; a logarithm or `frexp` of a float64 is wrong above 2**53.
_POWERS: Ints = np.left_shift(np.int64(1), np.arange(11, 63, dtype=np.int64))


def bucket_index(v: int) -> int:
    """Return the bucket of one value (ns). Raises ValueError below 0 and from 2**63 on."""
    if not 0 <= v < 2**63:
        raise ValueError(f"{v} ns is not between 0 and 2**63 - 1: a histogram has no bucket for it")
    k = max(0, v.bit_length() - 11)
    return (k << 10) + (v >> k)


def bucket_of(values: NDArray[Any]) -> Ints:
    """Return the bucket of each value; same shape, int64 ns in. Raises ValueError where one is negative."""
    v = np.asarray(values, dtype=np.int64)
    if v.size and int(v.min()) < 0:
        raise ValueError(f"{int(v.min())} ns is negative: a histogram has no bucket for it")
    k = np.searchsorted(_POWERS, v, side="right").astype(np.int64)
    return (k << 10) + (v >> k)


def bucket_low(b: int) -> int:
    """Return the smallest value (ns) of a bucket. Raises ValueError where there is no such bucket."""
    if not 0 <= b <= LAST_BUCKET:
        raise ValueError(f"bucket {b} is not between 0 and {LAST_BUCKET}: not one of our histograms")
    k = _dropped_bits(b)
    return (b - (k << 10)) << k


def bucket_high(b: int) -> int:
    """Return the largest value (ns) of a bucket. Raises ValueError where there is no such bucket."""
    return bucket_low(b) + (1 << _dropped_bits(b)) - 1


def value_of(b: int) -> int:
    """Return the value (ns) that stands for a bucket, its midpoint: at most 0.05 % from any value in it."""
    return (bucket_low(b) + bucket_high(b)) // 2


def values_of(buckets: NDArray[Any]) -> Ints:
    """Return `value_of` for each bucket; same shape, int64 ns. Raises ValueError as it does."""
    b = np.asarray(buckets, dtype=np.int64)
    if b.size and not (int(b.min()) >= 0 and int(b.max()) <= LAST_BUCKET):
        raise ValueError(f"bucket {int(b.min())} or {int(b.max())} is not between 0 and {LAST_BUCKET}")
    k = np.maximum(0, (b >> 10) - 1)
    values: Ints = ((b - (k << 10)) << k) + ((np.left_shift(np.int64(1), k) - 1) >> 1)
    return values


def _dropped_bits(b: int) -> int:
    return max(0, (b >> 10) - 1)


LAST_BUCKET = bucket_index(2**63 - 1)


def _no_ints() -> Ints:
    return np.empty(0, dtype=np.int64)


@dataclass(slots=True)
class Histogram:
    """Counts by bucket, sparse: some 6 KB for the response times of one operation.

    `min`, `max`, `mean` and every quantile are answered from the buckets alone, within 0.05 % of the exact
    figure: so a histogram read back from disk answers exactly as the one that was written.
    """

    _buckets: Ints = field(default_factory=_no_ints)  # ascending, without repetition
    _counts: Ints = field(default_factory=_no_ints)  # all > 0

    @classmethod
    def from_arrays(
        cls, buckets: Sequence[int] | NDArray[Any], counts: Sequence[int] | NDArray[Any]
    ) -> Histogram:
        """Return the histogram with these counts. Any order; counts of a repeated bucket are added up.

        Raises ValueError for unequal lengths, a bucket that does not exist, or a negative count.
        """
        b, c = np.asarray(buckets, dtype=np.int64), np.asarray(counts, dtype=np.int64)
        if b.shape != c.shape or b.ndim != 1:
            raise ValueError(f"{b.shape} buckets and {c.shape} counts: expected two arrays of one length")
        if c.size and int(c.min()) < 0:
            raise ValueError(f"count {int(c.min())} is negative")
        if b.size and not (int(b.min()) >= 0 and int(b.max()) <= LAST_BUCKET):
            raise ValueError(f"bucket {int(b.min())} or {int(b.max())} is not between 0 and {LAST_BUCKET}")
        return cls(*_added_up(b, c))

    def to_arrays(self) -> tuple[Ints, Ints]:
        """Return (buckets, counts): ascending, without repetition, no count of 0."""
        return self._buckets.copy(), self._counts.copy()

    def add(self, values: Sequence[int] | NDArray[Any]) -> None:
        """Count these values (ns). Raises ValueError where one is negative; then none is counted."""
        fresh = bucket_of(np.asarray(values, dtype=np.int64).ravel())
        ones = np.ones(fresh.shape, dtype=np.int64)
        self._buckets, self._counts = _added_up(
            np.concatenate([self._buckets, fresh]), np.concatenate([self._counts, ones])
        )

    def merge(self, other: Histogram) -> Histogram:
        """Return a new histogram with the counts of both: associative, commutative, empty is neutral."""
        return Histogram.from_arrays(
            np.concatenate([self._buckets, other._buckets]), np.concatenate([self._counts, other._counts])
        )

    @property
    def count(self) -> int:
        """How many values were counted."""
        return int(self._counts.sum())

    @property
    def min(self) -> int | None:
        """The smallest value (ns), None without any."""
        return value_of(int(self._buckets[0])) if self._buckets.size else None

    @property
    def max(self) -> int | None:
        """The largest value (ns), None without any."""
        return value_of(int(self._buckets[-1])) if self._buckets.size else None

    @property
    def mean(self) -> float | None:
        """The arithmetic mean (ns), None without any value."""
        if not self._buckets.size:
            return None
        # Python's integers, because a sum of int64 nanoseconds overflows after 292 years of them together.
        total = sum(
            v * c for v, c in zip(values_of(self._buckets).tolist(), self._counts.tolist(), strict=True)
        )
        return float(total / self.count)

    def quantile(self, q: float) -> int | None:
        """Return the smallest recorded value (ns) that at least q of all values do not exceed (nearest rank).

        None without any value. Raises ValueError unless 0 <= q <= 1.
        """
        if not 0 <= q <= 1:
            raise ValueError(f"quantile {q} is not between 0 and 1")
        if not self._buckets.size:
            return None
        # The fraction that was written, because 0.07 * 100 is 7.000000000000001 in floats: one rank too far.
        exact = Fraction(str(float(q))) * self.count
        rank = max(1, -(-exact.numerator // exact.denominator))
        return value_of(int(self._buckets[np.searchsorted(np.cumsum(self._counts), rank, side="left")]))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        return np.array_equal(self._buckets, other._buckets) and np.array_equal(self._counts, other._counts)

    __hash__ = None  # type: ignore[assignment]  # it changes: not a key


def _added_up(buckets: Ints, counts: Ints) -> tuple[Ints, Ints]:
    """Return the two arrays ascending by bucket, each bucket once, without counts of 0."""
    if not buckets.size:
        return _no_ints(), _no_ints()
    order = np.argsort(buckets, kind="stable")
    b, c = buckets[order], counts[order]
    first = np.flatnonzero(np.concatenate([[True], b[1:] != b[:-1]]))
    b, c = b[first], np.add.reduceat(c, first)
    return b[c > 0], c[c > 0]
