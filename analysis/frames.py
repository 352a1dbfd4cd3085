"""Turns a run on disk into pandas frames: instants become durations here, and nowhere else in this package.

Durations are int64 nanoseconds; they become milliseconds where they are drawn or written. What was
intended before `measured_from_ns` is warm-up: it is drawn, and counted where every message counts
(nothing may get lost while warming up either), but never judged by a quantile.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from analysis.columns import Columns, Formula, Memory, Rows, minus
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
MANY = 1_000_000
NEVER = np.iinfo(np.int64).max
ARRIVED = (Fate.ON_TIME.value, Fate.LATE.value)
"""Fates of a message that arrived once where it should: those have a fan-out latency."""


class Frames:
    """Everything of one run that is judged and drawn, each table read once."""

    def __init__(self, run: Run, phase: str = "") -> None:
        """`phase`: what began in this one alone; nothing where it never came."""
        self.manifest, self._phase = run.manifest, phase
        self._run, self._memory = run, Memory()
        self._fanouts: pd.DataFrame | None = None

    @cached_property
    def attempts(self) -> Rows:
        """The samples, and what `sample_formulas` makes of them."""
        return self._whole("samples", sample_formulas(self.manifest, self._phase))

    @cached_property
    def ledger(self) -> Rows:
        """The deliveries, and what `delivery_formulas` makes of them."""
        return self._whole("deliveries", delivery_formulas(self.manifest, self._phase))

    def _whole(self, table: str, formulas: dict[str, Formula]) -> Rows:
        every = Columns(
            lambda columns: self._run.blocks(table, columns), self._run.count(table), formulas, self._memory
        ).every
        return every.among("steady", True) if self._phase else every

    @property
    def judged(self) -> Rows:
        """The attempts that are judged."""
        return self.attempts.among("steady", True)

    def within(self, phase: str) -> Frames:
        """Return the same run, as if there were nothing but what began in one phase."""
        return Frames(self._run, phase)

    @cached_property
    def samples(self) -> pd.DataFrame:
        """One row per attempt, with durations, second, phase and steady: see samples_frame."""
        return self._inside(samples_frame(self._run.samples(), self.manifest, self._phase))

    @cached_property
    def deliveries(self) -> pd.DataFrame:
        """One row per message and recipient, with durations, begun, second, phase and steady."""
        return self._inside(deliveries_frame(self._run.deliveries(), self.manifest, self._phase))

    def _inside(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["steady"]] if self._phase else frame

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

    @property
    def timely(self) -> Rows:
        """The deliveries whose latency is judged: they arrived, once, and were sent after the warm-up."""
        return self.ledger.among("steady", True).among("fate", *ARRIVED)

    @cached_property
    def fanout(self) -> pd.DataFrame:
        """The same as a pandas frame, with everything there is of them."""
        frame = self.deliveries
        return frame[frame["steady"] & frame["fate"].isin(ARRIVED)]

    @property
    def fanouts(self) -> pd.DataFrame:
        """One row per fan-out that is judged, see `analysis.fanouts`; many are found anew each time."""
        if self._fanouts is not None:
            return self._fanouts
        columns = ("operation", "sender", "sent", "worker", "socket", "arrived", "fate", "steady")
        found = fanouts_frame(self.ledger.frame(*columns))
        if len(found) <= MANY:
            self._fanouts = found
        return found


def sample_formulas(manifest: Manifest, phase: str = "") -> dict[str, Formula]:
    """Return what is made of the samples: durations in ns, the second since the origin, what is judged.

    `first_byte`, the time to the first byte, means something only where `answered` is true.
    """
    return {
        "response": minus("arrived", "intended"),
        "service": minus("arrived", "sent"),
        "first_byte": minus("first", "sent"),
        "answered": Formula(("first",), lambda first: first > 0),
        "send_lag": minus("sent", "intended"),
        "timed": Formula(("intended", "sent"), lambda intended, sent: sent > intended),
        "read_lag": minus("seen", "arrived"),
        "second": Formula(("arrived",), lambda arrived: _second(arrived, manifest)),
        "steady": Formula(("intended",), lambda intended: _is_judged(intended, manifest, phase)),
    }


def delivery_formulas(manifest: Manifest, phase: str = "") -> dict[str, Formula]:
    """Return what is made of the ledger; durations mean something only where the fate is in ARRIVED.

    What nobody we know sent began when it arrived, and what never arrived is shown where it began.
    """
    return {
        "response": minus("arrived", "intended"),
        "service": minus("arrived", "sent"),
        "read_lag": minus("seen", "arrived"),
        "came": Formula(("arrived",), lambda arrived: arrived > 0),
        "second": Formula(
            ("intended", "arrived"),
            lambda intended, arrived: _second(_first(arrived, intended), manifest),
        ),
        "steady": Formula(
            ("intended", "arrived"),
            lambda intended, arrived: _is_judged(_first(intended, arrived), manifest, phase),
        ),
    }


def _first(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return of each pair the first, or the second where there is no first."""
    return np.asarray(np.where(one > 0, one, other))


