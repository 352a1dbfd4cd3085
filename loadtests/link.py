"""One wss connection: the client side of the socket half of the contract, and what it was that answered.

Rides on `loadtests.stream` for stamped bytes and `loadtests.framing` for messages. Nothing in the protocol
carries a request id, so a frame finds whoever waits for it by these rules, in this order:

1. the oldest waiter for its action whose `where` accepts its data;
2. a frame that says `success: false` has no data: it belongs to the oldest waiter for its action, and is a
   push where the action has no answer but this;
3. any other frame is a push.

A fan-out brings the same bytes to many links: they are decoded once, and each link gets the same object.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET
from websockets.exceptions import WebSocketException
from websockets.uri import parse_uri

from loadtests import clock
from loadtests.framing import Framing, text_frame
from loadtests.stream import Stream, Unread
from loadtests.waiting import Expired, Wait
from loadtests.wire import engine
from talkamie.contract import ACTIONS, Action, RawFrame

MESSAGE_DEADLINE = 10 * clock.SECOND
"""A message that has begun is whole by then, or the connection is given up."""

_encode = msgspec.json.encode
_decode_frame = msgspec.json.Decoder(RawFrame).decode
_decode_answer = {
    row.name: msgspec.json.Decoder(row.answer).decode for row in ACTIONS.values() if row.answer is not None
}
_decode_push = {
    row.name: msgspec.json.Decoder(row.push).decode for row in ACTIONS.values() if row.push is not None
}
_parsed = lru_cache(parse_uri)  # a run has one or two
_silent = {row.name for row in ACTIONS.values() if row.silent}


class LinkError(Exception):
    """The connection could not be made or is gone; the message says why, in a few distinct words."""


class NoAnswer(Exception):
    """Nobody answered in time. What the target did with the request is unknown."""


class Connected(NamedTuple):
    """Instants of a link's birth, ns: begun, TCP connected, TLS agreed (as before if plain), upgraded."""

    began: int
    connected: int
    secured: int
    upgraded: int


class Received(msgspec.Struct, frozen=True):
    """An answer, its data decoded (None where it says no), and instants in ns; `size` in bytes."""

    frame: RawFrame
    data: Any
    sent: int
    arrived: int
    seen: int
    size: int


class _Waiter(Wait[Received]):
    """Somebody who waits for a frame."""

    __slots__ = ("action", "sent", "where")

    action: str
    where: Callable[[Any], bool] | None
    sent: int


class _LastPush:
    """The push that came last to any link of this process, and what its bytes decoded to."""

    __slots__ = ("action", "data", "payload")

    def __init__(self) -> None:
        self.payload, self.action, self.data = b"", "", None


_last = _LastPush()


