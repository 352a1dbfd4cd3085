"""A whole gate: pairs of runs against servers of its own, a word, an exit code; and the ways it can end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.conftest import LONG, ROOT, Talkload, command

pytestmark = pytest.mark.end_to_end

SERVE = f"{sys.executable} -m talkamie.server --port 0"
SMALL = ROOT / ".ci" / "gate.toml"
PLAN = """[[rule]]
fault = "latency"
where = ["https", "action", "push"]
delay = { distribution = "constant", ms = %d }
"""


def servers(mine: Path) -> list[int]:
    """Return the reference servers that were told of a folder of this test."""
    running = [(each.pid, each.info["cmdline"] or []) for each in psutil.process_iter(["cmdline"])]
    return [pid for pid, line in running if "talkamie.server" in line and str(mine) in " ".join(line)]


@pytest.mark.long
def test_handlers_that_take_twice_as_long_are_a_regression(tmp_path: Path) -> None:
    """Six live pairs: "regressed" and exit code 1, or the machine was too busy to tell, and says so."""
    sides = []
    for side, delay_ms in (("baseline", 10), ("candidate", 20)):
        plan = tmp_path / f"{side}.toml"
        plan.write_text(PLAN % delay_ms)
        sides += [f"--{side}", f"{SERVE} --faults {plan}"]
    line = command("gate", "--scenario", str(SMALL), *sides, "--pairs", "6", "--json")
    ended = subprocess.run(
        [*line, "--out", str(tmp_path / "gates")],
        cwd=ROOT, capture_output=True, text=True, timeout=3 * LONG, check=False,
    )  # fmt: skip
    gate = json.loads(ended.stdout)
    busy = gate["verdict"] == "invalid" or gate["counted"] < 6
    assert gate["verdict"] in (("inconclusive", "invalid") if busy else ("regressed",)), ended.stdout
    assert (
        ended.returncode == gate["exit_code"] == {"regressed": 1, "inconclusive": 3}.get(gate["verdict"], 4)
    )
    assert all(metric["change"] is None or metric["change"] > 0.3 for metric in gate["metrics"])

    # What it leaves: its files, fresh servers, one seed a pair, and nobody who goes on.
    assert gate["counted"] + len(gate["discarded"]) == len(gate["pairs"]) >= 1
    (folder,) = (tmp_path / "gates").iterdir()
    assert {path.name for path in folder.iterdir()} == {
        "gate.json", "junit.xml", "metrics.txt", "runs", "summary.md",
    }  # fmt: skip
    runs = [json.loads((run / "manifest.json").read_text()) for run in sorted((folder / "runs").iterdir())]
    assert len(runs) == 2 * len(gate["pairs"])
    assert len({run["target"]["https"] for run in runs}) > 1
    assert sorted(run["seed"] for run in runs) == sorted(2 * [*range(1, len(gate["pairs"]) + 1)])
    assert "of 6 pairs" in ended.stderr
    assert servers(tmp_path) == []


def test_a_candidate_that_does_not_start_makes_the_target_unusable(
    talkload: Talkload, tmp_path: Path
) -> None:
    """Exit code 5 and its last words; no server is left behind."""
    broken = f"{sys.executable} -c \"import sys; sys.exit('no such table: users')\""
    ended = talkload(
        "gate", "--scenario", "gate", "--baseline", broken, "--candidate", broken,
        "--out", str(tmp_path / "gates"),
    )  # fmt: skip
    assert ended.returncode == 5, ended.stdout + ended.stderr
    assert "did not start: no such table: users" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_interrupted_gate_is_inconclusive_and_leaves_no_server(tmp_path: Path) -> None:
    """SIGTERM during the first run: exit code 3, gate.json is whole, nothing runs on."""
    out, serve = tmp_path / "gates", f"{SERVE} --ca-dir {tmp_path}"
    line = command("gate", "--scenario", str(SMALL), "--baseline", serve, "--candidate", serve)
    with subprocess.Popen(
        [*line, "--run-time", "60s", "--out", str(out)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        watchdog = threading.Timer(LONG, process.kill)
        watchdog.start()
        pause = threading.Event()
        while not list(out.glob("*/runs/*/manifest.json")) and process.poll() is None:
            pause.wait(0.1)
        os.kill(process.pid, signal.SIGTERM)
        said, _ = process.communicate()
        watchdog.cancel()
    assert process.returncode == 3, said
    (folder,) = out.iterdir()
    assert json.loads((folder / "gate.json").read_text())["verdict"] == "inconclusive"
    assert servers(tmp_path) == []
