"""Bytes come with the kernel's instant, waiting has an end, and a peer that breaks is no more than a word."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import gevent
import pytest
import trustme
from gevent import monkey, socket
from gevent.queue import Queue

from loadtests import clock, wire
from loadtests.stream import MAX_UNSENT, READ_BYTES, Stream, Unread
from loadtests.waiting import WHEEL_TICK, Expired, Wait, Wheel
from loadtests.wire import Engine

SOON = 5.0
MODES = ["wire", "epoll", "callback"]


def soon() -> int:
    return clock.now() + clock.ns(SOON)


class End:
    """A stream and what came of it."""

    def __init__(self, engine: Engine) -> None:
        self.reads: Queue[tuple[bytes, int]] = Queue()
        self.ends: Queue[BaseException | None] = Queue()
        self.stream = Stream(engine, lambda *read: self.reads.put(read), self.ends.put)


@contextmanager
def listening(handle: Callable[[Any], None]) -> Iterator[int]:
    """Listen on a free port; `handle` gets each connection."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()

    def accept() -> None:
        while True:
            gevent.spawn(handle, listener.accept()[0])

    loop = gevent.spawn(accept)
    try:
        yield listener.getsockname()[1]
    finally:
        loop.kill()
        listener.close()


def echo(connection: Any) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.close()


@pytest.fixture(scope="module")
def engines() -> dict[str, Engine]:
    """An engine of each kind: a process has one as a rule."""
    return {mode: Engine(mode) for mode in MODES}


@pytest.fixture(scope="module")
def certificates() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a server and of a client that trusts it."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("tls", [False, True])
def test_what_is_sent_comes_back(
    engines: dict[str, Engine],
    certificates: tuple[ssl.SSLContext, ssl.SSLContext],
    mode: str,
    *,
    tls: bool,
) -> None:
    """Much more than fits into any buffer, with each kind of stamp, plain and TLS."""
    server, client = certificates

    def handle(connection: Any) -> None:
        echo(server.wrap_socket(connection, server_side=True) if tls else connection)

    with listening(handle) as port:
        end = End(engines[mode])
        opened = end.stream.open("127.0.0.1", port, deadline=soon(), context=client if tls else None)
        assert opened.began <= opened.connected <= opened.secured
        assert (opened.secured > opened.connected) is tls
        payload = os.urandom(3 << 20)
        end.stream.write(payload)
        back, stamps = b"", []
        while len(back) < len(payload):
            data, arrived = end.reads.get(timeout=SOON)
            back += data
            stamps.append(arrived)
        assert back == payload
        assert stamps == sorted(stamps)
        assert opened.secured <= stamps[0] + clock.MILLISECOND
        assert stamps[-1] <= clock.now()
        end.stream.close()
        assert not end.stream.is_open
        assert end.ends.empty()


def test_over_loopback_connections_come_from_as_many_addresses_as_are_wanted() -> None:
    """In turn; from the one that the kernel chooses where one is enough."""
    peers: Queue[Any] = Queue()
    engine = Engine("epoll")
    came: list[str] = []
    with listening(peers.put) as port:
        for count in (3, 3, 3, 3, 1, 1):
            if len(came) in (0, 4):
                engine.spread(count)
            end = End(engine)
            end.stream.open("127.0.0.1", port, deadline=soon())
            came.append(peers.get(timeout=SOON).getpeername()[0])
            end.stream.close()
    assert came == [f"127.0.0.{number}" for number in (1, 2, 3, 1, 1, 1)]


def test_the_stamp_is_the_kernels_and_not_ours(engines: dict[str, Engine]) -> None:
    """Whatever keeps our loop from reading: the instant is that of the arrival."""
    if wire.best_stamps(clock.Realtime()) != "wire":
        pytest.fail("this kernel does not stamp: the test needs Linux")
    peers: Queue[Any] = Queue()
    with listening(peers.put) as port:
        end = End(engines["wire"])
        end.stream.open("127.0.0.1", port, deadline=soon())
        peer = peers.get(timeout=SOON)
        early = []
        for _ in range(10):
            sent = clock.now()
            peer._sock.send(b"x")
            busy_until = clock.now() + 20 * clock.MILLISECOND
            while clock.now() < busy_until:
                pass
            _, arrived = end.reads.get(timeout=SOON)
            early.append(sent <= arrived < busy_until - 10 * clock.MILLISECOND)
        assert sum(early) >= 9  # the first packets of a machine may come without a stamp
        end.stream.close()


def test_a_stamp_of_a_clock_that_was_set_is_not_believed(engines: dict[str, Engine]) -> None:
    """Two minutes forward or back: the instant is that of the wake-up, and the read is counted."""
    engine = engines["wire"]
    with listening(echo) as port:
        end = End(engine)
        end.stream.open("127.0.0.1", port, deadline=soon())
        end.stream.write(b"x")
        end.reads.get(timeout=SOON)
        for step in (120, -120):
            engine.realtime.offset += step * clock.SECOND
            before, sent = engine.unstamped, clock.now()
            end.stream.write(b"x")
            _, arrived = end.reads.get(timeout=SOON)
            engine.realtime.offset -= step * clock.SECOND
            assert sent <= arrived <= clock.now()
            assert engine.unstamped == before + 1
        end.stream.close()


