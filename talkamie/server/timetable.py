"""When a schedule is. Pure: everything follows from its timeslot, its recurrence and now.

    upcoming            on-going              past
    ────────────┬─────────────────────┬─────────────────►
               from                   to
A recurring schedule is never past: once `to` is past, it rolls to the first occurrence that is not.
"""

from __future__ import annotations

from math import gcd
from typing import Literal

Slot = tuple[int, int, str]  # when its first occurrence begins and ends, and how it recurs
DAY_MS = 24 * 3600 * 1000
PERIOD_MS = {"daily": DAY_MS, "weekly": 7 * DAY_MS}


def period(recurrence: str) -> int | None:
    """Return the milliseconds from one occurrence to the next; None for what happens once."""
    return PERIOD_MS.get(recurrence)


def occurrence(start: int, end: int, recurrence: str, now: int) -> tuple[int, int]:
    """Return the timeslot that counts at `now`: the given one, or the first of its series not yet past."""
    step = period(recurrence)
    if step is None or end >= now:
        return start, end
    missed = -(-(now - end) // step)
    return start + missed * step, end + missed * step


def status(start: int, end: int, now: int) -> Literal["past", "on-going", "upcoming"]:
    """Return where `now` stands to a timeslot; both its ends belong to it."""
    if now < start:
        return "upcoming"
    return "on-going" if now <= end else "past"


def overlap(one: Slot, other: Slot) -> bool:
    """Tell whether any occurrences of two timeslots are at the same time for longer than an instant.

    With both recurring, all that counts is how far apart they begin modulo the periods' greatest common
    divisor: every multiple of it is the distance of some two occurrences.
    """
    if one[0] > other[0]:
        one, other = other, one
    length, distance = one[1] - one[0], other[0] - one[0]
    step, others = period(one[2]), period(other[2])
    if step is None:
        return distance < length
    if others is not None:
        step = gcd(step, others)
    distance %= step
    return distance < length or step - distance < other[1] - other[0]
