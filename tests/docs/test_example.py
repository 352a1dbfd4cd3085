"""The example in the repository is a run of this version: `make example` renews it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

from analysis import verdict
from analysis.formats import FORMATS
from reports.artefact import Run
from tests.analysis.test_page import read

EXAMPLE = Path(__file__).parents[2] / "reports" / "example"


def alike(one: Any, other: Any) -> bool:
    """Tell whether two trees are the same, but for the last digits of what another processor computed."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9)
    return bool(one == other)


def test_the_example_is_read_and_judged_as_it_was() -> None:
    """A change of the format or of a figure makes it old."""
    judged = msgspec.to_builtins(verdict.judge(Run.open(EXAMPLE)))
    assert alike(judged, json.loads((EXAMPLE / "verdict.json").read_text())), "renew it: make example"


def test_the_example_passed() -> None:
    """It is shown to people who have seen nothing else yet."""
    found = verdict.read(EXAMPLE)
    assert found.verdict is verdict.Word.PASS
    assert all(rule.holds for rule in found.validity)


def test_the_page_of_the_example_shows_its_verdict() -> None:
    """Each figure is the one in verdict.json beside it."""
    tree = json.loads((EXAMPLE / "verdict.json").read_text())
    figures = read(EXAMPLE / "report.html").figures
    assert len(figures) > 100
    for place, value, shown in figures:
        found: Any = tree
        for step in place.split("/"):
            step = step.replace("~1", "/").replace("~0", "~")
            found = found[int(step)] if isinstance(found, list) else found[step]
        assert float(value) == pytest.approx(float(found))
        assert shown in {write(found) for write in FORMATS.values()}


def test_the_example_is_small() -> None:
    """It is in the repository, in each of its versions."""
    assert sum(each.stat().st_size for each in EXAMPLE.glob("samples/*.parquet")) <= 300_000
    assert (EXAMPLE / "report.html").stat().st_size < 1_500_000
    assert (EXAMPLE / "report.ipynb").stat().st_size < 20_000
