"""The benchmark runs from one end to the other. What it measures is the machine's affair: not judged here."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.contenders import OURS, SYNC, USUAL, Own
from benchmarks.figures import Figure, at_most, keep, report, table, times
from benchmarks.instrument import Size, measure
from benchmarks.peers import NAMES, find
from benchmarks.stand import Stand

TINY = Size(seconds=0.2, rounds=1, sockets=(5, 10), users=4, stamp_sockets=5, levels=(20,), held=(2, 40))


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with no peer on it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.end_to_end
def test_a_run_fills_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    options = argparse.Namespace(json=True, write=False, quick=True, peers=False)
    assert measure(TINY, [OURS], {"k6": "not here"}, options) == 0
    run = json.loads(capsys.readouterr().out)
    assert run["failures"] == []
    assert run["absent"] == {"k6": "not here"}
    rows = {one["key"]: one["cells"].get("ours") for one in run["figures"]}
    assert len(rows) == 10 + 2 + 2 + 1 + 4
    assert all(rows.values()), rows
    # A machine that is busy otherwise may leave no stamp and no call in so short a time.
    rates = [
        cell[0] for key, cell in rows.items() if cell and not key.startswith(("memory", "stamp", "service"))
    ]
    assert all(rate > 0 for rate in rates), rows


@pytest.mark.end_to_end
@pytest.mark.parametrize("contender", [USUAL, SYNC], ids=lambda one: one.name)
def test_the_usual_ways_do_the_same_work(contender: Own) -> None:
    with ExitStack() as stack:
        stand = Stand(stack)
        for work in ("receive", "echo", "connect", *({"https"} & contender.works)):
            rate, _ = stand.rate(contender, stand.job(work, tls=True, users=3, seconds=0.2))
            assert rate > 0, work


@pytest.mark.usefixtures("nowhere")
def test_a_peer_that_is_not_here_is_named_with_the_reason() -> None:
    here, absent = find(install=False)
    assert here == []
    assert tuple(absent) == NAMES
    text = report(
        dict.fromkeys(["date", "machine", "python", "openssl", "took_s", "command"], "?")
        | {
            "contenders": {"ours": ""},
            "absent": absent,
            "failures": [],
            "remarks": [],
        },
        [Figure("a", "echo", "/CPU s", cells={"ours": (1.0,)})],
    )
    for name in NAMES:
        assert f"- {name}: absent ({absent[name]})" in text
        assert name in text.splitlines()[3]


def test_a_goal_of_times_is_judged_beside_the_usual_way_and_the_peers_that_are_here() -> None:
    goal = times(5, "k6", "k9")
    assert goal.met({"usual": (10.0,), "ours": (50.0,)})
    assert not goal.met({"usual": (10.0,), "ours": (49.0,)})
    assert not goal.met({"usual": (10.0,), "ours": (50.0,), "k9": (51.0,)})
    assert not goal.met({"ours": (50.0,)}), "beside nothing nothing is shown"


def test_a_limit_holds_for_each_number_of_a_cell() -> None:
    goal = at_most(20, 100, unit="µs")
    assert goal.met({"ours": (20.0, 100.0)})
    assert not goal.met({"ours": (4.0, 101.0)})


def test_the_table_has_ratio_goal_and_verdict() -> None:
    figure = Figure("a", "echo", "/CPU s", times(4), {"usual": (100.0,), "ours": (390.0,)})
    last = table([figure], ["usual", "ours", "k6"]).splitlines()[-1]
    assert [cell.strip() for cell in last.strip("|").split("|")] == [
        "echo", "/CPU s", "100", "390", "–", "3.9×", "≥ 4×", "**no**",
    ]  # fmt: skip


def test_a_document_keeps_one_outcome_and_all_its_other_words(tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    document.write_text("# Before\n")
    keep("first", document)
    document.write_text(document.read_text() + "\n# After\n")
    keep("second", document)
    text = document.read_text()
    assert text.startswith("# Before\n")
    assert text.endswith("\n# After\n")
    assert "first" not in text
    assert text.count("second") == 1
