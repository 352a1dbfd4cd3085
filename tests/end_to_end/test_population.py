"""People who were there before the run: nobody signs up, and all come back after a storm."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from analysis import verdict as judging
from loadtests.target import Target
from reports.artefact import Run, imbalance
from reports.sample import STORM as STORM_EVENT
from tests.end_to_end.conftest import LONG, Talkload
from tests.end_to_end.fleets import Hosts, fleet
from tests.end_to_end.hosts import Host

pytestmark = pytest.mark.end_to_end

SCENARIO = """description = "A small storm"

[load]
users = 12
spawn_rate = 12
run_time_s = 10

[people]
senior = 5
volunteer = 5
lurker = 2
pace = 40

[senior]
chat = 1

[volunteer]
chat = 1
"""
STORM = """
[population]
accounts = 1
connections = 2

[storm]
at_s = [2]

[client]
reconnect = "backoff"
backoff_s = 0.5
"""


def judged(out: Path) -> tuple[Run, judging.Verdict]:
    """Return the only run below a folder, and its verdict."""
    (folder,) = out.iterdir()
    return Run.open(folder), judging.read(folder)


def test_everybody_signs_in_talks_and_is_back_after_a_storm(talkload: Talkload, tmp_path: Path) -> None:
    """On a server that is started for the scenario, as the scenario wants it."""
    file, runs = tmp_path / "small-storm.toml", tmp_path / "runs"
    file.write_text(SCENARIO + STORM + '\n[server]\npassword_cost = "realistic"\n')
    ended = talkload("run", str(file), "--out", str(runs))
    assert ended.returncode in (0, 4), ended.stdout + ended.stderr  # 4 where this machine was too busy
    run, verdict = judged(runs)
    operations = set(run.samples().column("operation").to_pylist())
    assert {"sign-in", "wss.send-message"} <= operations
    assert not operations & {"sign-up", "generate-otp", "send-connection-request"}
    assert (run.manifest.users, run.manifest.connected) == (12, 12)
    assert run.manifest.target.password_cost == "realistic"
    warm_up, steady, drain = run.manifest.phases
    assert warm_up.to_ns == steady.from_ns == run.manifest.measured_from_ns
    assert steady.to_ns == drain.from_ns
    (storm,) = verdict.storms
    assert storm.at == pytest.approx(steady.from_ns - run.manifest.origin_ns + 2e9, abs=1e9)
    # Somebody may have been between two visits.
    assert 6 <= storm.people == storm.back <= storm.sockets <= 12
    assert storm.attempts >= storm.people
    assert storm.recovery is not None
    assert storm.sentence in ended.stdout
    page = (run.path / "report.html").read_text()
    assert "99 % back after" in page
    assert "warm-up" in page


def test_accounts_of_a_file_sign_in_and_a_wrong_one_keeps_the_run_from_its_steady_state(
    talkload: Talkload, target: Target, tmp_path: Path
) -> None:
    """Three of four are ever online: inconclusive. No password is in anything that was said or written."""
    roles = ("senior", "senior", "volunteer", "volunteer")
    wishes = [
        {
            "email": f"p{number}@x.test",
            "name": f"P{number} Bench",
            "type": role,
            "password": f"s3cret-{number}",
        }
        for number, role in enumerate(roles)
    ]
    httpx.post(target.test + "/accounts", json=wishes, timeout=10).raise_for_status()
    wishes[3]["password"] = "s3cret-wrong"
    rows = [",".join((each["email"], each["type"], each["password"])) for each in wishes]
    accounts, file, runs = tmp_path / "accounts.csv", tmp_path / "few.toml", tmp_path / "runs"
    accounts.write_text("\n".join(["email,role,password", *rows]))
    file.write_text(SCENARIO.replace("lurker = 2", "lurker = 0"))
    assert target.ca
    ended = talkload(
        "run", str(file), "--users", "4", "--run-time", "5s", "--accounts", str(accounts), "--no-page",
        "--out", str(runs), "--target", target.https, "--socket", target.wss, "--ca", target.ca,
    )  # fmt: skip
    assert ended.returncode == 3, ended.stdout + ended.stderr
    assert "at most 3 of 4 people (75.0 %) were online at the same time" in ended.stdout
    run, _ = judged(runs)
    assert "sign-up" not in run.samples().column("operation").to_pylist()
    kept = b"".join(path.read_bytes() for path in run.path.rglob("*") if path.is_file())
    assert "s3cret" not in ended.stdout + ended.stderr
    assert b"s3cret" not in kept


def test_several_workers_share_the_accounts_and_one_storm(talkload: Talkload, tmp_path: Path) -> None:
    """Nobody is two people's account, the sockets are dropped once, all come back, and the books balance."""
    file, runs = tmp_path / "small-storm.toml", tmp_path / "runs"
    file.write_text(SCENARIO + STORM + '\n[slo]\nlost = "= 0"\ndeliveries = ">= 10"\n')
    ended = talkload("run", str(file), "--processes", "2", "--out", str(runs), "--no-page")
    run, verdict = judged(runs)
    assert ended.returncode == verdict.exit_code, ended.stdout + ended.stderr
    assert verdict.exit_code in (0, 4), verdict.sentences  # 4 where this machine was too busy
    assert [worker.name for worker in run.manifest.workers] == ["w1", "w2"]
    assert all(worker.closed and not imbalance(worker) for worker in run.manifest.workers)
    assert (run.manifest.users, run.manifest.connected) == (12, 12)
    assert "sign-up" not in run.samples().column("operation").to_pylist()

    online = run.presence().to_pandas()
    accounts = online.groupby("worker", observed=True)["user"].agg(set)
    assert len(accounts["w1"] | accounts["w2"]) == 12
    assert accounts["w1"].isdisjoint(accounts["w2"])
    assert sum(each["kind"] == STORM_EVENT for each in run.events()) == 1
    (storm,) = verdict.storms
    assert 6 <= storm.people == storm.back <= storm.sockets <= 12
    assert storm.recovery is not None

    fates = Counter(run.deliveries().column("fate").to_pylist())
    assert fates["on-time"] > 10
    assert not fates.keys() & {"lost", "duplicate", "misdelivered"}


