"""Deliveries by the clocks they were stamped with: sent and arrived by one clock, or across two.

Where sender and recipient sat at workers with one clock, a fan-out latency has no error but that of its
stamps. Across two clocks it may be wrong by the bounds of both against the run's (`reports.clocks`), and so
may any of its quantiles. A quantile below three times that is no figure: what is certain is that it is at
most itself and the bound, and that limit stands in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from analysis.fanouts import Times, times
from analysis.frames import ARRIVED, Frames, values
from reports.manifest import OtherClock, clock_ids
from reports.sample import Fate

if TYPE_CHECKING:
    import pandas as pd

    from analysis.stats import Quantile
    from reports.manifest import Manifest

CERTAIN = 3
"""A quantile of at least so many bounds is a figure."""


class ApartFigures(Struct, frozen=True):
    """The deliveries of one operation on one clock, or across clocks; times after the warm-up, in ns."""

    operation: str
    across: bool
    arrived: int  # over the whole run
    lost: int
    bound: int | None  # of the pair of clocks with the largest; null: of one clock nothing is known
    fanout: Times
    p50_limit: int | None  # stands in the place of the p50: it is too small for a figure
    p99_limit: int | None


class PairFigures(Struct, frozen=True):
    """Deliveries from one worker to another whose clock is another."""

    sent_by: str
    worker: str
    offset: int  # the clock of `worker` minus that of `sent_by`, when they were first compared
    bound: int | None
    fanout: Times


def apart(frames: Frames) -> list[ApartFigures]:
    """Return two rows for each operation, on one clock and across; nothing where the run had one clock."""
    clocks = _Clocks(frames.manifest)
    if not clocks.others:
        return []
    sent = frames.deliveries[frames.deliveries["sent"] > 0]
    sent = sent.assign(across=clocks.across(sent))
    found = []
    for (operation, across), rows in sent.groupby(["operation", "across"], observed=True, sort=True):
        timed = rows[rows["steady"] & rows["fate"].isin(ARRIVED)]
        pairs = rows[["sent_by", "worker"]].drop_duplicates().astype(str).itertuples(index=False)
        bounds = [clocks.bound(*pair) for pair in pairs]
        bound = None if None in bounds else max(each for each in bounds if each is not None)
        fanout = times(values(timed, "service"))
        found.append(
            ApartFigures(
                operation=str(operation),
                across=bool(across),
                arrived=int(rows["fate"].isin(ARRIVED).sum()),
                lost=int((rows["fate"] == Fate.LOST.value).sum()),
                bound=bound,
                fanout=fanout,
                p50_limit=_limit(fanout.p50, bound),
                p99_limit=_limit(fanout.p99, bound),
            )
        )
    return found


def pairs(frames: Frames) -> list[PairFigures]:
    """Return one row for each pair of workers with unlike clocks between which something was delivered."""
    clocks = _Clocks(frames.manifest)
    timed = frames.fanout[clocks.across(frames.fanout)]
    return [
        PairFigures(
            sent_by=str(one),
            worker=str(other),
            offset=clocks.offset(str(other)) - clocks.offset(str(one)),
            bound=clocks.bound(str(one), str(other)),
            fanout=times(values(rows, "service")),
        )
        for (one, other), rows in timed.groupby(["sent_by", "worker"], observed=True, sort=True)
    ]


class _Clocks:
    """Who has which clock, and what is known of it."""

    def __init__(self, manifest: Manifest) -> None:
        self._of = clock_ids(manifest)
        self.others = {clock.id: clock for clock in manifest.clocks}

    def across(self, rows: pd.DataFrame) -> pd.Series[bool]:
        """Tell which deliveries were sent by one clock and arrived by another."""
        one, other = (rows[name].astype(object).map(self._clock) for name in ("sent_by", "worker"))
        unlike: pd.Series[bool] = (one != other) & (rows["worker"].astype(object) != "")
        return unlike

    def bound(self, one: str, other: str) -> int | None:
        """Return by how much a time between two workers may be wrong; None where nothing is known."""
        if self._clock(one) == self._clock(other) or not other:
            return 0
        bounds = [clock.bound_ns for worker in (one, other) if (clock := self._other(worker))]
        return None if None in bounds else sum(bound for bound in bounds if bound is not None)

    def offset(self, worker: str) -> int:
        """Return the worker's clock minus the run's."""
        clock = self._other(worker)
        return clock.offset_ns if clock else 0

    def _clock(self, worker: str) -> str:
        return self._of.get(worker, "")

    def _other(self, worker: str) -> OtherClock | None:
        return self.others.get(self._clock(worker))


def _limit(quantile: Quantile | None, bound: int | None) -> int | None:
    """Return what a quantile is certainly not above, if it is too small for a figure."""
    if quantile is None or not bound or quantile.value >= CERTAIN * bound:
        return None
    return quantile.value + bound
