"""What is said, drawn and put on the page about a capacity: the same figures everywhere."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from analysis.capacity import charts, page, report, sizing, text
from analysis.capacity.points import Point, PointsError, of_frames
from analysis.formats import FORMATS
from analysis.frames import Frames
from analysis.notebook import ROOT
from analysis.objectives import State
from tests.analysis.capacity.pages import searched
from tests.analysis.capacity.test_sizing import EXAMPLE
from tests.analysis.capacity.test_usl import RAYTRACER, SPECSDM91
from tests.analysis.conftest import Build
from tests.analysis.test_page import HOSTILE, read


def points(curve: tuple[Sequence[float], Sequence[float]], response: int | None = None) -> list[Point]:
    """Return the points of a published curve."""
    return [
        Point(f"line {n}", load=load, throughput=x, response=response, in_system=load, rate=x)
        for n, (load, x) in enumerate(zip(*curve, strict=True), 2)
    ]


def shown(found: report.Capacity) -> str:
    """Return what a terminal shows."""
    console = Console(file=io.StringIO(), width=140)
    console.print(text.fitted(found), *text.sizings(found.sizing))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_peak_that_was_seen_is_named_with_its_interval() -> None:
    """In the sentences and in the table."""
    found = report.analyse(points(SPECSDM91))
    assert re.match(r"the peak is 1,884/s \[1,741/s, 2,027/s\] at a load of 96.5 \[", found.sentences[0])
    assert re.search(r"b, coherency +0.000104 +4.92e-05 to 0.00016", shown(found))


def test_a_peak_that_was_not_seen_is_not_claimed() -> None:
    """At least what was measured, whether the curve has a peak further on or none at all."""
    sentences = report.analyse(points(RAYTRACER)).sentences
    assert "peak not observed" in sentences[0]
    assert "at least 310/s, measured at a load of 64.0" in sentences[0]
    cut = (RAYTRACER[0][:6], RAYTRACER[1][:6])
    assert (
        "the curve puts it at a load of 24.5, and 20.0 was the highest"
        in report.analyse(points(cut)).sentences[0]
    )


def test_a_point_that_breaks_littles_law_is_named() -> None:
    """With both figures; where no response time was given, that is said."""
    found = report.analyse(points(SPECSDM91, response=1_000_000))
    assert any("does not hold at a load of 216 (line 8)" in each for each in found.sentences)
    assert "BROKEN" in shown(found)
    assert (
        "Little's law: not checked, no response time was given" in report.analyse(points(SPECSDM91)).sentences
    )


def test_too_few_points_are_refused() -> None:
    """One sentence."""
    with pytest.raises(PointsError, match=r"1 points; .* at least 4"):
        report.analyse(points(SPECSDM91)[:1])


def test_points_of_any_size_are_analysed() -> None:
    """Flat, falling from the start, over sixteen orders of magnitude: no warning, no knee of a flat line."""
    assert report.analyse(points(([1, 2, 3, 1], [3, 3, 3, 3.0]))).knee is None
    for curve in (([1, 2, 3, 4], [9, 8, 7, 6]), ([1e-6, 2e5, 3e6, 4e9], [1, 2, 3, 1e11])):
        assert report.analyse(points(curve)).sentences


def test_a_sizing_says_what_is_assumed_and_what_drives_it() -> None:
    """And where medians alone would have led."""
    found = sizing.size(sizing.read(EXAMPLE))
    sentences = report.sizing_sentences(found)
    assert re.match(rf"{found.instances} instances are enough with 9\d", sentences[0])
    assert "medians alone" in sentences[1]
    assert re.search(r"the spread comes from \w+ \([\d.]+ %, assumed\)", sentences[2])
    assert sentences[3].startswith("assumed, not measured: ")


def test_capacity_json_is_read_back() -> None:
    """Nothing is lost, infinity included, which JSON has not."""
    found = report.analyse(points(RAYTRACER), sizing.size(sizing.read(EXAMPLE)))
    assert msgspec.json.decode(report.encode(found), type=report.Capacity) == found


def test_pictures_are_files_of_their_own(tmp_path: Path) -> None:
    """SVG and PNG, in colours that need no page, the same bytes each time."""
    found = report.analyse(points(SPECSDM91))
    for kind, magic in (("svg", b"<?xml"), ("png", b"\x89PNG")):
        path = tmp_path / f"curve.{kind}"
        charts.save(charts.draw_curve, found, path)
        first = path.read_bytes()
        assert first.startswith(magic)
        charts.save(charts.draw_curve, found, path)
        assert path.read_bytes() == first
    drawing = (tmp_path / "curve.svg").read_text()
    assert "#0b6bb5" in drawing
    assert "#020101" not in drawing
    assert "var(--blue,#0b6bb5)" in charts.curve(found).svg


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a page with everything on it, once, because a kernel takes seconds to start."""
    hostile = [Point(HOSTILE, load=300, throughput=1_500, low=1_400, high=1_600)]
    found = report.analyse(
        points(SPECSDM91, response=20_000_000) + hostile, sizing.size(sizing.read(EXAMPLE))
    )
    return page.build(found, tmp_path_factory.mktemp("capacity"))


