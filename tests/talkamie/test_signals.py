"""Signals: to the other member of the chat, byte for byte, and to nobody else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from talkamie.contract import MAX_FRAME_BYTES, MAX_SIGNAL_BYTES
from tests.talkamie.world import World

OFFER = {"type": "offer", "sdp": "v=0\r\n" + "a" * 1500}
CANDIDATE = {"candidate": {"candidate": "candidate:1 1 udp 2 192.0.2.1 9 typ host", "sdpMid": "0",
                           "sdpMLineIndex": 0, "usernameFragment": "x"}}  # fmt: skip


@pytest.mark.parametrize(
    "signal", [OFFER, OFFER | {"type": "answer"}, CANDIDATE], ids=["offer", "answer", "ice"]
)
@pytest.mark.parametrize("name", ["signal", "call-signal"])
def test_a_signal_reaches_the_other_as_it_is(world: World, name: str, signal: Any) -> None:
    """Under the name its sender used, on each of the other's sockets; the sender hears nothing."""
    ann, bob, chat = world.friends()
    sender, twin, first, second = ann.socket(), ann.socket(), bob.socket(), bob.socket()
    sender.tell(name, chatId=chat, signal=signal)
    for wire in (first, second):
        (push,) = wire.pushed()
        assert push == {
            "action": name,
            "success": True,
            "statusCode": 200,
            "data": {"chat": {"id": chat}, "signal": signal},
        }
    assert sender.pushed() == twin.pushed() == []


def test_a_signal_to_a_stranger_is_refused(world: World) -> None:
    """404 where one is no member, 403 where the chat is not open; neither reaches anybody."""
    ann, bob, chat = world.friends()
    eve = world.member()
    wires = [ann.socket(), bob.socket()]
    eve.socket().ask("signal", status=404, chatId=chat, signal=OFFER)
    asked = eve.call("POST", f"/user/{ann.id}/message/request", {"text": "hi"})["data"]["chat"]["id"]
    wires[0].pushed()
    eve.socket().ask("signal", status=403, chatId=asked, signal=OFFER)
    assert [wire.pushed() for wire in wires] == [[], []]


def test_a_signal_to_nobody_is_no_failure(world: World) -> None:
    """The other may be between two sockets; the ledger says that he was offline."""
    ann, _, chat = world.friends()
    wire = ann.socket()
    wire.tell("signal", chatId=chat, signal=OFFER)
    assert wire.pushed() == []
    assert world.service.hub.ledger.summary()["signal"] == {"offline": 1}


@pytest.mark.parametrize(
    "signal",
    [
        *(5, None, [], "offer", {}, {"type": "offer"}, {"sdp": "v=0"}, {"type": "bye", "sdp": "v=0"}),
        *({"candidate": 5}, {"candidate": {}}, OFFER | CANDIDATE, {"type": "offer", "sdp": None}),
        {"candidate": {"candidate": "x", "sdpMLineIndex": -1}},
        {"candidate": {"candidate": "x" * 5000}},
    ],
    ids=str,
)
def test_what_is_no_signal_is_refused(world: World, signal: Any) -> None:
    """400 to the sender, nothing to the other."""
    ann, bob, chat = world.friends()
    wire = bob.socket()
    ann.socket().ask("signal", status=400, chatId=chat, signal=signal)
    assert wire.pushed() == []


def test_a_signal_is_as_long_as_a_frame_allows(world: World) -> None:
    """The longest is relayed within one frame; one byte more is 413."""
    ann, bob, chat = world.friends()
    wire, sender = bob.socket(), ann.socket()
    bare = len(json.dumps({"type": "offer", "sdp": ""}))
    longest = {"type": "offer", "sdp": "a" * (MAX_SIGNAL_BYTES - bare)}
    sender.tell("signal", chatId=chat, signal=longest)
    (push,) = wire.pushed()
    assert len(json.dumps(push, separators=(",", ":"))) < MAX_FRAME_BYTES
    sender.ask("signal", status=413, chatId=chat, signal=longest | {"sdp": longest["sdp"] + "a"})
    assert wire.pushed() == []
