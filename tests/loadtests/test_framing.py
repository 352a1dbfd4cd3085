"""The scanner and websockets' own protocol read alike, and a peer beyond its limits is cut off."""

from __future__ import annotations

import random

import pytest
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from loadtests.framing import MAX_FRAGMENTS, MAX_HEAD_BYTES, MAX_PINGS, Framing, text_frame
from talkamie.contract import MAX_MESSAGE_BYTES
from tests.loadtests import framing_fuzz

URI = parse_uri("ws://127.0.0.1/socket")


class Side:
    """A framing, what it read and what it wrote."""

    def __init__(self, state: State = State.OPEN) -> None:
        self.messages: list[tuple[bytes, int]] = []
        self.written: list[bytes] = []
        self.framing = Framing(
            URI,
            lambda message, arrived: self.messages.append((message, arrived)),
            self.written.append,
            state=state,
        )


def sent(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    """Return a frame as a server sends it."""
    return Frame(opcode, data, fin).serialize(mask=False)


def test_the_scanner_and_the_protocol_read_every_stream_alike() -> None:
    """Random frames, every third stream broken at a bit, cut anywhere: payloads, state, code and reason."""
    assert [seed for seed in range(4000) if framing_fuzz.differs(seed)] == []


def test_the_comparison_would_find_a_scanner_that_forgets_fragments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that can't fail proves nothing."""
    monkeypatch.setattr(Framing, "_note_fragments", lambda self, first: None)
    assert any(framing_fuzz.differs(seed) for seed in range(300))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 70000])
def test_what_is_written_is_what_a_server_reads(size: int) -> None:
    """Every form of length, masked."""
    payload = random.Random(size).randbytes(size)
    server = ServerProtocol(state=State.OPEN, max_size=None)
    server.receive_data(text_frame(payload))
    (frame,) = server.events_received()
    assert isinstance(frame, Frame)
    assert (frame.opcode, bytes(frame.data), frame.fin) == (Opcode.TEXT, payload, True)


def test_a_message_has_the_instant_of_the_bytes_that_completed_it() -> None:
    """Not of those that began it; and messages are counted."""
    side, whole = Side(), sent(Opcode.TEXT, b"hello") + sent(Opcode.TEXT, b"you")
    assert side.framing.receive(whole[:4], 1) == 0
    assert side.framing.is_unfinished
    assert side.framing.receive(whole[4:], 2) == 2
    assert not side.framing.is_unfinished
    assert side.messages == [(b"hello", 2), (b"you", 2)]


def test_the_same_bytes_are_read_by_where_they_stand() -> None:
    """A copy that other connections had before is a message at rest, and no short cut anywhere else."""
    copy = sent(Opcode.TEXT, b"hello")
    for side in (Side(), Side()):
        assert (side.framing.receive(copy, 1), side.messages) == (1, [(b"hello", 1)])
    inside, around = Side(), sent(Opcode.TEXT, b"<" + copy + b">")
    for part in (around[:3], copy, around[-1:]):
        inside.framing.receive(part, 2)
    assert inside.messages == [(b"<" + copy + b">", 2)]
    between = Side()
    between.framing.receive(sent(Opcode.TEXT, b"he", fin=False), 1)
    between.framing.receive(copy, 2)
    assert between.framing.broken is not None
    assert (between.framing.broken[0], between.messages) == (CloseCode.PROTOCOL_ERROR, [])
    behind = Side()
    behind.framing.receive(sent(Opcode.CLOSE, b"\x03\xe8"), 1)
    assert (behind.framing.receive(copy, 2), behind.messages) == (0, [])


@pytest.mark.parametrize("cut", [1, 40, -8, -3, -1])
def test_frames_that_come_with_the_handshake_are_read(cut: int) -> None:
    """Wherever the network cuts the two."""
    side = Side(State.CONNECTING)
    side.framing.ask()
    server = ServerProtocol()
    server.receive_data(b"".join(side.written))
    (request,) = server.events_received()
    server.send_response(server.accept(request))  # type: ignore[arg-type]
    server.send_text(b"early")
    answer = b"".join(server.data_to_send())
    side.framing.receive(answer[:cut], 1)
    side.framing.receive(answer[cut:], 2)
    assert side.framing.is_open
    assert side.messages == [(b"early", 2)]


def test_a_refused_handshake_says_why() -> None:
    """The answer was no upgrade."""
    side = Side(State.CONNECTING)
    side.framing.ask()
    side.framing.receive(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", 1)
    assert "403" in str(side.framing.refusal)


def test_a_head_without_an_end_is_refused() -> None:
    """It is not kept for ever."""
    side = Side(State.CONNECTING)
    side.framing.ask()
    for _ in range(2):
        side.framing.receive(b"HTTP/1.1 101 Switching\r\nX: " + b"x" * MAX_HEAD_BYTES, 1)
    assert side.framing.refusal is not None


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([sent(Opcode.TEXT, b"x" * (MAX_MESSAGE_BYTES + 1))], CloseCode.MESSAGE_TOO_BIG),
        ([sent(Opcode.PING)] * (MAX_PINGS + 1), CloseCode.POLICY_VIOLATION),
        (
            [sent(Opcode.TEXT, fin=False)] + [sent(Opcode.CONT, fin=False)] * MAX_FRAGMENTS,
            CloseCode.MESSAGE_TOO_BIG,
        ),
        ([b"\xc1\x01x"], CloseCode.PROTOCOL_ERROR),
        ([b"\x81\x81abcdx"], CloseCode.PROTOCOL_ERROR),
    ],
    ids=["message too big", "ping flood", "too many fragments", "reserved bit", "masked"],
)
def test_a_peer_beyond_the_limits_is_told_and_heard_no_further(frames: list[bytes], code: int) -> None:
    """The close code says which limit it was."""
    side = Side()
    for frame in frames:
        side.framing.receive(frame, 1)
    side.framing.receive(sent(Opcode.TEXT, b"after"), 1)
    assert side.framing.broken is not None
    assert side.framing.broken[0] == code
    assert side.messages == []


def test_pings_within_the_limit_are_answered() -> None:
    """A second later the count begins anew."""
    side = Side()
    for second in range(3):
        for _ in range(MAX_PINGS // 2):
            side.framing.receive(sent(Opcode.PING, b"?"), (second + 1) * 1_000_000_001)
    assert side.framing.is_open
    assert len(side.written) == 3 * (MAX_PINGS // 2)


def test_code_and_reason_of_the_peer_are_kept() -> None:
    """And its goodbye is answered."""
    side = Side()
    side.framing.receive(sent(Opcode.CLOSE, (4401).to_bytes(2, "big") + b"token revoked"), 1)
    side.framing.end()
    assert side.framing.closed_with == (4401, "token revoked")
    assert side.framing.broken is None
    assert len(side.written) == 1
