"""Arrivals go to whoever is free, in order; those that find nobody wait, unmoved, or are dropped."""

from __future__ import annotations

from typing import Any

import gevent
import numpy as np
from gevent.event import Event

from loadtests import clock
from loadtests.dispatch import Dispatcher
from loadtests.pacing import Plan
from reports.sample import ARRIVAL, Outcome


class FakeRecorder:
    """Keeps what is written down."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def sample(self, _kind: object, operation: str, **row: Any) -> None:
        assert operation == ARRIVAL
        self.rows.append(row)


class Somebody:
    """Takes arrivals and remembers them."""

    def __init__(self, number: int) -> None:
        self.number, self.taken = number, list[int]()

    def arrive(self, due: int) -> None:
        self.taken.append(due)

    def look_around(self) -> int:
        return 77


def dispatcher(instants: list[int], waiting: int = 9) -> tuple[Dispatcher, FakeRecorder, list[int]]:
    """Return one with a plan, its record, and a list that grows with each drop."""
    recorder, drops = FakeRecorder(), list[int]()
    plan = Plan(np.array(instants, np.int64), max(instants, default=0))
    made = Dispatcher(plan, recorder, waiting=waiting, on_drop=lambda: drops.append(1))  # type: ignore[arg-type]
    return made, recorder, drops


def test_phases_are_those_of_the_plan_once_it_has_begun() -> None:
    """By the run's clock, which ours may be ahead of."""
    named = (("ramp", 0, 10), ("rest", 10, 20))
    plan = Plan(np.array([], np.int64), 30, named)
    desk = Dispatcher(plan, FakeRecorder(), waiting=1, on_drop=list)  # type: ignore[arg-type]
    assert desk.phases(ahead=0) == []
    desk.begin(100, list)
    found = [(each.name, each.from_ns, each.to_ns) for each in desk.phases(ahead=7)]
    assert found == [("ramp", 93, 103), ("rest", 103, 113)]
    desk.stop()


def test_the_one_who_has_been_free_longest_is_next() -> None:
    """In turn, and nobody twice who is not free again."""
    desk, _, _ = dispatcher([0, 0])
    ann, bob, eve = (Somebody(number) for number in range(3))
    for each in (ann, bob, eve):
        desk.idle(each)
    desk.busy(bob)
    desk.due(11)
    desk.due(12)
    assert (ann.taken, bob.taken, eve.taken) == ([11], [], [12])
    assert (desk.books.achieved, desk.books.late) == (2, 0)


def test_an_arrival_that_waits_keeps_its_instant() -> None:
    """The oldest first; its wait is on record as the response time of its start."""
    desk, recorder, _ = dispatcher([0, 0])
    desk.due(5)
    desk.due(6)
    ann = Somebody(4)
    desk.idle(ann)
    assert ann.taken == [5]
    assert (recorder.rows[0]["intended"], recorder.rows[0]["user"]) == (5, 4)
    assert recorder.rows[0]["sent"] > 5
    assert desk.books.longest_wait_ns == recorder.rows[0]["sent"] - 5
    assert (desk.books.achieved, desk.books.late) == (1, 1)


def test_what_is_never_begun_is_counted_and_written_down() -> None:
    """Dropped where too many wait, waiting where the end comes first: nothing is missing from the sum."""
    desk, recorder, drops = dispatcher([1, 2, 3, 4], waiting=2)
    desk.idle(Somebody(0))
    for at in (1, 2, 3, 4):
        desk.due(at)
    desk.stop()
    books = desk.books
    assert (books.planned, books.achieved, books.waiting, books.dropped) == (4, 1, 2, 1)
    assert len(drops) == 1
    outcomes = {row["intended"]: row["outcome"] for row in recorder.rows}
    assert outcomes == {1: Outcome.OK, 2: Outcome.CANCELLED, 3: Outcome.CANCELLED, 4: Outcome.CANCELLED}


def test_a_plan_is_followed_from_its_begin_and_ends_on_time() -> None:
    """Its instants count from there, also those that are over already; it can begin only once."""
    desk, recorder, _ = dispatcher([0, clock.MILLISECOND, 2 * clock.MILLISECOND])
    ended = Event()
    began = clock.now() - clock.SECOND
    desk.begin(began, ended.set)
    desk.begin(0, ended.set)
    assert ended.wait(5)
    gevent.sleep(0)
    desk.stop()
    assert [row["intended"] - began for row in recorder.rows] == [
        0,
        clock.MILLISECOND,
        2 * clock.MILLISECOND,
    ]
    assert desk.books.waiting == 3