def _is_judged(at: NDArray[np.int64], manifest: Manifest, phase: str) -> NDArray[np.bool_]:
    """Tell of each instant whether it is after the warm-up, or in the one phase that is judged."""
    if not phase:
        return np.asarray(at >= measured_from(manifest))
    inside = np.zeros(len(at), dtype=bool)
    for each in manifest.phases:
        if each.name == phase:
            inside |= (at >= each.from_ns) & (at < (each.to_ns or NEVER))
    return inside


def _second(at: NDArray[np.int64], manifest: Manifest) -> NDArray[np.int32]:
    """Return the second since the origin; a clock that went wild ends at the edge of its type."""
    return np.clip((at - manifest.origin_ns) // SECOND, -(2**31), 2**31 - 1).astype(np.int32)


def samples_frame(table: pa.Table, manifest: Manifest, phase: str = "") -> pd.DataFrame:
    """Return the samples with their durations in ns; right for no rows at all.

    `first_byte`, the time to the first byte, means something only where `first` is not 0.
    """
    frame = _derived(_pandas(table), sample_formulas(manifest, phase))
    return frame.assign(phase=_phases(frame["intended"], manifest))


def deliveries_frame(table: pa.Table, manifest: Manifest, phase: str = "") -> pd.DataFrame:
    """Return the ledger with durations in ns, which mean something only where a row's fate is in ARRIVED."""
    frame = _pandas(table)
    begun = frame["intended"].where(frame["intended"] > 0, frame["arrived"])
    return _derived(frame, delivery_formulas(manifest, phase)).assign(phase=_phases(begun, manifest))


def _derived(frame: pd.DataFrame, formulas: dict[str, Formula]) -> pd.DataFrame:
    made = {
        name: each.of(*(frame[column].to_numpy() for column in each.inputs))
        for name, each in formulas.items()
    }
    return frame.assign(**made)


def measured_from(manifest: Manifest) -> int:
    """Return the instant from which on samples are judged; NEVER where the warm-up did not end."""
    return int(manifest.measured_from_ns) or NEVER


def ended(frames: Frames) -> int:
    """Return when the run ended; of a run that was killed, the last thing that it wrote down."""
    manifest = frames.manifest
    if manifest.ended_ns:
        return int(manifest.ended_ns)
    columns = [frames.attempts.values("arrived"), frames.ledger.values("arrived")]
    columns.append(frames.resources["at"].to_numpy())
    return max([int(manifest.origin_ns), *(int(column.max()) for column in columns if len(column))])


def per_second(resources: pd.DataFrame, column: str) -> pd.Series[Any]:
    """Return one column by second, added up over all processes."""
    # The mean first: a process that was a little late may have left two rows in one second.
    each = resources.groupby(["second", "process", "worker"], observed=True)[column].mean()
    total: pd.Series[Any] = each.groupby("second").sum()
    return total


Attempts = TypeVar("Attempts", pd.DataFrame, Rows)


def succeeded(samples: Attempts) -> Attempts:
    """Return the attempts whose times may enter a distribution."""
    if isinstance(samples, Rows):
        return samples.among("outcome", int(Outcome.OK))
    return samples[samples["outcome"] == Outcome.OK]


def of_kind(samples: Attempts, *kinds: Kind) -> Attempts:
    """Return the attempts of these kinds."""
    numbers = [int(kind) for kind in kinds]
    if isinstance(samples, Rows):
        return samples.among("kind", *numbers)
    return samples[samples["kind"].isin(numbers)]


def values(rows: pd.DataFrame | Rows, column: str) -> NDArray[np.int64]:
    """Return one column as plain numbers."""
    found = rows.values(column) if isinstance(rows, Rows) else rows[column].to_numpy()
    return found.astype(np.int64, copy=False)


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
