"""One wss connection: the client side of the socket half of the contract, and what it was that answered.

Built on websockets' Sans-I/O protocol, with one reader greenlet a connection. Nothing in the protocol
carries a request id, so a frame finds whoever waits for it by these rules, in this order:

1. the oldest waiter for its action whose `where` accepts its data;
2. a frame that says `success: false` has no data: it belongs to the oldest waiter for its action, and is a
   push where the action has no answer but this;
3. any other frame is a push.

`arrived` is stamped as soon as the bytes are read, before anything is decoded: JSON costs time, and that is
not the target's fault.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import gevent
import msgspec
from gevent import socket
from gevent.event import AsyncResult
from gevent.lock import RLock
from msgspec import UNSET
from websockets.client import ClientProtocol
from websockets.exceptions import WebSocketException
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from loadtests import clock
from talkamie.contract import ACTIONS, MAX_MESSAGE_BYTES, Action, RawFrame

_QUIET = logging.getLogger("talkload.link")
_QUIET.setLevel(logging.CRITICAL)

_encode = msgspec.json.encode
_decode_frame = msgspec.json.Decoder(RawFrame).decode
_decode_answer = {
    row.name: msgspec.json.Decoder(row.answer).decode for row in ACTIONS.values() if row.answer is not None
}
_decode_push = {
    row.name: msgspec.json.Decoder(row.push).decode for row in ACTIONS.values() if row.push is not None
}


_silent = {row.name for row in ACTIONS.values() if row.silent}


class LinkError(Exception):
    """The connection could not be made or is gone; the message says why, in a few distinct words."""


class NoAnswer(Exception):
    """Nobody answered in time. What the target did with the request is unknown."""


class Received(NamedTuple):
    """An answer, its data decoded (None where it says no), and instants in ns; `size` in bytes."""

    frame: RawFrame
    data: Any
    sent: int
    arrived: int
    seen: int
    size: int


@dataclass(slots=True, eq=False)
class _Waiter:
    action: str
    where: Callable[[Any], bool] | None
    result: AsyncResult[Received]
    sent: int = 0


class Link:
    """A connection that is open from `connect` on until `close`, or until the target ends it."""

    def __init__(
        self, on_push: Callable[[str, Any, int, int], None], on_end: Callable[[int, str], None]
    ) -> None:
        """`on_push(action, data, arrived, seen)` gets each push; `on_end(code, reason)` an unasked end."""
        self._on_push = on_push
        self._on_end = on_end
        self._waiters: list[_Waiter] = []
        self._lock = RLock()
        self._fragments: list[bytes] = []
        self._closing = False
        self.ended: str = ""  # why the connection is gone, once it is
        self.strange = 0  # frames that are not of the contract

    def connect(self, url: str, context: ssl.SSLContext | None, *, timeout: float) -> None:
        """Do the TCP, TLS and websocket handshakes. Raises LinkError or NoAnswer."""
        try:
            with gevent.Timeout(timeout):
                self._handshake(url, context, timeout)
        except gevent.Timeout:
            self._drop("connect timed out")
            raise NoAnswer("connect timed out") from None
        except (OSError, WebSocketException, EOFError) as error:
            self._drop(class_of(error))
            raise LinkError(self.ended) from error
        self._reader = gevent.spawn(self._read)

    def _handshake(self, url: str, context: ssl.SSLContext | None, timeout: float) -> None:
        uri = parse_uri(url)
        self._socket = socket.create_connection((uri.host, uri.port), timeout=timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if uri.secure:
            assert context is not None
            self._socket = context.wrap_socket(self._socket, server_hostname=uri.host)
        self._protocol = ClientProtocol(uri, max_size=MAX_MESSAGE_BYTES, logger=_QUIET)
        self._protocol.send_request(self._protocol.connect())
        self._write()
        while self._protocol.state is State.CONNECTING and self._protocol.handshake_exc is None:
            if not (data := self._socket.recv(65536)):
                raise EOFError
            self._protocol.receive_data(data)
        if self._protocol.handshake_exc is not None:
            raise self._protocol.handshake_exc
        self._socket.settimeout(None)
        # The handshake's answer is the first event; frames that came with it wait behind.
        first = clock.now()
        for event in self._protocol.events_received()[1:]:
            self._take(event, first)

    # --- Asking ---

    def request(
        self,
        frame: Action,
        *,
        timeout: float,
        where: Callable[[Any], bool] | None = None,
        on_send: Callable[[int], None] | None = None,
    ) -> Received:
        """Send a frame and return its answer, its data decoded as the contract says.

        `on_send` is told the instant right before the bytes are written. Raises LinkError or NoAnswer.
        """
        payload = _encode(frame)
        waiter = _Waiter(frame.action, where, AsyncResult())
        return self._wait(waiter, timeout, lambda: self._send(payload, waiter, on_send))

    def send(self, frame: Action) -> int:
        """Send a frame that has no answer; return the instant right before the write. Raises LinkError."""
        if self.ended:
            raise LinkError(self.ended)
        waiter = _Waiter(frame.action, None, AsyncResult())
        try:
            self._send(_encode(frame), waiter, None)
        except OSError as error:
            self._drop(class_of(error))
            raise LinkError(self.ended) from error
        return waiter.sent

    def expect(self, action: str, *, timeout: float, where: Callable[[Any], bool] | None = None) -> Received:
        """Return the next frame with this action whose data `where` accepts. Raises LinkError or NoAnswer."""
        return self._wait(_Waiter(action, where, AsyncResult()), timeout, lambda: None)

    def ping(self, *, timeout: float) -> Received:
        """Send an application ping and return its answer: one at a time. Raises LinkError or NoAnswer."""
        return self.request(Action(action="ping"), timeout=timeout)

    def _wait(self, waiter: _Waiter, timeout: float, begin: Callable[[], None]) -> Received:
        if self.ended:
            raise LinkError(self.ended)
        self._waiters.append(waiter)
        try:
            begin()
            received = waiter.result.get(timeout=timeout)
            assert received is not None
            return received
        except gevent.Timeout:
            raise NoAnswer(f"{waiter.action} timed out") from None
        except OSError as error:
            self._drop(class_of(error))
            raise LinkError(self.ended) from error
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _send(self, payload: bytes, waiter: _Waiter, on_send: Callable[[int], None] | None) -> None:
        with self._lock:
            if self._protocol.state is not State.OPEN:
                raise LinkError(self.ended or "closing")
            self._protocol.send_text(payload)
            waiter.sent = clock.now()
            if on_send:
                on_send(waiter.sent)
            self._write()

    def _write(self) -> None:
        with self._lock:
            for data in self._protocol.data_to_send():
                if data:
                    self._socket.sendall(data)
                else:
                    self._socket.shutdown(socket.SHUT_WR)

    # --- Being answered ---

    def _read(self) -> None:
        try:
            while self._protocol.state is not State.CLOSED:
                data = self._socket.recv(65536)
                arrived = clock.now()
                if data:
                    self._protocol.receive_data(data)
                else:
                    self._protocol.receive_eof()
                for event in self._protocol.events_received():
                    self._take(event, arrived)
                self._write()
        except OSError as error:
            self._drop(class_of(error))
        else:
            received = self._protocol.close_rcvd
            self._drop(f"closed with {received.code}" if received else "connection lost", received)

    def _take(self, event: Any, arrived: int) -> None:
        if not isinstance(event, Frame):
            return
        if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._fragments.append(bytes(event.data))
            if event.fin:
                message, self._fragments = b"".join(self._fragments), []
                self._dispatch(message, arrived)

    def _dispatch(self, message: bytes, arrived: int) -> None:
        seen = clock.now()
        try:
            frame = _decode_frame(message)
            action = frame.action
            if action is UNSET:
                raise msgspec.DecodeError("no action")
            if frame.success is False:
                waiter = next((each for each in self._waiters if each.action == action), None)
                if waiter is None and action in _silent:
                    self._on_push(action, frame, arrived, seen)
                else:
                    self._answer(waiter, Received(frame, None, 0, arrived, seen, len(message)))
                return
            raw = b"null" if frame.data is UNSET else frame.data
            for waiter in self._waiters:
                if waiter.action == action:
                    data = _decode_answer[action](raw) if action in _decode_answer else None
                    if waiter.where is None or waiter.where(data):
                        self._answer(waiter, Received(frame, data, 0, arrived, seen, len(message)))
                        return
            if action in _decode_push:
                self._on_push(action, _decode_push[action](raw), arrived, seen)
            else:
                self.strange += 1
        except (msgspec.DecodeError, RecursionError):
            self.strange += 1

    def _answer(self, waiter: _Waiter | None, received: Received) -> None:
        if waiter is None:
            self.strange += 1
            return
        self._waiters.remove(waiter)
        waiter.result.set(received._replace(sent=waiter.sent))

    # --- Ending ---

    def close(self, *, timeout: float) -> None:
        """Say goodbye and read on until the target has said it too: what it sent before still counts."""
        self._closing = True
        if self.ended:
            return
        try:
            with self._lock:
                if self._protocol.state is State.OPEN:
                    self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
                    self._write()
        except OSError as error:
            self._drop(class_of(error))
        else:
            self._reader.join(timeout)
            self._drop("closed by us")

    def drop(self) -> None:
        """Let go of the connection without a goodbye."""
        self._closing = True
        self._drop("dropped by us")

    def _drop(self, why: str, received: Any = None) -> None:
        """Let go of the socket and tell everybody who waits. The first reason stays."""
        if self.ended:
            return
        self.ended = why
        if hasattr(self, "_socket"):
            self._socket.close()
        for waiter in self._waiters:
            waiter.result.set_exception(LinkError(why))
        self._waiters.clear()
        if not self._closing and hasattr(self, "_reader"):
            self._on_end(received.code if received else 0, why)


def class_of(error: BaseException) -> str:
    """Return a short, stable name for what went wrong: it becomes a row of the errors table."""
    match error:
        case ssl.SSLCertVerificationError():
            return "certificate not trusted"
        case ssl.SSLError():
            return "TLS failed"
        case ConnectionRefusedError():
            return "connection refused"
        case ConnectionResetError() | BrokenPipeError():
            return "connection reset"
        case TimeoutError():
            return "connect timed out"
        case EOFError():
            return "closed in the handshake"
        case WebSocketException():
            return "websocket handshake refused"
        case _:
            return type(error).__name__
