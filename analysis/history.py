"""The history of a scenario: one point a commit, and where it changed. The second line, never the gate.

A point is the median over the runs of one commit, metric by metric: runs of one commit differ, and one of
them alone would be taken for a change. The history is a file of JSON lines, one run each, so that adding is
appending. Runs are told apart by what makes them comparable: scenario, machine and version of the file
format; a series never mixes them.

Change points are found by Apache Otava (Fleming et al., "Hunter", ICPE 2023): `pip install --no-deps
apache-otava`. Without dependencies, because it pins numpy and scipy to older versions than ours, and its
analysis needs nothing else.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from msgspec import Struct

from analysis import verdict
from analysis.figures import ANSWERED, GROUPS
from analysis.formats import fmt_change, fmt_count
from reports.artefact import Run

WINDOW, MAX_P, MIN_CHANGE = 30, 0.001, 0.05
"""What Otava is told: of how many points at a time, how sure, and from which relative change on."""

QUANTILES = ("p50", "p99")
FILE = "history.json"
LEAST = 4
"""So few points have no change point, whatever they are."""

INSTALL = "pip install --no-deps apache-otava"


class HistoryError(Exception):
    """A run that can't be added, or a history that can't be read. The message names the file and the line."""


class Entry(Struct, frozen=True, omit_defaults=True):
    """One run: quantiles in ns by metric, such as `chat.delivered p50`."""

    schema: int
    run: str
    started: str
    commit: str
    scenario: str
    hash: str
    machine: str
    values: dict[str, int]


class Change(Struct, frozen=True):
    """From the point at `index` on, the mean of a metric is another: both in ns, the change as a fraction."""

    index: int
    commit: str
    before: float
    after: float
    change: float
    p: float


class Series(Struct, frozen=True):
    """One metric by commit, in the order in which their first runs started. ns; null where it has none."""

    metric: str
    values: list[int | None]
    changes: list[Change]


class History(Struct, frozen=True):
    """What a history shows of one scenario on one machine. `detected` is false where Otava is missing."""

    schema: int
    scenario: str
    machine: str
    commits: list[str]
    runs: list[int]  # of each commit
    detected: bool
    sentences: list[str]
    series: list[Series]


def entry(run: Run) -> Entry:
    """Return what a history keeps of a run. Raises HistoryError for one that says nothing."""
    manifest, judged = run.manifest, verdict.judge(run)
    if judged.partial or judged.verdict in (verdict.Word.INVALID, verdict.Word.UNUSABLE, verdict.Word.USAGE):
        word = "partial" if judged.partial else judged.verdict.value
        raise HistoryError(
            f"{manifest.id}: is {word}: {judged.sentences[0]} A history takes whole, valid runs."
        )
    if manifest.target.faults:
        raise HistoryError(
            f"{manifest.id}: target.faults: a server told to misbehave has no place in a history"
        )
    timed = [(row.operation, row.fanout) for row in judged.deliveries]
    groups = {GROUPS[kind] for kind in ANSWERED}
    timed += [(row.operation, row.response) for row in judged.operations if row.group in groups]
    values = {
        f"{name} {q}": found.value for name, times in timed for q in QUANTILES if (found := getattr(times, q))
    }
    machine = manifest.machine
    return Entry(
        schema=1,
        run=manifest.id,
        started=manifest.started,
        commit=manifest.suite.git if manifest.target.local else "",  # the reference server is of the suite
        scenario=manifest.scenario.name,
        hash=manifest.scenario.hash,
        machine=f"{machine.host}, {machine.cpu}, {machine.cores} cores",
        values=dict(sorted(values.items())),
    )


def add(path: Path, entries: Iterable[Entry], commit: str = "") -> list[Entry]:
    """Append runs that are not in the history yet, all or none; return them.

    commit: of what they measured, where it is not what they say. Raises HistoryError for a run without one,
    and OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # two jobs may add at once
        there = {each.run for each in _decoded(path, file.read())}
        fresh = {each.run: each for each in entries if each.run not in there}
        found = [msgspec.structs.replace(each, commit=commit) if commit else each for each in fresh.values()]
        if bare := [each.run for each in found if not each.commit]:
            raise HistoryError(f"{bare[0]}: nobody knows its commit: give it with --commit")
        size = os.fstat(file.fileno()).st_size
        cut = size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"
        data = b"\n" * cut + b"".join(msgspec.json.encode(each) + b"\n" for each in found)
        # One write: a reader sees all of it or nothing. What a full disk cut is taken back.
        if os.write(file.fileno(), data) != len(data):
            os.ftruncate(file.fileno(), size)
            raise HistoryError(f"{path}: no space left for {fmt_count(len(found))} more runs")
        os.fsync(file.fileno())
    return found


