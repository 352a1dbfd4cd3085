"""What the clients are measured against: broadcast, echo and scripted https, on ws and wss, in one process.

`python -m benchmarks.target FILE` (certificate and key) prints `{"plain": port, "tls": port}` and serves
until its stdin ends. It is told there what to do, and answers each line with a line of JSON:

    counts              what it did so far: the truth that all rates are made of
    truth               how long delayed requests took here since last asked: number, p50 and p99 in ns
    broadcast off       no messages
    broadcast full      a message to every socket, and the next as soon as a few of them have read theirs: a
                        ping goes out behind it, which any library answers by itself and in order
    broadcast 5         so many messages a second, each copy with the instant at which it was written

A socket gets back every text it sends. Any GET is answered with the same small JSON, under `/delay/` about
20 ms later. All this is written by hand on uvloop because the target must never be the slower side.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import ssl
import struct
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import uvloop
from websockets.utils import accept_key, apply_mask

from loadtests import clock

DELAY_S = 0.020
RUN = "bench"  # what the `loadtests.fanout.Ledger` of a client must be called to know these messages
_BACKLOG = 4096
_PINGED = 4  # sockets that must have read a message before the next one goes out
_PATIENCE_S = 1.0  # with a client that answers no ping
_CONT, _TEXT, _CLOSE, _PING, _PONG = 0x80, 0x81, 0x88, 0x89, 0x8A
_BODY = b'{"success":true,"statusCode":200,"data":{"id":"u-1","name":"Ann","type":"senior"}}'
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(_BODY),
    _BODY,
)
_UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %s\r\n\r\n"
)
_MESSAGE = (
    '{"action":"new-message","data":{"chat":{"id":"6f1c2d3e-8d0a-4a52-9c1b-1234567890ab"},"message":'
    '{"id":"m-%08d","type":"text","text":"lt:'
    + RUN
    + ':%08d Good morning, how are you?","timestamp":"%020d"}}}'
)


def frame(kind: int, payload: bytes) -> bytes:
    """Return a server's frame of at most 64 KiB."""
    size = len(payload)
    head = bytes((kind, size)) if size < 126 else bytes((kind, 126)) + struct.pack("!H", size)
    return head + payload


def message(number: int, stamp: int) -> bytes:
    """Return the frame of a `new-message` push of about 200 bytes; `stamp` (ns) is its timestamp."""
    return frame(_TEXT, (_MESSAGE % (number, number, stamp)).encode())


