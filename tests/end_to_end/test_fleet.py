"""Several workers: one plan, one set of books; and whatever ends one of them, nobody passes for it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import zmq

from analysis import verdict
from loadtests import clock, generator
from loadtests.target import Target, preflight
from reports.artefact import imbalance
from reports.deliveries import tally
from reports.sample import Kind
from tests.end_to_end.conftest import LONG, ROOT, Talkload, command
from tests.end_to_end.test_run import ACTIONS_OF, ask, free_port, options, the_run, written

pytestmark = pytest.mark.end_to_end

INVALID = 4
KILLS = int(os.environ.get("TALKLOAD_KILLS", "1"))  # how often a worker is killed at a random moment
STALL_S = 7 if KILLS == 1 else 10


@contextmanager
def under_way(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a run; yield it once its first second is told."""
    with subprocess.Popen(
        command("run", *arguments), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        watchdog = threading.Timer(LONG, process.kill)
        watchdog.start()
        try:
            assert process.stdout
            for line in process.stdout:
                if "online" in line:
                    break
            yield process
        finally:
            watchdog.cancel()
            process.kill()


def workers_of(out: Path) -> list[dict[str, Any]]:
    """Return the workers that a run under way has written down."""
    (folder,) = out.iterdir()
    found: list[dict[str, Any]] = json.loads((folder / "manifest.json").read_text())["workers"]
    return found


def master_of(process: subprocess.Popen[str]) -> psutil.Process:
    """Return the process that coordinates."""
    children = psutil.Process(process.pid).children(recursive=True)
    return next(each for each in children if "--master" in each.cmdline())


def ended_well_formed(process: subprocess.Popen[str], codes: tuple[int, ...]) -> str:
    """Wait for the end; return what was said, in which there is no traceback."""
    out, err = process.communicate()
    assert process.returncode in codes, out + err
    assert "Traceback" not in out + err
    return out + err


def test_two_workers_whose_people_leave_slowly_and_the_server_keep_the_same_books(
    target: Target, scenario: Path, tmp_path: Path
) -> None:
    """Two seconds after the end there is more to do: sent, recorded, merged, reported differ by nothing."""
    where = ["--scenario", str(scenario), "--out", str(tmp_path), "--run-time", "5s"]
    ended = generator.run(
        preflight(target),
        where,
        on_second=lambda _: None,
        on_stop=lambda: None,
        locustfile=Path(__file__).with_name("slow_leave.py"),
        fleet=generator.Fleet(processes=2),
    )
    assert (ended.exit_code, ended.complaint) == (0, "")
    run = the_run(tmp_path)
    assert [worker.name for worker in run.manifest.workers] == ["w1", "w2"]
    assert all(worker.closed and not imbalance(worker) for worker in run.manifest.workers)
    assert run.manifest.refused_messages == 0

    arrived = Counter(run.arrivals().column("operation").to_pylist())
    wrote = written(ask(target, "/ledger"))
    assert arrived["chat.delivered"] > 10
    for operation, actions in ACTIONS_OF.items():
        assert arrived[operation] == sum(wrote[action] for action in actions), operation
    wrong = run.deliveries().to_pandas().query("fate in ('lost', 'duplicate', 'misdelivered')")
    assert wrong.empty, wrong.to_string()

    samples = [row for row in run.samples().to_pylist() if row["kind"] == Kind.REQUEST]
    theirs = Counter(row["operation"] for row in ask(target, "/requests"))
    theirs["get-user-by-token"] -= 1  # of the preflight
    assert Counter(row["operation"] for row in samples) == +theirs
    assert sum(row["journey"] == "leaving" for row in samples) == run.manifest.users
    judged = verdict.judge(run)
    assert judged.totals.requests == len(samples)

    # Each person is somebody else, and some of what was said went from one worker to the other.
    users = [set(rows["user"]) for _, rows in run.samples().to_pandas().groupby("worker", observed=True)]
    assert users[0].isdisjoint(users[1])
    assert len(users[0] | users[1]) >= run.manifest.users
    sender = {row["key"]: row["worker"] for row in run.sends().to_pylist()}
    came = run.arrivals().to_pylist()
    between = sum(sender.get(row["key"], row["worker"]) != row["worker"] for row in came)
    assert 0 < between < len(came)


def test_the_plan_is_the_seeds_whatever_the_number_of_workers(
    target: Target, scenario: Path, tmp_path: Path
) -> None:
    """1, 2 and 4 workers: one hash of who comes with which dice, and one of when."""
    seen, looked_at = [], preflight(target)
    for number in (1, 2, 4):
        out = tmp_path / str(number)
        where = ["--scenario", str(scenario), "--out", str(out), "--run-time", "1s", "--seed", "5"]
        where += ["--set", "load.arrivals=30", "--set", "load.warm_up_s=0.1"]
        fleet = generator.Fleet(processes=number) if number > 1 else None
        generator.run(looked_at, where, on_second=lambda _: None, on_stop=lambda: None, fleet=fleet)
        manifest = the_run(out).manifest
        assert len(manifest.workers) == number
        assert manifest.arrivals
        seen.append((manifest.plan_hash, manifest.arrivals.plan_hash, manifest.arrivals.planned))
    assert len(set(seen)) == 1
    assert seen[0][2] > 10


@pytest.mark.parametrize("number", range(KILLS))
def test_a_killed_worker_is_named_and_never_passes(
    number: int, target: Target, scenario: Path, tmp_path: Path
) -> None:
    """Whenever it dies, the run is invalid by its name; what it told of is on disk, the others are whole."""
    delay = random.Random(number).uniform(0, 4)
    with under_way(str(scenario), "--processes", "2", "--no-page", *options(target, tmp_path)) as process:
        victim = random.Random(number).choice(workers_of(tmp_path))
        threading.Event().wait(delay)
        os.kill(victim["pid"], signal.SIGKILL)
        said = ended_well_formed(process, (INVALID,))
    assert f"{victim['name']} was lost, last heard of" in said
    run = the_run(tmp_path)
    lost = next(worker for worker in run.manifest.workers if worker.name == victim["name"])
    assert (lost.closed, lost.last_words_ns > 0) == (False, True)
    # A worker tells of what is on its disk: nothing of that went with it.
    assert all(lost.found.get(table, 0) >= rows for table, rows in lost.rows.items())
    assert all(
        worker.closed and not imbalance(worker) for worker in run.manifest.workers if worker is not lost
    )
    assert tally(run.deliveries()).get("chat.delivered", {}).get("lost", 0) == 0  # not the target's fault


def test_without_their_master_workers_stop_within_five_seconds(
    target: Target, scenario: Path, tmp_path: Path
) -> None:
    """Killed, it leaves a run that is read as partial, from records that its workers have closed."""
    more = ["--processes", "2", "--run-time", "60s", "--no-page"]
    with under_way(str(scenario), *more, *options(target, tmp_path)) as process:
        pids = [worker["pid"] for worker in workers_of(tmp_path)]
        master_of(process).kill()
        killed = clock.now()
        ended_well_formed(process, (3, INVALID))
    run = the_run(tmp_path)
    assert run.manifest.status == "partial"
    assert [worker.left for worker in run.manifest.workers] == ["it heard nothing of its master for 5 s"] * 2
    assert all(worker.closed and not imbalance(worker) for worker in run.manifest.workers)
    assert not any(psutil.pid_exists(pid) for pid in pids)
    begun = [row["start_ns"] for row in ask(target, "/requests")]
    assert max(begun) - killed < 7 * clock.SECOND  # a lease, and what was under way


def test_a_worker_that_stood_still_has_lost_its_lease(target: Target, scenario: Path, tmp_path: Path) -> None:
    """Stopped for longer, it comes back, ends, its record is whole; the run is invalid by its name."""
    more = ["--processes", "2", "--run-time", f"{STALL_S + 2}s", "--no-page"]
    with under_way(str(scenario), *more, *options(target, tmp_path)) as process:
        victim = workers_of(tmp_path)[1]
        os.kill(victim["pid"], signal.SIGSTOP)
        threading.Event().wait(STALL_S)
        os.kill(victim["pid"], signal.SIGCONT)
        said = ended_well_formed(process, (INVALID,))
    assert f"{victim['name']} ended early: it heard nothing of its master for 5 s" in said
    run = the_run(tmp_path)
    assert all(worker.closed and not imbalance(worker) for worker in run.manifest.workers)


def test_a_second_signal_ends_all_of_them_at_once(target: Target, scenario: Path, tmp_path: Path) -> None:
    """What was on disk by then is a run, and no process is left."""
    more = ["--processes", "2", "--run-time", "60s", "--no-page"]
    with under_way(str(scenario), *more, *options(target, tmp_path)) as process:
        pids = [worker["pid"] for worker in workers_of(tmp_path)]
        process.send_signal(signal.SIGINT)
        threading.Event().wait(0.1)
        process.send_signal(signal.SIGINT)
        ended_well_formed(process, (3, INVALID))
    assert the_run(tmp_path).manifest.status == "partial"
    assert not any(psutil.pid_exists(pid) for pid in pids)


CANARY = "canary-3f9a77c1e5d04b8e"


def test_workers_elsewhere_bring_what_they_wrote_and_strangers_are_refused(
    target: Target, scenario: Path, tmp_path: Path
) -> None:
    """Two workers with disks of their own, a secret, and somebody who has it not: nothing lost, nobody in."""
    secret, there, here = tmp_path / "secret", tmp_path / "there", tmp_path / "here"
    secret.write_text(CANARY)
    secret.chmod(0o600)
    place, shared = f"127.0.0.1:{free_port()}", ["--secret-file", str(secret)]
    line = command("run", "--worker", "--master-host", place, "--own-disk", "--out", str(there), *shared)
    more = ["--master", "--bind", place, "--expect-workers", "2", "--no-page", *shared]
    with subprocess.Popen(
        [*line, "--processes", "2"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as workers:
        with under_way(str(scenario), *more, *options(target, here)) as process:
            strangers = 40
            with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
                stranger.setsockopt(zmq.LINGER, 0)
                stranger.connect(f"tcp://{place}")
                junk = [b"", b"\xc1", b"x" * 57, msgspec.msgpack.encode(("quit", None, "x")), os.urandom(90)]
                for number in range(strangers):
                    stranger.send(junk[number % len(junk)])
                stranger.send_multipart([b"one", b"two"])
                said = ended_well_formed(process, (0, 1, 3))
        _, complaint = workers.communicate(timeout=10)
    assert (workers.returncode, complaint) == (0, "")
    run = the_run(here)
    assert run.manifest.refused_messages == strangers + 1
    assert all(worker.closed and not imbalance(worker) for worker in run.manifest.workers)
    assert [worker.samples_at for worker in run.manifest.workers] == ["", ""]
    assert list(there.iterdir()) == []
    assert CANARY not in said
    assert not any(CANARY.encode() in file.read_bytes() for file in here.rglob("*") if file.is_file())
    wrote = written(ask(target, "/ledger"))
    arrived = Counter(run.arrivals().column("operation").to_pylist())
    assert arrived["chat.delivered"] == wrote["new-message"]


def test_a_secret_that_is_none_and_a_port_without_one_are_refused(talkload: Talkload, tmp_path: Path) -> None:
    """A secret that others may read is refused with the file's name; so is a port that others reach."""
    secret = tmp_path / "secret"
    secret.write_text(CANARY)
    secret.chmod(0o644)
    worker = ["run", "--worker", "--master-host", "127.0.0.1:9", "--secret-file", str(secret)]
    ended = talkload(*worker)
    assert ended.returncode == 2
    assert f"chmod 600 {secret}" in ended.stderr
    ended = talkload("run", "smoke", "--master", "--bind", "0.0.0.0")
    assert ended.returncode == 2
    assert "--bind 0.0.0.0: others reach it: give --secret-file" in ended.stderr
