"""Turns a run on disk into pandas frames: instants become durations here, and nowhere else in this package.

Durations are int64 nanoseconds; they become milliseconds where they are drawn or written. What was
intended before `measured_from_ns` is warm-up: it is drawn, and counted where every message counts
(nothing may get lost while warming up either), but never judged by a quantile.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.fanouts import fanouts_frame
from analysis.stats import SECOND
from reports.sample import Fate, Kind, Outcome

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from reports.artefact import Run
    from reports.manifest import Manifest

WARM_UP = "warm-up"
STEADY = "steady"
NEVER = np.iinfo(np.int64).max
ARRIVED = (Fate.ON_TIME.value, Fate.LATE.value)
"""Fates of a message that arrived once where it should: those have a fan-out latency."""


class Frames:
    """Everything of one run that is judged and drawn, each table read once."""

    def __init__(self, run: Run) -> None:
        self.manifest = run.manifest
        self._run = run

    @cached_property
    def samples(self) -> pd.DataFrame:
        """One row per attempt, with durations, second, phase and steady: see samples_frame."""
        return samples_frame(self._run.samples(), self.manifest)

    @cached_property
    def deliveries(self) -> pd.DataFrame:
        """One row per message and recipient, with response, service, read_lag, second, phase and steady."""
        return deliveries_frame(self._run.deliveries(), self.manifest)

    @cached_property
    def resources(self) -> pd.DataFrame:
        """One row per process and second, with `second` since the origin and whether it is `steady`."""
        frame = _pandas(self._run.resources())
        return frame.assign(second=_seconds(frame["at"], self.manifest), steady=self._under_load(frame["at"]))

    @cached_property
    def wakeups(self) -> pd.DataFrame:
        """One row per wake-up of the generator's probe under load, with its `lag` in ns."""
        frame = _pandas(self._run.wakeups())
        frame = frame.assign(lag=frame["woken"] - frame["due"])
        return frame[self._under_load(frame["due"])]

    @cached_property
    def presence(self) -> pd.DataFrame:
        """One row per socket that came online or went offline, in order of `at`."""
        return _pandas(self._run.presence()).sort_values("at", kind="stable")

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """What happened to the run itself, each with `kind` and `at_ns`."""
        return self._run.events()

    def _under_load(self, at: pd.Series[Any]) -> pd.Series[bool]:
        """Tell what is of the time between warm-up and drain; where that is less than half, the warm-up too.

        A generator that was so busy that hardly anything became steady must not escape for that.
        """
        origin, steady = self.manifest.origin_ns, self.manifest.measured_from_ns
        ends = [phase.to_ns for phase in self.manifest.phases if phase.name == STEADY and phase.to_ns]
        end = max(ends, default=0) or int(at.max() if len(at) else origin) + 1
        begin = steady if steady and end - steady >= (end - origin) / 2 else origin
        inside: pd.Series[bool] = (at >= begin) & (at < end)
        return inside

    @cached_property
    def steady(self) -> pd.DataFrame:
        """The samples that are judged."""
        return self.samples[self.samples["steady"]]

    @cached_property
    def fanout(self) -> pd.DataFrame:
        """The deliveries whose latency is judged: they arrived, once, and were sent after the warm-up."""
        frame = self.deliveries
        return frame[frame["steady"] & frame["fate"].isin(ARRIVED)]

    @cached_property
    def fanouts(self) -> pd.DataFrame:
        """One row per fan-out that is judged, see `analysis.fanouts`."""
        frame = fanouts_frame(self.deliveries)
        return frame[frame["steady"]]