def read(path: Path) -> list[Entry]:
    """Return every run of a history. Raises HistoryError with the line that can't be read, and OSError."""
    return _decoded(path, path.read_bytes())


def show(entries: Sequence[Entry], scenario: str = "", metrics: Sequence[str] = ()) -> History:
    """Return the series of a scenario, that of the newest run if none is named; of these metrics, or of all.

    Of one scenario only runs that did the same on the same machine as its newest one are taken. Raises
    HistoryError for a scenario or metric that the history doesn't know.
    """
    own = [each for each in entries if not scenario or each.scenario == scenario]
    if not own:
        known = ", ".join(sorted({each.scenario for each in entries})) or "no run at all"
        raise HistoryError(f"scenario {scenario!r}: the history has {known}")
    newest = max(own, key=lambda each: each.started)
    like = [
        each
        for each in own
        if (each.scenario, each.hash, each.machine) == (newest.scenario, newest.hash, newest.machine)
    ]
    by_commit: dict[str, list[Entry]] = {}
    for each in sorted(like, key=lambda each: each.started):
        by_commit.setdefault(each.commit, []).append(each)
    names = list(dict.fromkeys(name for each in like for name in each.values))
    if unknown := [name for name in metrics if name not in names]:
        raise HistoryError(f"metric {unknown[0]!r}: the history has {', '.join(sorted(names)[:8])} …")
    points = {name: [_median(runs, name) for runs in by_commit.values()] for name in metrics or sorted(names)}
    commits = list(by_commit)
    find = _otava()
    series = [Series(name, line, _changes(line, commits, find)) for name, line in points.items()]
    left = len(own) - len(like)
    return History(
        schema=1,
        scenario=newest.scenario,
        machine=newest.machine,
        commits=commits,
        runs=[len(runs) for runs in by_commit.values()],
        detected=find is not None,
        sentences=_sentences(series, commits, left, detected=find is not None),
        series=series,
    )


def _median(runs: Sequence[Entry], name: str) -> int | None:
    values = [each.values[name] for each in runs if name in each.values]
    return round(median(values)) if values else None


def _otava() -> Any:
    """Return Otava's detector, or None where it is not installed."""
    try:
        from otava.analysis import compute_change_points
    except ImportError:
        return None
    return compute_change_points


def _changes(line: Sequence[int | None], commits: Sequence[str], find: Any) -> list[Change]:
    """Return the change points of one series; a commit without the metric is left out."""
    at = [number for number, value in enumerate(line) if value is not None]
    values = [float(line[number] or 0) for number in at]
    if find is None or len(values) < LEAST:
        return []
    # A list, because an array would be compared as a whole inside.
    found, _ = find(values, window_len=WINDOW, max_pvalue=MAX_P, min_magnitude=MIN_CHANGE)
    return [
        Change(
            index=at[each.index],
            commit=commits[at[each.index]],
            before=float(each.stats.mean_1),
            after=float(each.stats.mean_2),
            change=float(each.stats.forward_rel_change()),
            p=float(each.stats.pvalue),
        )
        for each in found
    ]


def _sentences(series: Sequence[Series], commits: Sequence[str], left: int, *, detected: bool) -> list[str]:
    said = []
    if not detected:
        said.append(f"Change points are found by Apache Otava, which is not installed: {INSTALL}")
    elif len(commits) < LEAST:
        said.append(
            f"{len(commits)} commits are too few to find a change: it takes {LEAST}, and rather {WINDOW}."
        )
    changes = [(each.metric, change) for each in series for change in each.changes]
    changes.sort(key=lambda each: (each[1].index, -abs(each[1].change)))
    said += [f"{name} changed at {each.commit}: {fmt_change(each.change)}." for name, each in changes]
    if detected and len(commits) >= LEAST and not changes:
        said.append(f"No change in {fmt_count(len(commits))} commits.")
    if left:
        said.append(f"{fmt_count(left)} runs that did something else, or elsewhere, are left out.")
    return said


def _decoded(path: Path, data: bytes) -> list[Entry]:
    found = []
    for number, line in enumerate(data.splitlines(), 1):
        try:
            each = msgspec.json.decode(line, type=Entry)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise HistoryError(f"{path}:{number}: {error}") from None
        if each.schema != 1:
            raise HistoryError(f"{path}:{number}: schema {each.schema}, expected 1")
        found.append(each)
    return found
