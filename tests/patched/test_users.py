"""A virtual user of an open run: handed an arrival, its journey counts from the arrival's instant."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from locust.env import Environment

from loadtests import clock
from loadtests.users import Senior
from scenarios.actor import Finished
from talkamie.contract import Alert


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
        manifest=SimpleNamespace(measured_from_ns=0),
        finishing=False,
        overlooked=0,
        seed=1,
        tag="t",
        next_person=lambda: 0,
        known_person=lambda _: None,
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


def test_nobody_stays_free_when_the_run_is_over(senior: Senior) -> None:
    """Whoever waits for an arrival wakes up and leaves."""
    waiting = gevent.spawn(senior.await_turn)
    gevent.sleep(0)
    senior.books.finishing = True
    senior.wake()
    with pytest.raises(Finished):
        waiting.get(timeout=5)
    assert senior.books.turns.free == []  # type: ignore[attr-defined]
