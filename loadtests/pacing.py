"""Makes the plan of a run: the instants at which journeys are intended to begin, fixed before it starts.

Pure: a schedule and a seed in, instants out; they are never moved afterwards, whatever the target does. One
plan serves any number of workers: each takes every k-th arrival of it, so all of them do the same as one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from loadtests.clock import SECOND
from scenarios.arrivals import Piece, Replay, Segment, phases

if TYPE_CHECKING:
    from numpy.typing import NDArray

Spacing = Literal["poisson", "even"]
_CHUNK = 4096


@dataclass(frozen=True, slots=True)
class Plan:
    """Every arrival of a run."""

    instants: NDArray[np.int64]  # ns from the begin of the plan, in order
    length: int  # ns
    phases: tuple[tuple[str, int, int], ...] = ()  # names, and from when to when, ns from the begin

    @property
    def hash(self) -> str:
        """A digest of all instants: equal digests are the same plan."""
        return hashlib.sha256(self.instants.astype("<i8").tobytes()).hexdigest()[:16]

    def share(self, worker: int, workers: int) -> NDArray[np.int64]:
        """Return the arrivals of one of so many workers, counted from 0: every `workers`-th one."""
        return self.instants[worker::workers]


def plan(
    segments: Sequence[Segment],
    recorded: Mapping[str, tuple[float, ...]],
    *,
    spacing: Spacing,
    seed: int,
    seconds: float,
) -> Plan:
    """Return the plan of segments that follow one another, cut at `seconds`.

    "even" puts the k-th arrival where the rates have added up to k + ½. "poisson" puts it where they have
    added up to a sum of k + 1 exponential steps of mean 1: the time-rescaling theorem (Çinlar, Introduction
    to Stochastic Processes, 1975, ch. 4.7) makes that a Poisson process of this rate. `recorded` has the
    instants of each file that is replayed, in seconds; those are taken as they are.
    """
    steps = _even() if spacing == "even" else _poisson(seed)
    found: list[NDArray[np.float64]] = []
    pieces: list[Piece] = []
    began = ended = 0.0  # of the pieces that were not laid out yet
    for segment in segments:
        if isinstance(segment, Replay):
            found.append(began + _laid_out(pieces, steps))
            at = np.array(recorded[segment.file]) / segment.speed
            found.append(ended + at[at < segment.for_s])
            pieces, began = [], ended + segment.for_s
        pieces += segment.pieces()
        ended += segment.for_s
    found.append(began + _laid_out(pieces, steps))
    instants = np.rint(np.concatenate(found) * SECOND).astype(np.int64)
    length = round(seconds * SECOND)
    named = tuple((name, round(begin * SECOND), round(end * SECOND)) for name, begin, end in phases(segments))
    return Plan(instants[instants < length], length, named)


Steps = Callable[[float], "NDArray[np.float64]"]
"""Returns the areas below the rates at which arrivals stand, of all that there are up to an area."""


def _even() -> Steps:
    return lambda area: np.arange(0.5, area)


def _poisson(seed: int) -> Steps:
    dice = np.random.default_rng(seed)

    def steps(area: float) -> NDArray[np.float64]:
        found, last = [np.empty(0)], 0.0
        while last < area:
            found.append(last + np.cumsum(dice.standard_exponential(_CHUNK)))
            last = float(found[-1][-1])
        every = np.concatenate(found)
        return every[every < area]

    return steps


def _laid_out(pieces: list[Piece], steps: Steps) -> NDArray[np.float64]:
    """Return the seconds at which the rates have added up to each of the steps."""
    some = [piece for piece in pieces if piece.seconds > 0]
    if not some:
        return np.empty(0)
    seconds, first, last = np.array(some).T
    begins, areas = (
        np.concatenate(([0.0], np.cumsum(each))) for each in (seconds, seconds * (first + last) / 2)
    )
    wanted = steps(float(areas[-1]))
    which = np.searchsorted(areas, wanted, side="right") - 1
    left, slope = wanted - areas[which], (last - first)[which] / seconds[which]
    # The root of first·t + slope·t²/2 = left, in the form that does not cancel.
    root = first[which] + np.sqrt(np.maximum(first[which] ** 2 + 2 * slope * left, 0.0))
    inside = np.divide(2 * left, root, out=np.zeros_like(left), where=root > 0)
    return np.maximum.accumulate(np.minimum(begins[which] + inside, begins[which + 1]))
