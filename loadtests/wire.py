"""The stamped I/O engine: TCP and TLS connections whose reads carry the instant at which the kernel had them.

A process has one engine. One epoll of its own holds all connections, behind a single watcher of gevent's
loop, so that a connection costs no reader greenlet and a burst of arrivals no switches. Its rules:

- Each read brings the kernel's receive stamp (SO_TIMESTAMPNS, socket(7)), plain or TLS: cipher text is read
  with `recvmsg` and decrypted from memory. So it does not matter to `arrived` how late our code saw it.
- A turn of the loop drains at most `EVENTS_A_TURN` connections: other greenlets get their turn too.
- Nothing here waits but `Stream.open` and `Wait.get`, and nobody's code but a stream's two listeners runs in
  the loop's callback; whoever waits is woken after it.
- Everything is bounded: opening by its timeout, what a peer does not take by `MAX_UNSENT`.

What stamps arrivals is found out when the engine starts, and is part of every result:

    wire      the kernel, on receiving the segment
    epoll     our clock, when epoll said that there is something to read: late by the burst before it
    callback  the same without an epoll of our own (not Linux): late by a turn of gevent's loop
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, Protocol

from gevent import get_hub, monkey
from gevent import socket as cooperative

from loadtests import clock, sockets
from loadtests.waiting import Wait, Wheel

EVENTS_A_TURN = 128

READ, WRITE = 1, 4  # EPOLLIN and EPOLLOUT
_EDGES = 1 << 31 | 1 << 13  # EPOLLET and EPOLLRDHUP
SO_TIMESTAMPNS = 35  # SO_TIMESTAMPNS_OLD, asm-generic/socket.h: `socket` has no name for it
TIMESPEC = struct.Struct("qq")
ANCILLARY_BYTES = socket.CMSG_SPACE(TIMESPEC.size)
_PROBES = 20
_PROBE_WAIT_S = 0.002

# The plain ones, because gevent's would bring a watcher each and wait where we must not.
PlainSocket: type[socket.socket] = monkey.get_original("socket", "socket")
_sleep: Callable[[float], None] = monkey.get_original("time", "sleep")

Address = tuple[Any, ...]


# --- Watching ---


class _Ready(Protocol):
    def ready(self, events: int, woke: int) -> None:
        """Take in that the connection can be read or written; `woke` is when we were told (ns)."""


class _Epoll:
    """Watches all connections with one epoll, which gevent's loop watches in its turn.

    It tells once of what has come, and of a hang-up (epoll(7), edge-triggered): so the kernel need not look
    again at each connection that was just read. Whoever has not read all that is there asks anew: `change`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._epoll = monkey.get_original("select", "epoll")()
        self._watched: dict[int, _Ready] = {}
        self._watcher = engine.loop.io(self._epoll.fileno(), READ)
        self._watcher.start(self._turn)

    def add(self, fd: int, who: _Ready, events: int) -> None:
        self._watched[fd] = who
        self._epoll.register(fd, events | _EDGES)

    def change(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events | _EDGES)

    def remove(self, fd: int) -> None:
        del self._watched[fd]
        self._epoll.unregister(fd)

    def _turn(self) -> None:
        engine, ready = self._engine, self._epoll.poll(0, EVENTS_A_TURN)
        woke = clock.now()
        engine.in_turn = True
        try:
            for fd, events in ready:
                # One that was closed earlier in this turn is not there any more.
                if (who := self._watched.get(fd)) is not None:
                    try:
                        who.ready(events, woke)
                    except BaseException:  # as gevent does: the others would never hear of theirs
                        engine.hub.handle_error(who, *sys.exc_info())
        finally:
            engine.in_turn = False
            engine.resume()


class _Watchers:
    """Watches each connection with a watcher of gevent's loop: where there is no epoll."""

    def __init__(self, engine: Engine) -> None:
        self._loop = engine.loop
        self._watchers: dict[int, tuple[Any, _Ready]] = {}

    def add(self, fd: int, who: _Ready, events: int) -> None:
        watcher = self._loop.io(fd, events & READ | (2 if events & WRITE else 0))  # libev: EV_READ, EV_WRITE
        self._watchers[fd] = watcher, who
        watcher.start(lambda: who.ready(events, clock.now()))

    def change(self, fd: int, events: int) -> None:
        who = self._watchers[fd][1]
        self.remove(fd)
        self.add(fd, who, events)

    def remove(self, fd: int) -> None:
        watcher, _ = self._watchers.pop(fd)
        watcher.stop()
        watcher.close()


