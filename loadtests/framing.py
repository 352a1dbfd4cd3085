"""WebSocket frames of one client connection (RFC 6455), from bytes to messages and back. No I/O, no clock.

Nearly all that a load generator reads are whole data frames: neither fragmented nor compressed. A scanner
takes those out of the bytes. Everything else is websockets' `ClientProtocol`'s: the handshake, control
frames, fragments, whatever breaks a rule, and all that follows a close frame. The scanner tells frames apart
by their headers, so that the protocol always gets whole frames from their first byte on, as soon as they
come, and the two never differ (`tests/loadtests/test_framing.py` holds one against the other).

Limits: a head of `MAX_HEAD_BYTES`, a message of `MAX_MESSAGE_BYTES` in `MAX_FRAGMENTS` at most,
`MAX_PINGS` a second. A peer beyond them is told so by the close code and heard no further.
"""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Callable, Iterator

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidMessage
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.uri import WebSocketURI

from talkamie.contract import MAX_MESSAGE_BYTES

try:
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

MAX_HEAD_BYTES = 64 << 10
MAX_FRAGMENTS = 4096
MAX_PINGS = 1000
_SECOND = 1_000_000_000

_QUIET = logging.getLogger("talkload.framing")
_QUIET.setLevel(logging.CRITICAL)
_QUIET.propagate = False

_FIN = 0x80
_TEXT = _FIN | Opcode.TEXT
_WHOLE = frozenset({_TEXT, _FIN | Opcode.BINARY})
# What is handed over frame by frame: first bytes that neither end the connection nor break a rule.
_HANDED_OVER = _WHOLE | {
    *(_FIN | Opcode.PING, _FIN | Opcode.PONG),
    *(Opcode.TEXT, Opcode.BINARY, Opcode.CONT, _FIN | Opcode.CONT),
}


def _masks() -> Iterator[bytes]:
    """Draw masking keys from the system's randomness, a thousand at a time."""
    while True:
        for (mask,) in struct.iter_unpack("4s", os.urandom(4096)):
            yield mask


_mask = _masks().__next__
_HEADS = [bytes((_TEXT, 0x80 | size)) for size in range(126)]


def text_frame(payload: bytes) -> bytes:
    """Return one whole text frame, masked as a client must (RFC 6455, 5.2 and 5.3)."""
    size, mask = len(payload), _mask()
    if size < 126:
        return _HEADS[size] + mask + apply_mask(payload, mask)
    if size < 1 << 16:
        return b"%c\xfe%b%b%b" % (_TEXT, size.to_bytes(2, "big"), mask, apply_mask(payload, mask))
    return b"%c\xff%b%b%b" % (_TEXT, size.to_bytes(8, "big"), mask, apply_mask(payload, mask))


class _LastRead:
    """The last read of this process that was one whole message, and the message."""

    __slots__ = ("data", "message")

    def __init__(self) -> None:
        self.data, self.message = b"", b""


_last = _LastRead()


