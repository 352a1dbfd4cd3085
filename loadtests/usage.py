"""What processes and the machine have used up to now, as counters: two readings make a rate.

CPU that was *used* says little of a generator: one that is kept from its core uses less of it and is later.
So the time in which it was runnable and did not run is read too (`wait`), and how the machine was doing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from loadtests.clock import MICROSECOND, ns

_PROC = Path("/proc")
_CPU, _RSS, _FDS = b"process_cpu_seconds_total", b"process_resident_memory_bytes", b"process_open_fds"
_METRIC = re.compile(rb"^(%b|%b|%b)(?:\{[^}\n]*\})?[ \t]+(\S+)" % (_CPU, _RSS, _FDS), re.MULTILINE)
_MOST = 1e15  # seconds or bytes: beyond it no counter of a process is believed


class Usage(NamedTuple):
    """One process since it began; times in ns. `wait` and `preempted` are its main thread's, 0 off Linux."""

    user: int
    system: int
    wait: int
    preempted: int
    rss: int
    fds: int


class Reading(NamedTuple):
    """What was used up to an instant, ns."""

    at: int
    used: Usage


class Machine(NamedTuple):
    """The machine since it booted: `pressed` in ns, the others in ticks; 0 off Linux."""

    pressed: int  # time in which at least one task waited for a core
    stolen: int  # of all cores, given to other guests by the hypervisor
    ticks: int  # of all cores


def of_process(process: psutil.Process) -> Usage:
    """Read one process. Raises psutil.Error when it is gone."""
    with process.oneshot():
        cpu, switches = process.cpu_times(), process.num_ctx_switches()
        return Usage(
            user=ns(cpu.user),
            system=ns(cpu.system),
            wait=waited(_text(f"{process.pid}/schedstat")),
            preempted=switches.involuntary,
            rss=process.memory_info().rss,
            fds=process.num_fds(),
        )


def of_server(process: psutil.Process) -> Usage:
    """Read a server: the process that was started, and those that it started in its turn to serve for it."""
    found = [of_process(process)]
    for pid in _text(f"{process.pid}/task/{process.pid}/children").split():  # proc(5)
        with suppress(psutil.Error):
            found.append(of_process(psutil.Process(int(pid))))
    return Usage(*map(sum, zip(*found, strict=True)))


def of_metrics(text: bytes) -> Usage | None:
    """Return what `/metrics` tells of a target's processes, added up; None where it does not tell.

    The names are those that Prometheus prescribes for every process ("Writing client libraries", standard
    metrics), so user and system time come in one, as `user`.
    """
    found: defaultdict[bytes, float] = defaultdict(float)
    try:
        for name, value in _METRIC.findall(text):
            found[name] += float(value)
    except ValueError:
        return None
    if not {_CPU, _RSS} <= found.keys() or not all(0 <= each < _MOST for each in found.values()):
        return None
    return Usage(ns(found[_CPU]), 0, 0, 0, int(found[_RSS]), int(found[_FDS]))


def of_machine() -> Machine:
    """Read the machine."""
    stolen, ticks = stolen_and_all(_text("stat"))
    return Machine(pressed(_text("pressure/cpu")), stolen, ticks)


def waited(schedstat: str) -> int:
    """Return the ns that a thread spent on a run queue: the second number of /proc/<pid>/schedstat."""
    fields = schedstat.split()
    return int(fields[1]) if len(fields) > 1 else 0


def pressed(pressure: str) -> int:
    """Return the ns of "some" in /proc/pressure/cpu, which counts µs."""
    first = pressure.partition("\n")[0]
    return int(first.rpartition("total=")[2]) * MICROSECOND if first.startswith("some") else 0


def stolen_and_all(stat: str) -> tuple[int, int]:
    """Return the ticks of steal and of everything in the first line of /proc/stat (guests are in user)."""
    fields = [int(field) for field in stat.partition("\n")[0].split()[1:9]]
    return (fields[7], sum(fields)) if len(fields) == 8 else (0, 0)


def _text(path: str) -> str:
    try:
        return (_PROC / path).read_text()
    except OSError:
        return ""
