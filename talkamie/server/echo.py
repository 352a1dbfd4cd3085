"""A peer that answers pings after exactly so many microseconds, and keeps the books about it:

    python -m talkamie.server.echo 200 500 900

Delays of the reference server are whole milliseconds, because event loops have no finer timers. To hold a
client against a fraction of one, this process does nothing else: it reads, spins until the delay since the
kernel's receive stamp is over, and writes. The k-th connection has the k-th delay, and they begin again after
the last. Whoever authenticates is told the id that he gave as his token.

Between a reading of the clock right before a write and the stamp that the receiving end of loopback puts on
the bytes lie some 10 µs. They are part of every round trip, twice. How long they are is measured here, while
nobody asks, over a connection of our own: no code of a client has part in it.

It says on its first line where it listens, {"wss", "pid"}. When its input ends it prints its books and ends:

    {"echo_ns": {"200": [ns from the stamp of a ping to right before the write of its answer, ...], ...},
     "transit_ns": [ns from right before a write to its stamp, there and back, ...]}
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import struct
import sys

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from talkamie.server import clock

SO_TIMESTAMPNS = 35  # socket(7); the socket module has no name for it
PROBE_S = 0.01
SPIN = 300_000
PING_BYTES = 60
_TIMESPEC = struct.Struct("@ll")


def stamped(one: socket.socket) -> socket.socket:
    """Return the socket, its reads stamped by the kernel and its writes not held back."""
    one.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one


def receive(one: socket.socket) -> tuple[bytes, int]:
    """Return what was read and when the kernel had it, monotonic ns; 0 where it did not stamp."""
    data, ancillary, _, _ = one.recvmsg(65536, 64)
    if not ancillary:
        return data, 0
    seconds, ns = _TIMESPEC.unpack(ancillary[0][2])
    return data, seconds * 1_000_000_000 + ns - clock.realtime_offset()


class Peer:
    """One connection."""

    def __init__(self, one: socket.socket, delay: int) -> None:
        self.socket, self._delay = stamped(one), delay
        self._protocol = ServerProtocol()
        self.took: list[int] = []

    def read(self) -> bool:
        """Take in what has come; tell whether there may be more."""
        try:
            data, stamp = receive(self.socket)
        except ConnectionError:
            return False
        if not data:
            return False
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._protocol.send_response(self._protocol.accept(event))
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self._answer(json.loads(bytes(event.data)), stamp)
        self._write()
        return self._protocol.state is not State.CLOSED

    def _answer(self, asked: dict[str, str], stamp: int) -> None:
        answer: dict[str, object] = {"action": asked["action"], "success": True, "statusCode": 200}
        if asked["action"] == "authenticate":
            answer["data"] = {"id": asked["token"]}
        self._protocol.send_text(json.dumps(answer).encode())
        if asked["action"] != "ping" or not stamp:
            return
        pieces = self._protocol.data_to_send()
        due = stamp + self._delay
        while (written := clock.monotonic()) < due:
            pass
        self.socket.sendall(b"".join(pieces))
        self.took.append(written - stamp)

    def _write(self) -> None:
        if pieces := b"".join(self._protocol.data_to_send()):
            self.socket.sendall(pieces)


class Transit:
    """The way over loopback and back, measured with a connection of our own."""

    def __init__(self, listener: socket.socket) -> None:
        self._near = stamped(socket.create_connection(listener.getsockname()))
        self._far = stamped(listener.accept()[0])
        self.took: list[int] = []

    def probe(self) -> None:
        """Write as a ping is written, by who has just woken up, and answer as one who has not slept."""
        there = _cross(self._near, self._far)
        due = clock.monotonic() + SPIN
        while clock.monotonic() < due:
            pass
        back = _cross(self._far, self._near)
        if there > 0 and back > 0:
            self.took.append(there + back)


def _cross(one: socket.socket, other: socket.socket) -> int:
    written = clock.monotonic()
    one.sendall(b"-" * PING_BYTES)
    return receive(other)[1] - written


def serve(delays_us: list[int]) -> None:
    """Answer until the input ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    transit = Transit(listener)
    print(json.dumps({"wss": f"ws://127.0.0.1:{listener.getsockname()[1]}/", "pid": os.getpid()}), flush=True)
    peers: list[Peer] = []
    with selectors.DefaultSelector() as ready:
        ready.register(sys.stdin, selectors.EVENT_READ)
        ready.register(listener, selectors.EVENT_READ)
        while True:
            events = ready.select(PROBE_S)
            for key, _ in events:
                if key.fileobj is sys.stdin:
                    books: dict[str, list[int]] = {}
                    for number, peer in enumerate(peers):
                        books.setdefault(str(delays_us[number % len(delays_us)]), []).extend(peer.took)
                    print(json.dumps({"echo_ns": books, "transit_ns": transit.took}), flush=True)
                    return
                if key.fileobj is listener:
                    delay = delays_us[len(peers) % len(delays_us)] * 1000
                    peers.append(Peer(listener.accept()[0], delay))
                    ready.register(peers[-1].socket, selectors.EVENT_READ, peers[-1])
                elif not key.data.read():
                    ready.unregister(key.fileobj)
            if not events:
                transit.probe()


if __name__ == "__main__":
    serve([int(each) for each in sys.argv[1:]])