def samples_frame(table: pa.Table, manifest: Manifest) -> pd.DataFrame:
    """Return the samples with their durations in ns; right for no rows at all.

    `first_byte`, the time to the first byte, means something only where `first` is not 0.
    """
    frame = _pandas(table)
    return frame.assign(
        response=frame["arrived"] - frame["intended"],
        service=frame["arrived"] - frame["sent"],
        first_byte=frame["first"] - frame["sent"],
        send_lag=frame["sent"] - frame["intended"],
        read_lag=frame["seen"] - frame["arrived"],
        second=_seconds(frame["arrived"], manifest),
        phase=_phases(frame["intended"], manifest),
        steady=frame["intended"] >= measured_from(manifest),
    )


def deliveries_frame(table: pa.Table, manifest: Manifest) -> pd.DataFrame:
    """Return the ledger with durations in ns, which mean something only where a row's fate is in ARRIVED."""
    frame = _pandas(table)
    begun = frame["intended"].where(frame["intended"] > 0, frame["arrived"])
    return frame.assign(
        response=frame["arrived"] - frame["intended"],
        service=frame["arrived"] - frame["sent"],
        read_lag=frame["seen"] - frame["arrived"],
        second=_seconds(frame["arrived"].where(frame["arrived"] > 0, begun), manifest),
        phase=_phases(begun, manifest),
        steady=begun >= measured_from(manifest),
    )


def measured_from(manifest: Manifest) -> int:
    """Return the instant from which on samples are judged; NEVER where the warm-up did not end."""
    return int(manifest.measured_from_ns) or NEVER


def ended(manifest: Manifest, *tables: pd.DataFrame) -> int:
    """Return when the run ended; of a run that was killed, the last thing that it wrote down."""
    if manifest.ended_ns:
        return int(manifest.ended_ns)
    columns = [table[name] for table in tables for name in ("arrived", "at") if name in table.columns]
    return max([int(manifest.origin_ns), *(int(column.max()) for column in columns if len(column))])


def per_second(resources: pd.DataFrame, column: str) -> pd.Series[Any]:
    """Return one column by second, added up over all processes."""
    # The mean first: a process that was a little late may have left two rows in one second.
    each = resources.groupby(["second", "process", "worker"], observed=True)[column].mean()
    total: pd.Series[Any] = each.groupby("second").sum()
    return total


def succeeded(samples: pd.DataFrame) -> pd.DataFrame:
    """Return the attempts whose times may enter a distribution."""
    return samples[samples["outcome"] == Outcome.OK]


def of_kind(samples: pd.DataFrame, *kinds: Kind) -> pd.DataFrame:
    """Return the attempts of these kinds."""
    return samples[samples["kind"].isin([int(kind) for kind in kinds])]


def values(frame: pd.DataFrame, column: str) -> NDArray[np.int64]:
    """Return one column as plain numbers."""
    array: NDArray[np.int64] = frame[column].to_numpy(dtype=np.int64)
    return array


def _seconds(at: pd.Series[Any], manifest: Manifest) -> pd.Series[Any]:
    seconds: pd.Series[Any] = (at - manifest.origin_ns) // SECOND
    return seconds


def _phases(intended: pd.Series[Any], manifest: Manifest) -> pd.Categorical:
    """Name the phase that each row was intended in: warm-up first, then as the manifest says, else steady."""
    phases = sorted(manifest.phases, key=lambda phase: phase.from_ns)
    names = list(dict.fromkeys([WARM_UP, STEADY, *(phase.name for phase in phases)]))
    code = np.full(len(intended), names.index(STEADY), dtype=np.int16)
    at = intended.to_numpy(dtype=np.int64)
    for phase in phases:
        code[(at >= phase.from_ns) & (at < (phase.to_ns or NEVER))] = names.index(phase.name)
    code[at < measured_from(manifest)] = names.index(WARM_UP)
    return pd.Categorical.from_codes(code, categories=_index(names))


def _index(names: Sequence[str]) -> pd.Index[Any]:
    return pd.Index(names, dtype=object)


def _pandas(table: pa.Table) -> pd.DataFrame:
    # Parts come from several workers, each with a dictionary of its own.
    frame: pd.DataFrame = table.unify_dictionaries().to_pandas()
    return frame
