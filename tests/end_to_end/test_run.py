"""A whole run: what the artefact says is what the server did, and every way to end leaves a run behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from loadtests.target import Server, Target, tls_context
from reports.artefact import Run, imbalance
from reports.deliveries import tally
from reports.sample import Kind, Outcome
from tests.end_to_end.conftest import LONG, ROOT, Talkload, command

pytestmark = pytest.mark.end_to_end


def options(target: Target, out: Path) -> list[str]:
    """Return the options that point a run at a target."""
    assert target.ca
    where = ["--target", target.https, "--socket", target.wss, "--ca", target.ca]
    return [*where, "--out", str(out)]


def the_run(out: Path) -> Run:
    """Return the only run below a folder."""
    (folder,) = out.iterdir()
    return Run.open(folder)


def ask(target: Target, path: str) -> list[dict[str, Any]]:
    """Return the rows of one of the server's own books."""
    answer = httpx.get(target.test + path, timeout=10)
    answer.raise_for_status()
    said = answer.json()
    return [dict(zip(said["columns"], row, strict=True)) for row in said["rows"]]


ACTIONS_OF = {
    "chat.delivered": {"new-message"},
    "alert.delivered": {"alert"},
    "receipt.delivered": {"update-messages"},
    "presence.delivered": {"update-chats"},
    "signal.delivered": {"signal"},
    "call.delivered": {"user-calling", "call-accepted", "call-rejected", "call-ended"},
}


def written(ledger: list[dict[str, Any]]) -> Counter[str]:
    """Return how much news of each action the server wrote: one frame may tell of several messages."""
    wrote: Counter[str] = Counter()
    for row in ledger:
        if row["fate"] == "sent":
            several = row["action"] in ("update-chats", "update-messages")
            wrote[row["action"]] += len(row["ids"].split(",")) if several else 1
    return wrote


ROOMS = (1, 3, 8)


@pytest.mark.parametrize("target", [(), ("--workers", "2")], ids=["alone", "two processes"], indirect=True)
def test_rooms_balance_to_the_last_device(talkload: Talkload, target: Target, tmp_path: Path) -> None:
    """Each message reaches every device of its host, each receipt all but one; the server's books agree."""
    plan = (ROOT / "scenarios" / "rooms.toml").read_text()
    changes = {
        r"devices = .*": f"devices = {list(ROOMS)}",
        r"users = 12": f"users = {2 * len(ROOMS)}",
        r"run_time_s = \d+": "run_time_s = 15",
        r"ping_interval_s = 60": "ping_interval_s = 3",
        r"deliveries = .*": 'deliveries = ">= 100"',
    }
    for old, new in changes.items():
        plan, found = re.subn(old, new, plan, count=1)
        assert found
    (tmp_path / "rooms.toml").write_text(plan)
    runs = tmp_path / "runs"
    ended = talkload("run", str(tmp_path / "rooms.toml"), "--seed", "3", *options(target, runs))
    assert ended.returncode in (0, 3), ended.stderr + ended.stdout
    run = the_run(runs)
    ledger = ask(target, "/ledger")

    arrived = Counter(run.arrivals().column("operation").to_pylist())
    wrote = written(ledger)
    for operation, actions in ACTIONS_OF.items():
        assert arrived[operation] == sum(wrote[action] for action in actions), operation

    # Socket by socket: who got what, by the server's ledger and by ours.
    deliveries = run.deliveries().to_pandas()
    assert set(deliveries["fate"]) <= {"on-time", "late", "offline"}, deliveries["fate"].value_counts()
    for operation, action in (("chat.delivered", "new-message"), ("receipt.delivered", "update-messages")):
        theirs = Counter(
            (row["recipient"], row["socket"])
            for row in ledger
            if row["action"] == action and row["fate"] == "sent"
            for _ in row["ids"].split(",")
        )
        ours = deliveries[deliveries["operation"] == operation].groupby(
            ["recipient", "socket"], observed=True
        )
        assert sorted(theirs.values()) == sorted(len(rows) for _, rows in ours)
    chats = deliveries[deliveries["operation"] == "chat.delivered"]
    assert set(chats.groupby("key").size()) == set(ROOMS)
    several = httpx.get(target.https.removesuffix("/v1") + "/health", verify=tls_context(target) or True)
    assert any(row["crossed_ns"] for row in ledger) is (several.json()["workers"] > 1)

    verdict = json.loads((run.path / "verdict.json").read_text())
    sizes = {row["smallest"] for row in verdict["fanout_sizes"] if row["operation"] == "chat.delivered"}
    assert sizes == set(ROOMS)
    samples = run.samples().to_pylist()
    assert sum(row["operation"] == "wss.connect" for row in samples) == sum(ROOMS) + len(ROOMS)
    assert sum(row["kind"] == Kind.PING for row in samples) >= sum(ROOMS) + len(ROOMS)
    assert all(row["outcome"] in (Outcome.OK, Outcome.CANCELLED) for row in samples)


