"""Reads runs as the points of one curve, and refuses those that can't lie on one, naming the field.

Alike are runs that did the same to the same target from the same machine with the same suite; only what the
curve goes over may differ. That is how much load there was; or how many processes the target had, and then
the load has to be one, and more than any of them carries. A run that the generator spoiled, or that could not
reach its target, says nothing of it and is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from analysis import verdict
from analysis.capacity.points import Point, PointsError, of_frames
from analysis.frames import Frames
from analysis.gate_runs import LIKENESS
from analysis.verdict import Word
from reports.artefact import Run

if TYPE_CHECKING:
    from reports.manifest import Manifest

USERS, PROCESSES = "users", "processes"
SOURCE = tuple(field for field in LIKENESS if field not in ("scenario.hash", "users", "boot_id"))
TARGET = ("version", "stage", "faults", "password_cost", "local", "processes")
ADDRESS = ("https", "wss")  # of a target that is not started for each run, at any free port
BESIDE = ("description", "slo", "gate", "abort")  # what is said of a load, and asked of it
HOW_MUCH = ("users", "spawn_rate", "run_time_s", "warm_up_s")


def of_runs(folders: Sequence[str | Path], root: Path, by: str = USERS) -> tuple[list[Point], list[str]]:
    """Return a point per run, by users or by processes of the target, and a sentence per run left out.

    Raises ArtefactError, and PointsError for runs that are not alike, not whole, or of nothing.
    """
    runs = [Run.open(folder, root=root, recover=True) for folder in folders]
    refuse_unlike([run.manifest for run in runs], by)
    points, left_out = [], []
    for run in runs:
        frames = Frames(run)
        judged = verdict.judge_frames(frames)
        if judged.verdict in (Word.INVALID, Word.UNUSABLE):
            left_out.append(f"left out: {judged.run} is {judged.verdict.value}: {judged.sentences[0]}")
            continue
        point = of_frames(frames, float(run.manifest.target.processes) if by == PROCESSES else None)
        states = {each.slo: each.state for each in judged.objectives}
        points.append(msgspec.structs.replace(point, objectives=states))
    return points, left_out


def refuse_unlike(manifests: Sequence[Manifest], by: str) -> None:
    """Raise PointsError for the first run that can't be on one curve with the first of all."""
    for each in manifests:
        if each.status != "complete" and not each.aborted:
            why = f": {each.reason}" if each.reason else ""
            raise PointsError(f"status: {each.id} is {each.status}{why}; expected complete")
        if by == PROCESSES and not each.target.processes:
            raise PointsError(f"target.processes: the target of {each.id} does not say how many it has")
        if by == USERS and each.arrivals:
            raise PointsError(
                f"arrivals: {each.id} is an open run, whose load is no number of users; capacity find counts"
                " its arrivals"
            )
    seen: dict[str, Manifest] = {}
    for each in manifests:
        if seen.setdefault(each.id, each) is not each:
            raise PointsError(f"id: {each.id} is given twice; a repeated measurement is another run")
    for each in manifests[1:]:
        one, other = (dict(_fields(manifest, by)) for manifest in (manifests[0], each))
        for field in dict.fromkeys([*one, *other]):
            if one.get(field) != other.get(field):
                raise PointsError(
                    f"{field}: {manifests[0].id} has {one.get(field)!r}, {each.id} has {other.get(field)!r};"
                    " only runs that are alike in it lie on one curve"
                )


def _fields(manifest: Manifest, by: str) -> Iterator[tuple[str, Any]]:
    """Yield what must be alike, as fields of the manifest."""
    own = [*SOURCE, *(f"target.{name}" for name in TARGET if (by, name) != (PROCESSES, "processes"))]
    own += [] if manifest.target.local else [f"target.{name}" for name in ADDRESS]
    own += ["users"] if by == PROCESSES else []
    yield from ((field, attrgetter(field)(manifest)) for field in own)
    for table, content in manifest.scenario.config.items():
        if table not in BESIDE:
            how_much = HOW_MUCH if by == USERS and table == "load" else ()
            yield from _leaves(f"scenario.config.{table}", content, how_much)
    if by == PROCESSES:
        yield "scenario.hash", manifest.scenario.hash  # which has recorded arrivals too


def _leaves(path: str, content: Any, but: Sequence[str] = ()) -> Iterator[tuple[str, Any]]:
    if not isinstance(content, Mapping):
        yield path, content
        return
    for key, value in content.items():
        if key not in but:
            yield from _leaves(f"{path}.{key}", value)
