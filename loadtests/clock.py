"""The only module of the generator that reads a clock. Everything else is told the time.

Instants are CLOCK_MONOTONIC nanoseconds: one clock for all processes of a host, and nothing steps it.
The wall clock serves for names and dates alone.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

SECOND = 1_000_000_000
MILLISECOND = 1_000_000

now = time.monotonic_ns


def ns(seconds: float) -> int:
    """Return a duration in nanoseconds."""
    return round(seconds * SECOND)


def utc() -> datetime:
    """Return the date and time, UTC."""
    return datetime.now(UTC)


def realtime_offset() -> int:
    """Return CLOCK_REALTIME - CLOCK_MONOTONIC in ns: the reading with the narrowest bracket of nine."""
    readings = []
    for _ in range(9):
        before, real, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        readings.append((after - before, real - (before + after) // 2))
    return min(readings)[1]


class Realtime:
    """How far CLOCK_REALTIME, by which the kernel stamps, is ahead of CLOCK_MONOTONIC: `offset` in ns."""

    __slots__ = ("offset",)

    def __init__(self) -> None:
        self.offset = realtime_offset()

    def sample(self) -> int:
        """Read the offset anew; return by how much it has changed, ns."""
        before, self.offset = self.offset, realtime_offset()
        return self.offset - before


def boot_id() -> str:
    """Return what tells this boot of this host from all others: instants compare only within it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
