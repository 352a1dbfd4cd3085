"""What becomes of a run on several hosts whose links or processes fail: nothing is missed without a word."""

from __future__ import annotations

import os
import random
import signal
import threading
from pathlib import Path

import pytest

from loadtests import clock
from reports.artefact import Run, imbalance
from tests.end_to_end.conftest import LONG
from tests.end_to_end.fleets import Hosts, fleet
from tests.end_to_end.test_fleet import KILLS, master_of, workers_of

pytestmark = pytest.mark.end_to_end

HARM_S, RUN_S = 10, 14
INVALID = 4


@pytest.mark.long
def test_a_cut_and_a_half_open_link_are_named_and_what_was_beyond_them_is_whole(
    hosts: Hosts, scenario: Path, tmp_path: Path
) -> None:
    """Two of three workers are beyond reach for ten seconds: they stop, keep their rows, and say so later."""
    told, workers = ("--run-time", f"{RUN_S}s"), ("cut", "open", "whole")
    with fleet(hosts, tmp_path, scenario, *told, workers=workers) as found:
        found.until_online()
        found.hosts["cut"].cut()
        found.hosts["open"].stall()
        harmed = clock.now()
        threading.Event().wait(HARM_S)
        found.hosts["cut"].mend()
        found.hosts["open"].mend()
        said, complaint = found.master.communicate(timeout=LONG)
        codes = {name: worker.wait(LONG) for name, worker in found.workers.items()}
    assert found.master.returncode == INVALID, said + complaint
    assert codes == {"cut": INVALID, "open": INVALID, "whole": 0}
    assert "Traceback" not in said + complaint
    run = Run.open("latest", root=tmp_path / "runs")
    away = [worker for worker in run.manifest.workers if worker.samples_at]
    assert len(away) == 2
    for worker in away:
        # Whether its last word comes through before the end is up to TCP: a retry may be seconds away.
        last = (
            "ended early: it heard nothing of its master for 5 s"
            if worker.left
            else "was lost, last heard of"
        )
        assert f"{worker.name} {last}" in said
        assert f"rows of {worker.name} are at {worker.samples_at}" in said
        # All that it told of is on its own disk, and there it is a run that can be read.
        own = Run.open(worker.samples_at.split(":", 1)[1])
        (there,) = own.manifest.workers
        assert imbalance(there) == {}
        assert there.left == "it heard nothing of its master for 5 s"
        assert all(there.rows[table] >= told for table, told in worker.rows.items())
        begun = own.samples(["sent"]).column("sent").to_pylist()
        assert max(begun) - harmed < 7 * clock.SECOND
    (here,) = (worker for worker in run.manifest.workers if not worker.samples_at)
    assert here.closed
    assert not imbalance(here)


@pytest.mark.parametrize("number", range(KILLS))
def test_a_worker_killed_on_another_host_is_named_and_its_disk_has_what_it_told(
    number: int, hosts: Hosts, scenario: Path, tmp_path: Path
) -> None:
    """Whenever it dies. The other one's rows are with the master, whole; exit code 4."""
    dice, runs = random.Random(number), tmp_path / "runs"
    with fleet(hosts, tmp_path, scenario, "--run-time", "6s", workers=("one", "other")) as found:
        found.until_online()
        victim = dice.choice(workers_of(runs))
        threading.Event().wait(dice.uniform(0, 4))
        os.kill(victim["pid"], signal.SIGKILL)
        said, complaint = found.master.communicate(timeout=LONG)
    assert found.master.returncode == INVALID, said + complaint
    assert f"{victim['name']} was lost, last heard of" in said
    workers = {worker.name: worker for worker in Run.open("latest", root=runs).manifest.workers}
    lost = workers.pop(victim["name"])
    own = Run.open(lost.samples_at.split(":", 1)[1], recover=True)
    assert own.manifest.status == "partial"
    # Before its first second is over a worker has told of nothing, and left nothing.
    there = next((worker.found for worker in own.manifest.workers), {})
    assert all(there.get(table, 0) >= told for table, told in lost.rows.items())
    assert all(worker.closed and not imbalance(worker) for worker in workers.values())


def test_workers_on_other_hosts_stop_without_their_master_and_keep_their_runs(
    hosts: Hosts, scenario: Path, tmp_path: Path
) -> None:
    """Killed, it leaves workers that end within a lease; each one's folder is a run, closed and balanced."""
    with fleet(hosts, tmp_path, scenario, "--run-time", "60s", workers=("one", "other")) as found:
        found.until_online()
        master_of(found.master).kill()
        killed = clock.now()
        codes = [worker.wait(LONG) for worker in found.workers.values()]
    assert codes == [INVALID, INVALID]
    for name in ("one", "other"):
        (folder,) = (tmp_path / name).glob("*/*")
        own = Run.open(folder)
        (there,) = own.manifest.workers
        assert there.left == "it heard nothing of its master for 5 s"
        assert there.closed
        assert not imbalance(there)
        assert max(own.samples(["sent"]).column("sent").to_pylist()) - killed < 7 * clock.SECOND
