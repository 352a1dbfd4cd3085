"""The bus: how the processes of one server tell each other things. The port, and what is said on it.

What every adapter promises, from one process to another: what was published arrives once, whole, and in the
order in which it was published. Between different publishers there is no order. What cannot be promised any
more, because a part is missing or the other side is gone, is told by `failed`, once, and ends the server: one
that has lost it does not know what, so its books would be wrong.

A push is refused when too much waits to be sent already (`publish` is false), and the ledger says so. News of
who came and went is never refused.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec


class BusError(Exception):
    """The bus cannot be used; the text says which and what to do."""


class Deliver(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A push for the sockets that `user` has with you; `accepted` and `sent` in monotonic ns."""

    user: str
    action: str
    frame: bytes
    ids: str
    accepted: int
    sent: int


class Arrived(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """`user` has a socket here, where he had none."""

    user: str


class Left(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """`user` has no socket here any more, since `at` (ms since 1970)."""

    user: str
    at: int


class Revoke(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """End the sockets of `user` that came with `session`, or with any but this if `others`."""

    user: str
    session: str | None
    others: bool


class Ask(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Answer, once you have taken in all I published before."""

    ticket: int


class Answer(msgspec.Struct, frozen=True, array_like=True, tag=True):
    ticket: int


Message = Deliver | Arrived | Left | Revoke | Ask | Answer
Receive = Callable[[int, Message], None]


class Bus(Protocol):
    """One process's end. `peers` are the numbers of the other processes."""

    peers: tuple[int, ...]

    async def open(self, receive: Receive, failed: Callable[[str], None]) -> None:
        """Hear what the others publish from now on. Raises BusError."""

    def publish(self, to: int, message: Message) -> bool:
        """Tell one process; false for a push where too much waits already: nothing of it will arrive."""

    async def close(self) -> None: ...


class InProcess:
    """The bus of processes that are one: ends of the same `ends` call each other. Alone it has no peers."""

    def __init__(self, number: int = 0, ends: dict[int, InProcess] | None = None, count: int = 1) -> None:
        self.peers = tuple(each for each in range(count) if each != number)
        self._number = number
        self._ends = {} if ends is None else ends
        self._receive: Receive | None = None

    async def open(self, receive: Receive, failed: Callable[[str], None]) -> None:
        self._receive = receive
        self._ends[self._number] = self

    def publish(self, to: int, message: Message) -> bool:
        receive = self._ends[to]._receive
        assert receive is not None
        receive(self._number, message)
        return True

    async def close(self) -> None:
        self._ends.pop(self._number, None)


def make_bus(url: str, number: int, count: int, folder: Path) -> Bus:
    """Return the end of process `number` of `count`: `unix`, `postgresql://…` or `nats://…`.

    `folder` is the server's own: its name tells two servers on one NATS or database apart. Raises BusError.
    """
    scheme = url.partition("://")[0]
    if scheme == "unix":
        from talkamie.server.bus.unix import UnixBus

        return UnixBus(number, count, folder)
    # Because both are extras: whoever keeps to datagrams need not have them.
    if scheme in ("postgresql", "postgres"):
        from talkamie.server.bus.postgresql import PostgresBus

        return PostgresBus(number, count, url, folder.name)
    if scheme == "nats":
        from talkamie.server.bus.nats import NatsBus

        return NatsBus(number, count, url, folder.name)
    raise BusError(
        f"{url!r} is no bus known here. Use unix, postgresql://USER:PASSWORD@HOST/NAME or nats://HOST."
    )
