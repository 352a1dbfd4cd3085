"""Calls: who may take which step, who hears of it, when a call is missed, and how long it was."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.talkamie.stores import Backend
from tests.talkamie.world import SECOND, Member, Wire, World, worlds

ACTIONS = ("accept-call", "reject-call", "end-call", "call-connected", "call-disconnected")


class Model:
    """One call from 0 to 1 that rings at time 0; times in whole seconds."""

    def __init__(self) -> None:
        self.status, self.over = "ringing", False
        self.up: dict[int, bool] = {0: False, 1: False}
        self.since = 0
        self.talked = 0

    def step(self, who: int, name: str, now: int) -> tuple[int, str | None]:
        """Take a step; return its status code and what the other party must hear."""
        match name:
            case "accept-call" | "reject-call":
                if who == 0:
                    return 403, None
                if self.status != "ringing":
                    return 409, None
                self.status = "accepted" if name == "accept-call" else "rejected"
                self.over = self.status == "rejected"
                return 200, f"call-{self.status}"
            case "end-call":
                if self.over:
                    return 200, None
                self._count(now)
                self.status = "missed" if self.status == "ringing" else self.status
                self.over = True
                return 200, "call-ended"
            case _:
                if self.over:
                    return 200, None
                if self.status != "accepted":
                    return 409, None
                self._count(now)
                self.up[who] = name == "call-connected"
                return 200, None

    def _count(self, now: int) -> None:
        if any(self.up.values()):
            self.talked += now - self.since
        self.since = now


@given(
    steps=st.lists(
        st.tuples(st.sampled_from([0, 1]), st.sampled_from(ACTIONS), st.integers(0, 9)), max_size=14
    )
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_call_does_what_the_model_does(backend: Backend, steps: list[tuple[int, str, int]]) -> None:
    """Any sequence of steps by either party has the model's answers, pushes, end and duration."""
    with worlds(backend) as make:
        world = make()
        wires, chat = talkers(world)
        call = ring(wires, chat)["id"]
        model = Model()
        now = 0
        for who, name, wait in steps:
            now += wait
            world.later(wait)
            status, heard = model.step(who, name, now)
            assert step(wires[who], name, call, world.now) == status
            assert [push["action"] for push in wires[1 - who].pushed()] == ([heard] if heard else [])
        found = world.people[0].call("GET", f"/call/{call}")["data"]
        assert found["status"] == model.status
        assert found.get("duration") == (model.talked if model.over else None)
        for person in world.people[:2]:
            assert len(person.call("GET", "/calls/histories")["data"]) == model.over


