"""Runs on disk become pairs, or are refused with the field that makes them unlike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from analysis import gate, gate_runs
from analysis.gate_runs import GateError, UnusableError
from analysis.objectives import State
from reports.manifest import (
    Aborted,
    Clock,
    Machine,
    ScenarioInfo,
    Suite,
    Target,
    read_manifest,
    write_manifest,
)
from reports.sample import Outcome
from scenarios.slo import Tolerance
from tests.analysis.conftest import ORIGIN, SECOND
from tests.analysis.test_verdict import attempts

CHAT = Tolerance("chat.delivered p50", "chat.delivered", "p50", 0.05)
Store = Callable[..., Path]


@pytest.fixture
def make(store: Store) -> Store:
    """Make a small run that differs from others by its number, and by what a test wants."""

    def made(number: int, **how: Any) -> Path:
        started = {"id": f"20261122T20{number:02}00Z-typical-x", "started": f"2026-11-22T20:{number:02}:00Z"}
        small = {"n": 1500, "ledger": 1500, "slo": {"lost": "= 0"}}
        return store(**{**small, **started, "seed": 100 + number, **how})

    return made


def read(baseline: Path, candidate: Path, *tolerances: Tolerance) -> gate.Pair:
    """Return the pair, judged by the chats unless told otherwise."""
    return gate_runs.read_pair(baseline, candidate, tolerances or [CHAT])


def test_a_pair_holds_what_the_gate_looks_at(make: Store) -> None:
    """Quantiles with enough samples, counts, objectives; a p99 of a few hundred samples is not among them."""
    pair = read(make(1), make(2, slow=1.5))
    assert (
        pair.candidate.quantiles["chat.delivered p50"] > 1.3 * pair.baseline.quantiles["chat.delivered p50"]
    )
    assert pair.baseline.counts["chat.delivered"] > 500
    assert "chat.delivered p99" not in pair.baseline.quantiles
    assert pair.baseline.objectives == {"lost": State.MET}
    assert not pair.noise


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"scenario": ScenarioInfo(name="typical", file="f", hash="1" * 16)}, "scenario.hash"),
        (
            {"machine": Machine(host="h2", cpu="cpu", cores=2, memory=8 << 30, kernel="6.18", python="3.11")},
            "machine.host",
        ),
        (
            {"machine": Machine(host="host", cpu="cpu", cores=2, memory=8, kernel="6.18", python="3.12")},
            "machine.python",
        ),
        ({"suite": Suite(version="0.2.0")}, "suite.version"),
        ({"users": 99}, "users"),
        ({"clock": Clock(stamps="callback")}, "clock.stamps"),
    ],
)
def test_unlike_runs_are_refused_by_the_field(make: Store, changes: dict[str, Any], field: str) -> None:
    """The sentence begins with the field, and has both values."""
    with pytest.raises(GateError, match=f"^{field}: the baseline .* has"):
        read(make(1), make(2, **changes))


def test_runs_of_two_seeds_are_unlike(make: Store) -> None:
    """Other people came: the seed is named."""
    one, two = make(1), make(2)
    write_manifest(two, replace(read_manifest(two), seed=43))
    with pytest.raises(GateError, match=r"^seed: .* has 42, the candidate .* has 43"):
        read(one, two)


def test_a_partial_run_is_refused_on_either_side(make: Store) -> None:
    """With its reason."""
    whole, partial = make(1), make(2, status="partial", reason="stopped before its time")
    for sides in ((whole, partial), (partial, whole)):
        with pytest.raises(GateError, match=r"status: .* is partial: stopped before its time"):
            read(*sides)


def test_a_candidate_that_ran_away_has_failed_a_baseline_is_unusable(make: Store) -> None:
    """A run that its scenario ended early is judged, not refused: one is enough for the gate to fail."""
    ended = Aborted(at_ns=ORIGIN + 20 * SECOND, since_ns=ORIGIN + 8 * SECOND, attempts=200, succeeded=30)
    config = {"slo": {"lost": "= 0"}, "abort": {"success_below": 0.5}}
    how: dict[str, Any] = {
        "seed": 5,
        "scenario": ScenarioInfo(name="t", file="t.toml", hash="0" * 16, config=config),
    }
    broken = make(2, **how, aborted=ended, status="partial", reason="it ran away")
    judged = gate.judge([read(make(1, **how), broken)], [CHAT], scenario="t", planned=6)
    assert (judged.verdict, judged.exit_code, judged.settled) == ("failed", 1, True)
    assert "success: missed by 1 of 1 runs" in " ".join(judged.sentences)
    with pytest.raises(UnusableError, match="the baseline ran away itself: it ran away") as error:
        read(broken, make(3, **how))
    assert error.value.exit_code == 5


def test_a_target_that_was_told_to_misbehave_is_no_baseline(make: Store) -> None:
    """As a candidate it is welcome: that is how the gate is tested."""
    faulty = make(
        1, target=Target(https="https://127.0.0.1/", wss="wss://127.0.0.1/", local=True, faults=True)
    )
    with pytest.raises(GateError, match=r"target\.faults"):
        read(faulty, make(2))
    assert read(make(3), faulty)


def test_an_unknown_metric_is_a_mistake_of_usage(make: Store) -> None:
    """The nearest that exists is offered; a known one that was not recorded has no samples instead."""
    with pytest.raises(GateError, match=r"gate\.chat\.deliverd p50: .* did you mean 'chat\.delivered'"):
        read(make(1), make(2), Tolerance("chat.deliverd p50", "chat.deliverd", "p50", 0.05))
    call = read(make(3), make(4), Tolerance("call.delivered p50", "call.delivered", "p50", 0.05))
    assert call.baseline.counts["call.delivered"] == 0


def test_an_unreachable_target_has_its_own_exit_code(make: Store) -> None:
    """Nobody was there: 5, not a comparison."""
    gone = make(2, tables={"samples": attempts(40, Outcome.BROKEN)}, ledger=0)
    with pytest.raises(UnusableError) as refused:
        read(make(1), gone)
    assert refused.value.exit_code == 5


def test_neighbours_are_read_from_the_run(make: Store) -> None:
    """What the generator wrote of them decides whether the pair counts."""
    assert read(make(1), make(2, pressure=0.7)).noise.startswith("candidate: CPU pressure 70.0 %")


def test_an_instrument_that_failed_is_told(make: Store) -> None:
    """The run's own validity comes with it."""
    unknown = Clock(stamps="")
    assert (
        "How arrivals were stamped" in read(make(1, clock=unknown), make(2, clock=unknown)).candidate.invalid
    )