class Side(asyncio.Protocol):
    """The target's side of one connection: http until it asks to be a WebSocket."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._buffer = b""
        self._socket = False  # is it a WebSocket by now?
        self._fd = -1  # of a plain connection

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        if transport.get_extra_info("sslcontext") is None:
            self._fd = transport.get_extra_info("socket").fileno()

    def connection_lost(self, error: Exception | None) -> None:
        self._fd = -1
        self._target.sockets.pop(self, None)
        self._target.pinged.discard(self)

    def write(self, data: bytes) -> None:
        """Write at once where possible: uvloop would do so at the end of its turn, long after the stamp."""
        if self._transport.is_closing():
            return
        if self._fd >= 0 and not self._transport.get_write_buffer_size():
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                pass
            except OSError:
                return  # the client is gone: uvloop will find out
        if data:
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        at = clock.now()
        self._buffer = self._buffer + data if self._buffer else data
        while self._buffer and (self._take_frame() if self._socket else self._take_request(at)):
            pass

    def _take_request(self, at: int) -> bool:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return False
        self._buffer = rest
        _, upgrade, key = head.lower().partition(b"\r\nsec-websocket-key:")
        if upgrade:
            asked = head[-len(key) :].partition(b"\r\n")[0].strip()
            self._socket = True
            self.write(_UPGRADED % accept_key(asked.decode()).encode())
            self._target.sockets[self] = None
            self._target.counts["connects"] += 1
        elif head.startswith(b"GET /delay/"):
            asyncio.get_running_loop().call_later(DELAY_S, self._answer_late, at)
        else:
            self.write(_ANSWER)
            self._target.counts["requests"] += 1
        return True

    def _answer_late(self, asked: int) -> None:
        if not self._transport.is_closing():
            self.write(_ANSWER)
            self._target.took.append(clock.now() - asked)
            self._target.counts["requests"] += 1

    def _take_frame(self) -> bool:
        """Take one frame off the buffer: clients send whole, masked ones of less than 64 KiB."""
        buffer = self._buffer
        if len(buffer) < 6:
            return False
        kind, size, start = buffer[0], buffer[1] & 0x7F, 2
        if size == 126:
            size, start = int.from_bytes(buffer[2:4]), 4
        end = start + 4 + size
        if len(buffer) < end:
            return False
        payload = apply_mask(buffer[start + 4 : end], buffer[start : start + 4])
        self._buffer = buffer[end:]
        if kind == _TEXT:
            self.write(frame(_TEXT, payload))
            self._target.counts["echoes"] += 1
        elif kind == _PING:
            self.write(frame(_PONG, payload))
        elif kind == _PONG:
            self._target.read_by(self)
        elif kind == _CLOSE:
            self.write(frame(_CLOSE, payload))
            self._transport.close()
            return False
        return True


class Target:
    """What all connections share: who is there, what was done, and the messages to everybody."""

    def __init__(self) -> None:
        self.sockets: dict[Side, None] = {}  # in the order in which they came
        self.pinged: set[Side] = set()  # have not read the last message yet
        self.took: list[int] = []  # ns
        self.counts = {"connects": 0, "echoes": 0, "requests": 0, "deliveries": 0, "messages": 0}
        self._dice = random.Random(7)
        self._mode = "off"
        self._again: asyncio.Handle | None = None

    def told(self, line: str) -> dict[str, Any]:
        """Do what a line says, and return the answer to it. Raises ValueError for anything else."""
        match line.split():
            case ["counts"]:
                return {**self.counts, "open": len(self.sockets)}
            case ["truth"]:
                took, self.took = np.array(self.took or [0]), []
                p50, p99 = np.quantile(took, (0.5, 0.99), method="inverted_cdf").tolist()
                return {"count": len(took), "p50": p50, "p99": p99}
            case ["broadcast", mode]:
                self._mode = mode
                self.pinged.clear()
                if self._again is not None:
                    self._again.cancel()
                if mode != "off":
                    self._next()
                return {}
            case _:
                raise ValueError(line)

    def read_by(self, side: Side) -> None:
        """Hear that a socket has read the last message."""
        if side in self.pinged:
            self.pinged.discard(side)
            if not self.pinged and self._again is not None:
                self._again.cancel()
                self._again = asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        """Send a message to everybody."""
        self.counts["messages"] += 1
        everybody = list(self.sockets)
        loop = asyncio.get_running_loop()
        if self._mode != "full":
            self._again = loop.call_later(1 / float(self._mode), self._next)
            self._stamped(iter(everybody), self.counts["messages"])
            return
        self._again = loop.call_later(_PATIENCE_S, self._next)
        copy = message(self.counts["messages"], clock.now())
        for side in everybody:
            side.write(copy)
        self.counts["deliveries"] += len(everybody)
        if everybody:
            self.pinged = {everybody[-1], *self._dice.choices(everybody, k=_PINGED - 1)}
            for side in list(self.pinged):
                side.write(frame(_PING, b""))

    def _stamped(self, sides: Iterator[Side], number: int) -> None:
        """Send one copy a turn of the loop, because uvloop's TLS writes at a turn's end."""
        side = next(sides, None)
        if side is not None:
            side.write(message(number, clock.now()))
            self.counts["deliveries"] += 1
            asyncio.get_running_loop().call_soon(self._stamped, sides, number)


async def serve(certificate: str) -> None:
    """Serve until stdin ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    target = Target()
    ports = {}
    for name, tls in (("plain", None), ("tls", context)):
        server = await loop.create_server(lambda: Side(target), "127.0.0.1", 0, ssl=tls, backlog=_BACKLOG)
        ports[name] = server.sockets[0].getsockname()[1]
    print(json.dumps(ports), flush=True)
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        print(json.dumps(target.told(line.decode())), flush=True)


if __name__ == "__main__":
    gc.freeze()
    uvloop.run(serve(*sys.argv[1:]))
