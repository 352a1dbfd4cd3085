"""The clock's side channel: who knows the secret learns the time, and nobody else gets a word."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
import pytest
from gevent import socket
from gevent.event import Event
from hypothesis import given
from hypothesis import strategies as st

from loadtests import clock, clocksync
from loadtests.clocksync import ANSWERS, ASKS, SIZE, Prober, Responder, packed, unpacked

SECRET = b"known to the run"
HERE = "127.0.0.1"
PATIENCE_S = 10.0


@pytest.fixture
def responder() -> Iterator[Responder]:
    """One that is stopped at the end."""
    made = Responder(HERE, secret=SECRET)
    yield made
    made.stop()


def first_exchange(port: int, secret: bytes = SECRET) -> tuple[int, int, int]:
    """Return (at, offset, round trip) of the first burst that was answered."""
    found: list[tuple[int, int, int]] = []
    told = Event()

    def tell(*exchange: int) -> None:
        found.append((exchange[0], exchange[1], exchange[2]))
        told.set()

    prober = Prober(HERE, port, secret=secret, on_exchange=tell)
    assert told.wait(PATIENCE_S)
    prober.stop()
    return found[0]


def stranger() -> socket.socket:
    """Return a socket of somebody else."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((HERE, 0))
    made.settimeout(PATIENCE_S)
    return made


def test_a_clock_asks_itself(responder: Responder) -> None:
    """Both ends have one clock: its offset is none, within half of the round trip."""
    begun = clock.now()
    at, offset, trip = first_exchange(responder.port)
    assert begun < at < clock.now()
    assert trip > 0
    assert abs(offset) <= trip / 2 + clock.MICROSECOND
    assert responder.answered == 2 * clocksync.BURST
    assert responder.refused == 0


def test_a_clock_that_is_behind_is_found_so() -> None:
    """The offset is here minus there: a master that is a minute ahead makes it a minute less."""
    with stranger() as master:

        def answer() -> None:
            while True:
                data, sender = master.recvfrom(SIZE)
                asked = unpacked(data, ASKS, secret=SECRET)
                assert asked is not None
                there = clock.now() + 60 * clock.SECOND
                master.sendto(packed(ANSWERS, asked[0], there, there, secret=SECRET), sender)

        answering = gevent.spawn(answer)
        _, offset, trip = first_exchange(master.getsockname()[1])
        answering.kill()
    assert abs(offset + 60 * clock.SECOND) <= trip / 2 + clock.MICROSECOND


def test_strangers_get_no_answer_and_do_no_harm(responder: Responder) -> None:
    """Empty, short, long, unsigned, wrongly signed, no question: counted, never answered."""
    good = packed(ASKS, 7, 0, 0, secret=SECRET)
    bad = [
        b"",
        b"\x00",
        good[:-1],
        good + b"!",
        b"x" * 9_000,
        bytes([good[0] ^ 1]) + good[1:],
        packed(ASKS, 7, 0, 0, secret=b"guessed"),
        packed(ANSWERS, 7, 0, 0, secret=SECRET),
    ]
    with stranger() as sender:
        for data in bad:
            sender.sendto(data, (HERE, responder.port))
        sender.sendto(good, (HERE, responder.port))
        answer = sender.recv(65536)
    assert unpacked(answer, ANSWERS, secret=SECRET) is not None
    assert len(answer) == len(good)
    assert (responder.answered, responder.refused) == (1, len(bad))


def test_an_answer_fits_its_own_question_once() -> None:
    """Answers to other questions, of others and twice the same: the prober takes the right one."""
    lies = 3_600 * clock.SECOND
    with stranger() as master:

        def answer() -> None:
            while True:
                data, sender = master.recvfrom(SIZE)
                asked = unpacked(data, ASKS, secret=SECRET)
                assert asked is not None
                now = clock.now()
                for nonce, at, secret in (
                    (asked[0] ^ 1, now + lies, SECRET),
                    (asked[0], now + lies, b"guessed"),
                    (asked[0], now, SECRET),
                    (asked[0], now + lies, SECRET),
                ):
                    master.sendto(packed(ANSWERS, nonce, at, at, secret=secret), sender)

        answering = gevent.spawn(answer)
        _, offset, trip = first_exchange(master.getsockname()[1])
        answering.kill()
    assert abs(offset) <= trip / 2 + clock.MICROSECOND


def test_a_master_that_does_not_answer_costs_nothing_but_the_exchange(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody listens, then somebody does: the prober goes on asking, and finds it."""
    monkeypatch.setattr(clocksync, "PATIENCE_S", 0.01)
    monkeypatch.setattr(clocksync, "PERIOD_S", 0.01)
    with stranger() as silent:
        port = silent.getsockname()[1]
        told = Event()
        prober = Prober(HERE, port, secret=SECRET, on_exchange=lambda *_: told.set())
        assert silent.recv(SIZE)
        while not prober.unanswered:
            gevent.sleep(0.01)
        assert not told.is_set()
    responder = Responder(HERE, port, secret=SECRET)
    assert told.wait(PATIENCE_S)
    prober.stop()
    responder.stop()


def test_a_port_that_is_taken_is_an_error() -> None:
    """And nothing is left open."""
    with stranger() as other, pytest.raises(OSError, match="in use"):
        Responder(HERE, other.getsockname()[1], secret=SECRET)


@given(nonce=st.integers(0, 2**64 - 1), heard=st.integers(0, 2**63 - 1), answered=st.integers(0, 2**63 - 1))
def test_what_was_packed_is_unpacked(nonce: int, heard: int, answered: int) -> None:
    """By those who know the secret, as what it is."""
    data = packed(ANSWERS, nonce, heard, answered, secret=SECRET)
    assert unpacked(data, ANSWERS, secret=SECRET) == (nonce, heard, answered)
    assert unpacked(data, ASKS, secret=SECRET) is None
    assert unpacked(data, ANSWERS, secret=b"guessed") is None


@given(data=st.binary(max_size=200), at=st.integers(0, SIZE - 1), change=st.integers(1, 255))
def test_nothing_else_is_taken_for_one(data: bytes, at: int, change: int) -> None:
    """Neither noise nor a datagram with one byte changed."""
    assert unpacked(data, ASKS, secret=SECRET) is None
    good = bytearray(packed(ASKS, 1, 2, 3, secret=SECRET))
    good[at] ^= change
    assert unpacked(bytes(good), ASKS, secret=SECRET) is None


def test_processes_of_one_host_have_one_clock() -> None:
    """They tell it by the boot and the time namespace."""
    assert clocksync.identity() == clocksync.identity()
    assert clock.boot_id() in clocksync.identity()
