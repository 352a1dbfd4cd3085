"""A run too large for memory is judged as a small one is: from blocks, with the same figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from analysis import columns, verdict
from analysis.fanouts import times
from analysis.frames import Frames, of_kind, succeeded, values
from benchmarks import large_run
from reports.artefact import Run
from reports.sample import Kind

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Make a run of several blocks and row groups."""
    folder = tmp_path_factory.mktemp("large") / "run"
    return Run.open(large_run.make(folder, 300_000, seconds=120))


def test_figures_from_blocks_are_those_of_whole_frames(run: Run) -> None:
    """Operation by operation and delivery by delivery, the very same quantiles and counts."""
    judged, frames = verdict.judge(run), Frames(run)
    assert len(judged.operations) == len(large_run.OPERATIONS)
    for row in judged.operations:
        own = frames.steady[frames.steady["operation"] == row.operation]
        assert (row.attempts, row.ok) == (len(own), len(succeeded(own)))
        assert row.response == times(values(succeeded(own), "response"))
        assert row.service == times(values(succeeded(own), "service"))
    for each in judged.deliveries:
        own = frames.fanout[frames.fanout["operation"] == each.operation]
        assert each.fanout == times(values(own, "service"))
    lags = values(of_kind(frames.steady, Kind.REQUEST, Kind.SOCKET, Kind.PING, Kind.CONNECT), "send_lag")
    assert judged.resources.send_lag == times(lags[lags > 0])
    ledger = frames.deliveries
    assert judged.totals.lost == int((ledger["fate"] == "lost").sum()) > 0


def test_what_is_not_kept_is_read_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no memory to keep a column in, the verdict is the same to the byte."""
    kept = msgspec.json.encode(verdict.judge(run))
    monkeypatch.setattr(columns, "KEPT", 1_000_000)
    assert msgspec.json.encode(verdict.judge(run)) == kept


def test_a_run_is_the_same_for_a_seed(tmp_path: Path) -> None:
    """And another for another one."""
    one, same, other = (
        Run.open(large_run.make(tmp_path / name, 2_000, seconds=70, seed=seed)).samples(["arrived"])
        for name, seed in (("one", 1), ("same", 1), ("other", 2))
    )
    assert one.equals(same)
    assert not np.array_equal(one["arrived"].to_numpy(), other["arrived"].to_numpy())


@pytest.mark.end_to_end
def test_the_benchmark_tells_what_it_took() -> None:
    """Rows, time and memory; judged in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.large_run", "--rows", "60000", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["rows"], found["deliveries"]) == (60_000, 10_000)
    assert found["verdict"]["seconds"] > 0
    assert found["verdict"]["peak_bytes"] > 1_000_000
