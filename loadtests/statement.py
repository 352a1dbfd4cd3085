"""What a worker says of itself: once a second, and for the last time when it has closed its record. Pure.

Everything in a statement is counted from the begin of the run, or stands for the last seconds as a whole: a
later one replaces an earlier one, and none that gets lost is missed. Several workers' are one by addition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from loadtests.clock import MILLISECOND
from reports import manifest as book
from reports.histogram import Histogram

STAMPS = ("wire", "epoll", "callback")  # the most exact first


class Window(Struct, frozen=True):
    """How long something took in the last seconds: see `reports.histogram`."""

    seconds: int
    buckets: list[int]
    counts: list[int]

    @classmethod
    def of(cls, values: Sequence[np.ndarray]) -> Window:
        """Return the window of these times (ns), an array for each second. A negative one counts as 0."""
        histogram = Histogram()
        histogram.add(np.maximum(0, np.concatenate([np.empty(0, np.int64), *values])))
        buckets, counts = histogram.to_arrays()
        return cls(len(values), buckets.tolist(), counts.tolist())


class Live(Struct, kw_only=True):
    """What the live view shows of a worker."""

    users: int = 0
    settled: int = 0  # users that are online
    online: int = 0
    windows: dict[str, Window] = {}
    counts: dict[str, int] = {}
    failures: dict[str, int] = {}
    health: dict[str, float] = {}


class Statement(Struct, kw_only=True):
    """All of it."""

    worker: book.Worker
    clock: book.Clock
    arrivals: book.Arrivals | None = None
    phases: list[book.Phase] = []  # of the arrivals, once they have begun, by the run's clock
    aborted: book.Aborted | None = None  # why the run is to be ended early, by what this worker saw
    foreign: int = 0  # pushes that are not of this run
    strange: int = 0  # frames that are not of the contract
    overlooked: int = 0  # events that a full inbox pushed out
    live: Live = msgspec.field(default_factory=Live)


def recent(windows: Iterable[dict[str, Window]]) -> dict[str, dict[str, float]]:
    """Return rate and time of the last seconds by group: a second, p50 and p99 in ms."""
    found: dict[str, dict[str, float]] = {}
    every = list(windows)
    for group in dict.fromkeys(name for each in every for name in each):
        some = [each[group] for each in every if group in each]
        histogram = Histogram()
        for window in some:
            histogram = histogram.merge(Histogram.from_arrays(window.buckets, window.counts))
        p50, p99 = histogram.quantile(0.5), histogram.quantile(0.99)
        if p50 is not None and p99 is not None:
            rate = histogram.count / max(window.seconds for window in some)
            found[group] = {"rate": rate, "p50": p50 / MILLISECOND, "p99": p99 / MILLISECOND}
    return found


def picture(said: Sequence[Statement], **beside: Any) -> dict[str, Any]:
    """Return what the live view shows of all workers together; `beside` is added to it."""
    lives = [each.live for each in said]
    came = arrivals(said)
    return {
        "users": sum(live.users for live in lives),
        "online": sum(live.online for live in lives),
        "arrivals": came and msgspec.to_builtins(came),
        "groups": recent(live.windows for live in lives),
        "counts": _together(live.counts for live in lives),
        "failures": _together(live.failures for live in lives),
        "health": _together((live.health for live in lives), max),
        "troubles": [trouble for each in said for trouble in each.worker.errors],
        **beside,
    }


def arrivals(said: Iterable[Statement]) -> book.Arrivals | None:
    """Return what came of the whole plan; None in a closed model."""
    every = [each.arrivals for each in said if each.arrivals]
    if not every:
        return None
    total = book.Arrivals(plan_hash=every[0].plan_hash, planned=0)
    for name in ("planned", "achieved", "late", "waiting", "dropped"):
        setattr(total, name, sum(getattr(each, name) for each in every))
    total.longest_wait_ns = max(each.longest_wait_ns for each in every)
    return total


def phases(said: Iterable[Statement], stopped: int) -> list[book.Phase]:
    """Return the phases of the arrivals that had begun when they were stopped: every worker has the same."""
    found = next((each.phases for each in said if each.phases), [])
    return [
        book.Phase(name=each.name, from_ns=each.from_ns, to_ns=min(each.to_ns, stopped))
        for each in found
        if each.from_ns < stopped
    ]


def clock(own: book.Clock, said: Sequence[Statement]) -> book.Clock:
    """Return the run's clock, and how instants were stamped: by the least exact.

    A step is seen by every worker of a host.
    """
    clocks = [each.clock for each in said]
    total = book.Clock(
        stamps=max((each.stamps for each in clocks), key=STAMPS.index),
        id=own.id,
        realtime_offset_ns=own.realtime_offset_ns,
        steps_ns=max((each.steps_ns for each in clocks), key=len),
    )
    for name in ("reads", "unstamped", "frames", "coalesced"):
        setattr(total, name, sum(getattr(each, name) for each in clocks))
    return total


def _together(
    tables: Iterable[dict[str, Any]], join: Callable[[Any, Any], Any] = lambda one, other: one + other
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for table in tables:
        for name, value in table.items():
            found[name] = join(found[name], value) if name in found else value
    return found