class Link:
    """A connection that is open from `connect` on until `close`, or until the target ends it."""

    __slots__ = (
        "_arrived",
        "_closing",
        "_connected",
        "_engine",
        "_framing",
        "_goodbye",
        "_on_end",
        "_on_push",
        "_opening",
        "_stream",
        "_unfinished",
        "_waiters",
        "ended",
        "strange",
    )

    def __init__(
        self, on_push: Callable[[str, Any, int, int], None], on_end: Callable[[int, str], None]
    ) -> None:
        """`on_push(action, data, arrived, seen)` gets each push; `on_end(code, reason)` an unasked end.

        Both run in the loop's callback: they must not wait. Identical pushes are one object: read only.
        """
        self._on_push = on_push
        self._on_end = on_end
        self._engine = engine()
        self._stream = Stream(self._engine, self._receive, self._finish)
        self._framing: Framing
        self._waiters: list[_Waiter] = []
        self._opening: Wait[None] | None = None
        self._goodbye: Wait[None] | None = None
        self._unfinished: set[Any] | None = None  # the wheel's slot for the message that has begun
        self._arrived = 0
        self._connected = False
        self._closing = False
        self.ended: str = ""  # why the connection is gone, once it is
        self.strange = 0  # frames that are not of the contract

    def connect(self, url: str, context: ssl.SSLContext | None, *, timeout: float) -> Connected:
        """Do the TCP, TLS and websocket handshakes. Raises LinkError or NoAnswer."""
        deadline = clock.now() + clock.ns(timeout)
        uri = _parsed(url)
        self._framing = Framing(uri, self._message, self._stream.write)
        try:
            opened = self._stream.open(
                uri.host, uri.port, deadline=deadline, context=context if uri.secure else None
            )
            self._opening = Wait(self._engine)
            self._framing.ask()
            self._opening.get(deadline)
        except Expired:
            self._drop("connect timed out")
            raise NoAnswer("connect timed out") from None
        except (OSError, WebSocketException, EOFError) as error:
            self._drop(class_of(error))
            raise LinkError(self.ended) from error
        except BaseException:
            self._drop("given up")
            raise
        self._opening, self._connected = None, True
        return Connected(*opened, clock.now())

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
        payload = text_frame(_encode(frame))
        waiter = self._enlist(frame.action, where)
        if self._framing.is_open:
            waiter.sent = sent = clock.now()
            if on_send:
                on_send(sent)
            self._stream.write(payload)
        else:
            waiter.fail(LinkError("closing"))
        return self._await(waiter, timeout)

    def send(self, frame: Action) -> int:
        """Send a frame that has no answer; return the instant right before the write. Raises LinkError."""
        payload = text_frame(_encode(frame))
        if not self.ended and self._framing.is_open:
            sent = clock.now()
            self._stream.write(payload)
            if not self.ended:
                return sent
        raise LinkError(self.ended or "closing")

    def expect(self, action: str, *, timeout: float, where: Callable[[Any], bool] | None = None) -> Received:
        """Return the next frame with this action whose data `where` accepts. Raises LinkError or NoAnswer."""
        return self._await(self._enlist(action, where), timeout)

    def ping(self, *, timeout: float) -> Received:
        """Send an application ping and return its answer: one at a time. Raises LinkError or NoAnswer."""
        return self.request(Action(action="ping"), timeout=timeout)

    def _enlist(self, action: str, where: Callable[[Any], bool] | None) -> _Waiter:
        if self.ended:
            raise LinkError(self.ended)
        waiter = _Waiter(self._engine)
        waiter.action, waiter.where, waiter.sent = action, where, 0
        self._waiters.append(waiter)
        return waiter

    def _await(self, waiter: _Waiter, timeout: float) -> Received:
        try:
            return waiter.get(clock.now() + clock.ns(timeout))
        except Expired:
            raise NoAnswer(f"{waiter.action} timed out") from None
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    # --- Being answered ---

    def _receive(self, data: bytes, arrived: int) -> None:
        found = self._framing.receive(data, arrived)
        if found:
            shared = self._engine
            shared.frames += found
            # All that one read brought has the stamp of its last segment.
            shared.coalesced += found if arrived == self._arrived else found - 1
            self._arrived = arrived
        if not self._framing.at_rest or self._unfinished is not None or self._opening is not None:
            self._look_after()

    def _look_after(self) -> None:
        """See to whatever is under way besides whole messages."""
        if self._framing.is_unfinished is (self._unfinished is None):
            self._watch_unfinished()
        if self._opening is not None:
            if refusal := self._framing.refusal:
                self._opening.fail(refusal)
            elif self._framing.is_open:
                self._opening.set(None)
        elif broken := self._framing.broken:
            self._drop(f"broken by the target ({broken[0]}: {broken[1]})")

    def _watch_unfinished(self) -> None:
        """Give a message that has begun its time, or let go of its deadline."""
        if self._unfinished is not None:
            self._unfinished.discard(self)
            self._unfinished = None
        elif not self.ended:
            self._unfinished = self._engine.wheel.add(self, clock.now() + MESSAGE_DEADLINE)

    def expire(self) -> None:
        """A message has not become whole in its time: called by the wheel."""
        self._drop("message not finished in time")

    def _message(self, message: bytes, arrived: int) -> None:
        seen = clock.now()
        if message == _last.payload and not self._waiters:
            on_push = self._on_push
            on_push(_last.action, _last.data, arrived, seen)
            return
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
                    self._answer(waiter, frame, None, arrived, seen, len(message))
                return
            raw = b"null" if frame.data is UNSET else frame.data
            for waiter in self._waiters:
                if waiter.action == action:
                    data = _decode_answer[action](raw) if action in _decode_answer else None
                    if waiter.where is None or waiter.where(data):
                        self._answer(waiter, frame, data, arrived, seen, len(message))
                        return
            if action in _decode_push:
                _last.payload, _last.action, _last.data = message, action, _decode_push[action](raw)
                self._on_push(action, _last.data, arrived, seen)
            else:
                self.strange += 1
        except (msgspec.DecodeError, RecursionError):
            self.strange += 1

    def _answer(
        self, waiter: _Waiter | None, frame: RawFrame, data: Any, arrived: int, seen: int, size: int
    ) -> None:
        if waiter is None:
            self.strange += 1
            return
        self._waiters.remove(waiter)
        waiter.set(Received(frame, data, waiter.sent, arrived, seen, size))

    # --- Ending ---

    def close(self, *, timeout: float) -> None:
        """Say goodbye and read on until the target has said it too: what it sent before still counts."""
        self._closing = True
        if self.ended:
            return
        self._goodbye = Wait(self._engine)
        self._framing.close()
        try:
            if not self.ended:
                self._goodbye.get(clock.now() + clock.ns(timeout))
        except Expired:
            pass
        finally:
            self._drop("closed by us")

    def drop(self) -> None:
        """Let go of the connection without a goodbye."""
        self._closing = True
        self._drop("dropped by us")

    def _finish(self, error: BaseException | None) -> None:
        """The target, or the network, has ended the connection."""
        if self._opening is not None:
            self._opening.fail(error or EOFError())
            return
        self._framing.end()
        code, _ = closed = self._framing.closed_with or (0, "")
        self._drop(class_of(error) if error else f"closed with {code}" if code else "connection lost", closed)

    def _drop(self, why: str, closed: tuple[int, str] = (0, "")) -> None:
        """Let go of the connection and tell everybody who waits. The first reason stays."""
        if self.ended:
            return
        self.ended = why
        self._stream.close()
        if self._unfinished is not None:
            self._unfinished.discard(self)
        for waiter in self._waiters:
            waiter.fail(LinkError(why))
        self._waiters.clear()
        if self._goodbye is not None:
            self._goodbye.set(None)
        if not self._closing and self._connected:
            self._on_end(closed[0], closed[1] or why)


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
        case Unread():
            return "target does not read"
        case TimeoutError():
            return "connect timed out"
        case EOFError():
            return "closed in the handshake"
        case WebSocketException():
            return "websocket handshake refused"
        case _:
            return type(error).__name__
