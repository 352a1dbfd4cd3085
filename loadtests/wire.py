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

import errno
import os
import socket
import ssl
import struct
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from gevent import get_hub, monkey
from gevent import socket as cooperative
from gevent.hub import Waiter

from loadtests import clock

T = TypeVar("T")

EVENTS_A_TURN = 128
READ_BYTES = 65536
RECORD_BYTES = 16384  # a TLS record has no more (RFC 8446, 5.1)
MAX_UNSENT = 4 << 20
WHEEL_TICK = 10 * clock.MILLISECOND

READ, WRITE = 1, 4  # EPOLLIN and EPOLLOUT
SO_TIMESTAMPNS = 35  # SO_TIMESTAMPNS_OLD, asm-generic/socket.h: `socket` has no name for it
_TIMESPEC = struct.Struct("qq")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size)
_PROBES = 20
_PROBE_WAIT_S = 0.002

# The plain ones, because gevent's would bring a watcher each and wait where we must not.
_Socket: type[socket.socket] = monkey.get_original("socket", "socket")
_sleep: Callable[[float], None] = monkey.get_original("time", "sleep")

Address = tuple[Any, ...]


class Expired(TimeoutError):
    """The time for something was over before it happened."""


class Unread(ConnectionError):
    """The peer does not take what it is sent."""


class Opened(NamedTuple):
    """Instants of a connection's birth, ns: begun, TCP connected, TLS agreed (= connected where plain)."""

    began: int
    connected: int
    secured: int


# --- Waiting ---


class Wait(Generic[T]):
    """One greenlet that waits for one thing. `set` and `fail` may come first, and only the first counts."""

    __slots__ = ("_engine", "_waiter", "over")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiter: Any = Waiter(engine.hub)
        self.over = False

    def get(self, deadline: int) -> T:
        """Return what was `set`, or raise what it failed with; Expired from `deadline` (ns) on."""
        wheel = self._engine.wheel
        slot = 0 if self.over else wheel.add(self, deadline)
        try:
            found: T = self._waiter.get()
            return found
        finally:
            self.over = True
            wheel.discard(self, slot)

    def set(self, value: T) -> None:
        """Wake the greenlet with a value."""
        if not self.over:
            self.over = True
            self._engine.loop.run_callback(self._waiter.switch, value)

    def fail(self, error: BaseException) -> None:
        """Wake the greenlet with an error."""
        if not self.over:
            self.over = True
            self._engine.loop.run_callback(self._waiter.throw, error)

    def expire(self) -> None:
        """The deadline is over: called by the wheel."""
        self.fail(Expired("timed out"))


class Expiring(Protocol):
    """What may stand on the wheel."""

    def expire(self) -> None:
        """The deadline is over. In the loop's callback: must not wait."""


