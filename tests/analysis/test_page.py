"""The page: one file, nothing outside it, and every number on it from verdict.json."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest

from analysis import page
from analysis.formats import FORMATS
from analysis.notebook import RUN_VARIABLE, NotebookError, execute
from reports.sample import SAMPLES, Fate, Kind, Outcome
from tests.analysis.conftest import MS, ORIGIN, SECOND, fake_run, on_disk, rooms, table
from tests.analysis.test_verdict import attempts

ROOT = Path(page.__file__).parent.parent
HOSTILE = '<script>alert("x")</script>'
OTHER = "20261122T200000Z-typical-0000"
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Reader(HTMLParser):
    """Collects what a browser would see: elements, text of figures, what refers to something."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.figures: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.elements.append((tag, found))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "data":
            self.figures.append((found["data-of"], found["value"], ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] == "data":
            path, value, _ = self.figures[-1]
            self.figures[-1] = (path, value, data)


def read(path: Path) -> Reader:
    """Return what is on a page."""
    reader = Reader()
    reader.feed(path.read_text())
    assert not reader.open
    return reader


@cache
def built(name: str, root: Path) -> Path:
    """Return the page of a run; built once, because a kernel takes seconds to start."""
    runs: dict[str, dict[str, Any]] = {
        "ordinary": {"fates": {Fate.LOST: 3, Fate.LATE: 30}, "n": 5_000, "ledger": 3_000},
        "empty": {"n": 0, "ledger": 0},
        "one": {"tables": {"samples": attempts(2, Outcome.OK)}, "ledger": 1},
        "failed": {"tables": {"samples": attempts(40, Outcome.BROKEN)}, "ledger": 0},
        "rooms": {"n": 500, "tables": {"deliveries": some_rooms()}},
        "partial": {
            "status": "partial",
            "reason": f"killed {HOSTILE}",
            "n": 500,
            "ledger": 200,
            "tables": {"samples": hostile()},
        },
    }
    other = on_disk(fake_run(root, n=500, ledger=200, id=OTHER), root / name) if name == "partial" else None
    return page.build(on_disk(fake_run(root, **runs[name]), root / name), other)


def hostile() -> Any:
    """Return requests whose names are an attack."""
    at = [ORIGIN + 6 * SECOND + number * MS for number in range(40)]
    names = {"operation": [HOSTILE] * 40, "error": [HOSTILE] * 40, "kind": [Kind.REQUEST] * 40}
    return table(
        SAMPLES,
        {**names, **dict.fromkeys(("intended", "sent", "arrived", "seen"), at), "outcome": [0, 1] * 20},
    )


def some_rooms() -> Any:
    """Return the ledger of rooms of three sizes, and two messages that got lost on the way to a socket."""
    return rooms(np.random.default_rng(3), (1, 8, 40), 30, fates={Fate.LOST: 2})


NAMES = ("ordinary", "empty", "one", "failed", "rooms", "partial")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the page of a run by name."""
    root = tmp_path_factory.mktemp("pages")
    return lambda name: built(name, root)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_refers_to_nothing_outside_itself(pages: Callable[[str], Path], name: str) -> None:
    """No source, link, import or url but to its own parts; a policy that forbids the rest; small; private."""
    path = pages(name)
    text, found = path.read_text(), read(path)
    for _tag, attributes in found.elements:
        for key in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            # A heatmap is a picture in the page: its bytes are there, and nothing is fetched.
            assert attributes.get(key, "#").startswith(("#", "data:image/png;base64,"))
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert "@import" not in text
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg|127\.0\.0\.1)", text)
    assert "<script" not in text
    policy = next(each for tag, each in found.elements if each.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert path.stat().st_size < 1_500_000
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_a_larger_room_costs_is_shown_where_there_are_rooms(pages: Callable[[str], Path]) -> None:
    """Curve, figures and completion are on the page of a run with several sizes, and on no other."""
    for name, there in (("rooms", True), ("ordinary", False)):
        text = pages(name).read_text()
        assert (">fan-out size, latency and completion<" in text) is there
        assert ("Fan-outs by size" in text) is there
        assert ('aria-label="Fan-out completion"' in text) is there


@pytest.mark.parametrize("name", NAMES)
def test_every_number_is_the_one_in_the_verdict(pages: Callable[[str], Path], name: str) -> None:
    """Each figure on the page names its place in verdict.json, and says what stands there."""
    path = pages(name)
    verdict = json.loads((path.parent / "verdict.json").read_text())
    figures = read(path).figures
    assert figures
    for place, value, shown in figures:
        found: Any = verdict
        for step in place.split("/"):
            step = step.replace("~1", "/").replace("~0", "~")
            found = found[int(step)] if isinstance(found, list) else found[step]
        assert float(value) == float(found)
        assert shown in {write(found) for write in FORMATS.values()}


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_sound(pages: Callable[[str], Path], name: str) -> None:
    """One h1, headings without gaps, unique ids, captioned tables, a skip link, a word for the verdict."""
    found = read(pages(name))
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    ids = [each["id"] for _, each in found.elements if "id" in each]
    assert len(ids) == len(set(ids))
    tags = [tag for tag, _ in found.elements]
    assert tags.count("table") == tags.count("caption")
    assert any(each.get("class") == "skip" and each["href"][1:] in ids for _, each in found.elements)
    assert "None" not in found.text
    assert "nan" not in found.text.lower().split()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ordinary", "Failed"),
        ("empty", "Nothing was attempted"),
        ("one", "Failed"),
        ("failed", "Target unusable"),
        ("partial", "Partial run."),
    ],
)
def test_a_page_says_what_happened(pages: Callable[[str], Path], name: str, says: str) -> None:
    """Right for an ordinary run, none at all, one request, all failed, and one that was interrupted."""
    assert says in read(pages(name)).text


def test_hostile_names_are_text(pages: Callable[[str], Path]) -> None:
    """What a target or a manifest said is shown as it was said, and never becomes an element."""
    found = read(pages("partial"))
    assert HOSTILE in found.text
    assert "script" not in {tag for tag, _ in found.elements}


def test_two_builds_give_the_same_bytes(pages: Callable[[str], Path]) -> None:
    """Page, notebook and verdict: no date, no random id, no trace of the execution or of this machine."""
    folder = pages("ordinary").parent
    files = ("report.html", "report.ipynb", "verdict.json")
    first = {name: (folder / name).read_bytes() for name in files}
    page.build(folder)
    assert first == {name: (folder / name).read_bytes() for name in files}
    for content in first.values():
        assert str(folder.parent).encode() not in content
        assert str(ROOT).encode() not in content
    assert not [each.name for each in folder.iterdir() if each.name.startswith(".report")]


def test_the_notebook_runs_again(pages: Callable[[str], Path]) -> None:
    """report.ipynb is valid, has its run as a parameter, and its outputs."""
    notebook: Any = nbformat.read(pages("ordinary").parent / "report.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    parameters = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert [cell.source for cell in parameters] == ["RUN = '.'\nAGAINST = ''"]
    assert any(cell.get("outputs") for cell in notebook.cells)


def test_the_notebook_is_a_script_without_logic(pages: Callable[[str], Path]) -> None:
    """At most 60 lines, no def and no class; plain Python can run it, told by its argument or environment."""
    source = page.NOTEBOOK.read_text()
    assert len(source.splitlines()) <= 60
    assert not re.search(r"^\s*(def|class|for|while|lambda)\b", source, re.MULTILINE)
    run = str(pages("ordinary").parent)
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, page.NOTEBOOK, run], check=True, env=surroundings)


def test_a_script_takes_its_run_from_the_environment(
    pages: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TALKLOAD_RUN stands above the parameter of the script."""
    monkeypatch.setattr(sys, "argv", ["one_run.py"])
    monkeypatch.setenv(RUN_VARIABLE, str(pages("one").parent))
    assert page.open_report("reports/nowhere").verdict.totals.attempts == 2


def test_a_comparison_is_called_descriptive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against another run each metric has both figures and the change, and that is called no verdict."""
    monkeypatch.setattr(sys, "argv", ["one_run.py"])
    slow: dict[str, Any] = {"n": 3_000, "ledger": 3_000, "slow": 2.0, "seed": 1}
    here = on_disk(fake_run(tmp_path, **slow), tmp_path / "here")
    there = on_disk(fake_run(tmp_path, n=3_000, ledger=3_000, id=OTHER), tmp_path / "there")
    text = page.open_report(here, there).comparison()
    assert f"Against {OTHER}" in text
    assert "Descriptive" in text
    change = re.search(r"chat.delivered</th>.*?([+-]\d+\.\d) %", text)
    assert change is not None
    assert 80 < float(change[1]) < 120
    assert page.open_report(here).comparison() == ""


def test_a_page_may_stand_against_another_run(pages: Callable[[str], Path]) -> None:
    """The notebook names the other run by a path from its own folder."""
    page_path = pages("partial")
    assert f"Against {OTHER}" in read(page_path).text
    assert f"AGAINST = '../{OTHER}'" in json.dumps(
        json.loads((page_path.parent / "report.ipynb").read_text())
    )


def test_a_notebook_that_fails_says_why(tmp_path: Path) -> None:
    """The exception of the cell is the message, and no page is left behind."""
    script = tmp_path / "bad.py"
    script.write_text("# %%\nraise ValueError('out of paper')\n")
    with pytest.raises(NotebookError, match="ValueError: out of paper"):
        execute(script, {}, tmp_path)