MAKE = """import sys, httpx
httpx.post(sys.argv[1] + "/accounts", content=sys.argv[2], trust_env=False, timeout=10).raise_for_status()"""


def test_workers_of_other_machines_get_their_share_of_a_file_and_nobody_sees_it(
    hosts: Hosts, tmp_path: Path
) -> None:
    """The file is with the master alone; what is in it is hidden on the way, and in no file of anybody."""
    file, here = tmp_path / "few.toml", tmp_path / "here"
    here.mkdir()
    file.write_text(SCENARIO.replace("lurker = 2", "lurker = 0").replace("users = 12", "users = 4"))
    wishes = [
        {"email": f"p{n}@x.test", "name": f"P{n} Bench", "type": kind, "password": f"s3cret-{n}"}
        for n, kind in enumerate(("senior", "senior", "volunteer", "volunteer"))
    ]
    rows = [",".join((each["email"], each["type"], each["password"])) for each in wishes]
    (here / "accounts.csv").write_text("\n".join(["email,role,password", *rows]))

    def make(target: Host, ready: dict[str, Any]) -> None:
        made = target.run(sys.executable, "-c", MAKE, ready["test"], json.dumps(wishes))
        assert made.returncode == 0, made.stderr

    told = ("--run-time", "6s", "--accounts", "accounts.csv")
    with fleet(hosts, tmp_path, file, *told, workers=("one", "other"), cwd=here, before=make) as found:
        said, complaint = found.master.communicate(timeout=LONG)
    run, _ = judged(tmp_path / "runs")
    assert run.manifest.connected == 4, said + complaint
    accounts = run.presence().to_pandas().groupby("worker", observed=True)["user"].agg(set)
    assert [len(each) for each in accounts] == [2, 2]
    assert len(accounts["w1"] | accounts["w2"]) == 4
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != here]
    assert not any(b"s3cret-" in path.read_bytes() for path in kept)
    assert "s3cret-" not in said + complaint


def test_a_mistake_in_a_file_of_accounts_is_a_sentence(talkload: Talkload, tmp_path: Path) -> None:
    """Exit code 2 before anything is started."""
    accounts = tmp_path / "accounts.csv"
    accounts.write_text("email,role,password\na@x.test,seniour,s3cret\n")
    ended = talkload("run", "smoke", "--accounts", str(accounts), "--out", str(tmp_path / "runs"))
    assert ended.returncode == 2
    assert "accounts.csv:2: " in ended.stderr
    assert "s3cret" not in ended.stderr
    assert not (tmp_path / "runs").exists()
