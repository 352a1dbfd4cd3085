"""The gate's mechanics on the real thing; its judgement is tested where its figures are known."""

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
TABLE = '\n[gate]\n"https p50" = "5 %"\n"wss p50" = "5 %"\n'


@pytest.fixture
def gated(scenario: Path, tmp_path: Path) -> Path:
    """The busy scenario with a gate table."""
    file = tmp_path / "gated.toml"
    file.write_text(scenario.read_text() + TABLE)
    return file


def servers() -> set[int]:
    """Return the reference servers that nobody but a gate of this file starts: they have no other option."""
    wanted = ["-m", "talkamie.server", "--port", "0"]
    running = psutil.process_iter(["cmdline"])
    return {each.pid for each in running if (each.info["cmdline"] or [])[1:] == wanted}


def test_a_short_gate_runs_pairs_and_decides_nothing(talkload: Talkload, gated: Path, tmp_path: Path) -> None:
    """Two pairs, four fresh servers, one seed a pair; too few to decide, exit code 3, everything written."""
    before = servers()
    ended = talkload(
        "gate", "--scenario", str(gated), "--baseline", SERVE, "--candidate", SERVE,
        "--pairs", "2", "--out", str(tmp_path / "gates"), "--json",
    )  # fmt: skip
    # Invalid, on a machine that is too busy for the generator: never a pass in either case.
    assert ended.returncode in (3, 4), ended.stdout + ended.stderr
    gate = json.loads(ended.stdout)
    assert gate["exit_code"] == ended.returncode
    assert gate["counted"] + len(gate["discarded"]) == len(gate["pairs"]) >= 1
    (folder,) = (tmp_path / "gates").iterdir()
    assert {path.name for path in folder.iterdir()} == {
        "gate.json", "junit.xml", "metrics.txt", "runs", "summary.md",
    }  # fmt: skip
    runs = [json.loads((run / "manifest.json").read_text()) for run in sorted((folder / "runs").iterdir())]
    assert len(runs) == 2 * len(gate["pairs"])
    assert len({run["target"]["https"] for run in runs}) > 1
    assert [run["seed"] for run in runs[:2]] == [1, 1]
    assert "of 2 pairs" in ended.stderr
    assert servers() <= before


def test_a_candidate_that_does_not_start_makes_the_target_unusable(
    talkload: Talkload, gated: Path, tmp_path: Path
) -> None:
    """Exit code 5 and its last words; no server is left behind."""
    broken = f"{sys.executable} -c \"import sys; sys.exit('no such table: users')\""
    ended = talkload(
        "gate", "--scenario", str(gated), "--baseline", broken, "--candidate", broken,
        "--out", str(tmp_path / "gates"),
    )  # fmt: skip
    assert ended.returncode == 5, ended.stdout + ended.stderr
    assert "did not start: no such table: users" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_interrupted_gate_is_inconclusive_and_leaves_no_server(gated: Path, tmp_path: Path) -> None:
    """SIGTERM during the first run: exit code 3, gate.json is whole, nothing runs on."""
    before = servers()
    out = tmp_path / "gates"
    line = command("gate", "--scenario", str(gated), "--baseline", SERVE, "--candidate", SERVE)
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
    assert servers() <= before
