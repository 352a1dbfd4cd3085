"""How greenlets wait for what the engine brings them: woken by it, or by a deadline, whichever is first.

gevent's own events do the same at several times the cost; here a wait is one switch, and all deadlines of a
process stand on one wheel with one timer.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from gevent import getcurrent

from loadtests import clock

if TYPE_CHECKING:
    from loadtests.wire import Engine

T = TypeVar("T")

WHEEL_TICK = 10 * clock.MILLISECOND


class Expired(TimeoutError):
    """The time for something was over before it happened."""


class Wait(Generic[T]):
    """One greenlet that waits for one thing. `set` and `fail` may come first, and only the first counts."""

    __slots__ = ("_engine", "_error", "_found", "_greenlet", "over")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._greenlet: Any = None  # whoever waits
        self._error: BaseException | None = None
        self._found: Any = None
        self.over = False

    def get(self, deadline: int) -> T:
        """Return what was `set`, or raise what it failed with; Expired from `deadline` (ns) on."""
        if not self.over:
            engine = self._engine
            self._greenlet = getcurrent()
            slot = engine.wheel.add(self, deadline)
            try:
                engine.hub.switch()
            finally:
                self.over, self._greenlet = True, None
                slot.discard(self)
        if self._error is not None:
            raise self._error
        found: T = self._found
        return found

    def set(self, value: T) -> None:
        """Wake the greenlet with a value."""
        if not self.over:
            self.over, self._found = True, value
            if self._greenlet is not None:
                self._engine.wake(self)

    def fail(self, error: BaseException) -> None:
        """Wake the greenlet with an error."""
        if not self.over:
            self._error = error
            self.set(self._found)

    def resume(self) -> None:
        """Let the greenlet go on, if it still waits: called by the engine, in the hub."""
        if (greenlet := self._greenlet) is not None:
            try:
                greenlet.switch()
            except BaseException:
                self._engine.hub.handle_error(self, *sys.exc_info())

    def expire(self) -> None:
        """The deadline is over: called by the wheel."""
        self.fail(Expired("timed out"))


class Expiring(Protocol):
    """What may stand on the wheel."""

    def expire(self) -> None:
        """The deadline is over. In the loop's callback: must not wait."""


class Wheel:
    """All deadlines, in slots of `WHEEL_TICK` (Varghese and Lauck, SOSP 1987): O(1) to come and go.

    One timer of gevent's loop turns it, and only while something is on it. What expires does so up to one
    tick late, never early.
    """

    def __init__(self, loop: Any) -> None:
        self._slots: defaultdict[int, set[Expiring]] = defaultdict(set)
        self._timer = loop.timer(WHEEL_TICK / clock.SECOND, WHEEL_TICK / clock.SECOND)
        self._turned = 0  # all slots up to here are done with
        self._runs = False

    def add(self, one: Expiring, deadline: int) -> set[Expiring]:
        """Enter something that expires at `deadline` (ns); return its slot, to discard it from."""
        if not self._runs:
            self._turned, self._runs = clock.now() // WHEEL_TICK, True
            self._timer.start(self._tick)
        number = -(-deadline // WHEEL_TICK)
        slot = self._slots[number if number > self._turned else self._turned + 1]
        slot.add(one)
        return slot

    def _tick(self) -> None:
        self.turn(clock.now())

    def turn(self, now: int) -> None:
        """Let everything expire whose deadline is not after `now` (ns)."""
        slot = now // WHEEL_TICK
        # After a long stall there are more ticks to catch up with than slots.
        ticks = range(self._turned + 1, slot + 1)
        due = ticks if len(ticks) < len(self._slots) else sorted(each for each in self._slots if each <= slot)
        self._turned = max(self._turned, slot)
        for each in due:
            for one in tuple(self._slots.pop(each, ())):  # they leave it meanwhile
                one.expire()
        if not self._slots:
            self._runs = False
            self._timer.stop()
