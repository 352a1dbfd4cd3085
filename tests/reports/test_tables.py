"""Workers with clocks of their own: whatever they showed, the tables are those of one clock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.artefact import Manifest, PartWriter, Run, Worker, create, release, seal
from reports.manifest import Clock
from reports.sample import INSTANTS
from tests.reports.conftest import ORIGIN

SECOND = 1_000_000_000
DEADLINE = 50_000_000
FLIGHT = 3_000_000
N = 20
TRIP = 20_000


def rows(sent_by: str, worker: str) -> dict[str, dict[str, list[Any]]]:
    """Return by table what a worker of the run's clock would write: N messages, FLIGHT on their way."""
    sent = [ORIGIN + SECOND * n for n in range(1, N + 1)]
    names = {"key": [f"{sent_by}-{worker}-{n}" for n in range(N)], "operation": ["chat.delivered"] * N}
    return {
        "sends": {
            **names,
            "sender": [f"of {sent_by}"] * N,
            "recipient": [f"of {worker}"] * N,
            "accepted": [0] * N,
            "intended": sent,
            "sent": sent,
            "settled": [at + 100_000 for at in sent],
            "besides": [-1] * N,
        },
        "arrivals": {
            **names,
            "recipient": [f"of {worker}"] * N,
            "socket": [1] * N,
            "arrived": [at + FLIGHT for at in sent],
            "seen": [at + FLIGHT + 5_000 for at in sent],
        },
        "presence": {"user": [f"of {worker}"], "socket": [1], "online": [True], "at": [ORIGIN]},
    }