@pytest.mark.parametrize(
    "whole",
    [pytest.param(False, id="busy"), pytest.param(True, id="everything", marks=pytest.mark.long)],
)
def test_the_artefact_and_the_server_keep_the_same_books(
    talkload: Talkload, target: Target, scenario: Path, tmp_path: Path, whole: bool
) -> None:
    """Frames that the server wrote and frames that arrived differ by nothing; so do messages and requests."""
    what = ["everything", "--run-time", "40s"] if whole else [str(scenario)]
    ended = talkload("run", *what, *options(target, tmp_path))
    assert ended.returncode in (0, 1, 3), ended.stderr + ended.stdout
    run = the_run(tmp_path)
    assert run.manifest.status == "complete"

    # Forty seconds leave a rare thing or two to chance; the whole scenario has more, and asks for all.
    verdict = json.loads((run.path / "verdict.json").read_text())
    if whole:
        assert verdict["coverage"]["share"] > 0.96
        assert "operations and" in ended.stdout

    arrived = Counter(run.arrivals().column("operation").to_pylist())
    ledger = ask(target, "/ledger")
    wrote = written(ledger)
    assert arrived["chat.delivered"] > 10
    fates = defaultdict(Counter, tally(run.deliveries()))
    for operation, actions in ACTIONS_OF.items():
        difference = sum(wrote[action] for action in actions) - arrived[operation]
        # People who walk out of the network lose what is written to them before the server notices.
        lost_with_sockets = fates[operation]["unknown"] + fates[operation]["offline"] if whole else 0
        assert 0 <= difference <= lost_with_sockets, operation

    # Every message that the target confirmed is in its ledger once, and none besides.
    sends = run.sends().to_pylist()
    confirmed = sum(row["operation"] == "chat.delivered" and row["accepted"] == 0 for row in sends)
    messages = {row["ids"] for row in ledger if row["action"] == "new-message"}
    assert confirmed == len(messages)

    wrong = run.deliveries().to_pandas().query("fate in ('lost', 'duplicate', 'misdelivered')")
    assert wrong.empty, wrong.to_string()

    # Each https attempt of ours is one request of the server's, but for the one of the preflight.
    samples = run.samples().to_pylist()
    fine = (Outcome.OK, Outcome.CANCELLED)  # cancelled: a step that the end of the run cut short
    bad = [(row["operation"], row["journey"], row["error"]) for row in samples if row["outcome"] not in fine]
    assert bad == [], [event for event in run.events() if event["kind"] == "refused"]
    ours = Counter(row["operation"] for row in samples if row["kind"] == Kind.REQUEST)
    theirs = Counter(row["operation"] for row in ask(target, "/requests"))
    theirs["get-user-by-token"] -= 1
    assert {name: theirs[name] for name in ours} == dict(ours)

    page = (run.path / "report.html").read_text()
    assert verdict["exit_code"] == ended.returncode
    assert run.manifest.id in page


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_a_whole_artefact_marked_partial(
    number: signal.Signals, target: Target, scenario: Path, tmp_path: Path
) -> None:
    """Stopped early, everything is drained, written and judged; the page says so, and it is never a pass."""
    line = command("run", str(scenario), "--run-time", "60s", *options(target, tmp_path))
    with subprocess.Popen(
        line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        watchdog = threading.Timer(LONG, process.kill)
        watchdog.start()
        assert process.stdout
        for said in process.stdout:
            if "online" in said:  # the live view's first line: the run is on
                break
        process.send_signal(number)
        out, err = process.communicate()
        watchdog.cancel()
    assert process.returncode in (3, 4), out + err
    run = the_run(tmp_path)
    assert run.manifest.status == "partial"
    assert "stopped before its time" in run.manifest.reason
    assert not any(imbalance(worker) for worker in run.manifest.workers)
    assert "artial" in (run.path / "report.html").read_text()
    assert "Traceback" not in out + err


def test_a_killed_generator_leaves_a_run_that_can_be_read(
    talkload: Talkload, target: Target, scenario: Path, tmp_path: Path
) -> None:
    """SIGKILL loses at most the last second; the report says partial, and it is never a pass."""
    line = [sys.executable, "-m", "locust", "--headless", "--live", "--only-summary", "-t", "60s"]
    line += ["--scenario", str(scenario), *options(target, tmp_path)]
    seconds = 0
    with subprocess.Popen(
        line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout
        for said in process.stdout:
            seconds += '"elapsed_s"' in said
            if seconds == 5:
                process.kill()
    (folder,) = tmp_path.iterdir()
    ended = talkload("report", str(folder))
    assert ended.returncode in (3, 4), ended.stdout + ended.stderr
    run = Run.open(folder)
    assert run.manifest.status == "partial"
    assert run.samples().num_rows > 50
    assert "Traceback" not in ended.stderr


def test_plain_locust_runs_the_same_scenario(scenario: Path, tmp_path: Path) -> None:
    """Locust's own command line works: it starts the server, writes the run, shows wss rows in its table."""
    line = [sys.executable, "-m", "locust", "--headless", "--scenario", str(scenario), "--out", str(tmp_path)]
    ended = subprocess.run(
        [*line, "-u", "8", "-t", "4s"], cwd=ROOT, capture_output=True, text=True, timeout=LONG, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "wss.connect" in ended.stdout + ended.stderr
    run = the_run(tmp_path)
    assert run.manifest.status == "complete"
    assert run.manifest.users == 8


def test_the_web_ui_shows_wss_rows_with_true_percentiles(
    scenario: Path, target: Target, tmp_path: Path
) -> None:
    """Started from the browser's form, the table that the page polls has our rows, to the microsecond."""
    port = str(free_port())
    line = [sys.executable, "-m", "locust", "--web-port", port, "--scenario", str(scenario)]
    line += options(target, tmp_path)
    base = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr
            for said in process.stderr:
                if "Starting web interface" in said:
                    break
            drain = threading.Thread(target=process.stderr.read, daemon=True)
            drain.start()
            started = retry(lambda: httpx.post(f"{base}/swarm", data={"user_count": 8, "spawn_rate": 8}))
            assert started.json()["success"]
            rows = retry(lambda: rows_of(base))
            assert rows["wss.connect"]["method"] == "WSS"
            times = [row["median_response_time"] for row in rows.values()]
            assert any(time != round(time) for time in times)
            httpx.post(f"{base}/stop", timeout=LONG).raise_for_status()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(LONG)
    assert the_run(tmp_path).manifest.status == "complete"


def rows_of(base: str) -> dict[str, Any]:
    """Return the rows of Locust's table by name, once there are socket rows among them."""
    stats = httpx.get(f"{base}/stats/requests").json()["stats"]
    rows = {row["name"]: row for row in stats}
    if "wss.send-message" not in rows:
        raise httpx.TransportError("not yet")
    return rows


def retry(attempt: Any) -> Any:
    """Repeat until it works; the test's own time limit ends it."""
    pause = threading.Event()
    for _ in range(200):
        try:
            return attempt()
        except httpx.TransportError:
            pause.wait(0.1)
    raise AssertionError("it never worked")


def free_port() -> int:
    """Return a port on which nobody listens."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_target_that_runs_away_ends_the_run(talkload: Talkload, scenario: Path, tmp_path: Path) -> None:
    """Long before its time, politely, with the figure; it has failed, and the books balance."""
    file, plan = tmp_path / "busy.toml", tmp_path / "plan.toml"
    file.write_text(scenario.read_text() + "\n[abort]\nsuccess_below = 0.5\nfor_s = 2\n")
    plan.write_text('[[rule]]\nfault = "error"\nwhere = ["https", "action"]\nfrom_s = 6\n')
    server = Server("--faults", str(plan))
    try:
        where = options(server.ready(), tmp_path / "runs")
        ended = talkload("run", str(file), "--run-time", "60s", *where)
    finally:
        server.stop()
    run = the_run(tmp_path / "runs")
    (event,) = (each for each in run.events() if each["kind"] == "aborted")
    assert run.manifest.aborted is not None
    assert run.manifest.reason == "for 2 s less than 50 % of all attempts succeeded"
    assert event["attempts"] == run.manifest.aborted.attempts >= 20
    assert run.manifest.status == "partial"
    assert run.manifest.ended_ns - run.manifest.origin_ns < 40e9
    assert not any(imbalance(worker) for worker in run.manifest.workers)
    assert "success is" in ended.stdout
    assert ended.returncode in (1, 4), ended.stdout + ended.stderr  # 4 where this machine was too busy


def test_a_server_that_dies_is_in_the_figures_not_in_a_traceback(
    talkload: Talkload, target: Target, scenario: Path, tmp_path: Path
) -> None:
    """Refusals are failures with their class; the run ends on time and fails."""
    threading.Timer(4, os.kill, (target.pid, signal.SIGKILL)).start()
    known = "population.accounts=1"  # so that the steady state has begun by then
    ended = talkload("run", str(scenario), "--set", known, "--no-page", *options(target, tmp_path))
    assert ended.returncode == 1, ended.stdout + ended.stderr
    errors = Counter(the_run(tmp_path).samples().column("error").to_pylist())
    assert errors["connection refused"] > 0
    assert "Traceback" not in ended.stdout + ended.stderr
