"""One clock for all tables of a run: from exchanges of two clocks to a line, and how wrong it is. Pure.

Two clocks of different hosts differ by an offset that drifts. A worker whose clock is not the run's asks
again and again what time it is there. Of the four instants of such an exchange (RFC 5905, section 8)

    asked (here)  ->  heard (there)  ->  answered (there)  ->  told (here)

follows offset = ((asked - heard) + (told - answered)) / 2, here minus there, which is wrong by at most half
of the round trip (told - asked) - (answered - heard), however unlike the two ways are.

Between two exchanges the offset is taken for a straight line, fitted to those half a minute around whose
round trips are the shortest. Where the truth is a line too, so is the error of the fit, which is hence
nowhere larger than at the exchanges: half of a round trip, and by how much the line misses what that
exchange said. That is the bound. Beyond the first and last exchange the two ends of the error may draw
apart, and the bound grows with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SECOND = 1_000_000_000
REACH = 30 * SECOND
"""Exchanges as near as this make one line: for so long quartz, and mostly NTP too, keeps its rate."""

STEP = 10 * SECOND
MARGIN = 2 * SECOND
"""The bound holds for so long before the first exchange and after the last: longer than between two."""

GOOD = 2
"""An exchange counts when its round trip is at most so many times the shortest around."""

WANDER = 1e-4
"""By how much two clocks drift apart at most, where one exchange alone can't tell: 100 ppm, as of quartz."""


def exchange(asked: int, heard: int, answered: int, told: int) -> tuple[int, int]:
    """Return (offset here minus there, round trip), ns, of one exchange."""
    return (asked - heard + told - answered) // 2, told - asked - (answered - heard)


@dataclass(frozen=True, slots=True)
class Line:
    """A clock against that of the run: `at` by the clock, `offset` = the clock minus the run's, in ns."""

    at: Ints
    offset: Floats
    bound: int  # ns: by so much at most is wrong what `to_run` returns
    exchanges: int

    def to_run(self, instants: Ints) -> Ints:
        """Return instants of the clock as those of the run's; 0, which is none, stays 0."""
        moved = instants - np.rint(self.offset_at(instants)).astype(np.int64)
        return np.where(instants == 0, 0, moved)

    def offset_at(self, instants: Ints) -> Floats:
        """Return by how much the clock is ahead of the run's, in ns; beyond both ends the drift goes on."""
        segment = np.clip(np.searchsorted(self.at, instants, side="right") - 1, 0, max(0, len(self.at) - 2))
        drift = np.diff(self.offset) / np.diff(self.at)
        found: Floats = self.offset[segment] + (instants - self.at[segment]) * drift[segment]
        return found

    @property
    def drift_ppb(self) -> float:
        """By how many ns it gained on the run's clock each second, over all."""
        return float((self.offset[-1] - self.offset[0]) / (self.at[-1] - self.at[0]) * 1e9)


def line(exchanges: pa.Table) -> Line | None:
    """Return the line through rows of `reports.sample.EXCHANGES`; None where there is none."""
    at, offset, trip = (
        np.asarray(exchanges[name].to_numpy(), dtype=np.int64) for name in ("at", "offset", "round_trip")
    )
    some = trip >= 0  # a negative one is no exchange: a clock was set in its middle
    if not some.any():
        return None
    order = np.argsort(at[some], kind="stable")
    at, offset, trip = (values[some][order] for values in (at, offset, trip))
    first, last = int(at[0]) - MARGIN, int(at[-1]) + MARGIN
    knots = np.linspace(first, last, 2 + (last - first) // STEP).astype(np.int64)
    fits = [_fit(int(knot), at, offset, trip) for knot in knots]
    bound = int(np.ceil(max(bound for _, bound in fits))) + 1  # 1: instants are whole
    return Line(knots, np.array([value for value, _ in fits]), bound, len(at))


def _fit(knot: int, at: Ints, offset: Ints, trip: Ints) -> tuple[float, float]:
    """Return the offset at an instant by the exchanges around it, and by how much it may be wrong."""
    near = slice(*np.searchsorted(at, [knot - REACH, knot + REACH + 1]))
    if near.start == near.stop:  # a long silence: what was before it and after it
        near = slice(max(0, near.start - 1), near.start + 1)
    good = np.flatnonzero(trip[near] <= GOOD * trip[near].min()) + near.start
    since, half = (at[good] - knot).astype(np.float64), trip[good] / 2
    base = int(offset[good[0]])  # subtracted, because ns since the boot of another host are large
    values = (offset[good] - base).astype(np.float64)
    alone = half + WANDER * np.abs(since)
    best = int(np.argmin(alone))
    value, wrong = float(values[best]), float(alone[best])
    if span := float(since[-1] - since[0]):
        drift, here = np.polyfit(since, values, 1, w=1 / np.maximum(half, 1))
        beyond = max(0.0, since[0], -since[-1])
        together = float(np.max(half + np.abs(here + drift * since - values)) * (1 + 2 * beyond / span))
        if together < wrong:
            value, wrong = float(here), together
    return base + value, wrong