def test_every_number_on_the_page_is_the_one_in_capacity_json(built: Path) -> None:
    """Each figure names its place, and says what stands there."""
    whole = json.loads((built.parent / report.FILE).read_text())
    figures = read(built).figures
    assert len(figures) > 60
    for place, value, written in figures:
        found = whole
        for step in place.split("/"):
            found = found[int(step)] if isinstance(found, list) else found[step]
        assert float(value) == float(found)
        assert written in {write(found) for write in FORMATS.values()}


def test_the_page_is_sound(built: Path) -> None:
    """One file, private, no link outside, headings without gaps, hostile names as text, its own footer."""
    found, source = read(built), built.read_text()
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", source)
    assert "<script" not in source
    assert HOSTILE in found.text
    assert "stands in capacity.json beside it. capacity.ipynb draws it again." in found.text
    assert "assumed" in found.text
    assert built.stat().st_mode & 0o777 == 0o600


def test_the_notebook_is_a_script_without_logic(built: Path) -> None:
    """At most 60 lines, no def and no class; plain Python can run it."""
    source = page.NOTEBOOK.read_text()
    assert len(source.splitlines()) <= 60
    assert not re.search(r"^\s*(def|class|for|while|lambda)\b", source, re.MULTILINE)
    surroundings = {"PYTHONPATH": str(ROOT), "PATH": ""}
    subprocess.run([sys.executable, page.NOTEBOOK, str(built.parent)], check=True, env=surroundings)


def test_a_search_shows_what_breaks_and_what_is_left_free(tmp_path: Path) -> None:
    """On the page: the interval, objectives in the order in which they break, headroom, instances."""
    path = searched(tmp_path / "search")
    whole = json.loads((path.parent / report.FILE).read_text())
    answer, text_ = whole["search"]["answer"], read(path).text
    assert whole["held"] == []
    for row, used in zip(whole["headroom"], report.UTILISATIONS, strict=True):
        assert row["low"] == pytest.approx(used * answer["low"])
        assert row["high"] == pytest.approx(used * answer["high"])
    carried = next(each for each in whole["sizing"]["inputs"] if each["name"] == "users_per_instance")
    assert carried["origin"] == "capacity find"
    assert (carried["low"], carried["high"]) == pytest.approx((answer["low"], answer["high"]))
    assert "as stated" in text_  # what lost = 0 allows is no share
    drawn = charts.breaking(page.open_page(path.parent).capacity).svg
    assert drawn.index("get-chats p95") < drawn.index("lost")


def test_runs_one_by_one_show_how_far_each_objective_held() -> None:
    """A miss at a lower load than a hit is where it breaks; what was never shown is not drawn."""
    states = ({"a": State.MET}, {"a": State.MISSED, "b": State.MET}, {"a": State.MET, "c": State.NOT_SHOWN})
    measured = [
        msgspec.structs.replace(point, objectives=states[min(n, 2)])
        for n, point in enumerate(points(SPECSDM91))
    ]
    found = report.analyse(measured, None, "users")
    assert found.held == [
        report.Held("a", 1, 18), report.Held("b", 18, None), report.Held("c", None, None)
    ]  # fmt: skip
    assert "what breaks first is a: missed at a load of 18.0" in found.sentences
    drawn = charts.breaking(found).svg
    assert ">b<" in drawn
    assert ">c<" not in drawn
    assert "No objective was judged." in charts.breaking(report.analyse(points(SPECSDM91))).svg


def test_a_peak_below_the_lowest_load_was_not_observed() -> None:
    """Nobody measured the side on which throughput rises."""
    found = report.analyse(points(([200, 300, 400, 500], [90, 80, 70, 61])))
    assert found.fit
    assert not found.fit.peak_observed
    assert "200 was the lowest measured" in found.sentences[0]


def test_runs_make_a_page_without_a_plan(build: Build) -> None:
    """Four runs of growing load: response times are drawn, and sizing says that it is missing."""
    runs = [build(n=1_000 * n, ledger=0, users=10 * n, seed=n) for n in (1, 2, 4, 6)]
    found = report.analyse([of_frames(Frames(run)) for run in runs])
    shape = page.Page(found)
    assert "No plan was given" in charts.instances(found.sizing).svg
    assert not shape.section("sizing").strip()
    assert "p99" in charts.response(found).svg
    assert shape.section("points").count("<tr>") == 5
    assert "peak not observed" in shape.section("summary")
