"""From the run's tables to durations, phases and the cut of the warm-up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analysis.frames import Frames, measured_from
from reports.manifest import Phase
from reports.sample import DELIVERIES, SAMPLES, Fate, Kind
from tests.analysis.conftest import ORIGIN, SECOND, Build, FakeRun, manifest, table


def one(instants: tuple[int, ...], **changes: object) -> Frames:
    """Return the frames of a run with one request."""
    names = ("intended", "sent", "arrived", "seen", "first")[: len(instants)]
    row = {name: [ORIGIN + at] for name, at in zip(names, instants, strict=True)}
    tables = {"samples": table(SAMPLES, {"kind": [Kind.REQUEST], "operation": ["get-user"], **row})}
    run: Any = FakeRun(Path(), manifest(**changes), tables)
    return Frames(run)


def test_durations_are_derived_from_the_instants() -> None:
    """Response from intended; service, first byte and send lag around sent; read lag after arrived; in ns."""
    row = one(tuple(6 * SECOND + after for after in (0, 5, 105, 108, 65))).samples.iloc[0]
    assert (row["response"], row["service"], row["send_lag"], row["read_lag"]) == (105, 100, 5, 3)
    assert row["first_byte"] == 60
    assert row["second"] == 6


def test_what_was_intended_before_the_end_of_warm_up_is_warm_up() -> None:
    """Intended in the warm-up and answered after it is still warm-up; from its end on it is steady."""
    before = one((5 * SECOND - 1, 6 * SECOND, 7 * SECOND, 7 * SECOND)).samples.iloc[0]
    after = one((5 * SECOND, 6 * SECOND, 7 * SECOND, 7 * SECOND)).samples.iloc[0]
    assert (before["phase"], bool(before["steady"])) == ("warm-up", False)
    assert (after["phase"], bool(after["steady"])) == ("steady", True)


def test_a_phase_has_the_name_that_the_manifest_gives_it() -> None:
    """A row belongs to the phase that it was intended in; one that did not end reaches to the end."""
    phases = [Phase(name="spike", from_ns=ORIGIN + 10 * SECOND)]
    assert one((11 * SECOND,) * 4, phases=phases).samples["phase"].iloc[0] == "spike"
    assert one((9 * SECOND,) * 4, phases=phases).samples["phase"].iloc[0] == "steady"


def test_a_warm_up_that_never_ended_leaves_nothing_to_judge() -> None:
    """Without an end of the warm-up no row is steady."""
    frames = one((50 * SECOND,) * 4, measured_from_ns=0)
    assert not frames.samples["steady"].any()
    assert measured_from(frames.manifest) > ORIGIN


def test_only_what_arrived_once_has_a_fan_out_latency(build: Build) -> None:
    """Lost, surplus and misdelivered copies are in the ledger, but in no distribution."""
    fates = {Fate.LOST: 5, Fate.DUPLICATE: 4, Fate.MISDELIVERED: 3, Fate.LATE: 2}
    frames = Frames(build(ledger=500, n=10, fates=fates, measured_from_ns=ORIGIN))
    assert len(frames.deliveries) == 500
    assert len(frames.fanout) == 500 - 5 - 4 - 3
    assert (frames.fanout["service"] > 0).all()


def test_an_empty_run_has_empty_frames(build: Build) -> None:
    """No rows are no reason to fail, and every derived column is there."""
    frames = Frames(build(n=0, ledger=0))
    assert frames.samples.empty
    assert frames.fanout.empty
    assert {"response", "service", "phase", "second", "steady"} <= set(frames.samples.columns)
    assert set(DELIVERIES.names) <= set(frames.deliveries.columns)
