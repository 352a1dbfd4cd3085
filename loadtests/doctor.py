"""Can this machine run a load test that is to be believed? Each check with its figure and its remedy."""

from __future__ import annotations

import itertools
import os
import select
import shutil
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from loadtests import clock, limit, sockets

_SO_TIMESTAMPNS = 35  # linux/asm-generic/socket.h; not in Python's socket module
_MIN_DISK = 200 << 20


class Check(NamedTuple):
    """One finding: `ok` None means a warning; `remedy` is empty where there is nothing to do."""

    name: str
    ok: bool | None
    found: str
    remedy: str = ""


def examine(out: Path, *, processes: int = 1, users: int = 0) -> list[Check]:
    """Return all findings for runs of so many people and processes here, written below `out`.

    `users` of them are on this host, whatever others there are; 0: not known.
    """
    checks: list[Callable[[], Check]] = [
        _python,
        lambda: _cores(processes),
        lambda: _files(processes, users * sockets.A_PERSON),
        lambda: _ports(users * sockets.A_PERSON),
        _clock,
        _stamps,
        lambda: _limit(processes),
    ]
    return [check() for check in checks] + [_disk(out)]


def misfit(processes: int, connections: int, host: str) -> str:
    """Return why so many processes here can't have so many connections to a host, "" if they can."""
    checks = (_files(processes, connections), _ports(connections, spread=sockets.spreads(host)))
    wrong = [check for check in checks if check.ok is False]
    return "; ".join(f"{check.name}: {check.found}: {check.remedy}" for check in wrong)


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("Python", sys.version_info >= (3, 11), version, "install Python 3.11 or newer")


def _cores(processes: int) -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores < 2:
        remedy = "with one core the server and the generator disturb each other: use a target elsewhere"
    elif processes > cores:
        remedy = f"{processes} processes wait for one another: use at most {cores}, or more machines"
    else:
        remedy = ""
    return Check("cores", None if remedy else True, f"{cores} usable, for {processes} processes", remedy)


def _files(processes: int, connections: int) -> Check:
    limit, most = sockets.files()
    room = (limit - sockets.A_PROCESS) * processes
    found = (
        f"{limit} a process (hard limit {most}): {room} connections in {processes} processes, about"
        f" {room // sockets.A_PERSON} people"
    )
    raised = f"raise the hard limit first: ulimit -n {sockets.MOST_FILES}"
    if connections > room:
        found += f"; {connections} connections are wanted"
        return Check("file descriptors", False, found, f"{raised}, or use more processes")
    ok = True if limit >= 1024 * sockets.A_PERSON else None
    return Check("file descriptors", ok, found, "" if ok else f"for more people {raised}")


def _ports(connections: int, *, spread: bool | None = None) -> Check:
    """`spread`: they are made from several addresses; None: nobody has said yet to where."""
    name, span = "ephemeral ports", sockets.ports()
    if span is None:
        return Check(name, None, "unknown", "not Linux: check the range of local ports yourself")
    low, high = span
    count = high - low + 1
    # All processes of a host share them; https and wss of one server are one pair of addresses.
    room = count if spread is False else count * sockets.MOST_SOURCES
    found = (
        f"{count} ({low}-{high}) for each pair of addresses, about {count // sockets.A_PERSON} people; a"
        f" target on 127.0.0.1 is reached from up to {sockets.MOST_SOURCES} addresses"
    )
    widen = "widen it: sysctl -w net.ipv4.ip_local_port_range='1024 65535', or use more machines"
    if connections > room:
        return Check(name, False, f"{found}; {connections} connections are wanted", widen)
    ok = None if count < 10_000 or (spread is None and connections > count) else True
    return Check(name, ok, found, "" if ok else widen)


def _clock() -> Check:
    readings = [clock.now() for _ in range(1000)]
    steps = [later - earlier for earlier, later in itertools.pairwise(readings)]
    worst = max(steps)
    ok = min(steps) >= 0 and sorted(steps)[500] < 10_000
    return Check(
        "clock",
        ok,
        f"monotonic, read in {sorted(steps)[500]} ns (worst of 1,000: {worst} ns)",
        "" if ok else "reading the clock is slow here: check /sys/devices/system/clocksource",
    )


def _stamps() -> Check:
    """Send a datagram to ourselves and look whether the kernel says when it came."""
    remedy = "arrival times are then stamped by the program, later than the kernel would"
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        try:
            receiver.bind(("127.0.0.1", 0))
            receiver.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            for _ in range(3):  # the kernel may need a moment to switch stamps on
                sender.sendto(b"?", receiver.getsockname())
                if not select.select([receiver], [], [], 1)[0]:
                    break
                _, extra, _, _ = receiver.recvmsg(16, 64)
                if extra:
                    seconds, nanoseconds = struct.unpack("qq", extra[0][2])
                    stamp = seconds * clock.SECOND + nanoseconds - clock.Realtime().offset
                    return Check(
                        "kernel receive stamps", True, f"yes ({(clock.now() - stamp) // 1000} µs ago)"
                    )
        except OSError as error:
            return Check("kernel receive stamps", None, f"no: {error}", remedy)
    return Check("kernel receive stamps", None, "no", remedy)


def _limit(processes: int) -> Check:
    name = "deliveries"
    try:
        found = limit.measure()
    except limit.LimitError as error:
        return Check(name, None, f"could not be measured: {error}", "look whether something else is at work")
    trusted = round(found.trusted, -3) or found.trusted
    each = " of each process, where it has a core of its own," if processes > 1 else ""
    return Check(
        name,
        True,
        f"about {trusted:,} a second{each} can be trusted ({found.per_cpu_second:,} per CPU-second, ws)",
    )


def _disk(out: Path) -> Check:
    folder = out
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    writable = os.access(folder, os.W_OK)
    found = f"{free / 1e9:.1f} GB free below {folder}" + ("" if writable else ", not writable")
    return Check(
        "disk", writable and free >= _MIN_DISK, found, "free some space, or choose another folder with --out"
    )
