"""Reads two runs as a pair for the gate, and refuses what can't be compared, naming the field.

Alike are runs that did the same (scenario, seed, users) on the same machine with the same suite, and next to
each other in time: a baseline of last week differs by more than the change that is to be judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import gate, objectives, stats, verdict
from analysis.frames import Frames, of_kind
from analysis.gate import Pair, Side, least_samples
from analysis.objectives import State
from reports.artefact import Run
from reports.sample import Kind
from scenarios.slo import QUANTILES, SloError, Tolerance, parse_tolerance

if TYPE_CHECKING:
    from reports.manifest import Manifest

LIKENESS = (
    "scenario.hash",
    "seed",
    "users",
    "machine.host",
    "machine.cpu",
    "machine.cores",
    "machine.kernel",
    "machine.python",
    "suite.version",
    "clock.stamps",
    "boot_id",
)
"""What two runs of a pair must have in common, as fields of the manifest."""

INFORMATIVE = ("p50", "p90", "p99")


class GateError(Exception):
    """Runs that can't be judged together, or a metric that does not exist. The message names the field."""

    exit_code = verdict.Word.USAGE.exit_code


class UnusableError(GateError):
    """A target that could not be reached."""

    exit_code = verdict.Word.UNUSABLE.exit_code


def read_pair(baseline: Path, candidate: Path, tolerances: Sequence[Tolerance]) -> Pair:
    """Return two runs as the gate sees them. Raises GateError, and reports' ArtefactError."""
    runs = [Run.open(folder, recover=True) for folder in (baseline, candidate)]
    _refuse_unlike(runs[0].manifest, runs[1].manifest)
    frames = [Frames(run) for run in runs]
    known = sorted({name for each in frames for name in objectives.known_metrics(each)})
    for each in tolerances:
        if each.operation not in known:
            near = get_close_matches(each.operation, known, n=1, cutoff=0.3)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise GateError(f"gate.{each.name}: no metric is named {each.operation!r}{hint}")
    sides = [_side(run, each, tolerances) for run, each in zip(runs, frames, strict=True)]
    return Pair(*sides)


def match(candidates: Iterable[Path], baselines: Iterable[Path]) -> list[tuple[Path, Path]]:
    """Return (baseline, candidate) by pair, from folders in any order.

    Raises GateError unless the runs were made pair by pair: what drifts between all of one kind and all of
    the other would be taken for the change.
    """
    runs = [
        (Run.open(path, recover=True), side)
        for side, paths in ((0, baselines), (1, candidates))
        for path in paths
    ]
    ids = [run.manifest.id for run, _ in runs]
    if twice := sorted({each for each in ids if ids.count(each) > 1}):
        raise GateError(f"{twice[0]}: given twice; a run is compared with another one, once")
    runs.sort(key=lambda each: datetime.fromisoformat(each[0].manifest.started))
    if not runs or len(runs) % 2:
        raise GateError(f"{len(runs)} runs: expected as many with --runs as with --against")
    pairs = []
    for (one, one_side), (two, two_side) in zip(runs[::2], runs[1::2], strict=True):
        if one_side == two_side:
            which = ("baseline", "candidate")[one_side]
            raise GateError(
                f"started: {one.manifest.id} and {two.manifest.id}, both of the {which}, follow each other;"
                " expected pairs of a baseline and a candidate, next to each other in time"
            )
        pairs.append((two.path, one.path) if one_side else (one.path, two.path))
    return pairs


def tolerances_of(table: dict[str, Any], source: str) -> list[Tolerance]:
    """Return what a scenario's `[gate]` table states. Raises GateError where it states nothing."""
    if not table:
        raise GateError(f'{source}: it has no [gate] table, such as: "chat.delivered p50" = "5 %"')
    try:
        return [parse_tolerance(str(name), str(text)) for name, text in table.items()]
    except SloError as error:
        raise GateError(f"{source}: gate: {error}") from None


def _refuse_unlike(baseline: Manifest, candidate: Manifest) -> None:
    for name, manifest in (("baseline", baseline), ("candidate", candidate)):
        if manifest.status != "complete" and not manifest.aborted:
            why = f": {manifest.reason}" if manifest.reason else ""
            raise GateError(f"{manifest.id}: status: the {name} is {manifest.status}{why}; expected complete")
    if baseline.aborted:
        raise UnusableError(f"{baseline.id}: the baseline ran away itself: {baseline.reason}")
    if baseline.target.faults and not candidate.target.faults:
        raise GateError(
            f"{baseline.id}: target.faults: a server told to misbehave is no baseline of one that is not"
        )
    for field in LIKENESS:
        one, two = (_field(each, field) for each in (baseline, candidate))
        if one != two:
            raise GateError(
                f"{field}: the baseline {baseline.id} has {one!r}, the candidate {candidate.id} has {two!r};"
                " only runs that are alike in it can be compared"
            )


def _field(manifest: Manifest, path: str) -> Any:
    found: Any = manifest
    for name in path.split("."):
        found = getattr(found, name)
    return found


def _side(run: Run, frames: Frames, tolerances: Sequence[Tolerance]) -> Side:
    judged = verdict.judge_frames(frames)
    if judged.verdict is verdict.Word.UNUSABLE:
        raise UnusableError(f"{run.manifest.id}: {judged.sentences[0]}")
    unknown = [each for each in judged.objectives if each.state is State.UNKNOWN]
    if unknown:
        raise GateError(unknown[0].sentence)
    machine = judged.resources
    lag = machine.loop_lag.p99
    broken = [rule.sentence for rule in judged.validity if not rule.holds]
    counts, quantiles = _quantiles(frames, tolerances)
    return Side(
        run=run.manifest.id,
        started=run.manifest.started,
        counts=counts,
        quantiles=quantiles,
        objectives={each.slo: each.state for each in judged.objectives},
        invalid=" ".join(broken),
        noise=gate.noise(machine.pressure, machine.steal, lag.value if lag else None),
    )


def _quantiles(frames: Frames, tolerances: Sequence[Tolerance]) -> tuple[dict[str, int], dict[str, int]]:
    """Return samples by operation, and every quantile (ns) that they are enough for."""
    notices = set(of_kind(frames.attempts, Kind.NOTICE).counts("operation"))
    recorded = {name for rows in (frames.judged, frames.timely) for name in rows.counts("operation")}
    wanted = {(name, each) for name in recorded - notices for each in INFORMATIVE}
    wanted |= {(each.operation, each.statistic) for each in tolerances}
    counts: dict[str, int] = {}
    quantiles: dict[str, int] = {}
    for operation in sorted({name for name, _ in wanted}):
        ordered = np.sort(objectives.timed(frames, operation))
        counts[operation] = len(ordered)
        for statistic in sorted({each for name, each in wanted if name == operation}):
            if len(ordered) >= least_samples(statistic):
                at = stats.rank(len(ordered), QUANTILES[statistic]) - 1
                quantiles[f"{operation} {statistic}"] = int(ordered[at])
    return counts, quantiles
