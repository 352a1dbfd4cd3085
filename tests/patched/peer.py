"""A websocket server in this process that does just what a test tells it, good or bad."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent
import msgspec
from gevent import socket
from gevent.queue import Queue
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

_QUIET = logging.getLogger("peer")
_QUIET.setLevel(logging.CRITICAL)


class Peer:
    """One accepted connection: `frames` has what the client sent, `send` and `raw` answer."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.protocol = ServerProtocol(logger=_QUIET)
        self.frames: Queue[dict[str, object]] = Queue()
        self.closed = gevent.event.Event()

    def serve(self) -> None:
        try:
            while data := self.socket.recv(65536):
                self.protocol.receive_data(data)
                for event in self.protocol.events_received():
                    if isinstance(event, Request):
                        self.protocol.send_response(self.protocol.accept(event))
                    elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                        self.frames.put(msgspec.json.decode(event.data))
                self.flush()
        except OSError:
            pass
        finally:
            self.closed.set()
            self.socket.close()

    def flush(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                self.socket.sendall(data)
            else:
                self.socket.shutdown(socket.SHUT_WR)

    def send(self, **frame: object) -> None:
        """Send one JSON frame."""
        self.protocol.send_text(msgspec.json.encode(frame))
        self.flush()

    def raw(self, *frames: Frame) -> None:
        """Send frames as they are, in one write."""
        self.socket.sendall(b"".join(frame.serialize(mask=False) for frame in frames))

    def close(self, code: int, reason: str = "") -> None:
        """Begin a close handshake."""
        self.protocol.send_close(code, reason)
        self.flush()

    def heard(self) -> dict[str, object]:
        """Return the next frame of the client."""
        return self.frames.get(timeout=5)


@contextmanager
def listening(handle: Callable[[socket.socket], None]) -> Iterator[str]:
    """Listen on a free port of loopback; give the ws address. `handle` gets each connection."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()

    def accept() -> None:
        while True:
            gevent.spawn(handle, listener.accept()[0])

    loop = gevent.spawn(accept)
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        loop.kill()
        listener.close()
