"""The server that is measured, the people who use it, and the CPU that it takes them.

What a figure is made of is a round of work: some lines ask, then some lines read. The same round is made
again for as long as a block lasts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import psutil

from benchmarks.line import TIMEOUT_S, Line, LineError, text
from loadtests import clock
from loadtests.target import Target, tls_context

PASSWORD = "correct horse battery"  # noqa: S105 - of people who live for a minute
PING = text(b'{"action":"ping"}')
Work = Callable[[], int]  # does something, and returns how many times


@dataclass(frozen=True)
class Person:
    """An account of the server that is measured."""

    id: str
    token: str


class Meter:
    """What a process and those that it started have used."""

    def __init__(self, pid: int) -> None:
        process = psutil.Process(pid)
        self._processes = [process, *process.children(recursive=True)]

    def rss_kib(self) -> float:
        return sum(float(each.memory_info().rss) for each in self._processes) / 1024

    def cost(self, work: Work) -> float:
        """Return CPU µs for each of the things that `work` does."""
        before = self.cpu_us()
        done = work()
        # Because the kernel counts in steps of 10 ms: nothing is free, so never less than one.
        return max(self.cpu_us() - before, 10_000.0) / done

    def cpu_us(self) -> float:
        times = [each.cpu_times() for each in self._processes]
        return sum(each.user + each.system for each in times) * 1e6


class Subject:
    """A running server with test endpoints, and its people."""

    def __init__(self, target: Target, people: int) -> None:
        self.target = target
        self.context = tls_context(target)
        self.meter = Meter(target.pid)
        with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client:
            wanted = [
                {"email": f"bench-{n}@example.test", "name": "Ann", "type": "senior", "password": PASSWORD}
                for n in range(people)
            ]
            made = client.post(f"{target.test}/accounts", json=wanted).raise_for_status().json()
        self.people = [Person(one["id"], one["tokens"]["access"]) for one in made]

    def sockets(self, owners: Iterable[Person]) -> list[Line]:
        """Open and authenticate a socket for each of `owners`, one after the other."""
        opened = []
        for owner in owners:
            line = Line(self.target.wss, self.context)
            opened.append(line)
            line.upgrade()
            line.send(text(json.dumps({"action": "authenticate", "token": owner.token}).encode()))
            expect(line, b"authenticate")
        return opened

    def befriend(self, one: Person, other: Person) -> bytes:
        """Connect two people; return the frame of a message in their chat."""
        return message(self.chat(one, other), "Good morning, how are you?")

    def chat(self, one: Person, other: Person) -> str:
        """Connect two people; return the id of their chat."""
        with httpx.Client(verify=self.context or True, timeout=TIMEOUT_S, trust_env=False) as client:

            def post(by: Person, path: str) -> Any:
                headers = {"authorization": f"Bearer {by.token}"}
                url = f"{self.target.https}/user/{path}"
                return client.post(url, headers=headers).raise_for_status().json()

            post(one, f"{other.id}/connection")
            return str(post(other, f"{one.id}/connection/accept")["data"]["chat"]["id"])


def message(chat: str, words: str) -> bytes:
    """Return the frame of a message in a chat."""
    return text(json.dumps({"action": "send-message", "chatId": chat, "message": {"text": words}}).encode())


def round_of(asks: Iterable[tuple[Line, bytes]], reads: Iterable[Callable[[], object]], *, done: int) -> Work:
    """Return a round: everything is asked before anything is read. It counts as `done` things."""
    asks, reads = list(asks), list(reads)

    def work() -> int:
        for line, data in asks:
            line.send(data)
        for read in reads:
            read()
        return done

    return work


def in_turns(sides: list[tuple[Meter, Work]], turns: int, block_s: float) -> list[list[float]]:
    """Repeat each side's work for a block, and so on in turns; return their CPU µs, a row a turn.

    Who begins alternates. Each has half a block before, which is not counted: a first time is dearer.
    """
    for _, work in sides:
        _repeat(work, block_s / 2)
    costs = [[0.0] * len(sides) for _ in range(turns)]
    for turn, row in enumerate(costs):
        for place in range(len(sides))[:: 1 if turn % 2 == 0 else -1]:
            meter, work = sides[place]
            row[place] = meter.cost(partial(_repeat, work, block_s))
    return costs


def _repeat(work: Work, seconds: float) -> int:
    until, done = clock.now() + clock.ns(seconds), 0
    while clock.now() < until:
        done += work()
    return done


def expecting(lines: Iterable[Line], what: bytes) -> list[Callable[[], object]]:
    """Return a read of each line: its next frame, which must be about `what`."""
    return [partial(expect, line, what) for line in lines]


def expect(line: Line, what: bytes) -> None:
    """Read a frame. Raises LineError if it is about something else."""
    frame = line.frame()
    if what not in frame[:60]:
        raise LineError(f"expected {what!r}, not {frame[:100]!r}")


def drain(lines: list[Line]) -> None:
    """Read until the answer to a ping: frames keep their order."""
    for line in lines:
        line.send(PING)
    for line in lines:
        while b'"action":"ping"' not in line.frame():
            pass


@contextmanager
def hung_up(lines: list[Line]) -> Iterator[list[Line]]:
    """Close the connections at the end, those too that were added meanwhile."""
    try:
        yield lines
    finally:
        for line in lines:
            line.close()
