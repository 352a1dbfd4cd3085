"""How the generator itself is doing, once a second: a run that it spoiled must say so by itself.

A probe asks the event loop to be woken at random instants, a hundred a second, and notes how late it was.
It is a virtual user who has nothing else to do: as late as it is woken, as late everybody starts what a
timer starts, and that lateness is ours alone. The send lag is not: who waits for a slow answer sends late
too. Random instants, because those of a Poisson process see the share of time in which the loop was late.

CPU use warns nobody: a fan-out is a burst, and a generator that is kept from its core uses little.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Sequence
from typing import Protocol

import gevent
import psutil

from loadtests import clock, usage
from loadtests.recorder import Recorder

PROBES_A_SECOND = 100


class Receiver(Protocol):
    """What reads the sockets and stamps what it reads; counters since the process began."""

    reads: int
    unstamped: int  # reads that came without a kernel stamp
    frames: int
    coalesced: int  # frames that were read together with a later one: they have its stamp


class Collections:
    """The garbage collections of this process, as `gc.callbacks` tells of them."""

    def __init__(self) -> None:
        self.runs, self.pause, self._began = 0, 0, 0

    def __call__(self, phase: str, _info: dict[str, int]) -> None:
        """Take note of a begin or an end."""
        self.note(phase, clock.now())

    def note(self, phase: str, at: int) -> None:
        """Count a collection when it ends; `pause` adds up in ns."""
        if phase == "start":
            self._began = at
        else:
            self.runs += 1
            self.pause += at - self._began


Source = Callable[[], usage.Reading | None]
"""Tells what processes have used, None while nothing is known. Raises psutil.Error when they are gone."""


class Health:
    """Watches this process, and the server by whatever source there is."""

    def __init__(self, recorder: Recorder, server: Source | None, receiver: Receiver) -> None:
        self._recorder, self._receiver = recorder, receiver
        self.dropped = 0  # starts that were due and never made: whoever paces counts them
        self.figures: dict[str, float] = {}
        self._collections = Collections()
        gc.callbacks.append(self._collections)
        self._sources = {"generator": of_pid(0)}
        if server is not None:
            self._sources["server"] = server
        self._last = {name: self._read(name) for name in list(self._sources)}
        self._machine, self._began, self._at = usage.of_machine(), self._counters(), clock.now()
        self._counted = self._began
        self._probe = gevent.spawn(self._feel)

    def _feel(self) -> None:
        chance = random.Random(0)  # not of the run: how people behave must not depend on who watches
        due = clock.now()
        while True:
            due += clock.ns(chance.expovariate(PROBES_A_SECOND))
            # Not from now on: the instants that a long stall swallowed were all late, and count.
            if (left := due - clock.now()) > 0:
                gevent.sleep(left / clock.SECOND)
            self._recorder.wakeup(due, clock.now())

    def _counters(self) -> dict[str, int]:
        reader, collections = self._receiver, self._collections
        return {
            "dropped": self.dropped,
            "gc_runs": collections.runs,
            "gc_pause": collections.pause,
            "reads": reader.reads,
            "unstamped": reader.unstamped,
            "frames": reader.frames,
            "coalesced": reader.coalesced,
        }

    def note(self, users: int, sockets: int) -> None:
        """Write one row a process; call once a second, before the recorder forgets that second."""
        now = clock.now()
        past, self._at = max(1, now - self._at), now
        for name in list(self._sources):
            before, reading = self._last[name], self._read(name)
            if reading is None or reading == before:
                continue  # nobody said anything new: the next row tells of a longer time
            self._last[name] = reading
            if before is None or reading.used.user < before.used.user:
                continue  # it has begun anew
            row = _difference(before, reading)
            self.figures[f"{name}_cpu"], self.figures[f"{name}_rss"] = row["cpu"], row["rss"]
            if name == "generator":
                row |= {"users": users, "sockets": sockets, **self._own(), **self._of_machine(past)}
                self.figures["loop_lag_ms"] = row["loop_lag_p99"] / clock.MILLISECOND
            self._recorder.resources(at=reading.at, process=name, **row)

    def _read(self, name: str) -> usage.Reading | None:
        """Read a source; one that is gone is not asked again: the run hears of it from its own requests."""
        try:
            return self._sources[name]()
        except psutil.Error:
            del self._sources[name]
            return None

    def _own(self) -> dict[str, int]:
        loop, send, read = map(sorted, self._recorder.lags())
        before, self._counted = self._counted, self._counters()
        return {
            "loop_lag_p50": _quantile(loop, 50),
            "loop_lag_p99": _quantile(loop, 99),
            "loop_lag_max": _quantile(loop, 100),
            "send_lag_p99": _quantile(send, 99),
            "read_lag_p99": _quantile(read, 99),
            **{name: count - before[name] for name, count in self._counted.items()},
        }

    def _of_machine(self, past: int) -> dict[str, float]:
        before, self._machine = self._machine, usage.of_machine()
        ticks = max(1, self._machine.ticks - before.ticks)
        return {
            "pressure": (self._machine.pressed - before.pressed) / past,
            "steal": (self._machine.stolen - before.stolen) / ticks,
        }

    def received(self) -> dict[str, int]:
        """Return what the receiver counted since this watch began, by the names of `Receiver`."""
        now = self._counters()
        return {name: now[name] - self._began[name] for name in ("reads", "unstamped", "frames", "coalesced")}

    def stop(self) -> None:
        """End the probe."""
        self._probe.kill()
        gc.callbacks.remove(self._collections)


def of_pid(pid: int) -> Source:
    """Return the source that reads a process of this machine, 0 for our own; a server with its children."""
    process: psutil.Process | None = None

    def read() -> usage.Reading:
        nonlocal process
        process = process or psutil.Process(pid or None)
        return usage.Reading(clock.now(), usage.of_server(process) if pid else usage.of_process(process))

    return read


def _difference(before: usage.Reading, now: usage.Reading) -> dict[str, float]:
    past = max(1, now.at - before.at)
    system = (now.used.system - before.used.system) / past
    return {
        "cpu": (now.used.user - before.used.user) / past + system,
        "cpu_system": system,
        "cpu_wait": (now.used.wait - before.used.wait) / past,
        "rss": now.used.rss,
        "fds": now.used.fds,
        "preempted": now.used.preempted - before.used.preempted,
    }


def _quantile(ordered: Sequence[int], percent: int) -> int:
    """Return the nearest rank, 0 of nothing."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else 0


def every_second(do: Callable[[], object]) -> gevent.Greenlet[[], None]:
    """Call `do` on each full second from now on, in a greenlet that the caller ends."""

    def loop() -> None:
        due = clock.now()
        while True:
            due += clock.SECOND
            gevent.sleep(max(0, due - clock.now()) / clock.SECOND)
            do()

    return gevent.spawn(loop)
