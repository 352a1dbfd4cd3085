"""Clocks of separate hosts, compared over a real link."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from analysis import verdict
from analysis.formats import fmt_ms
from analysis.frames import Frames
from analysis.stats import quantile
from reports import clocks
from reports.artefact import Run
from reports.sample import EXCHANGES
from tests.end_to_end.conftest import LONG
from tests.end_to_end.fleets import Hosts, fleet
from tests.end_to_end.hosts import Host

pytestmark = pytest.mark.end_to_end

PARTY = (sys.executable, "-m", "tests.end_to_end.clock_party")
AHEAD = 250_000_000
LIMIT = 50_000


def compared(worker: Host, master: Host) -> tuple[str, clocks.Line]:
    """Return the identity of a worker's clock, and the line through its exchanges with the master."""
    responder = master.start(*PARTY, "respond", master.address)
    assert responder.stdout is not None
    port = responder.stdout.readline().strip()
    ended = worker.run(*PARTY, "probe", master.address, port, "3")
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    rows = np.array(said["exchanges"], np.int64)
    line = clocks.line(pa.table(list(rows.T), schema=EXCHANGES))
    assert line is not None
    return str(said["identity"]), line


def test_a_clock_that_is_ahead_is_found_over_a_link(hosts: Hosts) -> None:
    """250 ms, within a bound of at most 50 µs; the hosts' identities tell that the clocks are two."""
    with hosts("master", "worker", "other", clocks={"worker": AHEAD}) as found:
        worker, line = compared(found["worker"], found["master"])
        assert abs(line.offset_at(line.at) - AHEAD).max() <= line.bound <= LIMIT
        other, line = compared(found["other"], found["master"])
        assert abs(line.offset_at(line.at)).max() <= line.bound <= LIMIT
        assert worker != other


def reaches(one: Host, other: Host) -> bool:
    """Tell whether a datagram gets from one host to another."""
    listen = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1)\n"
        f"s.bind(('{other.address}', 9)); print('ready', flush=True); s.recv(1); print('came')"
    )
    send = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"s.sendto(b'!', ('{other.address}', 9))"
    )
    receiver: subprocess.Popen[Any] = other.start(sys.executable, "-c", listen)
    assert receiver.stdout is not None
    receiver.stdout.readline()
    one.run(sys.executable, "-c", send)
    return "came" in receiver.stdout.read()


def test_a_link_can_be_cut_stalled_and_mended(hosts: Hosts) -> None:
    """What the faults of the other tests are made of."""
    with hosts("one", "other") as found:
        one, other = found["one"], found["other"]
        assert reaches(one, other)
        for harm in (one.cut, one.stall):
            harm()
            assert not reaches(one, other)
            one.mend()
            assert reaches(one, other)


def test_nothing_of_the_hosts_is_left(hosts: Hosts) -> None:
    """Whatever failed inside, and whoever still ran."""

    def present() -> str:
        links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True)
        spaces = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True)
        return links.stdout + spaces.stdout

    running = []

    def fail() -> None:
        with hosts("one") as found:
            running.append(found["one"].start(sys.executable, "-c", "import time; time.sleep(600)"))
            assert found["one"].namespace in present()
            raise RuntimeError("inside")

    before = present()
    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert [process.returncode is not None for process in running] == [True]
    assert present() == before


def test_workers_with_another_clock_measure_on_the_run_s(
    hosts: Hosts, scenario: Path, tmp_path: Path
) -> None:
    """One is 250 ms ahead: the p50 across clocks is the one of the true offset, within the bound."""
    told, workers = ("--users", "32", "--run-time", "9s"), ("one", "other")
    with fleet(hosts, tmp_path, scenario, *told, workers=workers, clocks={"other": AHEAD}) as found:
        said, complaint = found.master.communicate(timeout=LONG)
    run = Run.open("latest", root=tmp_path / "runs")
    judged = verdict.judge(run)
    assert judged.totals.successes, said + complaint
    assert judged.totals.lost == 0
    assert [rule.holds for rule in judged.validity if rule.rule == "clocks of all workers are known"] == [
        True
    ]
    (clock,) = run.manifest.clocks
    assert clock.bound_ns is not None
    assert clock.bound_ns <= LIMIT
    ahead = next(worker.name for worker in run.manifest.workers if worker.clock == clock.id)
    apart = {row.across: row for row in judged.clocks_apart if row.operation == "chat.delivered"}
    assert apart[True].fanout.n
    assert apart[False].fanout.n
    assert f"wrong by {fmt_ms(clock.bound_ns)} at most" in said
    assert {(row.sent_by, row.worker) for row in judged.worker_pairs} == {("w1", "w2"), ("w2", "w1")}

    frame = Frames(run).fanout
    frame = frame[(frame["operation"] == "chat.delivered") & (frame["sent_by"] != frame["worker"])]
    true = frame["service"].to_numpy(copy=True)
    exchanges = run.exchanges()
    by_its_own = exchanges["at"].to_numpy() + AHEAD
    line = clocks.line(exchanges.set_column(0, "at", pa.array(by_its_own)).drop_columns("worker"))
    assert line is not None
    for end, name, sign in (("sent_by", "sent", -1), ("worker", "arrived", 1)):
        there = (frame[end] == ahead).to_numpy()
        wrong = line.offset_at(frame[name].to_numpy() + AHEAD) - AHEAD
        true = true + np.where(there, sign * np.rint(wrong).astype(np.int64), 0)
    reported = apart[True].fanout.p50
    assert reported is not None
    assert abs(quantile(true, 0.5) - reported.value) <= clock.bound_ns
