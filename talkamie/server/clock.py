"""The only module of the server that reads a clock, or stops one. Everything else is told the time."""

from __future__ import annotations

import time


def now() -> int:
    """Return the wall clock in milliseconds since 1970, UTC: what is stored and shown."""
    return time.time_ns() // 1_000_000


def monotonic() -> int:
    """Return nanoseconds that never step back, the same for every process of this machine."""
    return time.monotonic_ns()


def block(duration: int) -> None:
    """Do nothing for `duration` nanoseconds, and let nobody else in this thread do anything."""
    time.sleep(duration / 1e9)


def realtime_offset() -> int:
    """Return by how many ns the wall clock, by which the kernel stamps, is ahead of `monotonic`."""
    readings = []
    for _ in range(9):
        before, real, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        readings.append((after - before, real - (before + after) // 2))
    return min(readings)[1]