def test_runs_are_matched_by_time_whatever_their_order(make: Store) -> None:
    """Interleaved runs make pairs; which came first in a pair does not matter."""
    a, b, c, d = (make(number) for number in range(4))
    assert gate_runs.match(candidates=[d, a], baselines=[c, b]) == [(b, a), (c, d)]


def test_runs_that_were_not_made_in_pairs_are_refused(make: Store) -> None:
    """First all of the baseline, then all of the candidate: drift would be taken for the change."""
    a, b, c, d = (make(number) for number in range(4))
    with pytest.raises(GateError, match="both of the baseline, follow"):
        gate_runs.match(candidates=[c, d], baselines=[a, b])
    with pytest.raises(GateError, match="expected as many"):
        gate_runs.match(candidates=[c], baselines=[a, b])
    with pytest.raises(GateError, match="given twice"):
        gate_runs.match(candidates=[a], baselines=[a])


@pytest.mark.parametrize(
    ("table", "says"), [({}, r"no \[gate\] table"), ({"chat.delivered p50": "5"}, "not understood")]
)
def test_a_gate_needs_metrics(table: dict[str, str], says: str) -> None:
    """Without any nothing could be judged, and nothing would pass."""
    with pytest.raises(GateError, match=says):
        gate_runs.tolerances_of(table, "x.toml")
