"""Hosts to test with: network namespaces on one bridge, each with an address and, if wanted, its own clock.

Everything is named after this process and gone at the end, whatever happens in between. A namespace has no
way out: what runs in it reaches the other hosts of the bridge, and nobody else.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

NETWORK, BRIDGE = "10.213.77", "br0"
CLONE_NEWTIME = 0x80

_ELSEWHEN = """
import ctypes, os, sys
if ctypes.CDLL(None, use_errno=True).unshare({flag}):
    raise OSError(ctypes.get_errno(), "unshare")
with open("/proc/self/timens_offsets", "w") as offsets:
    offsets.write("monotonic {seconds} {nanoseconds}\\n")
child = os.fork()
if not child:
    os.execvp(sys.argv[1], sys.argv[1:])
import signal
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *caught: os.kill(child, caught[0]))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 255)
"""


def forbidden() -> str:
    """Return why hosts can't be made here; "" where they can."""
    name = f"tl{os.getpid()}x"
    try:
        made = _ip("netns", "add", name)
        if made.returncode:
            return f"network namespaces are not permitted here: {made.stderr.strip()}"
        bridge = _ip("-n", name, "link", "add", BRIDGE, "type", "bridge")
        _ip("netns", "del", name)
        return f"a bridge can't be made here: {bridge.stderr.strip()}" if bridge.returncode else ""
    except FileNotFoundError:
        return "there is no ip command here (iproute2)"


@dataclass
class Host:
    """One of them. `clock` is by how many ns its CLOCK_MONOTONIC is ahead (time_namespaces(7))."""

    name: str
    namespace: str
    address: str
    clock: int = 0
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *command: str, **how: Any) -> subprocess.Popen[str]:
        """Start a command there; it is killed when the hosts go, with what it started."""
        inside = ["ip", "netns", "exec", self.namespace, *self._elsewhen(), *command]
        process = subprocess.Popen(
            inside,
            **{
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "text": True,
                "start_new_session": True,
                **how,
            },
        )
        self.running.append(process)
        return process

    def run(self, *command: str, timeout: float = 60, **how: Any) -> subprocess.CompletedProcess[str]:
        """Run a command there to its end."""
        process = self.start(*command, **how)
        out, err = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def cut(self) -> None:
        """Take its cable out: the kernel at both ends knows."""
        _must("-n", self.namespace, "link", "set", "eth0", "down")

    def stall(self) -> None:
        """Lose whatever it sends and gets, and tell nobody: a half-open link."""
        _must("-n", self.namespace, "neigh", "flush", "dev", "eth0")
        _must("-n", self.namespace, "link", "set", "eth0", "arp", "off")
        _must("-n", _switch(), "link", "set", self.namespace, "nomaster")

    def mend(self) -> None:
        """Undo `cut` and `stall`."""
        _must("-n", self.namespace, "link", "set", "eth0", "arp", "on", "up")
        _must("-n", _switch(), "link", "set", self.namespace, "master", BRIDGE)

    def _elsewhen(self) -> list[str]:
        if not self.clock:
            return []
        seconds, nanoseconds = divmod(self.clock, 1_000_000_000)
        script = _ELSEWHEN.format(flag=CLONE_NEWTIME, seconds=seconds, nanoseconds=nanoseconds)
        return [sys.executable, "-c", script]


@contextmanager
def hosts(*names: str, clocks: dict[str, int] | None = None) -> Iterator[dict[str, Host]]:
    """Make hosts of these names, give them by name, and remove all of it."""
    made: dict[str, Host] = {}
    try:
        _must("netns", "add", _switch())
        _must("-n", _switch(), "link", "add", BRIDGE, "type", "bridge")
        _must("-n", _switch(), "link", "set", BRIDGE, "up")
        for number, name in enumerate(names, start=1):
            host = Host(name, f"tl{os.getpid()}h{number}", f"{NETWORK}.{number}", (clocks or {}).get(name, 0))
            made[name] = host
            _plug_in(host)
        yield made
    finally:
        for host in made.values():
            for process in host.running:
                _end(process, host)
            _ip("netns", "del", host.namespace)
        _ip("netns", "del", _switch())


def _plug_in(host: Host) -> None:
    inside, outside = ("-n", host.namespace), ("-n", _switch())
    _must("netns", "add", host.namespace)
    peer = ("peer", "name", "eth0", "netns", host.namespace)
    _must(*outside, "link", "add", host.namespace, "type", "veth", *peer)
    _must(*outside, "link", "set", host.namespace, "master", BRIDGE, "up")
    _must(*inside, "addr", "add", f"{host.address}/24", "dev", "eth0")
    _must(*inside, "link", "set", "lo", "up")
    _must(*inside, "link", "set", "eth0", "up")


def _end(process: subprocess.Popen[str], host: Host) -> None:
    """Kill whatever still runs in the host: a namespace lives as long as a process in it."""
    process.kill()  # it may be on its way into the host
    for pid in _ip("netns", "pids", host.namespace).stdout.split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), 9)
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe:
            pipe.close()


def _switch() -> str:
    """Return the namespace of the bridge: nothing of the machine's own network is touched."""
    return f"tl{os.getpid()}"


def _ip(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)


def _must(*arguments: str) -> None:
    done = _ip(*arguments)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
