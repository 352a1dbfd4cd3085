"""The only module of the generator that reads a clock. Everything else is told the time.

Instants are CLOCK_MONOTONIC nanoseconds: one clock for all processes of a host, and nothing steps it.
The wall clock serves for names and dates, and the kernel stamps what it receives with it: `Realtime` has
the offset between the two. NTP slews both clocks alike, so that the offset changes only where somebody sets
the wall clock: a step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
MICROSECOND = 1_000
STEP = 100 * MICROSECOND
"""A wall clock that moved by more than this, and by more than the readings leave in doubt, was set."""

now = time.monotonic_ns


def ns(seconds: float) -> int:
    """Return a duration in nanoseconds."""
    return round(seconds * SECOND)


def utc() -> datetime:
    """Return the date and time, UTC."""
    return datetime.now(UTC)


class Reading(NamedTuple):
    """The wall clock, read between two readings of the monotonic one; ns."""

    before: int
    real: int
    after: int


def readings() -> list[Reading]:
    """Return nine readings: one of them was hardly interrupted."""
    return [Reading(time.monotonic_ns(), time.time_ns(), time.monotonic_ns()) for _ in range(9)]


class Realtime:
    """CLOCK_REALTIME - CLOCK_MONOTONIC, for whoever turns kernel stamps into instants: sample it each second.

    Between a step and the next sample every kernel stamp is wrong by the step: believe none that is not
    between the read before and its own.
    """

    def __init__(self, read: Callable[[], Iterable[Reading]] = readings) -> None:
        self._read = read
        self.offset, self._doubt = _narrowest(read())
        """`offset`: ns; subtract it from a kernel stamp."""

    def sample(self) -> int:
        """Read the clocks again and return by how many ns the wall clock was set since: 0 if it was not.

        The old offset is `offset` before this call, the new one after it. Where all readings were interrupted
        for long the old one stays, unless they show a step all the same.
        """
        offset, doubt = _narrowest(self._read())
        moved = offset - self.offset
        step = moved if abs(moved) > STEP + doubt + self._doubt else 0
        if step or doubt <= max(STEP, self._doubt):
            self.offset, self._doubt = offset, doubt
        return step


def _narrowest(read: Iterable[Reading]) -> tuple[int, int]:
    """Return the offset by the reading with the narrowest bracket, and by how much it may be wrong, in ns."""
    best = min(read, key=lambda reading: reading.after - reading.before)
    return best.real - (best.before + best.after) // 2, (best.after - best.before + 1) // 2


def boot_id() -> str:
    """Return what tells this boot of this host from all others: instants compare only within it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
