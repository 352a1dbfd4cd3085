"""Can this machine run a load test that is to be believed? Each check with its figure and its remedy."""

from __future__ import annotations

import itertools
import os
import resource
import select
import shutil
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from loadtests import clock, limit

_SO_TIMESTAMPNS = 35  # linux/asm-generic/socket.h; not in Python's socket module
_FDS_PER_USER = 4  # one socket, up to three https connections
_MIN_DISK = 200 << 20


class Check(NamedTuple):
    """One finding: `ok` None means a warning; `remedy` is empty where there is nothing to do."""

    name: str
    ok: bool | None
    found: str
    remedy: str = ""


def examine(out: Path) -> list[Check]:
    """Return all findings for runs written below `out`."""
    checks: list[Callable[[], Check]] = [_python, _cores, _fds, _ports, _clock, _stamps, _limit]
    return [check() for check in checks] + [_disk(out)]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("Python", sys.version_info >= (3, 11), version, "install Python 3.11 or newer")


def _cores() -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    remedy = "with one core the server and the generator disturb each other: use a target on another machine"
    return Check("cores", True if cores >= 2 else None, f"{cores} usable", "" if cores >= 2 else remedy)


def _fds() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    users = soft // _FDS_PER_USER
    ok = True if soft >= 1024 * _FDS_PER_USER else None
    return Check(
        "file descriptors",
        ok,
        f"{soft} (hard limit {hard}): enough for about {users} people",
        "" if ok else f"for more people raise it first: ulimit -n {min(hard, 65536)}",
    )


def _ports() -> Check:
    try:
        low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    except (OSError, ValueError):
        return Check("ephemeral ports", None, "unknown", "not Linux: check the range of local ports yourself")
    count = high - low + 1
    return Check(
        "ephemeral ports",
        True if count >= 10_000 else None,
        f"{count} ({low}-{high}) for each pair of addresses",
        "" if count >= 10_000 else "widen it: sysctl -w net.ipv4.ip_local_port_range='1024 65535'",
    )


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


def _limit() -> Check:
    name = "deliveries"
    try:
        found = limit.measure()
    except limit.LimitError as error:
        return Check(name, None, f"could not be measured: {error}", "look whether something else is at work")
    trusted = round(found.trusted, -3) or found.trusted
    return Check(
        name, True, f"about {trusted:,} a second can be trusted ({found.per_cpu_second:,} per CPU-second, ws)"
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
