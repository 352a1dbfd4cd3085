"""`talkload compare`, `report --against` and `history` on the terminal: words, JSON, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import talkload
from tests.analysis.conftest import fake_run, on_disk

NAMES = ("20261122T204500Z-typical-3f9a", "20261122T200000Z-typical-0000")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Make two runs, the second half as fast again, in a folder of their own."""
    for name, slow in zip(NAMES, (1.0, 1.5), strict=True):
        on_disk(fake_run(tmp_path, id=name, n=2_000, ledger=2_000, slow=slow), tmp_path / "runs")
    return tmp_path / "runs"


def call(*arguments: str | Path) -> Result:
    """Run talkload in this process."""
    return CliRunner().invoke(talkload.main, [str(each) for each in arguments])


def test_two_runs_are_compared(runs: Path) -> None:
    """A table with both and the change, and the same as JSON; exit code 0, because it is no verdict."""
    ended = call("compare", *NAMES, "--out", runs)
    assert ended.exit_code == 0, ended.output
    assert "chat.delivered" in ended.output
    assert "Descriptive, one pair of runs" in ended.output
    found = json.loads(call("compare", *NAMES, "--out", runs, "--json").output)
    (chat,) = (each for each in found["shifts"] if each["metric"] == "chat.delivered")
    assert all(0.2 < point["change"] < 0.9 for point in chat["points"])


def test_a_comparison_has_a_page(runs: Path, tmp_path: Path) -> None:
    """compare.html, compare.ipynb and compare.json; every number on the page is in the file."""
    from tests.analysis.test_page import read

    ended = call("compare", *NAMES, "--out", runs, "--page", tmp_path / "page")
    assert ended.exit_code == 0, ended.output
    tree = json.loads((tmp_path / "page" / "compare.json").read_text())
    figures = read(tmp_path / "page" / "compare.html").figures
    assert figures
    for place, value, _ in figures:
        found: Any = tree
        for step in place.split("/"):
            found = found[int(step)] if isinstance(found, list) else found[step]
        assert float(value) == float(found)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["compare", NAMES[0], NAMES[0]], "id: "),
        (["compare", NAMES[0], "nowhere"], "nowhere"),
        (["compare", NAMES[0]], "Missing argument"),
        (["compare", NAMES[0], "{other}"], "seed: "),
        (["report", NAMES[0], "--against", "{other}"], "seed: "),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    runs: Path, tmp_path: Path, arguments: list[str], says: str
) -> None:
    """Exit code 2, the field, no traceback."""
    name = "20261122T210000Z-typical-0001"
    other = on_disk(fake_run(tmp_path, id=name, seed=3, n=50, ledger=50), tmp_path / "others")
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps({**manifest, "seed": 43}))
    ended = call(*(each.format(other=other) for each in arguments), "--out", runs)
    assert ended.exit_code == 2
    assert says in ended.output
    assert "Traceback" not in ended.output


def test_a_history_grows_and_is_shown(runs: Path, tmp_path: Path) -> None:
    """Two runs of one commit are one point; the picture and JSON are of the same."""
    file = tmp_path / "history.jsonl"
    ended = call("history", "add", *NAMES, "--out", runs, "--file", file)
    assert ended.exit_code == 0, ended.output
    assert "2 of 2 runs added" in ended.output
    assert "0 of 2 runs added" in call("history", "add", *NAMES, "--out", runs, "--file", file).output
    picture = tmp_path / "history.svg"
    ended = call("history", "show", "--file", file, "--picture", picture)
    assert "typical: 1 commits, 2 runs" in ended.output
    assert picture.read_text().startswith("<?xml")
    found = json.loads(call("history", "show", "chat.delivered p50", "--file", file, "--json").output)
    assert (found["commits"], found["runs"], len(found["series"])) == (["abc1234"], [2], 1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["show", "--file", "{missing}"], "missing.jsonl"),
        (["show", "--file", "{bad}"], "bad.jsonl:1: "),
        (["add", "nowhere"], "nowhere"),
        (["add"], "Missing argument"),
        (["show", "--file", "{bad}", "--picture", "x.gif"], "neither *.svg nor *.png"),
    ],
)
def test_bad_input_to_history_is_one_sentence(tmp_path: Path, arguments: list[str], says: str) -> None:
    """Exit code 2, the place, no traceback."""
    (tmp_path / "bad.jsonl").write_text("{}\n")
    places = {"missing": tmp_path / "missing.jsonl", "bad": tmp_path / "bad.jsonl"}
    ended = call("history", *(each.format(**places) for each in arguments))
    assert ended.exit_code == 2
    assert says in ended.output
    assert "Traceback" not in ended.output