# --- The engine ---


class Engine:
    """What the connections of one process share. Greenlets of one thread only."""

    def __init__(self, stamps: str | None = None) -> None:
        """`stamps`: use these, instead of the best that the start-up test finds."""
        self.hub = get_hub()
        self.loop: Any = self.hub.loop
        self.wheel = Wheel(self.loop)
        self.realtime = clock.Realtime()
        self.stamps = stamps or best_stamps(self.realtime)
        self.in_turn = False  # whoever is woken now goes on when it ends
        self.watch: _Epoll | _Watchers = (_Watchers if self.stamps == "callback" else _Epoll)(self)
        self.reads = 0
        self.unstamped = 0  # reads that came without a stamp that can be believed
        self.frames = 0  # messages read; counted by those who take reads apart
        self.coalesced = 0  # of them those that were not the last of their read: earlier than their stamp
        self._addresses: dict[tuple[str, int], list[tuple[int, Address]]] = {}
        self._sources = itertools.cycle([""])
        self._woken: list[Wait[Any]] = []

    def spread(self, count: int) -> None:
        """Let connections over loopback come from so many addresses in turn: see `loadtests.sockets`."""
        several = [f"127.0.0.{number}" for number in range(1, count + 1)]
        self._sources = itertools.cycle(several if count > 1 else [""])

    def source(self, host: str) -> str:
        """Return the address from which the next connection to a host is to come, "" for any."""
        return next(self._sources) if sockets.spreads(host) else ""

    def wake(self, one: Wait[Any]) -> None:
        """Let a greenlet go on after this turn. One callback of gevent's for all of them: each costs."""
        if not self._woken and not self.in_turn:
            self.loop.run_callback(self.resume)
        self._woken.append(one)

    def resume(self) -> None:
        """Let all go on that were woken: in the hub, after a turn."""
        woken, self._woken = self._woken, []
        for one in woken:
            one.resume()

    def addresses(self, host: str, port: int) -> list[tuple[int, Address]]:
        """Return family and address of a host, looked up once: no answer of a name server moves the load."""
        if (host, port) not in self._addresses:
            found = cooperative.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            self._addresses[host, port] = [(family, address) for family, _, _, _, address in found]
        return self._addresses[host, port]


_engine: Engine | None = None


def engine() -> Engine:
    """Return this process's engine, made at the first call: a fork starts with none of its parent's."""
    global _engine
    if _engine is None:
        _engine = Engine()
    return _engine


def _forget_engine() -> None:
    global _engine
    _engine = None


os.register_at_fork(after_in_child=_forget_engine)


def best_stamps(realtime: clock.Realtime) -> str:
    """Return the most exact way to stamp arrivals that works here: "wire", "epoll" or "callback".

    A byte is sent over loopback and read some time later: a stamp near the send is the kernel's. The first
    packets after stamping was switched on anywhere on the machine may come without one, hence several tries.
    """
    try:
        monkey.get_original("select", "epoll")
    except AttributeError:
        return "callback"
    try:
        with PlainSocket() as listener, PlainSocket() as sender:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            sender.connect(listener.getsockname())
            sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            receiver = _accepted(listener)
            with receiver:
                receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
                for _ in range(_PROBES):
                    sent = clock.now()
                    sender.send(b"?")
                    _sleep(_PROBE_WAIT_S)
                    _, ancillary, _, _ = receiver.recvmsg(1, ANCILLARY_BYTES)
                    seen = clock.now()
                    if ancillary and sent <= kernel_stamp(ancillary, realtime) < (sent + seen) // 2:
                        return "wire"
    except OSError:
        pass
    return "epoll"


def _accepted(listener: socket.socket) -> socket.socket:
    # Not `accept`, which would make a socket of gevent's.
    fd, _ = listener._accept()  # type: ignore[attr-defined]
    return PlainSocket(fileno=fd)


def kernel_stamp(ancillary: list[Any], realtime: clock.Realtime) -> int:
    """Return the CLOCK_MONOTONIC instant (ns) of a SO_TIMESTAMPNS control message."""
    seconds, nanoseconds = TIMESPEC.unpack(ancillary[0][2])
    stamp: int = seconds * clock.SECOND + nanoseconds - realtime.offset
    return stamp
