"""Whose turn it is to begin something, and when: the source of all that people begin of their own accord.

The open model: each arrival of the plan is handed to a virtual user who has nothing to do, when it is due.
Nobody waits for the target to send the next one. An arrival that finds nobody free waits for the first who
is, its intended instant unmoved, so that the wait is in the response time. So many may wait; what comes
after that is dropped, which makes the run invalid: its figures would lack the worst of it.

The closed model: whoever has nothing to do looks around, and begins when that is over.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Protocol

import gevent

from loadtests import clock
from loadtests.pacing import Plan
from loadtests.recorder import Recorder
from reports.manifest import Arrivals, Phase
from reports.sample import ARRIVAL, Kind, Outcome


class Taker(Protocol):
    """Who can take an arrival."""

    number: int

    def arrive(self, due: int) -> None:
        """Begin with what is intended to begin at `due`."""

    def look_around(self) -> int:
        """Return when a look around that begins now is over."""


class Turns(Protocol):
    """Who is told of those who have nothing to do."""

    def idle(self, taker: Taker) -> None:
        """Somebody has nothing to do."""

    def busy(self, taker: Taker) -> None:
        """Somebody has something else to do, or has begun what was handed to them."""


class ThinkTimes:
    """The closed model."""

    def idle(self, taker: Taker) -> None:
        """See Turns."""
        taker.arrive(taker.look_around())

    def busy(self, taker: Taker) -> None:
        """See Turns."""


class Dispatcher:
    """The open model: follows a plan once it has begun. Greenlets only."""

    def __init__(self, plan: Plan, recorder: Recorder, *, waiting: int, on_drop: Callable[[], None]) -> None:
        self._plan, self._recorder, self._room, self._on_drop = plan, recorder, waiting, on_drop
        self._idle: OrderedDict[Taker, None] = OrderedDict()  # the longest idle first
        self._waiting: deque[int] = deque()
        self.books = Arrivals(plan_hash=plan.hash, planned=len(plan.instants))
        self._began = 0  # when the plan did, ns; 0: not yet
        self._follower: gevent.Greenlet[[int, Callable[[], object]], None] | None = None

    def begin(self, at: int, on_end: Callable[[], object]) -> None:
        """Count the plan's instants from `at`, once; call `on_end` when its time is over."""
        if self._follower is None:
            self._began = at
            self._follower = gevent.spawn(self._follow, at, on_end)

    def _follow(self, began: int, on_end: Callable[[], object]) -> None:
        for instant in self._plan.instants.tolist():
            _sleep_until(began + instant)
            self.due(began + instant)
        _sleep_until(began + self._plan.length)
        on_end()

    def due(self, at: int) -> None:
        """Hand on what is due at `at`, or let it wait, or drop it."""
        if self._idle:
            taker, _ = self._idle.popitem(last=False)
            self._start(taker, at)
        elif len(self._waiting) < self._room:
            self._waiting.append(at)
        else:
            self.books.dropped += 1
            self._on_drop()
            self._write(0, at, Outcome.CANCELLED, "dropped")

    def idle(self, taker: Taker) -> None:
        """Somebody has nothing to do: the oldest that waits is theirs at once, else the next."""
        if self._waiting:
            self.books.late += 1
            self._start(taker, self._waiting.popleft())
        else:
            self._idle[taker] = None

    def busy(self, taker: Taker) -> None:
        """See Turns."""
        self._idle.pop(taker, None)

    def phases(self, *, ahead: int) -> list[Phase]:
        """Return the phases of the plan, once it has begun, by a clock that ours is so much ahead of."""
        began, named = self._began - ahead, self._plan.phases if self._began else ()
        return [Phase(name=name, from_ns=began + begin, to_ns=began + end) for name, begin, end in named]

    def stop(self) -> None:
        """Hand nothing on any more, and write down what still waits."""
        if self._follower is not None:
            self._follower.kill(block=False)
        self._idle.clear()
        while self._waiting:
            self.books.waiting += 1
            self._write(0, self._waiting.popleft(), Outcome.CANCELLED, "nobody was free")

    def _start(self, taker: Taker, due: int) -> None:
        self.books.achieved += 1
        late = self._write(taker.number, due, Outcome.OK, "") - due
        self.books.longest_wait_ns = max(self.books.longest_wait_ns, late)
        taker.arrive(due)

    def _write(self, user: int, due: int, outcome: Outcome, error: str) -> int:
        at = clock.now()
        self._recorder.sample(
            Kind.STEP,
            ARRIVAL,
            journey="",
            user=user,
            intended=due,
            sent=at,
            arrived=at,
            seen=at,
            outcome=outcome,
            error=error,
        )
        return at


def _sleep_until(at: int) -> None:
    if (left := at - clock.now()) > 0:
        gevent.sleep(left / clock.SECOND)
    else:
        gevent.sleep(0)  # however late we are, others must have their turn
