"""The rules at work, on a clock that jumps: who is hit, how long he waits, and what the books say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talkamie.server import clock
from talkamie.server.faults import Faults
from talkamie.server.faults.active import Active, until
from talkamie.server.faults.delays import MS, stall_wait
from talkamie.server.faults.plan import Plan, parse
from talkamie.server.hub import Hub, success
from talkamie.server.metrics import Metrics
from tests.talkamie.virtual import run
from tests.talkamie.world import FakeConnection

SECOND = 1_000_000_000
FRAME = success("new-message")


def plan(*rules: str, seed: int = 1) -> Plan:
    text = "\n".join(f"[[rule]]\n{rule}" for rule in rules)
    return parse(text.encode(), file="p.toml", name="p", seed=seed)


class Stage:
    """A hub with the sockets of some people, under a plan."""

    def __init__(self, what: Plan, *users: str) -> None:
        self.hub = Hub(Metrics())
        self.sockets: list[Any] = []
        for user in users:
            self.sockets.append(self.hub.open(FakeConnection(), 0))
            self.hub.authenticate(self.sockets[-1], user, "s")
        self.faults = self.hub.faults = Faults(what, self.hub)

    def push(self, number: int, *, to: str = "bob", action: str = "new-message") -> None:
        frame = success(action, number)
        self.hub.deliver(to, action, frame, [str(number)], accepted=clock.monotonic())

    def got(self, socket: int = 0) -> list[int]:
        return [frame["data"] for frame in self.sockets[socket].connection.frames]

    def rows(self) -> list[Any]:
        found: list[Any] = json.loads(self.hub.ledger.rows(0))["rows"]
        return found

    def fates(self) -> dict[str, int]:
        return self.hub.ledger.summary().get("new-message", {})

    def rule(self, number: int = 1) -> Any:
        return self.faults.report()["rules"][number - 1]


def play(scene: Callable[[Stage], Awaitable[Any]], what: Plan, *users: str, early: int = 0) -> Stage:
    """Run a scene on a virtual loop, end the faults, and return the stage as it was left."""

    async def all_of_it() -> Stage:
        stage = Stage(what, *(users or ("bob",)))
        await scene(stage)
        await stage.faults.stop()
        return stage

    return run(all_of_it(), early=early)


async def thirty(stage: Stage) -> None:
    for number in range(1, 31):
        stage.push(number)


def test_every_seventh_is_dropped() -> None:
    """And has its row, with its fate."""
    stage = play(thirty, plan('fault="drop"\nevery=7'))
    assert stage.got() == [n for n in range(1, 31) if n % 7]
    assert stage.fates() == {"dropped": 4, "sent": 26}
    assert [row[0] for row in stage.rows() if row[6] == "dropped"] == ["7", "14", "21", "28"]
    assert (stage.rule()["seen"], stage.rule()["hits"]) == (30, 4)


def test_every_fifth_is_written_twice() -> None:
    """One row each."""
    stage = play(thirty, plan('fault="duplicate"\nevery=5'))
    assert stage.got() == sorted([*range(1, 31), *range(5, 31, 5)])
    assert stage.fates() == {"duplicated": 6, "sent": 24}


def test_every_fourth_is_overtaken_by_the_next() -> None:
    """Each by exactly one, and the ledger has them in the order in which they were written."""
    stage = play(thirty, plan('fault="reorder"\nevery=4'))
    expected = list(range(1, 31))
    for n in range(4, 30, 4):
        expected[n - 1], expected[n] = n + 1, n
    assert stage.got() == expected == [int(row[0]) for row in stage.rows()]
    assert stage.fates() == {"reordered": 7, "sent": 23}


def test_who_overtakes_is_not_held_back_himself() -> None:
    """Where all are to be reordered, every second one is."""
    stage = play(thirty, plan('fault="reorder"'))
    assert stage.got()[:4] == [2, 1, 4, 3]
    assert stage.fates() == {"reordered": 15, "sent": 15}


def test_nobody_overtakes_in_time() -> None:
    """Then it is written as it was, after the limit and not before."""

    async def one(stage: Stage) -> None:
        stage.push(1)
        await until(clock.monotonic() + 299 * MS)
        assert stage.got() == []
        await until(clock.monotonic() + 2 * MS)
        assert stage.got() == [1]

    stage = play(one, plan('fault="reorder"\nlimit_ms=300'))
    assert stage.fates() == {"sent": 1}
    assert stage.rule()["achieved_ns"][0] >= 300 * MS


def test_pushes_of_other_actions_do_not_overtake() -> None:
    """They pass, but what is held waits for one of its own."""

    async def mixed(stage: Stage) -> None:
        stage.push(1)
        stage.push(2, action="alert")
        stage.push(3)

    assert play(mixed, plan('fault="reorder"\nwhere="new-message"')).got() == [2, 3, 1]


def test_a_stranger_gets_it_instead() -> None:
    """The next socket of another user; the row has its number, and whose it was."""
    stage = play(thirty, plan('fault="misdeliver"\nevery=10'), "ann", "bob", "bob", "carl", "carl")
    assert stage.got(3) == [5, 10, 15, 20, 25, 30]
    assert stage.got(4) == []
    assert stage.fates() == {"misdelivered": 6, "sent": 54}
    assert {(row[2], row[3]) for row in stage.rows() if row[6] == "misdelivered"} == {("bob", 4)}


def test_a_misdelivery_waits_for_a_stranger() -> None:
    """Nobody else is there: it is owed, and made good with the next that can be."""

    async def later(stage: Stage) -> None:
        for number in range(1, 5):
            stage.push(number)
        stage.hub.authenticate(stage.hub.open(FakeConnection(), 0), "carl", "s")
        for number in range(5, 10):
            stage.push(number)

    stage = play(later, plan('fault="misdeliver"\nevery=3'))
    assert stage.got() == [1, 2, 3, 4, 7, 8]
    assert stage.fates() == {"misdelivered": 3, "sent": 6}


@given(
    st.integers(1, 40), st.integers(0, 200), st.sampled_from(["drop", "duplicate", "misdeliver", "half-open"])
)
@settings(max_examples=60, deadline=None)
def test_one_in_k_is_exactly_n_over_k(k: int, n: int, fault: str) -> None:
    """Whatever the fault, for pushes to any number of sockets."""

    async def many(stage: Stage) -> None:
        for number in range(n):
            stage.push(number, to=f"user{number % 60}")

    where = 'where="push"' if fault == "half-open" else ""
    people = [f"user{number}" for number in range(60)]
    stage = play(many, plan(f'fault="{fault}"\nevery={k}\n{where}'), *people)
    found = stage.rule()
    assert found["hits"] == found["seen"] // k
    if fault != "half-open":  # which leaves sockets behind that no rule sees any more
        fate = {"drop": "dropped", "duplicate": "duplicated", "misdeliver": "misdelivered"}[fault]
        assert found["seen"] == n
        assert stage.fates().get(fate, 0) == n // k


@given(st.integers(0, 2**32), st.floats(0.01, 0.99))
@settings(max_examples=30, deadline=None)
def test_chance_is_the_seeds(seed: int, rate: float) -> None:
    """Equal seeds hit the same pushes; and about as many as asked for."""
    rule = f'fault="drop"\nrate={rate}'

    async def many(stage: Stage) -> None:
        for number in range(400):
            stage.push(number)

    one, other = (play(many, plan(rule, seed=seed)).got() for _ in range(2))
    assert one == other
    assert abs(len(one) / 400 - (1 - rate)) < 6 * (rate * (1 - rate) / 400) ** 0.5


def test_another_seed_hits_others() -> None:
    """And so does another rule of the same plan."""
    rule = 'fault="drop"\nrate=0.5'
    assert play(thirty, plan(rule, seed=1)).got() != play(thirty, plan(rule, seed=2)).got()


def test_a_rule_has_its_time() -> None:
    """From `from_s` on, for `for_s`; outside of it events are not even seen."""

    async def slowly(stage: Stage) -> None:
        begin = clock.monotonic()
        for number in range(10):
            await until(begin + number * SECOND + SECOND // 2)
            stage.push(number)

    stage = play(slowly, plan('fault="drop"\nfrom_s=3\nfor_s=4'))
    assert stage.got() == [0, 1, 2, 7, 8, 9]
    assert stage.rule()["seen"] == 4


def test_the_first_rule_that_decides_ends_it() -> None:
    """A dropped push is not seen by the rule after."""
    stage = play(thirty, plan('fault="drop"\nevery=2', 'fault="duplicate"\nevery=3'))
    assert stage.rule(2)["seen"] == 15
    assert stage.fates() == {"dropped": 15, "duplicated": 5, "sent": 10}


@pytest.mark.parametrize("early", [0, 400_000, 900_000])
def test_nothing_is_earlier_than_asked_for(early: int) -> None:
    """Not even where timers fire before their time, and the delay is on the book."""

    async def wait(stage: Stage) -> None:
        stage.push(1)
        await asyncio.sleep(1)

    stage = play(
        wait, plan('fault="latency"\nwhere="push"\ndelay={distribution="constant",ms=20}'), early=early
    )
    (achieved,) = stage.rule()["achieved_ns"]
    assert 20 * MS <= achieved < 21 * MS
    ((_, _, _, _, accepted, written, fate, _),) = stage.rows()
    assert (written - accepted >= 20 * MS, fate) == (True, "sent")


def test_delayed_pushes_keep_their_order() -> None:
    """Whatever each was to wait; others pass."""
    rule = 'fault="latency"\nwhere="new-message"\ndelay={distribution="uniform",min_ms=1,max_ms=500}'

    async def many(stage: Stage) -> None:
        await thirty(stage)
        stage.push(99, action="alert")
        assert stage.got() == [99]
        await asyncio.sleep(1)

    assert play(many, plan(rule)).got() == [99, *range(1, 31)]


def test_each_socket_of_a_user_waits_a_step_more() -> None:
    """The i-th: the constant and i steps."""

    async def one(stage: Stage) -> None:
        stage.push(1)
        await asyncio.sleep(2)

    stage = play(one, plan('fault="fan-out"\ndelay_ms=10\nstep_ms=100'), *["bob"] * 5)
    waits = [(row[5] - row[4]) // MS for row in stage.rows()]
    assert waits == [10, 110, 210, 310, 410]
    assert [wait // MS for wait in stage.rule()["achieved_ns"]] == waits


def test_the_end_of_a_plan_writes_what_waits() -> None:
    """Delayed and held pushes are not lost."""

    async def two(stage: Stage) -> None:
        stage.push(1)
        stage.push(2, action="alert")

    rule = 'fault="latency"\nwhere="alert"\ndelay={distribution="constant",ms=60000}'
    stage = play(two, plan('fault="reorder"\nlimit_ms=60000\nwhere="new-message"', rule))
    assert sorted(stage.got()) == [1, 2]
    assert stage.fates() == {"sent": 1}


def test_a_silent_socket_stays_and_says_nothing() -> None:
    """Pushes to it are dropped; the end of the plan resets it."""

    async def one(stage: Stage) -> None:
        for number in range(1, 5):
            stage.push(number)
        assert stage.hub.online("bob")
        stage.hub.answer(stage.sockets[0], FRAME)

    stage = play(one, plan('fault="half-open"\nwhere="new-message"\nevery=3'))
    silent = stage.sockets[0].connection
    assert [frame["data"] for frame in silent._connection.frames] == [1, 2]
    assert (silent._connection.deaf, silent._connection.aborted) == (True, True)
    assert stage.fates() == {"sent": 2, "dropped": 2}


def test_storms_come_in_their_time() -> None:
    """Once, or every period."""

    async def wait(stage: Stage) -> None:
        await asyncio.sleep(10.5)

    rules = 'fault="disconnect-all"\nfrom_s=3', 'fault="disconnect-all"\nfrom_s=1\nperiod_s=2'
    stage = play(wait, plan(*rules), "ann", "bob")
    assert [(rule["seen"], rule["hits"]) for rule in stage.faults.report()["rules"]] == [(1, 2), (4, 8)]
    assert all(socket.connection.aborted for socket in stage.sockets)


def stalls(offset: int) -> int:
    """Return how long a stall of 300 ms in each second holds up who arrives `offset` ns after the start."""
    (rule,) = plan('fault="stall"\nstall_ms=300\nperiod_s=1').rules
    active: Any = Active(1, rule, 1, 0)
    waits: int = active.stalled(offset, rule)
    return waits


def test_a_stall_holds_everybody_up_until_its_end() -> None:
    """The first begins after one period; who comes later waits less."""
    assert [stalls(n * 100 * MS) // MS for n in range(15)] == [0] * 10 + [300, 200, 100, 0, 0]


def test_arrivals_spread_evenly_meet_the_truth_that_is_told() -> None:
    """By simulation of the very rule: each quantile within the distance of two arrivals."""
    count = 10_000
    waits = sorted(stalls(SECOND + n * SECOND // count) for n in range(count))
    for share in (0.5, 0.7, 0.9, 0.95, 0.99, 0.999):
        truth = stall_wait(share, stall=300 * MS, period=SECOND)
        assert abs(waits[int(share * count)] - truth) <= 2 * SECOND / count


@pytest.mark.parametrize(("burst", "free"), [(1, 1), (5, 5)])
def test_capacity_is_a_knee(burst: int, free: int) -> None:
    """Slower than the bucket fills nobody waits; faster, the queue grows by the difference."""
    (rule,) = plan(f'fault="capacity"\nper_s=100\nburst={burst}').rules
    calm: Any = Active(1, rule, 1, 0)
    assert [calm.queued(n * 10 * MS, rule) for n in range(100)] == [0] * 100
    rushed: Any = Active(1, rule, 1, 0)
    waits = [rushed.queued(n * 5 * MS, rule) // MS for n in range(100)]
    assert waits[:free] == [0] * free
    assert waits[-1] == (99 - (burst - 1)) * 10 - 99 * 5
