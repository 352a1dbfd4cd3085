"""What a gate leaves for machines says the same in every format, and takes no text of a target for markup."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import numpy as np
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from rich.console import Console

from analysis import gate_files, gate_text, verdict
from analysis.gate import Gate, Pair
from analysis.objectives import State
from commands.common import in_place
from tests.analysis.conftest import Build
from tests.analysis.test_gate import judged, pairs, side


@pytest.fixture
def regressed() -> Gate:
    """Eight pairs: one metric regressed, one passed, an objective is not shown, a pair was disturbed."""
    objectives = {"lost": State.MET, "errors": State.NOT_SHOWN}
    disturbed = pairs(1, noise="CPU steal 20 % (at most 5 %)")
    return judged([*pairs(8, 1.2, objectives=objectives), *disturbed])


def cases(xml: bytes) -> dict[str, str]:
    """Return what became of each test case, by name."""
    found = ET.fromstring(xml).iter("testcase")
    return {case.attrib["name"]: next((child.tag for child in case), "passed") for case in found}


def test_gate_json_is_the_truth(regressed: Gate, tmp_path: Path) -> None:
    """It reads back as what was judged, every pair included, and only its owner can read it."""
    gate_files.write(tmp_path, regressed)
    assert gate_files.read(tmp_path) == regressed
    assert {path.name for path in tmp_path.iterdir()} == {
        "gate.json",
        "junit.xml",
        "summary.md",
        "metrics.txt",
    }
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())


def test_junit_has_a_case_for_each_metric_and_objective(regressed: Gate, tmp_path: Path) -> None:
    """Regressed failed, passed passed, not shown is skipped, with the totals that a CI server reads."""
    gate_files.write(tmp_path, regressed)
    xml = (tmp_path / "junit.xml").read_bytes()
    assert cases(xml) == {
        "chat.delivered p50": "failure",
        "wss.ping p99": "passed",
        "lost": "passed",
        "errors": "skipped",
    }
    root = ET.fromstring(xml)
    assert (root.attrib["tests"], root.attrib["failures"], root.attrib["skipped"]) == ("4", "1", "1")


def test_inconclusive_is_skipped_with_its_reason(tmp_path: Path) -> None:
    """Neither a success nor a failure."""
    gate_files.write(tmp_path, judged(pairs(3)))
    (skipped, *_) = ET.fromstring((tmp_path / "junit.xml").read_bytes()).iter("skipped")
    assert "needs 3 more pairs" in skipped.attrib["message"]


def test_an_invalid_gate_has_no_case_that_passed(tmp_path: Path) -> None:
    """Its metrics are skipped, and the instrument is an error."""
    gate_files.write(tmp_path, judged(pairs(6, invalid="Loop lag.", objectives={})))
    assert cases((tmp_path / "junit.xml").read_bytes()) == {
        "chat.delivered p50": "skipped",
        "wss.ping p99": "skipped",
        "instrument": "error",
    }


def test_openmetrics_can_be_parsed(regressed: Gate) -> None:
    """By the reference parser; the change is the estimate of gate.json."""
    text = gate_files.openmetrics(regressed).decode()
    found = {
        frozenset([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
    }
    change = regressed.metrics[0].change
    assert change is not None
    estimate = found[frozenset(["talkload_gate_change_ratio", "chat.delivered p50", "estimate"])]
    assert estimate == pytest.approx(change)
    assert found[frozenset(["talkload_gate_verdict", "chat.delivered p50", "regressed"])] == 1
    assert found[frozenset(["talkload_gate_pairs", "no"])] == 1
    assert found[frozenset(["talkload_gate_exit_code"])] == 1


def test_the_summary_tells_all_that_matters(regressed: Gate) -> None:
    """Verdict, figures with their interval, objectives, what was not counted."""
    text = gate_text.markdown(regressed)
    assert "typical: regressed" in text.splitlines()[0]
    assert re.search(r"\| chat.delivered p50 \| [78]\.\d\d ms \| 9\.\d\d ms \| \+\d\d\.\d % \|", text)
    assert "CPU steal 20 %" in text
    assert "1 other metrics" in text


def test_text_from_a_run_is_not_taken_for_markup() -> None:
    """HTML, a pipe, a new line or an escape code in a name stays text in Markdown, XML and on a terminal."""
    nasty = "<img src=x>|`a`\n\x1b[2J"
    rng = np.random.default_rng(3)
    gate = judged([Pair(side(rng), side(rng, objectives={nasty: State.MISSED})) for _ in range(6)])
    text = gate_text.markdown(gate)
    assert "<img" not in text
    assert "\x1b" not in text
    assert cases(gate_files.junit("x", [("slo", nasty, "failed", nasty)])) == {
        "<img src=x>|`a`??[2J": "failure"
    }
    assert not any("\x1b" in line or "\n" in line for line in gate_text.lines(gate))


def test_progress_tells_pairs_and_estimates(regressed: Gate) -> None:
    """One line where there is no terminal, a table with colours where there is one."""
    line = gate_text.progress(regressed)
    assert line.startswith("8 of 20 pairs, 1 not counted: chat.delivered p50 +")
    console = Console(force_terminal=True, width=140, record=True)
    with in_place(console) as live:
        view = gate_text.View(console, live)
        view.second(9, "candidate", {"elapsed_s": 3.0, "phase": "steady", "online": 4})
        view.pair(regressed)
        view.stopping()
    assert "chat.delivered p50" in console.export_text()
    plain = Console(force_terminal=False, width=40, record=True)
    view = gate_text.View(plain, None)
    view.second(9, "candidate", {"elapsed_s": 3.0, "phase": "steady", "online": 4})
    view.pair(regressed)
    assert plain.export_text().strip() == line


def test_objectives_alone_leave_a_junit_file_beside_the_run(build: Build, tmp_path: Path) -> None:
    """One case an objective, and one for the instrument."""
    judged_run = msgspec.structs.replace(verdict.judge(build(slow=60.0)))
    gate_files.write_objectives(tmp_path, judged_run)
    found = cases((tmp_path / "junit.xml").read_bytes())
    assert found["chat.delivered p50"] == "failure"
    assert found["lost"] == "passed"
    assert found["instrument"] == "passed"
