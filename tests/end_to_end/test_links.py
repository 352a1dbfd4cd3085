"""What becomes of a run on several hosts whose links fail: nothing is missed without a word."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from loadtests import clock
from reports.artefact import Run, imbalance
from tests.end_to_end.conftest import LONG, command
from tests.end_to_end.hosts import Host

pytestmark = pytest.mark.end_to_end

Hosts = Callable[..., AbstractContextManager[dict[str, Host]]]
HARM_S, RUN_S = 10, 14
INVALID = 4


def until_online(master: subprocess.Popen[str]) -> None:
    """Wait for a run's first second."""
    assert master.stdout is not None
    for line in master.stdout:
        if "online" in line:
            return


@pytest.mark.long
def test_a_cut_and_a_half_open_link_are_named_and_what_was_beyond_them_is_whole(
    hosts: Hosts, scenario: Path, tmp_path: Path
) -> None:
    """Two of three workers are beyond reach for ten seconds: they stop, keep their rows, and say so later."""
    secret = tmp_path / "secret"
    secret.write_text("s" * 32)
    secret.chmod(0o600)
    with hosts("target", "master", "cut", "open", "whole") as found:
        serving = ("-m", "talkamie.server", "--port", "0", "--host", found["target"].address)
        server = found["target"].start(sys.executable, *serving)
        assert server.stdout is not None
        ready = json.loads(server.stdout.readline())
        bound = ("--bind", found["master"].address, "--expect-workers", "3", "--secret-file", str(secret))
        where = ("--target", ready["https"], "--socket", ready["wss"], "--ca", ready["ca"], "--allow-private")
        much = ("--run-time", f"{RUN_S}s", "--out", str(tmp_path / "runs"), "--no-page")
        master = found["master"].start(*command("run", str(scenario), "--master", *bound, *where, *much))
        to = ("--master-host", found["master"].address, "--secret-file", str(secret))
        workers = {
            name: found[name].start(
                *command("run", "--worker", "--own-disk", *to, "--out", str(tmp_path / name))
            )
            for name in ("cut", "open", "whole")
        }
        until_online(master)
        found["cut"].cut()
        found["open"].stall()
        harmed = clock.now()
        threading.Event().wait(HARM_S)
        found["cut"].mend()
        found["open"].mend()
        said, complaint = master.communicate(timeout=LONG)
        codes = {name: worker.wait(LONG) for name, worker in workers.items()}
    assert master.returncode == INVALID, said + complaint
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
