"""What the adapters have in common: messages become packets, and packets messages again.

To each peer goes one stream of bytes, every message with its length before it, cut into packets of at most
`limit` bytes without regard to where a message ends: so a message may be longer than a packet, and what has
to wait shares packets. Each packet says who sent it and which of his to this peer it is, by which one that
is missing shows.
"""

from __future__ import annotations

import asyncio
import struct
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from typing import ClassVar

import msgspec

from talkamie.server.bus import Deliver, Message, Receive

MAX_WAITING_BYTES = 16 << 20  # to one peer, before pushes are refused
_HEAD = struct.Struct("!HQ")  # publisher, number of the packet
_SIZE = struct.Struct("!I")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


class Gap(Exception):
    """A packet is missing, or came twice."""


class Outbox:
    """The stream to one peer: what is not sent yet."""

    def __init__(self, publisher: int, limit: int) -> None:
        self._publisher = publisher
        self._limit = limit - _HEAD.size
        self._parts: deque[bytes] = deque()
        self._next: bytes | None = None
        self._number = 0
        self.waiting = 0  # bytes

    def add(self, message: Message) -> None:
        payload = _encode(message)
        self._parts.append(_SIZE.pack(len(payload)) + payload)
        self.waiting += len(payload) + _SIZE.size

    def first(self) -> bytes | None:
        """Return the packet that is to be sent next, always the same until it `went`."""
        if self._next is None and self._parts:
            self._next = _HEAD.pack(self._publisher, self._number) + self._cut()
        return self._next

    def went(self) -> None:
        """Forget the packet that `first` returned."""
        assert self._next is not None
        self.waiting -= len(self._next) - _HEAD.size
        self._number += 1
        self._next = None

    def _cut(self) -> bytes:
        taken, room = [], self._limit
        while self._parts and room:
            part = self._parts.popleft()
            if len(part) > room:
                self._parts.appendleft(part[room:])
                part = part[:room]
            taken.append(part)
            room -= len(part)
        return b"".join(taken)


class Inbox:
    """The streams of all peers to us: packets in, messages out."""

    def __init__(self) -> None:
        self._expected: dict[int, int] = {}
        self._rest: dict[int, bytearray] = {}

    def take(self, packet: bytes) -> Iterator[tuple[int, Message]]:
        """Return the messages, with their publisher, that this packet completes. Raises Gap."""
        publisher, number = _HEAD.unpack_from(packet)
        if number != self._expected.get(publisher, 0):
            raise Gap(
                f"of process {publisher} packet {self._expected.get(publisher, 0)} is due, {number} came"
            )
        self._expected[publisher] = number + 1
        rest = self._rest.setdefault(publisher, bytearray())
        rest += memoryview(packet)[_HEAD.size :]
        begin = 0
        while len(rest) - begin >= _SIZE.size:
            start = begin + _SIZE.size
            end = start + _SIZE.unpack_from(rest, begin)[0]
            if end > len(rest):
                break
            begin = end
            yield publisher, _decode(bytes(rest[start:end]))
        del rest[:begin]


class PacketBus(ABC):
    """A bus by packets: an adapter sends them (`_send`) and gives those that come to `_take`."""

    limit: ClassVar[int]

    def __init__(self, number: int, count: int) -> None:
        self.number = number
        self.peers = tuple(each for each in range(count) if each != number)
        self._out = {peer: Outbox(number, self.limit) for peer in self.peers}
        self._in = Inbox()
        self._closing = False

    async def open(self, receive: Receive, failed: Callable[[str], None]) -> None:
        self._receive, self._failed = receive, failed
        await self._open()

    def publish(self, to: int, message: Message) -> bool:
        out = self._out[to]
        if out.waiting > MAX_WAITING_BYTES and isinstance(message, Deliver):
            return False
        out.add(message)
        self._send(to)
        return True

    async def close(self) -> None:
        self._closing = True
        await self._close()

    @abstractmethod
    async def _open(self) -> None: ...

    @abstractmethod
    def _send(self, to: int) -> None:
        """Send what waits for a peer, or see to it that it is sent."""

    @abstractmethod
    async def _close(self) -> None: ...

    def _take(self, packet: bytes) -> None:
        try:
            for publisher, message in self._in.take(packet):
                self._receive(publisher, message)
        except Gap as gap:
            self._fail(f"something was lost on the way: {gap}")

    def _fail(self, why: str) -> None:
        if not self._closing:
            self._closing = True
            self._failed(why)


class SenderBus(PacketBus):
    """A bus whose packets go by way of a connection that is awaited: one task sends for all peers."""

    at_once: ClassVar[int] = 32  # packets

    def __init__(self, number: int, count: int) -> None:
        super().__init__(number, count)
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def _send(self, to: int) -> None:
        self._wake.set()

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._ship_all())

    async def _close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _ship_all(self) -> None:
        try:
            while await self._wake.wait():
                self._wake.clear()
                for to, out in self._out.items():
                    while packets := self._packets(out):
                        await self._ship(to, packets)
        except Exception as error:  # because nobody waits for this task, and the bus is over without it
            self._fail(str(error) or type(error).__name__)

    def _packets(self, out: Outbox) -> list[bytes]:
        found: list[bytes] = []
        while len(found) < self.at_once and (packet := out.first()) is not None:
            found.append(packet)
            out.went()
        return found

    @abstractmethod
    async def _ship(self, to: int, packets: list[bytes]) -> None: ...