def shifted(columns: dict[str, list[Any]], offset: int, drift_ppb: int) -> dict[str, list[Any]]:
    """Return the columns as a clock shows them that was ahead by `offset` at 0, and gains."""
    return {
        name: [at + offset + at * drift_ppb // SECOND for at in values] if name in INSTANTS else values
        for name, values in columns.items()
    }


def run_of(root: Path, make: Callable[..., Manifest], clocks: dict[str, tuple[str, int, int]]) -> Run:
    """Return a sealed run of workers with (clock, offset, drift), each of which wrote to each, itself too."""
    workers = [Worker(name=name, closed=True, clock=clock) for name, (clock, _, _) in clocks.items()]
    own = Clock(id="here", stamps="wire")
    folder = create(root, make(workers=workers, clock=own, deadline_ns=DEADLINE), min_free=0, force=True)
    for name, (clock, offset, drift) in clocks.items():
        writer = PartWriter(folder, name)
        for other in clocks:
            out, into = rows(name, other), rows(other, name)
            writer.append("sends", shifted(out["sends"], offset, drift))
            writer.append("arrivals", shifted(into["arrivals"], offset, drift))
        writer.append("presence", shifted(into["presence"], offset, drift))
        if clock != "here":
            at = [ORIGIN + SECOND * n for n in range(0, N + 2, 2)]
            found = [offset + each * drift // SECOND for each in at]
            writer.append(
                "exchanges",
                {**shifted({"at": at}, offset, drift), "offset": found, "round_trip": [TRIP] * len(at)},
            )
        writer.close()
    seal(folder, ended_ns=ORIGIN + SECOND * (N + 5), status="complete")
    release(folder)
    return Run.open(folder)


offsets = st.integers(-(10**15), 10**15)
drifts = st.integers(-100_000, 100_000)


@given(near=st.tuples(offsets, drifts), far=st.tuples(offsets, drifts))
@settings(max_examples=20, deadline=None)
def test_deliveries_between_clocks_take_as_long_as_they_did(
    tmp_path_factory: pytest.TempPathFactory, near: tuple[int, int], far: tuple[int, int]
) -> None:
    """Offsets of days and drifts of quartz: every fate is right, every time within the bounds."""
    clocks = {"w0": ("here", 0, 0), "w1": ("near", *near), "w2": ("far", *far), "w3": ("far", *far)}
    run = run_of(tmp_path_factory.mktemp("runs"), make_manifest, clocks)
    assert [clock.id for clock in run.manifest.clocks] == ["far", "near"]
    bounds = {clock.id: clock.bound_ns for clock in run.manifest.clocks}
    assert all(bound is not None and TRIP / 2 <= bound <= 2 * TRIP for bound in bounds.values())
    ledger = run.deliveries().to_pylist()
    assert [row["fate"] for row in ledger] == ["on-time"] * (len(clocks) ** 2 * N)
    for row in ledger:
        ends = [clocks[row[name]][0] for name in ("sent_by", "worker")]
        bound = sum(bounds.get(end) or 0 for end in ends) if ends[0] != ends[1] else 2
        assert abs(row["arrived"] - row["sent"] - FLIGHT) <= bound
    told = {clock.id: clock for clock in run.manifest.clocks}
    assert told["near"].drift_ppb == pytest.approx(near[1], abs=12)
    assert told["far"].drift_ppb == pytest.approx(far[1], abs=12)
    assert (told["near"].exchanges, told["far"].exchanges) == (11, 22), "two workers asked for one"


def make_manifest(**fields: Any) -> Manifest:
    """Return a manifest, without the fixture: that one lives for one example."""
    from tests.analysis.conftest import manifest

    return manifest(
        **{
            "status": "running",
            "ended_ns": 0,
            "measured_from_ns": 0,
            "phases": [],
            "origin_ns": ORIGIN,
            **fields,
        }
    )


def test_all_instants_are_of_the_run_s_clock(tmp_path: Path) -> None:
    """Those of the parts too, and of the exchanges themselves; the manifest tells what was done."""
    run = run_of(tmp_path, make_manifest, {"w0": ("here", 0, 0), "w1": ("far", 250_000_000, 0)})
    for name in ("sends", "arrivals", "presence"):
        table = getattr(run, name)()
        for column in set(INSTANTS) & set(table.column_names):
            spread = np.array(table[column]) - ORIGIN
            assert 0 <= spread.min() <= spread.max() <= (N + 1) * SECOND
    assert np.array(run.exchanges()["at"]).min() == ORIGIN
    (clock,) = run.manifest.clocks
    assert (clock.id, clock.offset_ns, clock.drift_ppb) == ("far", 250_000_000, 0)


def test_a_clock_that_nobody_compared_is_told_as_unknown(tmp_path: Path) -> None:
    """Its worker's instants stay as they are, and there is no bound."""
    workers = [Worker(name="w1", closed=True, clock="far")]
    head = make_manifest(workers=workers, clock=Clock(id="here", stamps="wire"))
    folder = create(tmp_path, head, min_free=0)
    writer = PartWriter(folder, "w1")
    writer.append("wakeups", {"due": [7], "woken": [9]})
    writer.close()
    seal(folder, ended_ns=ORIGIN, status="complete")
    run = Run.open(folder)
    assert [(clock.id, clock.bound_ns) for clock in run.manifest.clocks] == [("far", None)]
    assert run.wakeups()["woken"].to_pylist() == [9]


def test_a_worker_that_asked_for_the_time_has_a_clock_of_its_own(tmp_path: Path) -> None:
    """Where its coordinator was killed before it wrote down who that worker is, the worker's record tells."""
    folder = create(tmp_path, make_manifest(clock=Clock(id="here", stamps="wire")), min_free=0)
    writer = PartWriter(folder, "w1")
    writer.append("exchanges", {"at": [5 * SECOND], "offset": [4 * SECOND], "round_trip": [TRIP]})
    writer.append("wakeups", {"due": [5 * SECOND], "woken": [5 * SECOND + 9]})
    writer.close()
    release(folder)
    run = Run.open(folder, recover=True)
    assert [(worker.name, worker.clock) for worker in run.manifest.workers] == [("w1", "of w1")]
    assert run.wakeups()["woken"].to_pylist() == [SECOND + 9]
