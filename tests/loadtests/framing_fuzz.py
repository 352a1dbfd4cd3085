"""Random streams of frames, right and broken, read by the engine and by websockets' own protocol.

`python -m tests.loadtests.framing_fuzz [STREAMS]` compares that many (20,000) and says how many differ.
"""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Iterator
from typing import NamedTuple

from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from loadtests.framing import Framing
from talkamie.contract import MAX_MESSAGE_BYTES

_URI = parse_uri("ws://127.0.0.1/")
_QUIET = logging.getLogger("fuzz")
_QUIET.setLevel(logging.CRITICAL)
_QUIET.propagate = False
_SIZES = (0, 1, 5, 50, 125, 126, 127, 300, 300, 300, 5000)
_LARGE = (65535, 65536, MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES + 1)


class Read(NamedTuple):
    """What somebody made of a stream."""

    messages: list[bytes]
    state: State
    close_code: int | None
    close_reason: str | None
    parser_error: str
    frames_back: list[tuple[Opcode, bytes]]


def stream(chance: random.Random) -> bytes:
    """Return a stream of up to 30 frames; every third is broken at a bit."""
    frames, fragmented = [], False
    for _ in range(chance.randint(1, 30)):
        if chance.random() < 0.15:
            opcode = chance.choice([Opcode.PING, Opcode.PONG])
            frames.append(Frame(opcode, chance.randbytes(chance.randint(0, 125))))
            continue
        size = chance.choice(_LARGE if chance.random() < 0.01 else _SIZES)
        fin = chance.random() < 0.8
        opcode = Opcode.CONT if fragmented else chance.choice([Opcode.TEXT, Opcode.BINARY])
        frames.append(Frame(opcode, chance.randbytes(size), fin))
        fragmented = not fin
    if chance.random() < 0.3:
        reason = "x" * chance.choice([0, 3, 100])
        frames.append(Frame(Opcode.CLOSE, Close(chance.choice([1000, 1001, 4401]), reason).serialize()))
    if chance.random() < 0.05:
        frames.append(Frame(Opcode.CLOSE, b""))
    whole = bytearray(b"".join(frame.serialize(mask=False) for frame in frames))
    if chance.random() < 0.33:
        # Most often in the first bytes, which are all header.
        place = chance.randrange(min(len(whole), chance.choice([2, 4, 12, len(whole)])))
        whole[place] ^= 1 << chance.randrange(8)
    if chance.random() < 0.1:
        del whole[chance.randrange(len(whole)) :]
    return bytes(whole)


def pieces(chance: random.Random, whole: bytes) -> Iterator[bytes]:
    """Cut a stream as a network might."""
    sizes = (1, 2, 3, 7, 50, 200, 1000, 65536) if len(whole) < 20_000 else (1000, 4096, 65536, len(whole))
    at = 0
    while at < len(whole):
        size = chance.choice(sizes)
        yield whole[at : at + size]
        at += size


def by_protocol(parts: list[bytes]) -> Read:
    """Read a stream as websockets does."""
    protocol = ClientProtocol(_URI, state=State.OPEN, logger=_QUIET, max_size=MAX_MESSAGE_BYTES)
    messages, fragments = [], []
    back = b""
    for part in parts:
        protocol.receive_data(part)
        for event in protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                fragments.append(bytes(event.data))
                if event.fin:
                    messages.append(b"".join(fragments))
                    fragments = []
        back += b"".join(protocol.data_to_send())
        if protocol.parser_exc is not None:
            break
    return _read(protocol, messages, back)


def by_engine(parts: list[bytes]) -> Read:
    """Read a stream as the link does."""
    messages: list[bytes] = []
    back: list[bytes] = []
    framing = Framing(_URI, lambda message, arrived: messages.append(message), back.append, state=State.OPEN)
    found = sum(framing.receive(part, 0) for part in parts)
    assert found == len(messages)
    framing._leave_to_protocol()  # what is held back counts as read
    return _read(framing._protocol, messages, b"".join(back))


def _read(protocol: ClientProtocol, messages: list[bytes], back: bytes) -> Read:
    received = protocol.close_rcvd
    return Read(
        messages,
        protocol.state,
        received.code if received else None,
        received.reason if received else None,
        type(protocol.parser_exc).__name__,
        list(_frames(back)),
    )


def _frames(data: bytes) -> Iterator[tuple[Opcode, bytes]]:
    """Take apart what a client sent: masked, so that bytes can't be compared."""
    at = 0
    while at < len(data):
        size = data[at + 1] & 0x7F
        mask, payload = data[at + 2 : at + 6], data[at + 6 : at + 6 + size]
        unmasked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        yield Opcode(data[at] & 0x0F), unmasked
        at += 6 + size


def differs(seed: int) -> bool:
    """Tell whether the two read the stream of a seed differently."""
    chance = random.Random(seed)
    parts = list(pieces(chance, stream(chance)))
    return by_protocol(parts) != by_engine(parts)


if __name__ == "__main__":
    streams = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    different = [seed for seed in range(streams) if differs(seed)]
    print(f"{streams} streams, {len(different)} read differently {different[:10]}")
    sys.exit(bool(different))
