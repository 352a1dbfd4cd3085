"""When a schedule is. Pure: everything follows from its timeslot, its recurrence and now.

    upcoming            on-going              past
    ────────────┬─────────────────────┬─────────────────►
               from                   to
A recurring schedule is never past: once `to` is past, it rolls to the first occurrence that is not.
"""

from __future__ import annotations

from typing import Literal

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
