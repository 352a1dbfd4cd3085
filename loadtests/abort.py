"""When to end a run early: its target has run away, and what is still to come would tell nothing more.

Rule: from the first second on in which too small a share of the attempts succeeds, every second has to be so
for `for_s`, and so many attempts must have ended meanwhile that it is no accident. A second in which nothing
ended says nothing either way: a target that hangs lets nothing end. What we gave up ourselves does not count.
Pure: seconds in, a decision out.
"""

from __future__ import annotations

from collections.abc import Iterable

from loadtests.recorder import GROUPS
from reports.manifest import Aborted
from reports.sample import Kind, Outcome

LEAST = 20
"""Attempts that it takes at least."""


class Watch:
    """Watches the share of successes, second by second. Instants and durations in ns."""

    def __init__(self, success_below: float, lasting: int) -> None:
        """`success_below` is a share; 0 is never below."""
        self._share, self._lasting = success_below, lasting
        self._since = self._attempts = self._succeeded = 0

    def second(self, began: int, ended: int, outcomes: Iterable[tuple[Kind, Outcome]]) -> Aborted | None:
        """Take what ended in one second; return why the run is to be ended, None if it is not."""
        counted = [how for kind, how in outcomes if kind in GROUPS and how != Outcome.CANCELLED]
        succeeded = sum(how == Outcome.OK for how in counted)
        if counted and succeeded >= self._share * len(counted):
            self._attempts = self._succeeded = 0
            return None
        if not self._attempts and counted:
            self._since = began
        self._attempts += len(counted)
        self._succeeded += succeeded
        if self._attempts < LEAST or ended - self._since < self._lasting:
            return None
        return Aborted(at_ns=ended, since_ns=self._since, attempts=self._attempts, succeeded=self._succeeded)