@given(
    stamps=st.lists(
        st.tuples(st.booleans(), st.booleans(), st.integers(0, 2**53), st.integers(0, 5)), max_size=10
    )
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_no_clock_makes_a_call_longer_than_it_was(
    backend: Backend, stamps: list[tuple[bool, bool, int, int]]
) -> None:
    """Whatever timestamps both clients send, the duration is between 0 and the time since accepting."""
    with worlds(backend) as make:
        world = make()
        wires, chat = talkers(world)
        call = ring(wires, chat)["id"]
        wires[1].ask("accept-call", callId=call)
        accepted = world.now
        for caller, up, stamp, wait in stamps:
            world.later(wait)
            name = "call-connected" if up else "call-disconnected"
            wires[0 if caller else 1].tell(name, callId=call, timestamp=stamp)
        ended = wires[0].ask("end-call", callId=call)["data"]["call"]
        assert 0 <= ended["duration"] <= (world.now - accepted) / SECOND


def test_the_flow_of_a_call(world: World) -> None:
    """Ring, accept, talk for a minute, hang up: each side sees it from its own side."""
    (caller, callee), chat = talkers(world)
    ann, bob = world.people
    answer = caller.ask("call-user", chatId=chat, type="video")["data"]
    call = answer["call"]["id"]
    assert answer["chat"] == {"id": chat}
    assert answer["call"]["user"]["id"] == bob.id
    assert [answer["call"][key] for key in ("type", "status", "direction")] == [
        "video",
        "ringing",
        "outgoing",
    ]
    (push,) = callee.pushed()
    assert push["action"] == "user-calling"
    assert push["data"]["call"]["user"]["id"] == ann.id
    assert [push["data"]["call"][key] for key in ("status", "direction")] == ["ringing", "incoming"]
    assert callee.ask("accept-call", callId=call)["data"]["call"]["status"] == "accepted"
    (push,) = caller.pushed()
    assert (push["action"], push["data"]["call"]["direction"]) == ("call-accepted", "outgoing")
    for wire in (caller, callee):
        wire.tell("call-connected", callId=call, timestamp=world.now)
        assert wire.pushed() == []
    world.later(63.9)
    ended = callee.ask("end-call", callId=call)["data"]
    assert (ended["call"]["status"], ended["call"]["duration"]) == ("accepted", 63)
    (push,) = caller.pushed()
    assert (push["action"], push["data"]["call"]["duration"]) == ("call-ended", 63)
    assert push["data"]["me"] == {"id": ann.id, "ledger": {"coins": {"balance": 0}}}
    assert bob.call("GET", f"/call/{call}")["data"]["direction"] == "incoming"
    assert ann.call("GET", "/auth")["data"]["user"]["dailyInfo"] == {"totalCalls": 1}


def test_nobody_there_has_missed_it(world: World) -> None:
    """Offline: missed at once, nobody rings, and both are free again."""
    ann, bob, chat = world.friends()
    wire = ann.socket()
    for _ in range(2):
        call = wire.ask("call-user", chatId=chat, type="audio")["data"]["call"]
        assert (call["status"], call["duration"]) == ("missed", 0)
    (latest, _) = bob.call("GET", "/calls/histories")["data"]
    assert (latest["status"], latest["direction"]) == ("missed", "incoming")


def test_who_is_in_a_call_misses_another(world: World) -> None:
    """A third caller is told missed, the two are not disturbed, and a caller cannot call twice."""
    (caller, callee), chat = talkers(world)
    eve, bob = world.member(), world.people[1]
    other = connect(eve, bob)
    call = ring((caller, callee), chat)["id"]
    caller.ask("call-user", status=409, chatId=chat, type="audio")
    assert eve.socket().ask("call-user", chatId=other, type="audio")["data"]["call"]["status"] == "missed"
    callee.ask("call-user", status=409, chatId=other, type="audio")
    callee.pushed()
    callee.ask("accept-call", callId=call)
    callee.ask("end-call", callId=call)
    assert ring((caller, callee), chat)["status"] == "ringing"


def test_a_call_rings_for_so_long(world: World) -> None:
    """After the timeout it is missed, and both are told; a moment before it still rings."""
    wires, chat = talkers(world)
    call = ring(wires, chat)["id"]
    world.later(44.9)
    world.sweep()
    assert [wire.pushed() for wire in wires] == [[], []]
    world.later(0.1)
    world.sweep()
    world.sweep()
    for wire in wires:
        (push,) = wire.pushed()
        assert (push["action"], push["data"]["call"]["status"]) == ("call-ended", "missed")
    wires[1].ask("accept-call", status=409, callId=call)


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize("leaver", [0, 1])
def test_a_call_does_not_outlive_its_parties(world: World, leaver: int, accepted: bool) -> None:
    """Whoever is away for longer than the grace hung up when he left; coming back in time saves the call."""
    wires, chat = talkers(world)
    call = ring(wires, chat)["id"]
    if accepted:
        wires[1].ask("accept-call", callId=call)
        wires[0].pushed()
        wires[leaver].tell("call-connected", callId=call, timestamp=world.now)
    world.later(10)
    wires[leaver].close()
    world.later(14)
    again = world.people[leaver].socket()
    world.later(2)
    world.sweep()
    assert wires[1 - leaver].pushed() == []
    again.close()
    world.later(15)
    world.sweep()
    (push,) = wires[1 - leaver].pushed()
    assert push["action"] == "call-ended"
    ended = push["data"]["call"]
    assert (ended["status"], ended["duration"]) == (("accepted", 26) if accepted else ("missed", 0))
    assert world.service.hub.departed == {}


def test_one_of_several_sockets_answers(world: World) -> None:
    """All of the callee's ring; of two that accept one wins, and his others hear nothing until the end."""
    (caller, first), chat = talkers(world)
    bob = world.people[1]
    second = bob.socket()
    call = ring((caller, first), chat)["id"]
    (push,) = second.pushed()
    assert push["action"] == "user-calling"
    first.ask("accept-call", callId=call)
    second.ask("accept-call", status=409, callId=call)
    assert second.pushed() == []
    assert [push["action"] for push in caller.pushed()] == ["call-accepted"]
    caller.ask("end-call", callId=call)
    for wire in (first, second):
        assert [push["action"] for push in wire.pushed()] == ["call-ended"]


def test_a_rejected_call_stays_rejected(world: World) -> None:
    """Although the caller's client hangs up by itself afterwards; nobody is told twice."""
    wires, chat = talkers(world)
    call = ring(wires, chat)["id"]
    wires[1].ask("reject-call", callId=call)
    (push,) = wires[0].pushed()
    assert push["action"] == "call-rejected"
    assert wires[0].ask("end-call", callId=call)["data"]["call"]["status"] == "rejected"
    assert wires[1].pushed() == []


def test_histories_are_each_partys_own(world: World) -> None:
    """Newest first, found by the other's name, and not by strangers."""
    (caller, callee), chat = talkers(world)
    ann, bob = world.people
    ids = []
    for wire, other in ((caller, callee), (callee, caller), (caller, callee)):
        world.later(1)
        ids.append(ring((wire, other), chat)["id"])
        wire.ask("end-call", callId=ids[-1])
    mine = ann.call("GET", "/calls/histories")["data"]
    assert [call["id"] for call in mine] == ids[::-1]
    assert [call["direction"] for call in mine] == ["outgoing", "incoming", "outgoing"]
    assert {call["status"] for call in mine} == {"missed"}
    assert len(ann.call("GET", "/calls/histories", keyword="BOB")["data"]) == 3
    assert bob.call("GET", "/calls/histories", keyword="bob")["data"] == []
    eve = world.member()
    eve.call("GET", f"/call/{ids[0]}", status=404)
    assert eve.call("GET", "/calls/histories")["data"] == []


def test_a_stranger_moves_no_call(world: World) -> None:
    """404 for each step, and the call rings on."""
    wires, chat = talkers(world)
    call = ring(wires, chat)["id"]
    eve = world.member().socket()
    eve.ask("call-user", status=404, chatId=chat, type="audio")
    for name in ACTIONS:
        eve.ask(name, status=404, callId=call, timestamp=world.now)
    assert world.people[0].call("GET", f"/call/{call}")["data"]["status"] == "ringing"


def test_a_server_that_stopped_in_a_call_frees_its_parties(world: World) -> None:
    """After a start nobody is busy with a call whose parties do not come back."""
    from talkamie.server import calls

    wires, chat = talkers(world)
    ring(wires, chat)
    for wire in wires:
        wire.close()
    world.service.hub.departed.clear()
    world.run(calls.recover(world.service))
    world.later(20)
    world.sweep()
    again = [person.socket() for person in world.people[:2]]
    assert ring(again, chat)["status"] == "ringing"


def test_the_dialects_differ_in_names_only(backend: Backend) -> None:
    """What a push is called is data: both parties hear `end-call` in the documentation's form."""
    for dialect, names in (("2025", {"call-ended"}), ("2025-06", {"end-call"}), ("2026", {"call-ended"})):
        with worlds(backend) as make:
            wires, chat = talkers(make(dialect=dialect))
            call = ring(wires, chat)["id"]
            wires[0].ask("end-call", callId=call)
            assert {push["action"] for push in wires[1].pushed()} == names


def talkers(world: World) -> tuple[tuple[Wire, Wire], str]:
    """Return the sockets of two connected people and their chat; they are the world's first two."""
    ann, bob, chat = world.friends()
    return (ann.socket(), bob.socket()), chat


def ring(wires: Any, chat: str) -> Any:
    """Call from the first to the second, and forget that it rang."""
    call = wires[0].ask("call-user", chatId=chat, type="audio")["data"]["call"]
    wires[1].pushed()
    return call


def step(wire: Wire, name: str, call: str, now: int) -> int:
    """Take a step and return its status code; one without an answer went well."""
    wire.tell(name, callId=call, timestamp=now)
    found = [frame["statusCode"] for frame in wire.pushed() if frame["action"] == name]
    return found[0] if found else 200


def connect(one: Member, other: Member) -> str:
    one.call("POST", f"/user/{other.id}/connection")
    return str(other.call("POST", f"/user/{one.id}/connection/accept")["data"]["chat"]["id"])
