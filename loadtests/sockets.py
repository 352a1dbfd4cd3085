"""How many connections this machine has room for: open files of a process, and local ports.

Over loopback there are more ports than one address has: all of 127.0.0.0/8 is this machine's own, and a
connection is told by both of its addresses and ports (RFC 9293, 4). Nowhere else is another source used.
"""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path

A_PERSON = 4  # connections: a socket, and up to three for https
A_PROCESS = 64  # files: its own, its log, its channel to a master
MOST_FILES = 65_536  # what a process asks for, where it may
MOST_SOURCES = 254
IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h: the port is chosen once the other end is known


def files() -> tuple[int, int]:
    """Return how many files a process may have open once it has asked for more, and how many it may ask for.

    Those are the soft and the hard limit of getrlimit(2).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = sys.maxsize if hard == resource.RLIM_INFINITY else hard
    return max(soft, min(most, MOST_FILES)), most


def allow_files() -> None:
    """Ask for as many open files as there may be."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # a system that says more than it keeps
        resource.setrlimit(resource.RLIMIT_NOFILE, (files()[0], hard))


def ports() -> tuple[int, int] | None:
    """Return the first and the last local port that the kernel gives out; None where it does not tell."""
    try:
        low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    except (OSError, ValueError):
        return None
    return low, high


def spreads(host: str) -> bool:
    """Tell whether connections to a host may come from several addresses of this machine."""
    return host.startswith("127.")


def sources(connections: int) -> int:
    """Return from how many addresses to make so many connections over loopback.

    At most a quarter of an address's ports are in use: those of closed connections stay taken for a minute,
    and the kernel looks the longer for a free one the fewer there are.
    """
    if (found := ports()) is None:
        return 1
    low, high = found
    return min(MOST_SOURCES, -(-4 * connections // (high - low + 1)) or 1)
