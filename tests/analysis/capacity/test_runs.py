"""Runs as points of one curve: refused with the field in which they are unlike, left out where spoiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from analysis.capacity import report
from analysis.capacity.points import PointsError
from analysis.capacity.runs import PROCESSES, USERS, of_runs, refuse_unlike
from analysis.objectives import State
from reports.manifest import Aborted, Arrivals, Clock, Machine, Manifest, ScenarioInfo, Suite, Target
from scenarios import workload
from tests.analysis.conftest import ORIGIN, SECOND, manifest

PLAN = workload.load("typical")
TARGET = Target(https="https://127.0.0.1:8443/v1", wss="wss://127.0.0.1:8443/", local=True, processes=1)
MACHINE = Machine(host="host", cpu="cpu", cores=2, memory=8 << 30, kernel="6.18", python="3.11")


def scenario(*settings: str) -> ScenarioInfo:
    """Return the scenario as a manifest has it, with some of it set otherwise."""
    plan = workload.load("typical", settings)
    return ScenarioInfo(name="typical", file="typical.toml", hash=plan.hash(), config=plan.resolved())


def head(number: int, **changes: Any) -> Manifest:
    """Return the head of a run."""
    base = {"id": f"20261122T20{number:02}00Z-typical-x", "scenario": scenario(), "target": TARGET}
    return manifest(**{**base, **changes})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"scenario": scenario("people.pace=7")}, "scenario.config.people.pace"),
        ({"scenario": scenario("senior.chat=1")}, "scenario.config.senior.chat"),
        ({"scenario": scenario("client.ping_interval_s=1")}, "scenario.config.client.ping_interval_s"),
        ({"machine": replace(MACHINE, host="h2")}, "machine.host"),
        ({"machine": replace(MACHINE, cores=4)}, "machine.cores"),
        ({"suite": Suite(version="0.2.0")}, "suite.version"),
        ({"seed": 43}, "seed"),
        ({"clock": Clock(stamps="callback")}, "clock.stamps"),
        ({"target": replace(TARGET, version="2")}, "target.version"),
        ({"target": replace(TARGET, faults=True)}, "target.faults"),
        ({"target": replace(TARGET, password_cost="realistic")}, "target.password_cost"),
        ({"target": replace(TARGET, processes=2)}, "target.processes"),
    ],
)
def test_unlike_runs_are_refused_by_the_field(changes: dict[str, Any], field: str) -> None:
    """One sentence: the field, both runs, both values."""
    with pytest.raises(PointsError, match=rf"^{field}: 20261122T2001\S+ has .*, 20261122T2002\S+ has "):
        refuse_unlike([head(1), head(2, **changes)], USERS)


def test_how_much_load_there_was_may_differ() -> None:
    """That is what the curve goes over; so may the port of a server that is started for each run."""
    more = scenario("load.users=400", "load.spawn_rate=50", "load.run_time_s=90", "load.warm_up_s=20")
    elsewhere = replace(TARGET, https="https://127.0.0.1:9/v1", wss="wss://127.0.0.1:9/")
    refuse_unlike([head(1), head(2, scenario=more, users=400, target=elsewhere, boot_id="c")], USERS)
    here = replace(TARGET, local=False)
    with pytest.raises(PointsError, match=r"^target\.https: "):
        refuse_unlike([head(1, target=here), head(2, target=replace(elsewhere, local=False))], USERS)


def test_over_processes_the_load_is_one() -> None:
    """And the target has to say how many it has."""
    two = replace(TARGET, processes=2)
    refuse_unlike([head(1), head(2, target=two)], PROCESSES)
    with pytest.raises(PointsError, match=r"^users: "):
        refuse_unlike([head(1), head(2, target=two, users=400)], PROCESSES)
    with pytest.raises(PointsError, match=r"^scenario\.config\.load\.run_time_s: "):
        refuse_unlike([head(1), head(2, target=two, scenario=scenario("load.run_time_s=90"))], PROCESSES)
    with pytest.raises(PointsError, match=r"^target\.processes: .* does not say"):
        refuse_unlike([head(1), head(2, target=replace(TARGET, processes=0))], PROCESSES)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"status": "partial", "reason": "interrupted"}, "^status: .* is partial: interrupted"),
        ({"arrivals": Arrivals(plan_hash="x", planned=10)}, "^arrivals: .* is an open run"),
        ({"id": head(1).id}, "^id: .* is given twice"),
    ],
)
def test_what_is_no_point_of_users_is_refused(changes: dict[str, Any], says: str) -> None:
    """A run that was cut short, one whose load is no number of users, and the same one again."""
    with pytest.raises(PointsError, match=says):
        refuse_unlike([head(1), head(2, **changes)], USERS)


def test_a_target_that_ran_away_is_a_point() -> None:
    """Its run was ended early because of the load, which is what the curve is about."""
    away = Aborted(at_ns=ORIGIN + SECOND, since_ns=ORIGIN, attempts=10, succeeded=0)
    refuse_unlike([head(1), head(2, status="partial", aborted=away)], USERS)


def test_runs_become_a_curve_with_what_breaks_first(store: Callable[..., Path]) -> None:
    """By id or by path; a spoiled run is left out and said; objectives held up to a load."""

    def made(users: int, **how: Any) -> Path:
        small = {"n": 30 * users, "ledger": 1_000, "users": users, "slo": {"get-chats p50": "< 20 ms"}}
        return store(id=f"20261122T2045{users // 10:02}Z-typical-x", **{**small, **how})

    folders = [made(40), made(80), made(120), made(160, slow=5.0), made(200, lag=50 * 1_000_000)]
    points, left_out = of_runs([folders[0].name, *folders[1:]], folders[0].parent)
    assert [point.load for point in points] == [40, 80, 120, 160]
    assert len(left_out) == 1
    assert "left out: 20261122T204520Z-typical-x is invalid: " in left_out[0]
    assert points[-1].objectives == {"get-chats p50": State.MISSED}
    found = report.analyse(points, None, USERS, left_out)
    assert (found.held[0].held, found.held[0].missed) == (120, 160)
    assert "what breaks first is get-chats p50: missed at a load of 160" in found.sentences
    assert found.sentences[-1] == left_out[0]
    with pytest.raises(PointsError, match=r"3 points; .* left out: "):
        report.analyse(points[:3], None, USERS, left_out)
