"""What --billing takes: a coin for every 2.4 s, from caller to callee, never more than there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.talkamie.stores import Backend
from tests.talkamie.test_calls import ring, talkers
from tests.talkamie.world import Member, Wire, World, worlds


@pytest.fixture
def billed(backend: Backend) -> Iterator[World]:
    """A world where calls cost coins and the book of them is served."""
    with worlds(backend) as make:
        yield make(billing=True, extras=True)


@given(
    coins=st.integers(1, 30),
    talks=st.lists(st.tuples(st.booleans(), st.integers(1, 40_000)), max_size=6),
    swept=st.booleans(),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_call_costs_what_was_talked(
    backend: Backend, coins: int, talks: list[tuple[bool, int]], swept: bool
) -> None:
    """Whole coins for the time with media, no more than the caller has; the callee earns the same."""
    with worlds(backend) as make:
        world = make(billing=True, extras=True)
        wires, chat = talkers(world)
        ann, bob = world.people
        give(ann, coins)
        call = begin(wires, chat)
        talked, over = 0, False
        for connected, ms in talks:
            tell(wires[0], "call-connected" if connected else "call-disconnected", call)
            world.now += ms
            if not over and connected:
                talked += ms
            if swept:
                world.sweep()
                over = talked >= coins * 2400
        wires[1].ask("end-call", callId=call)
        if over:
            talked = coins * 2400
        cost = min(talked // 2400, coins)
        assert ann.call("GET", f"/call/{call}")["data"]["duration"] == talked // 1000
        assert [balance(one) for one in (ann, bob)] == [coins - cost, cost]
        booked = [(-1, ann, "withdrawals"), (1, bob, "earnings")]
        for _, one, kind in booked:
            found = one.call("GET", f"/finance/transactions/{kind}")["data"]
            assert [(row["intent"], row["status"], row["coins"]["amount"]) for row in found] == (
                [("call", "complete", cost)] if cost else []
            )


def test_a_call_ends_with_the_last_coin(billed: World) -> None:
    """As of that moment, whenever it is noticed: both hear it once, with what they have now."""
    wires, chat = talkers(billed)
    ann, bob = billed.people
    give(ann, 10)
    call = begin(wires, chat)
    tell(wires[1], "call-connected", call)
    billed.now += 23_999
    billed.sweep()
    assert [wire.pushed() for wire in wires] == [[], []]
    billed.now += 300
    billed.sweep()
    billed.sweep()
    for wire, one, coins in ((wires[0], ann, 0), (wires[1], bob, 10)):
        ended, update = wire.pushed()
        assert (ended["action"], ended["data"]["call"]["duration"]) == ("call-ended", 24)
        assert ended["data"]["me"] == {"id": one.id, "ledger": {"coins": {"balance": coins}}}
        assert update["action"] == "update-user"
        assert update["data"]["user"]["ledger"]["coins"] == {"balance": coins}
    answer = wires[0].ask("call-user", status=403, chatId=chat, type="audio")
    assert answer["message"] == "You have no coins left. Buy some before you call."
    assert ring(wires[::-1], chat)["status"] == "ringing"


def test_who_hangs_up_is_told_what_it_cost(billed: World) -> None:
    """By update-user, after his answer; a call without a whole coin's time tells nobody."""
    wires, chat = talkers(billed)
    give(billed.people[0], 5)
    for ms, costs in ((2399, False), (2400, True)):
        call = begin(wires, chat)
        tell(wires[0], "call-connected", call)
        billed.now += ms
        wires[0].ask("end-call", callId=call)
        assert [push["action"] for push in wires[0].pushed()] == ["update-user"] * costs
        assert [push["action"] for push in wires[1].pushed()] == ["call-ended", *["update-user"] * costs]


def test_coins_paid_out_in_a_call_end_it(billed: World) -> None:
    """What is left does not cover what was talked: the rest is taken, nothing is owed, no duration grows."""
    wires, chat = talkers(billed)
    ann, bob = billed.people
    give(ann, 110)
    call = begin(wires, chat)
    tell(wires[0], "call-connected", call)
    billed.now += 48_000
    ann.call("POST", "/finance/withdraw", {"coins": 100, "paypal": {"email": "ann@x.test"}})
    billed.sweep()
    assert [balance(one) for one in (ann, bob)] == [0, 10]
    assert ann.call("GET", f"/call/{call}")["data"]["duration"] == 24
    paid = ann.call("GET", "/finance/transactions/withdrawals")["data"][0]
    again = {"coins": 100, "paypal": {"email": "ann@x.test"}, "transactionId": paid["id"]}
    ann.call("POST", "/finance/withdraw", again, status=404)


@pytest.mark.parametrize("options", [{}, {"billing": True}])
def test_without_both_options_nobody_hears_of_coins(backend: Backend, options: dict[str, bool]) -> None:
    """Calls are free without --billing, and nothing is pushed that --extras would serve."""
    with worlds(backend) as make:
        world = make(**options)
        wires, chat = talkers(world)
        give(world.people[0], 1)
        call = begin(wires, chat)
        tell(wires[0], "call-connected", call)
        world.now += 60_000
        world.sweep()
        wires[0].ask("end-call", callId=call)
        assert [push["action"] for push in wires[1].pushed()] == ["call-ended"]
        assert balance(world.people[0]) == (0 if options else 1)


def give(member: Member, coins: int) -> None:
    """Make somebody have so many coins."""
    member.world.sql("update users set coins = $2 where id = $1", member.id, coins)


def balance(member: Member) -> int:
    return int(member.call("GET", "/auth")["data"]["user"]["ledger"]["coins"]["balance"])


def begin(wires: Any, chat: str) -> str:
    """Have a call answered, and forget the pushes."""
    call = str(ring(wires, chat)["id"])
    wires[1].ask("accept-call", callId=call)
    wires[0].pushed()
    return call


def tell(wire: Wire, action: str, call: str) -> None:
    wire.tell(action, callId=call, timestamp=wire.world.now)