class Framing:
    """One connection's frames. `on_message(payload, arrived)` gets each message as soon as it is whole.

    `arrived` is passed through: the instant (ns) of the bytes that completed the message. `write(data)` gets
    what the protocol has to say: its handshake, pongs, close frames.
    """

    __slots__ = (
        "_fragmented",
        "_fragments",
        "_head",
        "_held",
        "_held_bytes",
        "_owed",
        "_pings",
        "_pings_from",
        "_protocol",
        "_scans",
        "_wanted",
        "_write",
        "at_rest",
        "on_message",
    )

    def __init__(
        self,
        uri: WebSocketURI,
        on_message: Callable[[bytes, int], None],
        write: Callable[[bytes], None],
        *,
        state: State = State.CONNECTING,
    ) -> None:
        self.on_message = on_message
        self._write = write
        self._protocol = ClientProtocol(uri, state=state, max_size=MAX_MESSAGE_BYTES, logger=_QUIET)
        self._head: bytes | None = b"" if state is State.CONNECTING else None
        self._scans = self.at_rest = state is State.OPEN
        """`at_rest`: the connection is open, and the next byte begins a frame and a message."""
        self._held: list[bytes] = []  # the beginning of a frame, until `_wanted` bytes of it are there
        self._held_bytes = self._wanted = 0
        self._owed = 0  # bytes that complete a frame whose beginning was handed over
        self._fragmented = False  # a message is under way in fragments
        self._fragments: list[bytes] = []
        self._pings = self._pings_from = 0

    # --- The handshake ---

    def ask(self) -> None:
        """Write the upgrade request."""
        self._protocol.send_request(self._protocol.connect())
        self._flush()

    def _answered(self, data: bytes, arrived: int) -> int:
        """Take in the answer to the upgrade: frames may follow it in the same bytes."""
        assert self._head is not None
        self._head += data
        end = self._head.find(b"\r\n\r\n") + 4
        if end < 4:
            if len(self._head) > MAX_HEAD_BYTES:
                self._protocol.handshake_exc = InvalidMessage("the head has no end")
            return 0
        head, self._head = self._head, None
        self._hand_over(head[:end], arrived)
        self._scans = self._protocol.state is State.OPEN
        return self._scan(head[end:], arrived) if end < len(head) else 0

    @property
    def refusal(self) -> Exception | None:
        """What was wrong with the answer to the upgrade, once it is known."""
        return self._protocol.handshake_exc

    # --- Receiving ---

    def receive(self, data: bytes, arrived: int) -> int:
        """Take in bytes; return how many messages they completed."""
        if self.at_rest and data == _last.data:  # a fan-out brings the same bytes to many connections
            on_message = self.on_message
            on_message(_last.message, arrived)
            return 1
        found = self._scan(data, arrived)
        self.at_rest = self._scans and not self.is_unfinished
        return found

    def _scan(self, data: bytes, arrived: int) -> int:
        if self._held:
            self._held.append(data)
            self._held_bytes += len(data)
            if self._held_bytes < self._wanted:
                return 0
            data = self._unhold()
        if not self._scans:
            return self._hand_over(data, arrived) if self._head is None else self._answered(data, arrived)
        on_message = self.on_message
        at, end, found = 0, len(data), 0
        if self._owed:
            at = min(self._owed, end)
            found += self._hand_over(data[:at], arrived)
            self._owed -= at
        while at < end:
            if not self._scans:
                return found + self._hand_over(data[at:], arrived)
            if end - at < 2:
                self._hold(data[at:], 2)
                break
            first, second = data[at], data[at + 1]
            if second < 126:
                begin = at + 2
                stop = begin + second
            elif first not in _HANDED_OVER or second > 127:
                self._scans = False
                continue
            else:
                begin = at + (4 if second == 126 else 10)
                if begin > end:
                    self._hold(data[at:], begin - at)
                    break
                if second == 126:  # a third of the time that `from_bytes` takes, and nearly every message
                    stop = begin + (data[at + 2] << 8 | data[at + 3])
                else:
                    stop = begin + int.from_bytes(data[at + 2 : begin], "big")
            if first in _WHOLE and not self._fragmented and stop - begin <= MAX_MESSAGE_BYTES:
                if stop > end:
                    self._hold(data[at:], stop - at)
                    break
                message = data[begin:stop]
                if not at and stop == end:
                    _last.data, _last.message = data, message
                on_message(message, arrived)
                found += 1
                at = stop
                continue
            if first not in _HANDED_OVER:
                self._scans = False
                continue
            found += self._hand_over(data[at : min(stop, end)], arrived)
            self._owed = max(0, stop - end)
            self._note_fragments(first)
            at = stop
        return found

    def _note_fragments(self, first: int) -> None:
        if first in (Opcode.TEXT, Opcode.BINARY):
            self._fragmented = True
        elif first == _FIN | Opcode.CONT:
            self._fragmented = False

    def _hold(self, data: bytes, wanted: int) -> None:
        self._held, self._held_bytes, self._wanted = [data], len(data), wanted

    def _unhold(self) -> bytes:
        data = b"".join(self._held)
        self._held, self._held_bytes = [], 0
        return data

    def _hand_over(self, data: bytes, arrived: int) -> int:
        """Let the protocol take in bytes; return how many messages they completed."""
        protocol = self._protocol
        if not data or protocol.parser_exc is not None:
            return 0
        protocol.receive_data(data)
        found = sum([self._take(event, arrived) for event in protocol.events_received()])
        self._flush()
        if protocol.state is not State.OPEN:
            self._scans = False
        return found

    def _take(self, event: object, arrived: int) -> int:
        """Take in an event of the protocol; return 1 where it completed a message."""
        if not isinstance(event, Frame):
            return 0
        if event.opcode is Opcode.PING:
            self._count_ping(arrived)
        if event.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return 0
        self._fragments.append(bytes(event.data))
        if len(self._fragments) > MAX_FRAGMENTS:
            self._protocol.fail(CloseCode.MESSAGE_TOO_BIG, "too many fragments")
        if not event.fin:
            return 0
        message, self._fragments = b"".join(self._fragments), []
        self.on_message(message, arrived)
        return 1

    def _count_ping(self, arrived: int) -> None:
        if arrived - self._pings_from > _SECOND:
            self._pings, self._pings_from = 0, arrived
        self._pings += 1
        if self._pings > MAX_PINGS:
            self._protocol.fail(CloseCode.POLICY_VIOLATION, "too many pings")

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:  # b"" asks to end our half: a client waits for the server to do so (RFC 6455, 7.1.1)
                self._write(data)

    # --- Ending ---

    def close(self) -> None:
        """Say goodbye, if nobody has yet."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
            self._flush()
            self._leave_to_protocol()

    def end(self) -> None:
        """Take in that no more bytes will come."""
        self._leave_to_protocol()
        if self._protocol.parser_exc is None:
            self._protocol.receive_eof()

    def _leave_to_protocol(self) -> None:
        if self._held and self._head is None:
            self._hand_over(self._unhold(), 0)
        self._scans = self.at_rest = False

    @property
    def is_open(self) -> bool:
        """Whether frames may be sent."""
        return self._protocol.state is State.OPEN

    @property
    def is_unfinished(self) -> bool:
        """Whether a frame or a message has begun and not ended."""
        return bool(self._held or self._owed or self._fragmented)

    @property
    def broken(self) -> tuple[int, str] | None:
        """Close code and reason that the peer was told after it broke a rule; None where it did not."""
        sent = self._protocol.close_sent
        if self._protocol.close_rcvd is not None or sent is None or sent.code == CloseCode.NORMAL_CLOSURE:
            return None
        return sent.code, sent.reason

    @property
    def closed_with(self) -> tuple[int, str] | None:
        """Close code and reason of the peer, once it has said goodbye."""
        received = self._protocol.close_rcvd
        return (received.code, received.reason) if received is not None else None
