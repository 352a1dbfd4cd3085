"""Charts: one SVG for both themes, the same every time, and calm where there is nothing to draw."""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree

import numpy as np
import pytest

from analysis import charts, curves, figures, panels, svg
from analysis.frames import Frames, of_kind, succeeded, values
from analysis.svg import Chart
from reports.artefact import with_worker
from reports.sample import DELIVERIES, RESOURCES, SAMPLES, Fate, Kind, Outcome
from tests.analysis.conftest import ORIGIN, SECOND, Build, rooms, table
from tests.analysis.test_verdict import attempts

ALL = [
    *(charts.timeline, charts.spectrum, charts.fanout, charts.ping, charts.resources),
    *(panels.heatmap, panels.operations, panels.quiet_and_busy, panels.lags),
]
RUNS = {
    "ordinary": {"fates": {Fate.LOST: 3}, "n": 4_000, "ledger": 2_000},
    "empty": {"n": 0, "ledger": 0},
    "one": {"tables": {"samples": attempts(2, Outcome.OK)}, "ledger": 1, "seconds": 1},
    "failed": {"tables": {"samples": attempts(40, Outcome.FAILED)}, "ledger": 0},
    "warm-up only": {"measured_from_ns": 0, "n": 300, "ledger": 100},
    "hostile": {"slo": {"https p99": "< 1 s"}, "n": 300, "ledger": 100},
}


@pytest.mark.parametrize("draw", ALL, ids=lambda draw: draw.__name__)
@pytest.mark.parametrize("how", RUNS.values(), ids=RUNS)
def test_a_chart_is_a_well_formed_image_of_its_own(
    build: Build, draw: Callable[[Frames], Chart], how: dict[str, object]
) -> None:
    """XML with a label, unique ids, no reference to outside and no colour of one theme only."""
    chart = draw(Frames(build(**how)))
    root = ElementTree.fromstring(chart.svg)
    assert root.get("role") == "img"
    assert root.get("aria-label") == chart.alt
    ids = re.findall(r'\bid="([^"]+)"', chart.svg)
    assert len(ids) == len(set(ids))
    assert all(each.startswith(f"{chart.name}-") for each in ids)
    targets = re.findall(r'href="([^"]+)"|url\(([^)]+)\)', chart.svg)
    assert all((a or b).startswith(("#", "data:image/png;base64,")) for a, b in targets)
    assert not any(sentinel in chart.svg for sentinel, _ in svg.THEME.values())
    assert "<style" not in chart.svg
    drawn = re.sub(r"base64,[^\"]*", "", chart.svg)
    assert "nan" not in drawn.lower().replace("dominant", "")


@pytest.mark.parametrize("draw", ALL, ids=lambda draw: draw.__name__)
def test_a_chart_is_the_same_every_time(build: Build, draw: Callable[[Frames], Chart]) -> None:
    """Two drawings of one run have the same bytes."""
    run = build(n=2_000, ledger=500)
    assert draw(Frames(run)).svg == draw(Frames(run)).svg


def test_the_size_of_a_fan_out_is_drawn_from_its_figures(build: Build) -> None:
    """Both lines, with ticks at the sizes; nothing where each size has too few messages."""
    rows = figures.sizes(
        Frames(build(tables={"deliveries": rooms(np.random.default_rng(1), (1, 50, 100), 120)}))
    )
    chart = curves.sizes(rows)
    assert chart
    assert ElementTree.fromstring(chart.svg).get("aria-label") == chart.alt
    assert {"per recipient", "until the last one", "chat.delivered", "100"} <= set(
        re.findall(r">([^<>]+)</text>", chart.svg)
    )
    assert chart == curves.sizes(rows)
    few = figures.sizes(Frames(build(tables={"deliveries": rooms(np.random.default_rng(1), (1, 2), 5)})))
    assert few
    assert curves.sizes(few) is None


def test_nothing_to_draw_is_said_in_words(build: Build) -> None:
    """A sentence instead of empty axes."""
    frames = Frames(
        build(
            n=0,
            ledger=0,
            tables={"resources": table(with_worker(RESOURCES), {}), "deliveries": table(DELIVERIES, {})},
        )
    )
    assert "No https operation" in charts.timeline(frames).svg
    assert "No ping was answered" in charts.ping(frames).svg
    assert "No resources" in charts.resources(frames).svg


def test_an_objective_of_all_requests_is_a_line_in_the_timeline(build: Build) -> None:
    """Its name and limit stand at the line."""
    frames = Frames(build(slo={"https p99": "< 1 s"}, n=300, ledger=10))
    assert "objective https p99 &lt; 1 s" in charts.timeline(frames).svg


def test_alternative_text_is_escaped() -> None:
    """Whatever the label holds, it stays a label."""
    chart = charts.no_data("x", '"><script>alert(1)</script>')
    assert ElementTree.fromstring(chart.svg).get("aria-label") == '"><script>alert(1)</script>'
    assert "<script" not in chart.svg


def test_phases_are_named(build: Build) -> None:
    """Warm-up and every phase of the manifest stand above the timeline."""
    frames = Frames(build(n=300, ledger=10, measured_from_ns=ORIGIN + 20 * SECOND))
    assert {"warm-up", "steady"} <= set(re.findall(r">([a-z-]+)</text>", charts.timeline(frames).svg))


def test_an_hour_is_drawn_with_as_many_points_as_five_minutes(build: Build) -> None:
    """A chart's size is bounded, whatever the run's length, and so is a clock that went wild."""
    frames = Frames(build(n=40_000, ledger=20_000, seconds=7_200, failing=0.5))
    assert sum(len(draw(frames).svg) for draw in ALL) < 700_000
    wild = attempts(2, Outcome.OK).to_pydict()
    wild["arrived"] = [2**62, 2**62]
    assert "NaN" not in charts.timeline(Frames(build(tables={"samples": table(SAMPLES, wild)}))).svg


def test_a_heatmap_counts_every_request_that_succeeded(build: Build) -> None:
    """As many as there are, each in the row of its response time and the column of its second."""
    rows = succeeded(of_kind(Frames(build(n=3_000, ledger=10)).attempts, Kind.REQUEST, Kind.SOCKET))
    took, seconds = values(rows, "response"), np.maximum(rows.values("second"), 0)
    counts, edges = panels.counted(seconds, took)
    assert counts.sum() == len(rows)
    for number in range(0, len(took), 100):
        at = np.searchsorted(edges, took[number], side="right") - 1
        near = slice(max(at - 1, 0), at + 2)  # at an edge, a rounding may decide otherwise
        assert counts[seconds[number], near].sum() > 0


def test_pings_are_told_apart_by_the_load_of_their_second(build: Build) -> None:
    """The load of a second is what was answered and what arrived in it; a run of no pings says so."""
    frames = Frames(build(n=4_000, ledger=2_000))
    answered = of_kind(frames.attempts, Kind.REQUEST, Kind.SOCKET)
    assert panels.load(frames).sum() == len(answered) + len(frames.ledger.among("came", True))
    assert "at most" in panels.quiet_and_busy(frames).svg
    assert "No ping" in panels.quiet_and_busy(Frames(build(n=0, ledger=0))).svg
