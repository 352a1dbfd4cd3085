"""When the target was away: stretches in which one attempt after the other broke.

An outage reaches from the first of attempts that broke, by when they did, to the last one before a success or
an answer that says no. Single failures are none, and neither is what lasts a moment. Time-outs are not looked
at: a target that is slow is not away.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from analysis.formats import fmt_count, fmt_ms
from analysis.frames import Frames, of_kind, values
from reports.sample import Kind, Outcome

ATTEMPTS = 5
SHORTEST = 200_000_000
_ANSWERED = (Kind.REQUEST, Kind.SOCKET, Kind.PING)
_BLOCK = 1 << 20
_ENDS = (Outcome.OK, Outcome.FAILED, Outcome.TIMEOUT)
"""What ends a stretch. What we gave up ourselves says nothing."""


class Outage(Struct, frozen=True):
    """Instants in ns since the origin of the run."""

    begin: int
    end: int
    attempts: int

    @property
    def sentence(self) -> str:
        """When, for how long, and what it is known by."""
        return (
            f"The target was away for {fmt_ms(self.end - self.begin)}, from {fmt_ms(self.begin)} on:"
            f" {fmt_count(self.attempts)} attempts in a row broke."
        )


def outages(frames: Frames) -> list[Outage]:
    """Return each outage, the first one first."""
    ended = of_kind(frames.attempts, *_ANSWERED)
    at = np.sort(values(ended.among("outcome", int(Outcome.BROKEN)), "arrived"))
    if not len(at):
        return []
    others = values(ended.among("outcome", *map(int, _ENDS)), "arrived")
    # A stretch ends where something else ended between two that broke.
    between = np.zeros(len(at) + 1, dtype=np.bool_)
    for begin in range(0, len(others), _BLOCK):
        between[np.searchsorted(at, others[begin : begin + _BLOCK])] = True
    edges = np.flatnonzero(between[1:-1]) + 1
    at -= frames.manifest.origin_ns
    found = [Outage(int(part[0]), int(part[-1]), len(part)) for part in np.split(at, edges)]
    return [each for each in found if each.attempts >= ATTEMPTS and each.end - each.begin >= SHORTEST]
