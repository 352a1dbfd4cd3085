"""What users cost a target: counted from a run, found from what is known, said with its limits."""

from __future__ import annotations

import io
import re
import tomllib
from typing import Any

import msgspec
import numpy as np
import pytest
from rich.console import Console

from analysis.capacity import page, report, resources, resources_text, sizing, work
from analysis.capacity.points import Point
from analysis.capacity.resources import GIB, Resources
from analysis.capacity.work import KINDS, Work, WorkError
from analysis.formats import fmt_bytes
from analysis.frames import Frames
from reports.artefact import with_worker
from reports.manifest import Phase
from reports.sample import DELIVERIES, PARTS, RESOURCES, SAMPLES, Fate, Kind
from tests.analysis.capacity.test_sizing import EXAMPLE
from tests.analysis.conftest import ORIGIN, SECOND, Build, FakeRun, table

TRUE = {"base": 3e6, "user": 6e4, "https": 5e5, "message": 4e5, "handshake": 9e5, "ping": 4e4, "call": 2e6}
"""ns of CPU."""
HELD = {"user": 40_000.0, "message": 900.0}
"""Bytes."""


def worked(seed: int = 1, n: int = 60, *, noise: float = 0.03, users: int = 200) -> Work:
    """Return the windows of a run in which people come for a third of the time, and then do this and that."""
    rng = np.random.default_rng(seed)
    online = users * np.clip(np.arange(n) / (n // 3), 0, 1)
    joined = np.diff(online, prepend=0)
    done = {kind: np.zeros(n) for kind in KINDS} | {
        "base": np.full(n, 2.0),
        "user": 2 * online,
        "https": rng.poisson(online * rng.uniform(0.1, 0.5, n)).astype(float),
        "message": rng.poisson(online * rng.uniform(0.2, 0.8, n)).astype(float),
        "handshake": rng.poisson(3 * joined + 40 * (rng.random(n) < 0.1)).astype(float),
        "ping": rng.poisson(0.2 * online * rng.uniform(0.2, 1.8, n)).astype(float),
        "call": rng.poisson(online * rng.uniform(0, 0.05, n)) / 4,
    }
    cpu = sum(TRUE[kind] * done[kind] for kind in TRUE) * rng.normal(1, noise, n)
    grown = HELD["user"] * joined + HELD["message"] * done["message"] + rng.normal(0, 20_000, n)
    return Work(
        run=f"run-{seed}",
        cpu=cpu,
        grown=grown,
        joined=joined,
        done=done,
        judged=np.arange(n) >= n // 3,
        first=(50 << 20, 0.0),
        call_frames=(1_000, 0),
    )


def estimates(found: Resources, table: str = "cpu") -> dict[str, Any]:
    return {cost.kind: cost.estimate for cost in getattr(found, table) if cost.estimate}


def said(found: Resources) -> str:
    """Return what a terminal shows."""
    console = Console(file=io.StringIO(), width=160)
    console.print(*resources_text.tables(found), sep="\n")
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_costs_that_are_known_are_found() -> None:
    """Each within its interval, which is narrow enough to be of use; memory with what was there before."""
    found = resources.of_work([worked()])
    for kind, true in TRUE.items():
        assert estimates(found)[kind].low <= true <= estimates(found)[kind].high
    for kind in ("https", "message", "handshake"):
        assert estimates(found)[kind].high < 1.3 * TRUE[kind]
    for kind, true in HELD.items():
        assert estimates(found, "memory")[kind].low <= true <= estimates(found, "memory")[kind].high
    assert found.base_memory == pytest.approx(50 << 20)


def test_connections_follow_from_a_user_who_only_pings() -> None:
    """What is left of a core, over a connected user and his pings; a GiB over the memory of one."""
    found = resources.of_work([worked(noise=0)])
    assert found.idle
    assert found.connections
    assert found.connections_per_gib
    a_user = TRUE["user"] + found.pings * TRUE["ping"]
    assert found.idle.value == pytest.approx(a_user, rel=1e-6)
    assert found.connections.value == pytest.approx((1e9 - TRUE["base"]) / a_user, rel=1e-6)
    kept = estimates(found, "memory")["user"]
    assert found.connections_per_gib.value == pytest.approx(GIB / kept.value)
    assert found.connections_per_gib.low == pytest.approx(GIB / kept.high)


def test_users_of_the_mix_follow_from_what_was_used() -> None:
    """CPU after the warm-up over the seconds that users were connected, base and all."""
    made = worked(noise=0.02)
    found = resources.of_work([made])
    ratio = made.cpu[made.judged].sum() / made.done["user"][made.judged].sum()
    assert found.user.value == pytest.approx(ratio, rel=0.01)
    assert found.users.low < 1e9 / ratio < (found.users.high or 0)


def test_a_minute_of_a_call_is_that_and_its_frames() -> None:
    """Frames of calls count as messages; here a thousand in all."""
    made = worked(noise=0)
    found = resources.of_work([made])
    assert found.call
    frames = 1_000 / made.done["call"].sum()
    assert found.call.value == pytest.approx(TRUE["call"] + frames * TRUE["message"], rel=1e-6)
    quiet = msgspec.structs.replace(found, call=None)
    assert "minute of a call with its frames takes" in said(found)
    assert "minute of a call with its frames takes" not in said(quiet)


@pytest.mark.parametrize(("memory", "binds"), [(None, "CPU"), (64 * GIB, "CPU"), (GIB / 16, "memory")])
def test_an_instance_carries_what_its_scarcer_part_does(memory: float | None, binds: str) -> None:
    """CPU or memory; the piece of a capacity.toml says which, and is one that sizing takes as measured."""
    found = resources.of_work([worked()], cores=2, memory=memory)
    assert found.instance.binds == binds
    text = resources_text.toml(found)
    piece = tomllib.loads(text)["capacity"]["users_per_instance"]
    assert piece["low"] <= piece["high"]
    assert f"all {binds} of 2 cores" in piece["measured"]
    assert "objectives not asked" in piece["measured"]
    plan = tomllib.loads(EXAMPLE.read_text())
    plan["capacity"]["users_per_instance"] = piece
    sized = sizing.size(msgspec.convert(plan, sizing.Plan))
    assert "users_per_instance" not in sized.assumed


def test_what_is_not_there_is_said() -> None:
    """None of a kind; a number of users that never changed, from which no connection can be told."""
    made = worked()
    still = made.done | {"user": np.full(60, 400.0), "call": np.zeros(60)}
    same = Work(
        run="still", cpu=made.cpu, grown=made.grown, joined=np.zeros(60), done=still, judged=made.judged,
        first=made.first, call_frames=(0, 0),
    )  # fmt: skip
    found = resources.of_work([same])
    remarks = {cost.kind: resources_text.remark(cost) for cost in found.cpu}
    assert remarks["user"] == "within: the server by itself, a second"
    assert remarks["call"] == remarks["delivery"] == "none in these runs"
    assert (found.idle, found.connections, found.connections_per_gib, found.call) == (None, None, None, None)
    assert "connections a core" not in said(found)


def test_work_is_counted_from_a_run(build: Build) -> None:
    """Of each kind what was done in the windows between the server's rows, to the end of the load."""
    run = small_run(build)
    found = work.of_frames(Frames(run))
    assert found.cpu.tolist() == [0.5 * 2 * SECOND] * 4
    assert found.grown.tolist() == [2_000_000.0] * 4
    counted = {kind: counts.tolist() for kind, counts in found.done.items() if counts.any()}
    assert counted == {
        "base": [2, 2, 2, 2],
        "user": [0, 1, 2, 2],  # it came at 3 s, by when the second window is half over
        "https": [1, 0, 0, 0],
        "message": [0, 1, 1, 0],
        "handshake": [1, 0, 0, 0],
        "delivery": [0, 0, 2, 0],
        "password": [1, 0, 0, 0],
        "ping": [0, 0, 0, 1],
        "call": [0, 0, 1 / 60, 0],
    }
    assert found.joined.tolist() == [0, 1, 0, 0]
    assert found.judged.tolist() == [False, True, True, True]
    assert found.call_frames == (1, 2)
    assert found.first == (100_000_000, 0)


def small_run(build: Build) -> Any:
    """Return a run of ten seconds in which one of everything happened; its load ends after eight."""
    rows = [
        (Kind.REQUEST, "get-user", 0.5),
        (Kind.REQUEST, "sign-in", 1.5),
        (Kind.CONNECT, "wss.connect", 1.0),
        (Kind.STEP, "chat.open", 1.0),
        (Kind.SOCKET, "wss.send-message", 3.5),
        (Kind.NOTICE, "wss.signal", 4.5),
        (Kind.PING, "wss.ping", 7.0),
        (Kind.PING, "wss.ping", 9.0),
    ]
    at = [ORIGIN + round(second * SECOND) for *_, second in rows]
    samples = table(
        SAMPLES,
        {
            "kind": [row[0] for row in rows],
            "operation": [row[1] for row in rows],
            **dict.fromkeys(("intended", "sent", "arrived", "seen"), at),
        },
    )
    pushes = ["call:7:call-accepted", "call:7:call-ended"]
    came = [ORIGIN + 9 * SECOND // 2, ORIGIN + 11 * SECOND // 2]
    ledger = table(
        DELIVERIES,
        {
            "key": pushes,
            "operation": ["call.delivered"] * 2,
            "fate": [Fate.ON_TIME.value] * 2,
            **dict.fromkeys(("intended", "sent", "arrived", "seen"), came),
        },
    )
    usage = table(
        with_worker(RESOURCES),
        {
            "worker": ["w0"] * 11,
            "at": [ORIGIN + second * SECOND for second in range(11)],
            "process": ["server"] * 11,
            "cpu": [0.5] * 11,
            "rss": [100_000_000 + 1_000_000 * second for second in range(11)],
        },
    )
    presence = table(with_worker(PARTS["presence"]), {
        "worker": ["w0"], "user": ["u"], "socket": [1], "online": [True], "at": [ORIGIN + 3 * SECOND],
    })  # fmt: skip
    tables = {"samples": samples, "deliveries": ledger, "resources": usage, "presence": presence}
    return build(
        n=0, ledger=0, tables=tables, measured_from_ns=ORIGIN + 2 * SECOND,
        phases=[Phase(name="steady", from_ns=ORIGIN, to_ns=ORIGIN + 8 * SECOND)],
    )  # fmt: skip


def test_runs_that_tell_nothing_or_too_little_are_refused(build: Build) -> None:
    """One sentence that names the run, or what is missing."""
    mute = build(tables={"resources": with_worker(RESOURCES).empty_table()})
    with pytest.raises(WorkError, match=f"{mute.manifest.id}: nothing tells what its target used"):
        resources.of_runs([Frames(mute)])
    with pytest.raises(WorkError, match=r"4 windows of time for 4 kinds.*give longer runs"):
        resources.of_runs([Frames(small_run(build))])


def test_runs_of_unlike_targets_are_refused(build: Build) -> None:
    """With the field, and both values; so is one run given twice."""
    one = build()
    with pytest.raises(WorkError, match="given twice"):
        resources.of_runs([Frames(one), Frames(one)])
    manifest = msgspec.structs.replace(
        one.manifest, id="other", target=msgspec.structs.replace(one.manifest.target, version="0.2.0")
    )
    other: Any = FakeRun(one.path, manifest, one.tables)
    with pytest.raises(WorkError, match=re.escape("target.version: ") + ".*has '', other has '0.2.0'"):
        resources.of_runs([Frames(one), Frames(other)])


def test_costs_stand_on_the_page() -> None:
    """In a table, with what follows; the very figures of capacity.json."""
    found = resources.of_work([worked()])
    points = [Point(f"line {n}", load=n, throughput=10.0 * n) for n in (1, 2, 3, 4)]
    whole = msgspec.structs.replace(report.analyse(points), resources=found)
    section = page.Page(whole).section("resources")
    assert (
        'data-path="resources/cpu/2/estimate/value"' in section or "resources/cpu/2/estimate/value" in section
    )
    assert fmt_bytes(found.base_memory) in section
    assert resources_text.sentences(found)[1] in section
    assert msgspec.json.decode(report.encode(whole), type=report.Capacity) == whole
    assert "Nothing tells" in page.Page(report.analyse(points)).section("resources")
