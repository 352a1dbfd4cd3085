"""When a comparison of pairs is decided: looks at 6, 8, 10, 14 and 20 pairs, four words. Pure.

Of each pair D = log(candidate / baseline) is taken. The estimate is the Hodges-Lehmann one, the interval the
exact signed-rank one with 2.5 % on each side; the first look that decides, decides:

    regressed      surely above 0, and the estimate is at least the tolerance
    improved       the whole interval is below 0, and the estimate at least the tolerance below it
    pass           the whole interval is below the tolerance
    inconclusive   none of these; `more_pairs` tells how many more would probably decide

"Surely" is 2.5 % for the whole gate: with four metrics the bound of each leaves out 2.5 % / 4, so that four
chances of a false alarm are no more than one (Bonferroni). Passing takes every metric and needs no such care.
Looking five times makes errors likelier than looking once; the tolerance makes up for it. How often each word
is wrong, looks included, is measured by `benchmarks/gate_simulation.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from math import ceil, log1p, log2

from analysis import stats

LOOKS = (6, 8, 10, 14, 20)
"""Pairs at which a verdict may fall. 6 is the smallest number that can show anything at 2.5 % a side."""

ERROR = 0.025
"""Of each look and side, for the whole gate."""

MOST_PAIRS = 100
"""Where more than these would be needed, a longer gate is no answer."""


class Word(StrEnum):
    PASS = "pass"  # noqa: S105  a verdict, not a password
    IMPROVED = "improved"
    REGRESSED = "regressed"
    FAILED = "failed"  # an objective is missed
    INCONCLUSIVE = "inconclusive"
    INVALID = "invalid"

    @property
    def exit_code(self) -> int:
        return {"regressed": 1, "failed": 1, "inconclusive": 3, "invalid": 4}.get(self.value, 0)


def least_pairs(metrics: int) -> int:
    """Return how many pairs it takes at least to show a regression of one of so many metrics.

    However large it is: all of n pairs agree by chance once in 2 ** n times.
    """
    return ceil(log2(metrics / ERROR))


def looks(planned: int) -> list[int]:
    """Return after how many pairs a gate of so many is looked at; its end is always one of them."""
    return [*(look for look in LOOKS if look < planned), *([planned] if planned >= LOOKS[0] else [])]


def decide(
    differences: Sequence[float], tolerance: float, at: Sequence[int], metrics: int = 1
) -> tuple[Word, stats.Shift]:
    """Return the verdict of the first look that decides, else inconclusive, and what was seen there.

    differences: log ratios by pair; tolerance: a fraction; at: the looks, those beyond the pairs unused;
    metrics: how many the gate judges.
    """
    limit = log1p(tolerance)
    seen = stats.hodges_lehmann(differences)
    for look in at:
        if look > len(differences):
            break
        seen = stats.hodges_lehmann(differences[:look])
        sure = stats.hodges_lehmann(differences[:look], ERROR / metrics)
        if sure.low is not None and sure.low > 0 and seen.value >= limit:
            return Word.REGRESSED, seen
        if seen.high is not None and seen.high < 0 and seen.value <= -limit:
            return Word.IMPROVED, seen
        if seen.high is not None and seen.high < limit:
            return Word.PASS, seen
    return Word.INCONCLUSIVE, stats.hodges_lehmann(differences)


def more_pairs(seen: stats.Shift, tolerance: float) -> int | None:
    """Return how many more pairs would probably decide; None where it is too close to the tolerance.

    An interval shrinks with the root of the number of pairs: it has to come free of 0 where the estimate is
    at least the tolerance, and of the tolerance where it is below.
    """
    limit = log1p(tolerance)
    if seen.low is None or seen.high is None:
        return LOOKS[0] - seen.n
    width, room = (
        (seen.value - seen.low, seen.value)
        if seen.value >= limit
        else (seen.high - seen.value, limit - seen.value)
    )
    needed = ceil(max(seen.n + 1, seen.n * (width / room) ** 2)) if room > 0 else MOST_PAIRS + 1
    if needed > MOST_PAIRS:
        return None
    return next((look for look in LOOKS if look >= needed), needed) - seen.n
