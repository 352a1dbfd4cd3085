"""A peer that answers pings after exactly so many microseconds, and keeps the books about it:

    python -m talkamie.server.echo 200 500 900

Delays of the reference server are whole milliseconds, because event loops have no finer timers. To hold a
client against a fraction of one, this process does nothing else: it reads, spins until the delay since the
kernel's receive stamp is over, and writes. The k-th connection has the k-th delay, and they begin again after
the last. Whoever authenticates is told the id that he gave as his token.

The books are made of the kernel's stamps (SO_TIMESTAMPING, docs.kernel.org/networking/timestamping.html): of
when it had a ping, and of when it gave the answer to the device. On loopback the receiving end is a
microsecond from there, if the kernel has just done the like and has it all in its caches. So it is kept at it
while the delay lasts, by writes to ourselves. No reading of a clock, and no waiting for a core, stands
between the books and the client.

It says on its first line where it listens, {"wss", "pid"}. When its input ends it prints its books and ends;
instants are ns of CLOCK_MONOTONIC, 0 where the kernel did not stamp:

    {"pings": [{"delay_us", "received_ns", "written_ns": right before the write, "answered_ns"}, ...]}
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import struct
import sys
from contextlib import suppress

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import SEND_EOF, State
from websockets.server import ServerProtocol

from talkamie.server import clock

SO_TIMESTAMPING = 37  # asm-generic/socket.h: the socket module has no name for it
TX_SOFTWARE, RX_SOFTWARE, SOFTWARE, OPT_TSONLY = 1 << 1, 1 << 3, 1 << 4, 1 << 11  # linux/net_tstamp.h
ANCILLARY_BYTES = 256
ANSWER_BYTES = 60
AT_LEAST = 3  # times that it takes
PRACTICE = 40_000  # ns that one of them may take
_TIMESPEC = struct.Struct("@ll")  # of the three that come the first is the software's


def _stamp(ancillary: list[tuple[int, int, bytes]]) -> int:
    """Return when the kernel stamped, monotonic ns; 0 where it did not."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPING):
            seconds, ns = _TIMESPEC.unpack_from(data)
            stamp: int = seconds * 1_000_000_000 + ns - clock.realtime_offset()
            return stamp
    return 0


def _stamped(one: socket.socket) -> socket.socket:
    """Return the socket, its reads and writes stamped by the kernel and none held back."""
    one.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, TX_SOFTWARE | RX_SOFTWARE | SOFTWARE | OPT_TSONLY)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one


def _write(one: socket.socket, data: bytes) -> int:
    """Write; return when the device had it, monotonic ns, or 0."""
    one.sendall(data)
    try:  # loopback's device has it, and has stamped it, before the write is over
        return _stamp(one.recvmsg(1, ANCILLARY_BYTES, socket.MSG_ERRQUEUE)[1])
    except BlockingIOError:
        return 0


class Practice:
    """A connection to ourselves, which does what a connection to a client does."""

    def __init__(self, listener: socket.socket) -> None:
        self.near = _stamped(socket.create_connection(listener.getsockname()))
        self._far = _stamped(listener.accept()[0])

    def until(self, due: int) -> int:
        """Write and read until the instant has come, but a few times at least; return what it is then."""
        times = 0
        while times < AT_LEAST or clock.monotonic() < due - PRACTICE:
            _write(self.near, b"-" * ANSWER_BYTES)
            self._far.recv(ANSWER_BYTES)
            times += 1
        while (now := clock.monotonic()) < due:
            pass
        return now


class Peer:
    """One connection."""

    def __init__(self, one: socket.socket, delay_us: int, practice: Practice) -> None:
        self.socket, self._delay_us, self._practice = _stamped(one), delay_us, practice
        self._protocol = ServerProtocol()
        self.pings: list[dict[str, int]] = []

    def read(self) -> bool:
        """Take in what has come; tell whether there may be more."""
        try:
            data, ancillary, _, _ = self.socket.recvmsg(65536, ANCILLARY_BYTES)
        except ConnectionError:
            return False
        if not data:
            return False
        received = _stamp(ancillary)
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._protocol.send_response(self._protocol.accept(event))
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self._answer(json.loads(bytes(event.data)), received)
        self._write()
        return self._protocol.state is not State.CLOSED

    def _answer(self, asked: dict[str, str], received: int) -> None:
        answer: dict[str, object] = {"action": asked["action"], "success": True, "statusCode": 200}
        if asked["action"] == "authenticate":
            answer["data"] = {"id": asked["token"]}
        self._protocol.send_text(json.dumps(answer).encode())
        if asked["action"] == "ping":
            written = self._practice.until(received + self._delay_us * 1000)
            ping = {"delay_us": self._delay_us, "received_ns": received, "written_ns": written}
            self.pings.append(ping | {"answered_ns": self._write()})

    def _write(self) -> int:
        pieces = self._protocol.data_to_send()
        written = _write(self.socket, b"".join(pieces)) if any(pieces) else 0
        if SEND_EOF in pieces:  # both have said goodbye: the server hangs up first, RFC 6455 section 7.1.1
            with suppress(OSError):  # or the client was first
                self.socket.shutdown(socket.SHUT_WR)
        return written


def serve(delays_us: list[int]) -> None:
    """Answer until the input ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    practice = Practice(listener)
    print(json.dumps({"wss": f"ws://127.0.0.1:{listener.getsockname()[1]}/", "pid": os.getpid()}), flush=True)
    peers: list[Peer] = []
    with selectors.DefaultSelector() as ready:
        ready.register(sys.stdin, selectors.EVENT_READ)
        ready.register(listener, selectors.EVENT_READ)
        ready.register(practice.near, selectors.EVENT_READ)  # for what it costs: nothing ever comes
        while True:
            for key, _ in ready.select():
                if key.fileobj is sys.stdin:
                    print(json.dumps({"pings": [ping for peer in peers for ping in peer.pings]}), flush=True)
                    return
                if key.fileobj is listener:
                    delay_us = delays_us[len(peers) % len(delays_us)]
                    peers.append(Peer(listener.accept()[0], delay_us, practice))
                    ready.register(peers[-1].socket, selectors.EVENT_READ, peers[-1])
                elif not key.data.read():
                    ready.unregister(key.fileobj)


if __name__ == "__main__":
    serve([int(each) for each in sys.argv[1:]])
