"""A virtual user of an open run: handed an arrival, its journey counts from the arrival's instant."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from locust.env import Environment

from loadtests import clock
from loadtests.dispatch import ThinkTimes
from loadtests.users import Senior
from scenarios.actor import Finished
from scenarios.people import dice, person
from talkamie.contract import ANONYMOUS_TOKEN, Alert


class Desk:
    """Notes who is free."""

    def __init__(self) -> None:
        self.free: list[Any] = []

    def idle(self, taker: Any) -> None:
        self.free.append(taker)

    def busy(self, taker: Any) -> None:
        self.free.remove(taker)


@pytest.fixture
def senior(monkeypatch: pytest.MonkeyPatch) -> Senior:
    """Somebody without a network, in a run that is a hundred thousand times as fast as life."""
    books = SimpleNamespace(
        target=SimpleNamespace(https="http://127.0.0.1:9", extras=False),
        tls=None,
        scenario=SimpleNamespace(client=SimpleNamespace(timeout_s=5), people=SimpleNamespace(pace=100_000)),
        turns=Desk(),
        arrivals=None,
        steady_from=0,
        finishing=False,
        overlooked=0,
        seed=1,
        tag="t",
        known_person=lambda _: None,
        next_person=lambda _: 0,
        join=lambda _: 7,
    )
    monkeypatch.setattr(Senior, "books", books, raising=False)
    return Senior(Environment())


def test_an_arrival_is_the_instant_from_which_its_journey_counts(senior: Senior) -> None:
    """However late it is begun: what comes first should have begun then, and a pause too."""
    due = clock.now() - 3 * clock.SECOND
    waiting = gevent.spawn(senior.await_turn)
    gevent.sleep(0)
    assert senior.books.turns.free == [senior]  # type: ignore[attr-defined]
    senior.arrive(due)
    assert waiting.get(timeout=5) is None
    assert senior.books.turns.free == []  # type: ignore[attr-defined]
    assert senior._intended == due
    senior.think("look")
    assert due < senior._take_intended() < due + clock.SECOND


def test_what_comes_in_is_reacted_to_before_somebody_is_free(senior: Senior) -> None:
    """An alert is an answer owed to somebody else, who waits for it."""
    senior.pushed("alert", Alert(id="a1"), 0)
    assert isinstance(senior.await_turn(), Alert)
    assert senior._take_intended() == 0


def test_in_a_closed_model_the_turn_comes_after_a_look_around(senior: Senior) -> None:
    """The same loop: the end of the look is the instant from which the journey counts."""
    senior.books.turns = ThinkTimes()
    before = clock.now()
    assert senior.await_turn() is None
    assert before < senior._take_intended() <= clock.now()
    senior.books.scenario.people.pace = 1e-6  # type: ignore[misc]
    waiting = gevent.spawn(senior.await_turn)
    gevent.sleep(0)
    senior.pushed("alert", Alert(id="a1"), 0)
    assert isinstance(waiting.get(timeout=5), Alert)
    assert senior._take_intended() == 0


def test_nobody_leaves_before_everybody_is_there(senior: Senior) -> None:
    """A visit counts from the begin of the steady state for those who came before it."""
    senior._visit_began, senior._visit_lasts = 1, clock.SECOND
    assert not senior.visit_is_over()
    senior.books.steady_from = clock.now()
    assert not senior.visit_is_over()
    senior.books.steady_from = clock.now() - 2 * clock.SECOND
    assert senior.visit_is_over()


def test_backing_off_is_seeded_and_bounded(senior: Senior, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any time up to a bound that doubles, and stops doubling; not at all where the app tries at once."""
    waits: list[float] = []
    monkeypatch.setattr(senior, "_rest", lambda seconds, _: waits.append(seconds))
    client: Any = senior.books.scenario.client
    client.reconnect, client.backoff_s, client.backoff_most_s = "instant", 1.0, 5.0
    senior.back_off(0)
    assert waits == []
    client.reconnect = "backoff"
    for attempt in (0, 1, 2, 3, 3, 3, 3, 3):
        senior.back_off(attempt)
    assert all(0 <= wait <= most for wait, most in zip(waits, (1, 2, 4, 5, 5, 5, 5, 5), strict=True))
    assert len(set(waits)) == 8
    first, waits[:] = list(waits), []
    senior.rng = dice(senior.person)
    for attempt in (0, 1, 2, 3, 3, 3, 3, 3):
        senior.back_off(attempt)
    assert waits == first


def test_who_has_an_account_signs_in_or_is_signed_in(senior: Senior) -> None:
    """With a password first, with a token at once; who comes after them signs up."""
    known = replace(person(1, "senior-0", type="senior", tag="t"), known=True)
    left = [known, replace(known, token="t0ken")]
    senior.books.known_person = lambda user: left.pop(0) if left else None  # type: ignore[method-assign]
    senior._become_somebody()
    assert (senior.seen, senior.person.known) == ({"signed-out"}, True)
    senior.make_way()
    assert (senior.seen, senior.api.token) == (set(), "t0ken")
    senior.make_way()
    assert (senior.seen, senior.person.known, senior.api.token) == (set(), False, ANONYMOUS_TOKEN)


def test_nobody_stays_free_when_the_run_is_over(senior: Senior) -> None:
    """Whoever waits for an arrival wakes up and leaves."""
    waiting = gevent.spawn(senior.await_turn)
    gevent.sleep(0)
    senior.books.finishing = True
    senior.wake()
    with pytest.raises(Finished):
        waiting.get(timeout=5)
    assert senior.books.turns.free == []  # type: ignore[attr-defined]
