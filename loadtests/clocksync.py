"""What time is it at the master? Asked over UDP by workers whose clock is another, as long as a run lasts.

The master answers (`Responder`), a worker asks (`Prober`), once a second eight times in a row, and keeps the
quickest round trip. Both have the kernel stamp what they receive, so that it does not matter how busy they
are. `reports.clocks` makes a line of the exchanges and says how wrong it can be.

Rules for what comes in, since anybody can send a datagram:

- Each has one size and is signed with the run's secret (HMAC-SHA256). Anything else is dropped and counted.
- An answer is as large as its question: nobody is flooded through us. It fits only a question that is open,
  once.
- At most so many are looked at in one turn of the loop.

Processes of one host share CLOCK_MONOTONIC, unless they are in different time namespaces
(time_namespaces(7)): who has the master's `identity` need not ask.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import socket
import struct
from collections.abc import Callable
from functools import cache

import gevent
from gevent import get_hub
from gevent.socket import wait_read

from loadtests import clock
from loadtests.wire import ANCILLARY_BYTES, READ, SO_TIMESTAMPNS, Address, PlainSocket, kernel_stamp
from reports.clocks import exchange

ASKS, ANSWERS = 1, 2
BURST = 8
PERIOD_S, PATIENCE_S = 1.0, 0.2
A_TURN = 64

_FIELDS = struct.Struct("!4sBQqq")  # what it is, whether it asks or answers, nonce, heard, answered
_MAGIC = b"tlc1"
_SIGNATURE = hashlib.sha256().digest_size
SIZE = _FIELDS.size + _SIGNATURE


def packed(kind: int, nonce: int, heard: int, answered: int, *, secret: bytes) -> bytes:
    """Return a signed datagram."""
    said = _FIELDS.pack(_MAGIC, kind, nonce, heard, answered)
    return said + hmac.digest(secret, said, "sha256")


def unpacked(data: bytes, kind: int, *, secret: bytes) -> tuple[int, int, int] | None:
    """Return (nonce, heard, answered) of a datagram of this kind; None for anything else, signed or not."""
    said, signature = data[: _FIELDS.size], data[_FIELDS.size :]
    if len(data) != SIZE or not hmac.compare_digest(hmac.digest(secret, said, "sha256"), signature):
        return None
    magic, found, nonce, heard, answered = _FIELDS.unpack(said)
    return (nonce, heard, answered) if (magic, found) == (_MAGIC, kind) else None


class _Stamped:
    """A datagram socket whose receipts have the instant at which the kernel had them, by our clock."""

    def __init__(self, family: int) -> None:
        self.socket = PlainSocket(family, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._realtime = clock.Realtime()

    def receive(self) -> tuple[bytes, int, Address] | None:
        """Return the next datagram, when it came (ns) and from whom; None where there is none.

        When we saw it is the instant where the kernel's can't be: it makes the round trip longer, and no
        exchange wrong.
        """
        try:
            data, ancillary, _, sender = self.socket.recvmsg(SIZE + 1, ANCILLARY_BYTES)
        except (BlockingIOError, ConnectionError):  # ICMP may tell on us that nobody listens there
            return None
        seen = clock.now()
        if self._realtime.sample() or not ancillary:  # the wall clock was set since the last one
            return data, seen, sender
        stamp = kernel_stamp(ancillary, self._realtime)
        return data, stamp if seen - clock.SECOND < stamp <= seen else seen, sender


class Responder:
    """Tells whoever knows the secret what time it is here, until it is stopped."""

    def __init__(self, host: str, port: int = 0, *, secret: bytes) -> None:
        """Listen there; "*" is on all addresses. Raises OSError where that is not possible."""
        host = "0.0.0.0" if host == "*" else host  # noqa: S104  as whoever gave it meant it
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        self._secret = secret
        self._stamped = _Stamped(family)
        self.answered = self.refused = 0
        try:
            self._stamped.socket.bind(address)
        except OSError:
            self._stamped.socket.close()
            raise
        self.port: int = self._stamped.socket.getsockname()[1]
        self._watcher = get_hub().loop.io(self._stamped.socket.fileno(), READ)
        self._watcher.start(self._turn)

    def stop(self) -> None:
        """Answer nobody any more."""
        self._watcher.stop()
        self._watcher.close()
        self._stamped.socket.close()

    def _turn(self) -> None:
        for _ in range(A_TURN):
            came = self._stamped.receive()
            if came is None:
                return
            data, heard, sender = came
            asked = unpacked(data, ASKS, secret=self._secret)
            if asked is None:
                self.refused += 1
                continue
            answer = packed(ANSWERS, asked[0], heard, clock.now(), secret=self._secret)
            try:
                self._stamped.socket.sendto(answer, sender)
                self.answered += 1
            except OSError:
                self.refused += 1  # a full queue, or an address that can't be answered


class Prober:
    """Asks a responder from now on, until it is stopped."""

    def __init__(
        self, host: str, port: int, *, secret: bytes, on_exchange: Callable[[int, int, int], None]
    ) -> None:
        """`on_exchange` gets of the best of each burst a row of `reports.sample.EXCHANGES`."""
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        self._secret, self._tell = secret, on_exchange
        self._stamped = _Stamped(family)
        self._stamped.socket.connect(address)
        self.exchanges = self.unanswered = self.refused = 0
        self.offset: int | None = None  # by the last exchange
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        """Ask once more, so that nothing that was stamped came after the last exchange, and no more then."""
        self._greenlet.kill()
        self._burst()
        self._stamped.socket.close()

    def _run(self) -> None:
        while True:
            self._burst()
            gevent.sleep(PERIOD_S)

    def _burst(self) -> None:
        found = [each for _ in range(BURST) if (each := self._ask())]
        self.unanswered += BURST - len(found)
        if found:
            self.exchanges += 1
            at, self.offset, trip = min(found, key=lambda each: each[2])
            self._tell(at, self.offset, trip)

    def _ask(self) -> tuple[int, int, int] | None:
        """Return (at, offset, round trip) of one exchange; None where no answer came in time."""
        nonce = secrets.randbits(64)
        question = packed(ASKS, nonce, 0, 0, secret=self._secret)
        asked = clock.now()
        # Signed before the clock is read: what is between the two readings is in the round trip.
        try:
            self._stamped.socket.send(question)
        except OSError:
            return None
        return self._answer(nonce, asked)

    def _answer(self, nonce: int, asked: int) -> tuple[int, int, int] | None:
        give_up = asked + clock.ns(PATIENCE_S)
        while (left := give_up - clock.now()) > 0:
            came = self._stamped.receive()
            if came is None:
                try:
                    wait_read(self._stamped.socket.fileno(), left / clock.SECOND)
                except TimeoutError:
                    break
                continue
            data, told, _ = came
            answer = unpacked(data, ANSWERS, secret=self._secret)
            if answer is None or answer[0] != nonce:
                self.refused += 1  # not ours, or of a question that was given up
                continue
            offset, trip = exchange(asked, answer[1], answer[2], told)
            return (asked + told) // 2, offset, trip
        return None


@cache
def identity() -> str:
    """Return what tells this clock from all others: boot and time namespace; else one of its own."""
    try:
        space = os.readlink("/proc/self/ns/time")
    except OSError:
        space = ""  # a system without time namespaces
    return f"{clock.boot_id() or secrets.token_hex(16)} {space}".strip()
