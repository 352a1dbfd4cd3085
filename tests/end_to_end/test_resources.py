"""What users cost a target that is known by its addresses alone: its own `/metrics` tell, beside the load."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest

from loadtests.target import Target
from reports.artefact import Run
from tests.end_to_end.conftest import Talkload

pytestmark = pytest.mark.end_to_end


@pytest.mark.parametrize("target", [("--workers", "2")], ids=["two processes"], indirect=True)
def test_a_target_elsewhere_tells_what_its_users_cost(
    talkload: Talkload, target: Target, scenario: Path, tmp_path: Path
) -> None:
    """The CPU on record is what the kernel counts of both processes, and the costs add up to it."""
    assert target.ca
    before = used(target.pid)
    where = ["--target", target.https, "--socket", target.wss, "--ca", target.ca, "--out", str(tmp_path)]
    ended = talkload("run", str(scenario), "--run-time", "35s", "--no-page", *where)
    (folder,) = tmp_path.iterdir()
    run = Run.open(folder)
    assert run.manifest.status == "complete", ended.stderr + ended.stdout  # whatever its verdict
    rows = run.resources().to_pandas()
    rows = rows[rows["process"] == "server"].sort_values("at")
    assert len(rows) > 30
    assert rows["rss"].min() > 2 * 20e6
    recorded = float((rows["cpu"].iloc[1:] * rows["at"].diff().iloc[1:]).sum() / 1e9)
    assert 0.5 * (used(target.pid) - before) < recorded <= used(target.pid) - before

    ended = talkload("capacity", "resources", str(folder), "--json")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["source"] == "/metrics"
    explained = sum(cost["count"] * cost["estimate"]["value"] for cost in found["cpu"] if cost["estimate"])
    assert explained / 1e9 == pytest.approx(recorded, rel=0.2)
    assert found["users"]["low"] > 0


def used(pid: int) -> float:
    """Return the CPU time of a server and its processes, in s."""
    server = psutil.Process(pid)
    times = [process.cpu_times() for process in (server, *server.children())]
    return sum(each.user + each.system for each in times)