class Wheel:
    """All deadlines, in slots of `WHEEL_TICK` (Varghese and Lauck, SOSP 1987): O(1) to come and go.

    One timer of gevent's loop turns it, and only while something is on it. What expires does so up to one
    tick late, never early.
    """

    def __init__(self, loop: Any) -> None:
        self._slots: defaultdict[int, set[Expiring]] = defaultdict(set)
        self._timer = loop.timer(WHEEL_TICK / clock.SECOND, WHEEL_TICK / clock.SECOND)
        self._turned = 0  # all slots up to here are done with
        self._runs = False

    def add(self, one: Expiring, deadline: int) -> int:
        """Enter something that expires at `deadline` (ns); return its slot."""
        if not self._runs:
            self._turned, self._runs = clock.now() // WHEEL_TICK, True
            self._timer.start(self._tick)
        slot = max(-(-deadline // WHEEL_TICK), self._turned + 1)
        self._slots[slot].add(one)
        return slot

    def discard(self, one: Expiring, slot: int) -> None:
        """Take something out, if it is still there."""
        if (there := self._slots.get(slot)) is not None:
            there.discard(one)

    def _tick(self) -> None:
        self.turn(clock.now())

    def turn(self, now: int) -> None:
        """Let everything expire whose deadline is not after `now` (ns)."""
        slot = now // WHEEL_TICK
        # After a long stall there are more ticks to catch up with than slots.
        ticks = range(self._turned + 1, slot + 1)
        due = ticks if len(ticks) < len(self._slots) else sorted(each for each in self._slots if each <= slot)
        self._turned = max(self._turned, slot)
        for each in due:
            for one in self._slots.pop(each, ()):
                one.expire()
        if not self._slots:
            self._runs = False
            self._timer.stop()


# --- Watching ---


class _Ready(Protocol):
    def ready(self, events: int, woke: int) -> None:
        """Take in that the connection can be read or written; `woke` is when we were told (ns)."""


class _Epoll:
    """Watches all connections with one epoll, which gevent's loop watches in its turn."""

    def __init__(self, loop: Any) -> None:
        self._epoll = monkey.get_original("select", "epoll")()
        self._watched: dict[int, _Ready] = {}
        self._watcher = loop.io(self._epoll.fileno(), READ)
        self._watcher.start(self._turn)

    def add(self, fd: int, who: _Ready, events: int) -> None:
        self._watched[fd] = who
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def remove(self, fd: int) -> None:
        del self._watched[fd]
        self._epoll.unregister(fd)

    def _turn(self) -> None:
        ready = self._epoll.poll(0, EVENTS_A_TURN)
        woke = clock.now()
        for fd, events in ready:
            # One that was closed earlier in this turn is not there any more.
            if (who := self._watched.get(fd)) is not None:
                who.ready(events, woke)


class _Watchers:
    """Watches each connection with a watcher of gevent's loop: where there is no epoll."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
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
        self.watch: _Epoll | _Watchers = (_Watchers if self.stamps == "callback" else _Epoll)(self.loop)
        self.reads = 0
        self.unstamped = 0  # reads that came without a stamp that can be believed
        self.frames = 0  # messages read; counted by those who take reads apart
        self.coalesced = 0  # of them those that were not the last of their read: earlier than their stamp
        self._addresses: dict[tuple[str, int], list[tuple[int, Address]]] = {}

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
        with _Socket() as listener, _Socket() as sender:
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
                    _, ancillary, _, _ = receiver.recvmsg(1, _ANCILLARY_BYTES)
                    seen = clock.now()
                    if ancillary and sent <= kernel_stamp(ancillary, realtime) < (sent + seen) // 2:
                        return "wire"
    except OSError:
        pass
    return "epoll"


def _accepted(listener: socket.socket) -> socket.socket:
    # Not `accept`, which would make a socket of gevent's.
    fd, _ = listener._accept()  # type: ignore[attr-defined]
    return _Socket(fileno=fd)


def kernel_stamp(ancillary: list[Any], realtime: clock.Realtime) -> int:
    """Return the CLOCK_MONOTONIC instant (ns) of a SO_TIMESTAMPNS control message."""
    seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2])
    stamp: int = seconds * clock.SECOND + nanoseconds - realtime.offset
    return stamp


# --- A connection ---


def _nothing(*_: Any) -> None:
    """Listen to nothing: what a stream that is over refers to."""


class Stream:
    """One connection, plain or TLS: bytes in both directions, each read with its instant.

    `on_data(data, arrived)` gets every read (decrypted), `on_end(error)` the end unless we closed it: None
    for the peer's regular end, else what broke. Both run in the loop's callback: they must not wait.
    """

    __slots__ = (
        "_arrived",
        "_connecting",
        "_engine",
        "_fd",
        "_incoming",
        "_outgoing",
        "_recvmsg",
        "_send",
        "_shaking",
        "_socket",
        "_tls",
        "_unsent",
        "_unsent_bytes",
        "on_data",
        "on_end",
    )

    def __init__(
        self,
        engine: Engine,
        on_data: Callable[[bytes, int], None],
        on_end: Callable[[BaseException | None], None],
    ) -> None:
        self._engine = engine
        self.on_data = on_data
        self.on_end = on_end
        self._socket: socket.socket | None = None
        self._tls: ssl.SSLObject | None = None
        self._connecting: Wait[None] | None = None
        self._shaking: Wait[None] | None = None
        self._unsent: deque[bytes] | None = None
        self._unsent_bytes = 0
        self._arrived = 0

    # --- Opening ---

    def open(self, host: str, port: int, *, deadline: int, context: ssl.SSLContext | None = None) -> Opened:
        """Connect, and agree on TLS where there is a `context`. Raises OSError: Expired from `deadline` on.

        Whatever it raises, the stream is closed and `on_end` was not called.
        """
        began = clock.now()
        try:
            self._connect(host, port, deadline)
            connected = secured = clock.now()
            if context is not None:
                self._secure(context, host, deadline)
                secured = clock.now()
        except BaseException:
            self.close()
            raise
        return Opened(began, connected, secured)

    def _connect(self, host: str, port: int, deadline: int) -> None:
        failure: OSError | None = None
        for family, address in self._engine.addresses(host, port):
            try:
                self._connect_to(family, address, deadline)
            except OSError as error:
                failure = failure or error
                self._shut()
            else:
                return
        raise failure or OSError(f"{host} has no address")

    def _connect_to(self, family: int, address: Address, deadline: int) -> None:
        one = self._socket = _Socket(family, socket.SOCK_STREAM)
        one.setblocking(False)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._engine.stamps == "wire":
            one.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._fd, self._recvmsg, self._send = one.fileno(), one.recvmsg, one.send
        if (number := one.connect_ex(address)) not in (0, errno.EINPROGRESS):
            one.close()
            self._socket = None
            raise OSError(number, os.strerror(number))
        self._connecting = Wait(self._engine)
        self._engine.watch.add(self._fd, self, WRITE)
        try:
            self._connecting.get(deadline)
        finally:
            self._connecting = None
        if number := one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(number, os.strerror(number))
        self._engine.watch.change(self._fd, READ)

    def _secure(self, context: ssl.SSLContext, host: str, deadline: int) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._shaking = Wait(self._engine)
        self._shake()
        try:
            self._shaking.get(deadline)
        finally:
            self._shaking = None

    def _shake(self) -> None:
        """Go on with the TLS handshake as far as what has come allows."""
        assert self._tls is not None
        assert self._shaking is not None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except OSError as error:
            self._transmit(self._outgoing.read())  # the alert that tells the peer why
            self._shaking.fail(error)
            return
        else:
            self._shaking.set(None)
        self._transmit(self._outgoing.read())

    # --- Reading ---

    def ready(self, events: int, woke: int) -> None:
        """The connection can be read or written: called by the engine."""
        if self._connecting is not None:
            self._connecting.set(None)
            return
        if events & WRITE:
            self._write_on()
        if events & ~WRITE and self._socket is not None:  # a hang-up or an error is read as one
            self._read(woke)

    def _read(self, woke: int) -> None:
        try:
            data, ancillary, _, _ = self._recvmsg(READ_BYTES, _ANCILLARY_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error)
            return
        if not data:
            self._end(None if self._shaking is None else EOFError("closed"))
            return
        engine = self._engine
        engine.reads += 1
        if ancillary:
            seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2])
            arrived = seconds * clock.SECOND + nanoseconds - engine.realtime.offset
            # What is not between the read before and now was stamped by a clock that has been set since.
            if arrived < self._arrived or (arrived > woke and arrived > clock.now()):
                engine.unstamped += 1
                arrived = woke
        else:
            engine.unstamped += 1
            arrived = woke
        self._arrived = arrived
        try:
            if self._tls is None:
                self.on_data(data, arrived)
            else:
                self._decrypt(self._tls, data, arrived)
        except OSError as error:
            self._end(error)

    def _decrypt(self, tls: ssl.SSLObject, data: bytes, arrived: int) -> None:
        incoming, read = self._incoming, tls.read
        incoming.write(data)
        if self._shaking is not None and not self._shaking.over:
            self._shake()
            if not self._shaking.over:
                return
        try:
            while (incoming.pending or tls.pending()) and self._socket is not None:
                if not (plain := read(RECORD_BYTES)):
                    self._end(None)
                    return
                self.on_data(plain, arrived)
        except ssl.SSLWantReadError:
            pass
        if self._outgoing.pending:
            self._transmit(self._outgoing.read())

    # --- Writing ---

    def write(self, data: bytes) -> None:
        """Send, now or as soon as the peer takes it. A connection that breaks over it says so by `on_end`."""
        if self._socket is None:
            return
        if self._tls is not None:
            self._tls.write(data)
            data = self._outgoing.read()
        self._transmit(data)

    def _transmit(self, data: bytes) -> None:
        if self._socket is None or not data:
            return
        if self._unsent is None:
            try:
                sent = self._send(data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._end(error)
                return
            if sent == len(data):
                return
            data = data[sent:]
            self._unsent = deque()
            self._engine.watch.change(self._fd, READ | WRITE)
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if self._unsent_bytes > MAX_UNSENT:
            self._end(Unread(f"{self._unsent_bytes} bytes not taken"))

    def _write_on(self) -> None:
        """Send what had to wait."""
        unsent, self._unsent, self._unsent_bytes = self._unsent, None, 0
        if unsent is None:
            return
        self._engine.watch.change(self._fd, READ)
        for data in unsent:
            self._transmit(data)

    # --- Ending ---

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._socket is not None

    def finish(self) -> None:
        """Tell the peer that nothing more will come; go on reading."""
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError as error:
                self._end(error)

    def close(self) -> None:
        """Let go of the connection. Twice does no harm."""
        self._shut()
        self.on_data = self.on_end = _nothing  # because they refer to whoever refers to us

    def _shut(self) -> None:
        one, self._socket = self._socket, None
        if one is not None:
            self._engine.watch.remove(self._fd)
            one.close()

    def _end(self, error: BaseException | None) -> None:
        """The connection is over, not by us."""
        if self._socket is None:
            return
        on_end, shaking = self.on_end, self._shaking
        self._shut()
        if shaking is not None and not shaking.over:
            shaking.fail(error or EOFError("closed"))
        else:
            self.close()
            on_end(error)
