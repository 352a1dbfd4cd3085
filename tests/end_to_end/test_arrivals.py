"""An open run beyond what the target can do: it ends on time and tells what the target's users felt."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis import verdict as judging
from analysis.frames import Frames, of_kind, succeeded
from analysis.objectives import State
from analysis.stats import SECOND
from loadtests.target import Server
from reports.artefact import Run
from reports.sample import Kind
from tests.end_to_end.conftest import Talkload

pytestmark = pytest.mark.end_to_end

BROWSING = """description = "People look around, at a rate"

[load]
users = 6
spawn_rate = 6
run_time_s = 10

[people]
pace = 1000

[senior]
browse = 1

[volunteer]
browse = 1

[slo]
"get-users p90 @constant" = "< 100 ms"
"""
FAULTS = """[[rule]]
fault = "capacity"
where = "get-users"
per_s = 20
"""


def test_beyond_capacity_response_time_grows_and_service_time_does_not(
    talkload: Talkload, tmp_path: Path
) -> None:
    """Two searches a journey at 20 a second: of 20 journeys a second every other one has to wait."""
    (tmp_path / "browsing.toml").write_text(BROWSING)
    (tmp_path / "faults.toml").write_text(FAULTS)
    server = Server("--faults", str(tmp_path / "faults.toml"), "--test-endpoints")
    try:
        target = server.ready()
        where = ["--target", target.https, "--socket", target.wss, "--ca", str(target.ca)]
        done = talkload(
            "run",
            str(tmp_path / "browsing.toml"),
            "--arrivals",
            "20",
            "--out",
            str(tmp_path / "runs"),
            *where,
        )
    finally:
        server.stop()
    folder = next((tmp_path / "runs").iterdir())
    run, verdict = Run.open(folder), judging.read(folder)
    came = verdict.arrivals
    assert came is not None
    assert f"arrivals: {came.planned} planned, {came.achieved} achieved" in done.stdout
    assert came == run.manifest.arrivals
    assert came.planned == came.achieved + came.waiting  # the whole plan was due when it ended
    assert came.late
    assert came.waiting
    assert came.dropped == 0
    (phase,) = (each for each in run.manifest.phases if each.name == "constant")
    assert 9.9 < (phase.to_ns - phase.from_ns) / 1e9 <= 10  # all of them, from when everybody was online
    assert "arrivals, added up" in (folder / "report.html").read_text()
    steady = run.manifest.phases[1]
    assert steady.name == "steady"
    assert 10 <= (steady.to_ns - steady.from_ns) / SECOND < 12  # the plan ends the run, whoever waits
    rows = succeeded(of_kind(Frames(run).steady, Kind.REQUEST))
    searches = rows[rows["operation"] == "get-users"].sort_values("sent")
    early, late = (part[["response", "service"]].mean() for part in (searches.head(40), searches.tail(40)))
    assert late["response"] > 3 * early["response"]
    assert late["service"] < 2 * early["service"]
    (judged,) = verdict.objectives
    assert judged.state is State.MISSED
    assert done.returncode in (1, 4)  # 4 where this machine was too busy to say so
