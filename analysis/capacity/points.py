"""What was measured at each load: read from runs, or from a CSV file that comes from anywhere.

A CSV file has a header with the columns `load` and `throughput` (per second), and, where it is known,
`response_ms`, the mean time that one of the load needs for one unit of the throughput. Other columns are
left alone, rows may stand in any order, and one load may be measured several times.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct
from scipy import special

from analysis import stats
from analysis.figures import measured
from analysis.frames import Frames, measured_from, of_kind, succeeded, values
from analysis.objectives import State
from analysis.stats import Quantile
from reports.sample import Kind
from scenarios.workload import read_text

if TYPE_CHECKING:
    from analysis.columns import Rows

COLUMNS = ("load", "throughput")
RESPONSE = "response_ms"
MOST = 1e12
BATCHES = 10
"""The rate's uncertainty is seen by cutting the time into so many batches (Law, Simulation Modeling, 9.5)."""


class PointsError(Exception):
    """Points that can't be read; the message names the file, the line and the column."""


class Point(Struct, frozen=True):
    """One load and what it came to. Rates are per second, durations ns; null where nobody measured it."""

    source: str
    load: float  # users, or whatever the file's first column counts
    throughput: float  # successes per second: goodput
    low: float | None = None  # 95 % interval of the throughput
    high: float | None = None
    response: int | None = None  # mean, of everything that was answered or given up
    in_system: float | None = None  # mean number under way
    rate: float | None = None  # how many left the system per second
    p50: Quantile | None = None
    p99: Quantile | None = None
    objectives: dict[str, State] = {}  # of a run: its scenario's, by their names


def of_csv(path: Path) -> list[Point]:
    """Return the points of a file. Raises PointsError, WorkloadError for what is no text file, OSError."""
    rows = csv.reader(read_text(path, "a table of points").splitlines())
    try:
        header = [name.strip().lower() for name in next(rows, [])]
        for name in COLUMNS:
            if header.count(name) != 1:
                found = ", ".join(filter(None, header)) or "nothing"
                raise PointsError(
                    f"{path}:1: a header has one column {name!r}, as in load,throughput; found {found}"
                )
        points = list(_rows(path, rows, header))
    except csv.Error as error:
        raise PointsError(f"{path}:{rows.line_num}: this is not CSV: {error}") from None
    if not points:
        raise PointsError(f"{path}:1: there are no rows below the header")
    return points


def _rows(path: Path, rows: Iterator[list[str]], header: list[str]) -> Iterator[Point]:
    lines: dict[tuple[float, float], int] = {}
    line_of = rows.line_num  # type: ignore[attr-defined]
    for row in rows:
        line_of = rows.line_num  # type: ignore[attr-defined]
        if not any(cell.strip() for cell in row):
            continue
        cells = dict(zip(header, row, strict=False))
        load, throughput = (_number(cells.get(name), f"{path}:{line_of}: {name}") for name in COLUMNS)
        if (first := lines.setdefault((load, throughput), line_of)) != line_of:
            raise PointsError(f"{path}:{line_of}: the same as line {first}; a repeated measurement differs")
        text = cells.get(RESPONSE, "").strip()
        response = round(_number(text, f"{path}:{line_of}: {RESPONSE}") * 1e6) if text else None
        yield Point(
            source=f"line {line_of}",
            load=load,
            throughput=throughput,
            response=response,
            in_system=load if response else None,
            rate=throughput,
        )


def _number(text: str | None, place: str) -> float:
    try:
        number = float(text or "")
    except ValueError:
        raise PointsError(f"{place}: {(text or '').strip()[:40]!r} is not a number") from None
    if not 0 < number <= MOST:  # which NaN is not either
        raise PointsError(f"{place}: {(text or '').strip()[:40]} is not above 0 and at most {MOST:g}")
    return number


def of_frames(frames: Frames, load: float | None = None) -> Point:
    """Return what a run came to after its warm-up: https operations and wss requests together.

    load: what it was, where users are not what counts.
    """
    manifest = frames.manifest
    start, span = measured_from(manifest), measured(frames)
    rows = of_kind(frames.attempts, Kind.REQUEST, Kind.SOCKET)
    good = succeeded(of_kind(frames.judged, Kind.REQUEST, Kind.SOCKET))
    if not len(good) or not manifest.users:
        raise PointsError(f"{manifest.id}: nothing succeeded after the warm-up; this is no point of a curve")
    half = _half_width(good, start, span)
    rate = stats.per_second(len(good), span)
    p50, p99 = stats.quantiles(values(good, "response"), (0.5, 0.99))
    response, in_system, left = _under_way(rows, start, span)
    return Point(
        source=manifest.id,
        load=load or manifest.users,
        throughput=rate,
        low=max(0.0, rate - half),
        high=rate + half,
        response=response,
        in_system=in_system,
        rate=left,
        p50=p50,
        p99=p99,
    )


def _half_width(good: Rows, start: int, span: int) -> float:
    """Return half of the 95 % interval of the rate, by batch means and Student's t."""
    edges = np.linspace(start, start + span, BATCHES + 1)
    rates = np.histogram(values(good, "arrived"), edges)[0] / (span / BATCHES / stats.SECOND)
    return float(special.stdtrit(BATCHES - 1, 0.975) * rates.std(ddof=1) / np.sqrt(BATCHES))


def _under_way(rows: Rows, start: int, span: int) -> tuple[int | None, float, float]:
    """Return the mean service time of what ended in the window, the mean number under way, and the rate."""
    sent, ended = values(rows, "sent"), values(rows, "arrived")
    inside = np.minimum(ended, start + span) - np.maximum(sent, start)
    left = (ended >= start) & (ended < start + span)
    if not left.any():
        return None, 0.0, 0.0
    return (
        int((ended - sent)[left].mean()),
        float(inside[inside > 0].sum() / span),
        stats.per_second(int(left.sum()), span),
    )
