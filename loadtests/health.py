"""How the generator itself is doing, once a second: a run that it spoiled must say so by itself.

A probe asks the event loop to be woken every 20 ms and notes how late it was: that is how late anything
that arrived in that moment was seen. CPU use alone warns nobody: a fan-out is a burst.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gevent
import psutil

from loadtests import clock
from loadtests.recorder import Recorder

PROBE_S = 0.02


class Health:
    """Watches this process, and the server when it is one of this machine's."""

    def __init__(self, recorder: Recorder, server_pid: int) -> None:
        self._recorder = recorder
        self._watched = {"generator": psutil.Process()}
        if server_pid:
            self._watched["server"] = psutil.Process(server_pid)
        for process in self._watched.values():
            process.cpu_percent()  # the first reading is the zero of the next
        self._worst = 0
        self.figures: dict[str, float] = {}
        self._probe = gevent.spawn(self._feel)

    def _feel(self) -> None:
        while True:
            due = clock.now() + clock.ns(PROBE_S)
            gevent.sleep(PROBE_S)
            self._worst = max(self._worst, clock.now() - due)

    def note(self, users: int, sockets: int) -> None:
        """Write one row a process; call once a second."""
        at, lag, self._worst = clock.now(), self._worst, 0
        for name, process in list(self._watched.items()):
            mine = name == "generator"
            try:
                with process.oneshot():
                    cpu = process.cpu_percent() / 100
                    rss, fds = process.memory_info().rss, process.num_fds()
            except psutil.Error:
                del self._watched[name]  # it is gone; the run will hear of it from its own requests
                continue
            self._recorder.resources(at, name, cpu, rss, fds, *((users, sockets, lag) if mine else (0, 0, 0)))
            self.figures[f"{name}_cpu"], self.figures[f"{name}_rss"] = cpu, rss
        self.figures["loop_lag_ms"] = lag / clock.MILLISECOND

    def stop(self) -> None:
        """End the probe."""
        self._probe.kill()


class Neighbours:
    """How much of the machine others took, from the making of this on: what spoils a comparison of runs.

    pressure: share of the time in which some process waited for a core (/proc/pressure/cpu, our own
    included); steal: share of the cores' time that the host gave to other machines. -1: this kernel does not
    tell.
    """

    def __init__(self) -> None:
        self._at, self._stalled, self._cpu = clock.now(), _stalled(), psutil.cpu_times()

    def shares(self) -> dict[str, float]:
        """Return both shares since the making."""
        elapsed, stalled = clock.now() - self._at, _stalled()
        then, now = self._cpu, psutil.cpu_times()
        total, steal = sum(now[:8]) - sum(then[:8]), getattr(now, "steal", 0) - getattr(then, "steal", 0)
        known = stalled >= self._stalled >= 0 and elapsed > 0
        return {
            "pressure": min(1.0, (stalled - self._stalled) / elapsed) if known else -1.0,
            "steal": steal / total if total > 0 else -1.0,
        }


def _stalled() -> int:
    """Return for how many ns some process of this machine has waited for a core since it was started."""
    try:
        some = Path("/proc/pressure/cpu").read_text().splitlines()[0]
        return int(some.rpartition("total=")[2]) * 1_000
    except (OSError, ValueError, IndexError):
        return -1


def every_second(do: Callable[[], None]) -> gevent.Greenlet[[], None]:
    """Call `do` on each full second from now on, in a greenlet that the caller ends."""

    def loop() -> None:
        due = clock.now()
        while True:
            due += clock.SECOND
            gevent.sleep(max(0, due - clock.now()) / clock.SECOND)
            do()

    return gevent.spawn(loop)
