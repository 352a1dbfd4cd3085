"""A closed loop of many connections in one process: who has his answer asks again at once.

So a server has something to do for as long as a block lasts, in each of its processes that has some of the
connections. Nobody here reads more of an answer than it takes to know whose turn it is.
"""

from __future__ import annotations

import json
import resource
import selectors
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import psutil

from benchmarks.line import TIMEOUT_S, Line, LineError, request
from benchmarks.subject import PASSWORD, Meter, Subject, expect, hung_up, message
from loadtests import clock
from talkamie.contract import ANONYMOUS_TOKEN, OPERATIONS, VERSION_PREFIX

CONNECTIONS = 16  # that one of two processes gets none or a single one of them has a chance of 1 in 2,000
PAIRS, DEVICES = 16, 4  # who write to each other, and the sockets of each who is written to
PAGE = 100
SETTLING_S = 5.0


class Used(NamedTuple):
    """CPU seconds."""

    server: float
    generator: float
    other: float  # everything else on the machine


@dataclass(frozen=True)
class Done:
    """What a block came to, and of its messages what was owed to receivers and what they had."""

    answers: int
    duration: int  # ns
    used: Used
    owed: int = 0
    heard: int = 0
    strange: int = 0  # of these: not the one that was to come next, so lost, twice or out of order


@dataclass
class Seat:
    """A connection. `take` reads one thing and tells whether that is an answer; `ask` says what to send."""

    line: Line
    take: Callable[[], bool]
    ask: Callable[[], bytes] | None = None


def loop(seats: Sequence[Seat], seconds: float, meter: Meter) -> Done:
    """Let those who ask do so for so long, and wait for what is under way."""
    before, start, answers, under_way = _used(meter), clock.now(), 0, 0
    until = start + clock.ns(seconds)
    with selectors.DefaultSelector() as waiting:
        for seat in seats:
            waiting.register(seat.line, selectors.EVENT_READ, seat)
            if seat.ask:
                seat.line.send(seat.ask())
                under_way += 1
        while under_way:
            if not (ready := waiting.select(TIMEOUT_S)):
                raise LineError(f"{under_way} have waited {TIMEOUT_S} s for their answers")
            for seat in (key.data for key, _ in ready):
                if not _take(seat):
                    continue
                answers += 1
                if clock.now() < until:
                    seat.line.send(seat.ask())
                else:
                    under_way -= 1
    took, after = clock.now() - start, _used(meter)
    return Done(answers, took, Used(*(b - a for a, b in zip(before, after, strict=True))))


def _used(meter: Meter) -> Used:
    own, every = resource.getrusage(resource.RUSAGE_SELF), psutil.cpu_times()
    server, generator = meter.cpu_us() / 1e6, own.ru_utime + own.ru_stime
    busy = sum(every[:8]) - every.idle - getattr(every, "iowait", 0.0)  # beyond are guests, counted twice
    return Used(server, generator, busy - server - generator)


def settle(seats: Sequence[Seat], complete: Callable[[], bool]) -> None:
    """Read what is still to come, until it is complete or nothing has come for a while."""
    with selectors.DefaultSelector() as waiting:
        for seat in seats:
            waiting.register(seat.line, selectors.EVENT_READ, seat)
        while not complete() and (ready := waiting.select(SETTLING_S)):
            for key, _ in ready:
                _take(key.data)


def _take(seat: Seat) -> bool:
    """Read all that has come; tell whether the answer was among it."""
    answered = seat.take()
    while seat.line.pending:  # what was read already, and waiting would not tell of
        answered |= seat.take()
    return answered


class Receiver:
    """One socket of somebody who is written to by one other: it counts, and notices what is not in turn."""

    def __init__(self, line: Line) -> None:
        self.line, self.heard, self.strange = line, 0, 0

    def take(self) -> bool:
        frame = self.line.frame()
        if b'"new-message"' in frame[:60]:
            self.strange += f'"{_words(self.heard)}"'.encode() not in frame
            self.heard += 1
        return False


class Sender:
    """Somebody who writes one message after the other, numbered."""

    def __init__(self, line: Line, chat: str) -> None:
        self.line, self.chat, self.asked = line, chat, 0

    def ask(self) -> bytes:
        self.asked += 1
        return message(self.chat, _words(self.asked - 1))

    def take(self) -> bool:
        return b'"send-message"' in self.line.frame()[:60]


def _words(number: int) -> str:
    return f"message {number}"


class Crowd:
    """The people of one server, and what they can do to it for some seconds."""

    def __init__(self, subject: Subject) -> None:
        """Make the pairs friends, and give one of them a page of messages to read."""
        self._subject = subject
        self._pairs = list(zip(subject.people[:PAIRS], subject.people[PAIRS : 2 * PAIRS], strict=True))
        self._chats = [subject.chat(*pair) for pair in self._pairs]
        self._reader, _ = self._pairs[0]
        with hung_up(subject.sockets([self._reader])) as (line,):
            for number in range(PAGE):
                line.send(message(self._chats[0], _words(number)))
                expect(line, b"send-message")

    def pages(self, seconds: float) -> Done:
        """Read the newest page of a chat over https, as often as may be."""
        path = OPERATIONS["get-chat-messages"].path.replace("{chatId}", self._chats[0])
        ask = request(f"{VERSION_PREFIX}{path}?pageSize={PAGE}", self._reader.token)
        return self._calls([ask] * CONNECTIONS, seconds)

    def sign_ins(self, seconds: float) -> Done:
        """Sign in with a password."""
        return self._calls([_sign_in(number) for number in range(CONNECTIONS)], seconds)

    def messages(self, seconds: float) -> Done:
        """Write to friends who read on several devices; every push is waited for."""
        to = [receiver for _, receiver in self._pairs for _ in range(DEVICES)]
        with hung_up(self._subject.sockets([sender for sender, _ in self._pairs] + to)) as lines:
            senders = [Sender(*each) for each in zip(lines[:PAIRS], self._chats, strict=True)]
            receivers = [Receiver(line) for line in lines[PAIRS:]]
            listening = [Seat(each.line, each.take) for each in receivers]
            asking = [Seat(each.line, each.take, each.ask) for each in senders]
            done = loop([*asking, *listening], seconds, self._subject.meter)
            owed = done.answers * DEVICES
            settle(listening, lambda: sum(each.heard for each in receivers) >= owed)
        heard, strange = (sum(getattr(each, name) for each in receivers) for name in ("heard", "strange"))
        return replace(done, owed=owed, heard=heard, strange=strange)

    def _calls(self, asks: Sequence[bytes], seconds: float) -> Done:
        with hung_up([Line(self._subject.target.https, self._subject.context) for _ in asks]) as lines:
            seats = [
                Seat(line, partial(_answered, line), partial(bytes, ask))
                for line, ask in zip(lines, asks, strict=True)
            ]
            return loop(seats, seconds, self._subject.meter)


def _answered(line: Line) -> bool:
    return bool(line.answer())


def _sign_in(number: int) -> bytes:
    """Return the sign-in of one of the people, whom `Subject` gives such addresses."""
    body = {"email": f"bench-{number}@example.test", "password": PASSWORD}
    path = f"{VERSION_PREFIX}{OPERATIONS['sign-in'].path}"
    return request(path, ANONYMOUS_TOKEN, json.dumps(body).encode())
