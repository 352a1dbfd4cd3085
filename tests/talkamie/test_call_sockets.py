"""Calls on the real process over wss: two and three sockets, from ringing to hanging up."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.talkamie.conftest import Person, ask, befriend, people_of, quiet, receive, running, send

pytestmark = pytest.mark.end_to_end
People = Callable[..., list[Person]]
OFFER = {"type": "offer", "sdp": "v=0\r\n" + "a" * 5800}
CANDIDATE = {"candidate": {"candidate": "candidate:1 1 udp 2 192.0.2.1 9 typ host", "sdpMid": "0"}}


def test_a_call_from_ringing_to_hanging_up(people: People) -> None:
    """Ring, accept, offer, answer, candidates both ways, connected, hang up; a third socket listens."""
    ann, bob = people()
    chat = befriend(ann, bob)
    caller, callee, twin = ann.connect(), bob.connect(), bob.connect()
    call = ask(caller, "call-user", chatId=chat, type="video")["data"]["call"]["id"]
    for socket in (callee, twin):
        push = receive(socket)
        assert (push["action"], push["data"]["call"]["id"]) == ("user-calling", call)
    assert ask(callee, "accept-call", callId=call)["data"]["call"]["status"] == "accepted"
    assert receive(caller)["action"] == "call-accepted"
    send(caller, "signal", chatId=chat, signal=OFFER)
    for socket in (callee, twin):
        assert receive(socket)["data"]["signal"] == OFFER
    send(callee, "signal", chatId=chat, signal=OFFER | {"type": "answer"})
    assert receive(caller)["data"]["signal"]["type"] == "answer"
    for _ in range(5):
        send(caller, "signal", chatId=chat, signal=CANDIDATE)
        send(callee, "signal", chatId=chat, signal=CANDIDATE)
        assert receive(callee)["data"]["signal"] == receive(caller)["data"]["signal"] == CANDIDATE
        assert receive(twin)["data"]["signal"] == CANDIDATE
    for socket in (caller, callee):
        send(socket, "call-connected", callId=call, timestamp=int(time.time_ns() / 1e6))  # noqa: TID251
        assert quiet(socket)
    ended = ask(callee, "end-call", callId=call)["data"]["call"]
    assert (ended["status"], ended["duration"]) == ("accepted", 0)
    push = receive(caller)
    assert (push["action"], push["data"]["call"]["id"]) == ("call-ended", call)
    assert all(quiet(socket) for socket in (caller, callee, twin))
    assert ann.call("GET", "/calls/histories")["data"][0]["direction"] == "outgoing"
    assert bob.call("GET", f"/call/{call}")["data"]["direction"] == "incoming"


def test_a_callee_without_a_socket_has_missed_it(people: People) -> None:
    """At once, not after a ring timeout; a closed socket counts as none."""
    ann, bob = people()
    chat = befriend(ann, bob)
    caller = ann.connect()
    bob.connect().close()
    for _ in range(100):
        answer = ask(caller, "call-user", chatId=chat, type="audio")["data"]["call"]
        if answer["status"] == "missed":
            break
        ask(caller, "end-call", callId=answer["id"])
    assert answer["status"] == "missed"
    assert quiet(caller)


def test_a_stranger_cannot_signal(people: People) -> None:
    """One failure frame to him, nothing to either member."""
    ann, bob, eve = people(3)
    chat = befriend(ann, bob)
    members, stranger = [ann.connect(), bob.connect()], eve.connect()
    assert ask(stranger, "signal", status=404, chatId=chat, signal=OFFER)["success"] is False
    assert all(quiet(socket) for socket in members)


def test_time_ends_calls() -> None:
    """Nobody answers: missed after --ring-timeout. The caller is gone: over after --call-grace."""
    options = ("--port", "0", "--plain", "--test-endpoints", "--ring-timeout", "0.4", "--call-grace", "0.4")
    with running(*options) as (ready, _), people_of(ready, None) as make:
        ann, bob = make()
        chat = befriend(ann, bob)
        caller, callee = ann.connect(), bob.connect()
        call = ask(caller, "call-user", chatId=chat, type="audio")["data"]["call"]["id"]
        assert receive(callee)["action"] == "user-calling"
        for socket in (caller, callee):
            push = receive(socket)
            assert (push["action"], push["data"]["call"]["status"]) == ("call-ended", "missed")
        call = ask(caller, "call-user", chatId=chat, type="audio")["data"]["call"]["id"]
        ask(callee, "accept-call", callId=call)
        caller.close()
        push = receive(callee)
        assert (push["action"], push["data"]["call"]["status"]) == ("call-ended", "accepted")