def test_a_refused_connection_is_an_error_at_once(engines: dict[str, Engine]) -> None:
    """Nobody listens there."""
    with listening(echo) as port:
        pass
    for mode in MODES:
        end = End(engines[mode])
        with pytest.raises(ConnectionRefusedError):
            end.stream.open("127.0.0.1", port, deadline=soon())
        assert end.ends.empty()


def test_opening_has_an_end(
    engines: dict[str, Engine], certificates: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """A peer that accepts and says nothing in the TLS handshake is given up in time."""
    with listening(lambda connection: gevent.sleep(SOON)) as port:
        end = End(engines["wire"])
        with pytest.raises(Expired):
            end.stream.open(
                "127.0.0.1", port, deadline=clock.now() + 50 * clock.MILLISECOND, context=certificates[1]
            )
        assert not end.stream.is_open


def test_a_certificate_of_somebody_else_is_refused(
    engines: dict[str, Engine], certificates: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """There is no way to switch this off."""
    server, _ = certificates

    def handle(connection: Any) -> None:
        with suppress(OSError):
            server.wrap_socket(connection, server_side=True)

    with listening(handle) as port:
        end = End(engines["wire"])
        with pytest.raises(ssl.SSLCertVerificationError):
            end.stream.open("127.0.0.1", port, deadline=soon(), context=ssl.create_default_context())


def test_a_peer_that_hangs_up_in_the_handshake_is_told_from_one_that_ends(
    engines: dict[str, Engine], certificates: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """The opening fails; nobody hears of an end of what never was."""
    with listening(lambda connection: connection.close()) as port:
        end = End(engines["wire"])
        with pytest.raises((EOFError, ConnectionResetError)):
            end.stream.open("127.0.0.1", port, deadline=soon(), context=certificates[1])
        assert end.ends.empty()


def test_the_end_of_a_peer_is_told_once(engines: dict[str, Engine]) -> None:
    """A regular end is no error, a reset is one."""

    def reset(connection: Any) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        connection.close()

    for handle, kind in ((lambda connection: connection.close(), type(None)), (reset, ConnectionResetError)):
        with listening(handle) as port:
            end = End(engines["wire"])
            end.stream.open("127.0.0.1", port, deadline=soon())
            assert isinstance(end.ends.get(timeout=SOON), kind)
            end.stream.write(b"into the void")
            end.stream.close()
            assert end.ends.empty()


@pytest.mark.parametrize("mode", MODES)
def test_all_that_came_before_a_hang_up_is_read(engines: dict[str, Engine], mode: str) -> None:
    """Though it is several reads, and all of it was there before the first."""
    peers: Queue[Any] = Queue()
    with listening(peers.put) as port:
        end = End(engines[mode])
        end.stream.open("127.0.0.1", port, deadline=soon())
        peer = peers.get(timeout=SOON)
        sent = peer._sock.send(os.urandom(3 * READ_BYTES))  # as much as the kernel takes
        peer._sock.close()
        assert sent > READ_BYTES
        assert end.ends.get(timeout=SOON) is None
        assert sum(len(end.reads.get_nowait()[0]) for _ in range(end.reads.qsize())) == sent


def test_a_listener_that_fails_costs_no_other_its_data(engines: dict[str, Engine]) -> None:
    """What it raises is told of, and the others of the same turn get theirs."""

    def fail(data: bytes, arrived: int) -> None:
        raise ValueError(data)

    peers: Queue[Any] = Queue()
    with listening(peers.put) as port:
        ends = [End(engines["wire"]) for _ in range(4)]
        for end in ends:
            end.stream.open("127.0.0.1", port, deadline=soon())
        ends[0].stream.on_data = ends[2].stream.on_data = fail
        for _ in ends:
            peers.get(timeout=SOON)._sock.send(b"x")
        for end in (ends[1], ends[3]):
            assert end.reads.get(timeout=SOON)[0] == b"x"
        for end in ends:
            end.stream.close()


@pytest.mark.parametrize("mode", ["wire", "epoll"])
def test_whoever_is_woken_goes_on_after_the_turn(engines: dict[str, Engine], mode: str) -> None:
    """All that came at once is taken in before anybody acts on it."""
    engine, peers, seen = engines[mode], Queue[Any](), list[str]()

    def wait(port: int) -> None:
        def take(data: bytes, arrived: int) -> None:
            seen.append("read")
            come.set(None)

        come: Wait[None] = Wait(engine)
        stream = Stream(engine, take, lambda error: None)
        stream.open("127.0.0.1", port, deadline=soon())
        come.get(soon())
        seen.append("woken")
        stream.close()

    with listening(peers.put) as port:
        waiting = [gevent.spawn(wait, port) for _ in range(3)]
        for peer in [peers.get(timeout=SOON) for _ in waiting]:
            peer._sock.send(b"x")
        gevent.joinall(waiting, timeout=SOON, raise_error=True)
    assert seen == ["read"] * 3 + ["woken"] * 3


def test_a_peer_that_does_not_read_is_given_up(engines: dict[str, Engine]) -> None:
    """What it has not taken is bounded."""
    with listening(lambda connection: gevent.sleep(SOON)) as port:
        end = End(engines["wire"])
        end.stream.open("127.0.0.1", port, deadline=soon())
        for _ in range(12):
            end.stream.write(b"x" * (MAX_UNSENT // 4))
        assert isinstance(end.ends.get(timeout=SOON), Unread)


def test_no_other_peer_waits_for_one_that_does_not_read(engines: dict[str, Engine]) -> None:
    """Writing never blocks."""
    with listening(lambda connection: gevent.sleep(SOON)) as stuck, listening(echo) as well:
        slow, quick = End(engines["wire"]), End(engines["wire"])
        slow.stream.open("127.0.0.1", stuck, deadline=soon())
        quick.stream.open("127.0.0.1", well, deadline=soon())
        for _ in range(3):
            slow.stream.write(b"x" * (MAX_UNSENT // 4))
        quick.stream.write(b"hello")
        assert quick.reads.get(timeout=SOON)[0] == b"hello"
        slow.stream.close()
        quick.stream.close()


def test_a_wait_gets_what_was_set_and_the_first_counts(engines: dict[str, Engine]) -> None:
    """Before or after the waiting began."""
    engine = engines["wire"]
    early: Wait[str] = Wait(engine)
    early.set("first")
    early.fail(ValueError("second"))
    assert early.get(soon()) == "first"
    late: Wait[str] = Wait(engine)
    gevent.spawn(late.set, "later")
    assert late.get(soon()) == "later"


def test_a_wait_is_over_in_time_and_never_before(engines: dict[str, Engine]) -> None:
    """At most some ticks late."""
    waits = [Wait[None](engines["wire"]) for _ in range(5)]
    deadlines = [clock.now() + n * 13 * clock.MILLISECOND for n in range(1, 6)]
    ended = []

    def wait(one: Wait[None], deadline: int) -> None:
        with pytest.raises(Expired):
            one.get(deadline)
        ended.append(clock.now() - deadline)

    gevent.joinall([gevent.spawn(wait, *each) for each in zip(waits, deadlines, strict=True)], timeout=SOON)
    assert len(ended) == 5
    assert all(late >= 0 for late in ended)


def test_a_wait_that_is_killed_leaves_no_trace(engines: dict[str, Engine]) -> None:
    """Whoever wakes it afterwards wakes nobody."""
    one: Wait[None] = Wait(engines["wire"])
    waiting = gevent.spawn(one.get, soon())
    gevent.sleep(0)
    waiting.kill()
    one.set(None)
    gevent.sleep(0.01)
    assert waiting.dead


class _Loop:
    """A loop whose one timer the test turns itself."""

    running = False

    def timer(self, after: float, repeat: float) -> _Loop:
        return self

    def start(self, tick: object) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False


class _Entry:
    expired = 0
    slot: set[Any]

    def expire(self) -> None:
        self.expired += 1
        self.slot.discard(self)  # as whoever is given up tidies up


@pytest.mark.parametrize("stall", [1, 100_000])
def test_the_wheel_lets_go_of_all_that_is_due_and_of_nothing_else(stall: int) -> None:
    """After a long stall too, and its timer stops with the last one."""
    loop = _Loop()
    wheel, begun = Wheel(loop), clock.now()
    due, later, gone = [_Entry() for _ in range(50)], _Entry(), _Entry()
    for number, entry in enumerate(due):
        entry.slot = wheel.add(entry, begun + number * WHEEL_TICK // 3)
    wheel.add(gone, begun).discard(gone)
    horizon = begun + (stall + 1000) * WHEEL_TICK
    later.slot = wheel.add(later, horizon)
    wheel.turn(begun + (stall + 20) * WHEEL_TICK)
    assert [entry.expired for entry in due] == [1] * 50
    assert (later.expired, gone.expired, loop.running) == (0, 0, True)
    wheel.turn(horizon + WHEEL_TICK)
    assert (later.expired, loop.running) == (1, False)


def test_a_fork_starts_with_an_engine_of_its_own() -> None:
    """An epoll is shared over a fork: parent and child would steal each other's events."""
    mine = wire.engine()
    assert wire.engine() is mine
    read, write = os.pipe()
    if not (child := os.fork()):
        os.write(write, b"own" if wire._engine is None else b"shared")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 16) == b"own"
    assert wire.engine() is mine


def test_the_start_up_test_falls_back_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stamps that come late are none: the engine says so and stamps by itself."""
    late = clock.Realtime()
    late.offset -= clock.SECOND
    assert wire.best_stamps(late) == "epoll"
    original = monkey.get_original

    def without_epoll(module: str, name: str) -> Any:
        if name == "epoll":
            raise AttributeError(name)
        return original(module, name)

    monkeypatch.setattr(monkey, "get_original", without_epoll)
    assert wire.best_stamps(clock.Realtime()) == "callback"
