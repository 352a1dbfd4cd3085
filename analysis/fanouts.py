"""Fan-outs: all that one send caused, how many sockets it was due on, and when the last of them had it.

A fan-out is the rows of the ledger with one operation, sender and instant of sending: a message and the
sockets of its recipient, a read receipt and the sockets of both parties, somebody's coming online and those
of everybody who wrote meanwhile. Its *size* is the number of sockets that it was due on (on time, late or
lost; surplus copies and misdelivered ones are not due). Its *completion* is the last arrival minus the send.
It has none where a socket never had it (lost), or where nobody can say whether one should have (unknown).

Every recipient is one sample of the latency per recipient, so a fan-out to 500 weighs 500 times one to one;
a completion is one sample for each fan-out. Where each is one delivery the two are the same by definition.
The interval of a latency per recipient takes samples for independent, which those of one fan-out are not:
in a large room the interval of the completion is the one to trust.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from msgspec import Struct

from analysis import stats
from analysis.stats import Quantile
from reports.sample import Fate

if TYPE_CHECKING:
    from numpy.typing import NDArray

QS = (0.5, 0.9, 0.95, 0.99, 0.999)
EDGES = (0, 1, 5, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 1_000_000_000)
"""A bucket of sizes is above one edge and up to the next."""

_DUE = (Fate.ON_TIME.value, Fate.LATE.value, Fate.LOST.value)
_COUNTED = (*_DUE, Fate.UNKNOWN.value)


class Times(Struct, frozen=True):
    """The distribution of a duration: a quantile is null where there are too few samples to show it."""

    n: int
    p50: Quantile | None = None
    p90: Quantile | None = None
    p95: Quantile | None = None
    p99: Quantile | None = None
    p999: Quantile | None = None
    max: int | None = None


class SizeFigures(Struct, frozen=True):
    """The fan-outs of one operation within a bucket of sizes, sent after the warm-up. Times in ns."""

    operation: str
    smallest: int  # size that occurred
    largest: int
    size: float  # mean
    fanouts: int
    incomplete: int  # with a socket that never had it
    unknown: int  # of which nobody can say whether they are complete
    fanout: Times  # per recipient
    completion: Times  # per fan-out


def times(durations: NDArray[np.int64]) -> Times:
    """Return the distribution of these durations."""
    if not len(durations):
        return Times(0)
    p50, p90, p95, p99, p999 = stats.quantiles(durations, QS)
    return Times(len(durations), p50, p90, p95, p99, p999, int(durations.max()))


def fanouts_frame(deliveries: pd.DataFrame) -> pd.DataFrame:
    """Return one row per fan-out after the warm-up that anybody was due: operation, sender, sent, size, lost,
    unknown and completion (ns; means something only where lost and unknown are 0).

    `deliveries` is the frame of that name of `analysis.frames`.
    """
    fate = deliveries["fate"]
    (rows,) = np.nonzero(((deliveries["sent"] > 0) & fate.isin(_COUNTED)).to_numpy())
    due = fate.isin(_DUE).to_numpy()
    names = ("operation", "sender", "sent", "worker", "socket")
    columns = [_numbers(deliveries[name]) for name in names]
    # Sorted by hand, because grouping by three columns takes ten times the time and five times the memory.
    rows = rows[np.lexsort([each[rows] for each in (~due, *columns[::-1])])]
    first = _changes(column[rows] for column in columns[:3])
    fresh = first | _changes(column[rows] for column in columns[3:])
    begins = np.flatnonzero(first)
    # Several messages in one frame reach a socket together: it counts once, if it was due at all.
    sockets = np.add.reduceat(due[rows] & fresh, begins, dtype=np.int32)
    lost, unknown = (
        np.add.reduceat((fate == each.value).to_numpy()[rows], begins, dtype=np.int32)
        for each in (Fate.LOST, Fate.UNKNOWN)
    )
    last = np.maximum.reduceat(_numbers(deliveries["arrived"])[rows], begins)
    steady = np.logical_or.reduceat(deliveries["steady"].to_numpy(dtype=np.bool_)[rows], begins)
    there = (sockets > 0) & steady
    found = deliveries[["operation", "sender", "sent"]].iloc[rows[begins[there]]].reset_index(drop=True)
    return found.assign(
        size=sockets[there],
        lost=lost[there],
        unknown=unknown[there],
        completion=last[there] - found["sent"].to_numpy(),
    )


def _numbers(column: pd.Series[Any]) -> NDArray[Any]:
    """Return numbers as they are, and a number for each name."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return np.asarray(column.cat.codes)
    return column.to_numpy() if pd.api.types.is_integer_dtype(column) else pd.factorize(column)[0]


def _changes(columns: Iterable[NDArray[Any]]) -> NDArray[np.bool_]:
    """Mark each row in which any of these columns differs from the row before; the first one always does."""
    marks = [np.append(np.True_, column[1:] != column[:-1])[: len(column)] for column in columns]
    return np.asarray(np.logical_or.reduce(marks))


def complete(fanouts: pd.DataFrame) -> pd.DataFrame:
    """Return those fan-outs that every due socket had: only they have a completion."""
    return fanouts[(fanouts["lost"] == 0) & (fanouts["unknown"] == 0)]


def completed(fanouts: pd.DataFrame) -> NDArray[np.int64]:
    """Return how long it took until the last socket had it, in ns, of those fan-outs that are complete."""
    found: NDArray[np.int64] = complete(fanouts)["completion"].to_numpy(dtype=np.int64)
    return found


def by_size(fanouts: pd.DataFrame, deliveries: pd.DataFrame) -> list[SizeFigures]:
    """Return one row per operation and bucket of sizes that occurred, ascending.

    `fanouts` are those to be judged, `deliveries` the rows of the ledger that have a latency.
    """
    found = []
    for operation in sorted(set(fanouts["operation"])):
        own = fanouts[fanouts["operation"] == operation]
        latencies = deliveries[deliveries["operation"] == operation]
        latencies = latencies.merge(own[["sender", "sent", "size"]], on=["sender", "sent"])
        for above, upto in pairwise(EDGES):
            some = own[(own["size"] > above) & (own["size"] <= upto)]
            if some.empty:
                continue
            there = (latencies["size"] > above) & (latencies["size"] <= upto)
            found.append(
                SizeFigures(
                    operation=str(operation),
                    smallest=int(some["size"].min()),
                    largest=int(some["size"].max()),
                    size=float(some["size"].mean()),
                    fanouts=len(some),
                    incomplete=int((some["lost"] > 0).sum()),
                    unknown=int(((some["lost"] == 0) & (some["unknown"] > 0)).sum()),
                    fanout=times(latencies.loc[there, "service"].to_numpy(dtype=np.int64)),
                    completion=times(completed(some)),
                )
            )
    return found
