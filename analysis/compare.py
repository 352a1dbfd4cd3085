"""Compares two runs, quantile by quantile: how much slower the second is than the first. Descriptive.

One pair of runs can't tell a change of the target from what differs between any two runs; `talkload gate`
can, with several pairs. What is shown is the shift function (Doksum, Annals of Statistics 2, 1974): at each
quantile the relative change, with a band that tells how well these two runs are known. The band comes from
the intervals of both quantiles by recovering their variances (Zou and Donner, Statistics in Medicine 27,
2008), on logarithms, because times are compared by ratios.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import expm1, hypot, log
from operator import attrgetter
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from analysis import stats, verdict
from analysis.figures import GROUPS
from analysis.formats import fmt_change, fmt_count, fmt_ms
from analysis.frames import Frames, of_kind, succeeded, values
from analysis.gate_runs import LIKENESS
from analysis.stats import Quantile
from reports.artefact import Run
from reports.manifest import Manifest
from reports.sample import Kind

SCHEMA = 1
FILE = "compare.json"
QS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)
ALIKE = tuple(field for field in LIKENESS if field != "boot_id")
"""What both runs must have in common, as fields of the manifest: they may be days apart."""

DELIVERIES = "deliveries"


class CompareError(Exception):
    """Two runs that are not alike. The message names the field."""


class Point(Struct, frozen=True):
    """One quantile: ns in both runs; the change and its band as fractions of the first."""

    q: float
    there: int
    here: int
    change: float
    low: float
    high: float


class Shift(Struct, frozen=True):
    """The shift function of one metric, at those quantiles that both runs have enough samples to show."""

    metric: str
    group: str
    n_there: int
    n_here: int
    points: list[Point]

    def at(self, q: float) -> Point | None:
        """Return the point of one quantile."""
        return next((point for point in self.points if point.q == q), None)


class Count(Struct, frozen=True):
    """How often something happened in the whole of each run."""

    what: str
    there: int
    here: int


class Comparison(Struct, frozen=True):
    """compare.json."""

    schema: int
    there: str
    here: str
    scenario: str
    pairs: int  # of runs: one can only describe
    exit_code: int
    sentences: list[str]
    counts: list[Count]
    shifts: list[Shift]


def compare(there: str | Path, here: str | Path, root: Path) -> Comparison:
    """Compare the run `here` with the run `there`: folders, ids, or "latest".

    The exit code is 0, 3 where no metric has enough samples in both, or 4 where one of them is invalid.
    Raises CompareError, and reports' ArtefactError.
    """
    runs = [Run.open(path, root=root, recover=True) for path in (there, here)]
    refuse_unlike(runs[0].manifest, runs[1].manifest)
    return of_frames(Frames(runs[0]), Frames(runs[1]))


def refuse_unlike(there: Manifest, here: Manifest) -> None:
    """Raise CompareError unless both runs are whole and did the same in the same place."""
    for each in (there, here):
        if each.status != "complete":
            why = f": {each.reason}" if each.reason else ""
            raise CompareError(f"status: {each.id} is {each.status}{why}; expected complete")
    for field in differing(there, here):
        one, other = (attrgetter(field)(each) for each in (there, here))
        raise CompareError(
            f"{field}: {there.id} has {one!r}, {here.id} has {other!r};"
            " only runs that are alike in it can be compared"
        )
    if there.id == here.id:
        raise CompareError(f"id: {there.id} is given twice; a run is compared with another one")


def differing(there: Manifest, here: Manifest) -> list[str]:
    """Return the fields of the manifest in which two runs should be alike and are not."""
    return [field for field in ALIKE if attrgetter(field)(there) != attrgetter(field)(here)]


def of_frames(there: Frames, here: Frames) -> Comparison:
    """Compare two runs that were opened."""
    shifts = list(_shifts(there, here))
    judged = [verdict.judge_frames(frames) for frames in (there, here)]
    spoiled = [each for each in judged if each.verdict in (verdict.Word.INVALID, verdict.Word.UNUSABLE)]
    named = ("requests", "deliveries", "failures", "lost", "late", "duplicate", "misdelivered", "reordered")
    said = [f"{each.run} is {each.verdict.value}: {each.sentences[0]}" for each in spoiled]
    return Comparison(
        schema=SCHEMA,
        there=there.manifest.id,
        here=here.manifest.id,
        scenario=here.manifest.scenario.name,
        pairs=1,
        exit_code=verdict.Word.INVALID.exit_code if spoiled else 0 if shifts else 3,
        sentences=[*said, *_sentences(shifts)],
        counts=[Count(name, *(getattr(each.totals, name) for each in judged)) for name in named],
        shifts=shifts,
    )


def band(there: Quantile, here: Quantile, q: float) -> Point | None:
    """Return the change of one quantile with its band; None where one of them is 0."""
    if min(there.low, here.low) <= 0:
        return None
    change = log(here.value / there.value)
    low = change - hypot(log(here.value / here.low), log(there.high / there.value))
    high = change + hypot(log(here.high / here.value), log(there.value / there.low))
    return Point(q, there.value, here.value, expm1(change), expm1(low), expm1(high))


def _shifts(there: Frames, here: Frames) -> Iterator[Shift]:
    """Yield every metric that both have enough samples of: deliveries first, then by kind and name."""
    for name in sorted(set(there.timely.counts("operation")) & set(here.timely.counts("operation"))):
        rows = (frames.timely.among("operation", name) for frames in (there, here))
        yield from _shift(name, DELIVERIES, *(values(each, "service") for each in rows))
    for kind, group in GROUPS.items():
        if kind is Kind.NOTICE:
            continue
        own = [succeeded(of_kind(frames.judged, kind)) for frames in (there, here)]
        for name in sorted(set(own[0].counts("operation")) & set(own[1].counts("operation"))):
            taken = (values(each.among("operation", name), "response") for each in own)
            yield from _shift(name, group, *taken)


def _shift(name: str, group: str, there: NDArray[np.int64], here: NDArray[np.int64]) -> Iterator[Shift]:
    pairs = zip(QS, stats.quantiles(there, QS), stats.quantiles(here, QS), strict=True)
    found = [band(one, other, q) for q, one, other in pairs if one and other]
    if points := [point for point in found if point]:
        yield Shift(name, group, len(there), len(here), points)


def _sentences(shifts: list[Shift]) -> list[str]:
    """Return what can be seen at the median, with the word descriptive."""
    medians = [(each.metric, point) for each in shifts if (point := each.at(0.5))]
    if not medians:
        return ["No metric has enough samples in both runs: make them longer, or busier."]
    slower = [each for each in medians if each[1].low > 0]
    faster = [each for each in medians if each[1].high < 0]
    alike = len(medians) - len(slower) - len(faster)
    said = [
        f"Descriptive, one pair of runs: of {fmt_count(len(medians))} medians {len(slower)} are higher,"
        f" {len(faster)} lower and {alike} not told apart."
    ]
    for word, some, first in (("higher", slower, -1), ("lower", faster, 1)):
        some = sorted(some, key=lambda each: first * each[1].change)[:1]
        said += [
            f"Most of all {word}: {name} p50, {fmt_ms(point.there)} there and {fmt_ms(point.here)} here,"
            f" {fmt_change(point.change)} [{fmt_change(point.low)}, {fmt_change(point.high)}]."
            for name, point in some
        ]
    return said
