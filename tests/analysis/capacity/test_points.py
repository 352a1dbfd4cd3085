"""Points of a curve, from files that anybody may have written and from runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.capacity import points
from analysis.capacity.points import PointsError
from analysis.capacity.queueing import little
from analysis.frames import Frames
from reports.sample import SAMPLES, Kind, Outcome
from scenarios.workload import WorkloadError
from tests.analysis.conftest import SECOND, Build, table

GOOD = "load,throughput\n1,65\n18,996\n36,1652\n72,1853\n"


def written(folder: Path, content: str | bytes) -> Path:
    """Return a file with this content."""
    path = folder / "points.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        GOOD.encode("utf-8-sig"),
        GOOD.replace("\n", "\r\n"),
        ' Load , Throughput ,note\n1,65,a\n\n18,996,"b, c"\n36,1652\n72,1853,\n',
        "throughput,load\n65,1\n996,18\n1652,36\n1853,72",
    ],
    ids=["plain", "BOM", "CRLF", "more columns", "other order, no end"],
)
def test_a_table_may_be_written_in_many_ways(tmp_path: Path, content: str | bytes) -> None:
    """A mark of UTF-8, line ends, spaces, further columns and empty lines change nothing."""
    found = points.of_csv(written(tmp_path, content))
    assert [(point.load, point.throughput) for point in found] == [(1, 65), (18, 996), (36, 1652), (72, 1853)]


def test_a_load_may_be_measured_twice(tmp_path: Path) -> None:
    """Replicates tell how noisy the points are; only the very same row is a mistake."""
    assert len(points.of_csv(written(tmp_path, GOOD + "18,990\n"))) == 5


def test_a_response_time_may_be_given(tmp_path: Path) -> None:
    """In ms; an empty cell is none."""
    found = points.of_csv(written(tmp_path, "load,throughput,response_ms\n10,100,99.5\n20,150,\n"))
    assert [point.response for point in found] == [99_500_000, None]
    assert [check.holds for check in little(found)] == [True]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "points.csv:1: a header has one column 'load', as in load,throughput; found nothing"),
        ("users,throughput\n1,2\n", "points.csv:1: a header has one column 'load'.*found users, throughput"),
        ("load;throughput\n1;2\n", "points.csv:1: .*found load;throughput"),
        ("load,throughput,load\n1,2,3\n", "points.csv:1: a header has one column 'load'"),
        ("load,throughput\n", "points.csv:1: there are no rows"),
        ("load,throughput\n1,2\n-4,5\n", "points.csv:3: load: -4 is not above 0"),
        ("load,throughput\n1,0\n", "points.csv:2: throughput: 0 is not above 0"),
        ("load,throughput\n1,nan\n", "points.csv:2: throughput: nan is not"),
        ("load,throughput\n1,inf\n", "points.csv:2: throughput: inf is not"),
        ("load,throughput\n1e300,1\n", "points.csv:2: load: 1e300 is not above 0 and at most 1e"),
        ("load,throughput\n1,2 ms\n", "points.csv:2: throughput: '2 ms' is not a number"),
        ("load,throughput\n1\n", "points.csv:2: throughput: '' is not a number"),
        ("load,throughput\n1,2\n3,4\n1,2\n", "points.csv:4: the same as line 2"),
        ("load,throughput,response_ms\n1,2,-1\n", "points.csv:2: response_ms: -1 is not"),
        ('load,throughput\n1,"' + "9" * 200_000 + '"\n', "points.csv:2: this is not CSV: field larger"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, content: str, says: str) -> None:
    """One sentence: file, line, column, what was found."""
    with pytest.raises(PointsError, match=says):
        points.of_csv(written(tmp_path, content))


def test_what_is_no_text_file_is_refused(tmp_path: Path) -> None:
    """A folder, nothing at all, UTF-16, something huge."""
    for path in (tmp_path, tmp_path / "nowhere.csv"):
        with pytest.raises(WorkloadError, match="no such file"):
            points.of_csv(path)
    with pytest.raises(WorkloadError, match="not UTF-8"):
        points.of_csv(written(tmp_path, GOOD.encode("utf-16")))
    with pytest.raises(WorkloadError, match="not a table of points"):
        points.of_csv(written(tmp_path, "x" * 1_000_001))


def test_a_run_is_a_point(build: Build) -> None:
    """Its users, its successes per second with their interval, its quantiles; Little's law holds."""
    run = build(n=12_000, seconds=60, users=80)
    point = points.of_frames(Frames(run))
    assert (point.source, point.load) == (run.manifest.id, 80)
    assert point.low is not None
    assert point.high is not None
    assert point.low < point.throughput < point.high
    # 84 of 97 attempts are requests of https or wss, over 59 s, of which 5 are warm-up.
    assert point.throughput == pytest.approx(12_000 / 59 * 0.84, rel=0.1)
    assert point.p50 is not None
    assert point.p50.low <= point.p50.value <= point.p50.high
    assert [check.holds for check in little([point])] == [True]


def test_littles_law_sees_what_never_left(build: Build) -> None:
    """Requests that were still under way at the end have no response time among those that ended."""
    run = build(n=0, ledger=0)
    start = run.manifest.measured_from_ns
    stuck = [(start + n * SECOND // 10, start + 500 * SECOND) for n in range(400)]
    quick = [(start + n * SECOND // 10, start + n * SECOND // 10 + SECOND // 100) for n in range(500)]
    sent, arrived = zip(*stuck, *quick, strict=True)
    run.tables["samples"] = table(
        SAMPLES,
        {
            "kind": [Kind.REQUEST] * 900,
            "operation": ["get-user"] * 900,
            "outcome": [Outcome.TIMEOUT] * 400 + [Outcome.OK] * 500,
            "intended": sent,
            "sent": sent,
            "arrived": arrived,
            "seen": arrived,
        },
    )
    point = points.of_frames(Frames(run))
    assert [check.holds for check in little([point])] == [False]


def test_a_run_of_nothing_is_no_point(build: Build) -> None:
    """It has no throughput to fit a curve to."""
    with pytest.raises(PointsError, match="nothing succeeded"):
        points.of_frames(Frames(build(n=0, ledger=0)))
