"""A seeded, synthetic run: as large, as slow and as broken as a test wants it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reports.artefact import create, seal, with_worker
from reports.manifest import (
    Clock,
    Machine,
    Manifest,
    Phase,
    ScenarioInfo,
    Suite,
    Target,
    Worker,
    write_manifest,
)
from reports.parts import PartWriter
from reports.sample import DELIVERIES, PARTS, RESOURCES, SAMPLES, WAKEUPS, Fate, Kind, Outcome

SECOND = 1_000_000_000
MS = 1_000_000
ORIGIN = 5_000 * SECOND
SLO = {
    "chat.delivered p99": "< 250 ms",
    "chat.delivered p50": "< 50 ms",
    "wss.ping p99": "< 250 ms",
    "errors": "< 1 %",
    "lost": "= 0",
    "duplicate": "= 0",
    "deliveries": ">= 1000",
}
OPERATIONS = (
    (Kind.REQUEST, "sign-in", 62.0, 0.03),
    (Kind.REQUEST, "get-chats", 9.0, 0.17),
    (Kind.REQUEST, "get-user", 5.0, 0.10),
    (Kind.REQUEST, "get-chat-messages", 7.5, 0.15),
    (Kind.REQUEST, "get-upcoming-schedules", 6.1, 0.05),
    (Kind.SOCKET, "wss.authenticate", 3.2, 0.03),
    (Kind.SOCKET, "wss.send-message", 4.4, 0.27),
    (Kind.SOCKET, "wss.get-messages", 6.0, 0.05),
    (Kind.PING, "wss.ping", 1.1, 0.10),
    (Kind.CONNECT, "https.connect", 9.0, 0.01),
    (Kind.CONNECT, "wss.connect", 14.0, 0.01),
    (Kind.PHASE, "wss.connect.tls", 8.0, 0.01),
    (Kind.STEP, "chat.open", 21.0, 0.02),
)


@dataclass
class FakeRun:
    """What `reports.artefact.Run` gives, from memory."""

    path: Path
    manifest: Manifest
    tables: dict[str, pa.Table] = field(default_factory=dict)

    def blocks(self, name: str, columns: Sequence[str]) -> Iterator[pa.Table]:
        whole = self.tables[name].select(list(columns))
        yield from (whole.slice(at, 1_000) for at in range(0, len(whole), 1_000))

    def count(self, name: str) -> int:
        return int(self.tables[name].num_rows)

    def samples(self) -> pa.Table:
        return self.tables["samples"]

    def deliveries(self) -> pa.Table:
        return self.tables["deliveries"]

    def resources(self) -> pa.Table:
        return self.tables["resources"]

    def wakeups(self) -> pa.Table:
        return self.tables["wakeups"]

    def presence(self) -> pa.Table:
        return self.tables.get("presence", with_worker(PARTS["presence"]).empty_table())


def table(schema: pa.Schema, columns: dict[str, Any]) -> pa.Table:
    """Return a table of this schema; columns that are not given are 0, "" or False."""
    n = max((len(column) for column in columns.values() if not np.isscalar(column)), default=0)
    arrays = []
    for each in schema:
        text = pa.types.is_dictionary(each.type) or pa.types.is_string(each.type)
        blank: Any = "" if text else False if pa.types.is_boolean(each.type) else 0
        column = columns.get(each.name, blank)
        column = [column] * n if np.isscalar(column) else list(column)
        plain = pa.array(column, pa.string() if text else each.type)
        arrays.append(plain.cast(each.type) if text else plain)
    return pa.Table.from_arrays(arrays, schema=schema)


def manifest(**changes: Any) -> Manifest:
    """Return the manifest of a run of a minute, warmed up for five seconds."""
    slo = changes.pop("slo", SLO)
    seconds = changes.pop("seconds", 60)
    base: dict[str, Any] = {
        "id": "20261122T204500Z-typical-3f9a",
        "status": "complete",
        "started": "2026-11-22T20:45:00Z",
        "origin_ns": ORIGIN,
        "measured_from_ns": ORIGIN + 5 * SECOND,
        "ended_ns": ORIGIN + seconds * SECOND,
        "boot_id": "b",
        "suite": Suite(version="0.1.0", git="abc1234"),
        "target": Target(
            https="https://127.0.0.1:8443/v1", wss="wss://127.0.0.1:8443/", local=True, stage="dev"
        ),
        "scenario": ScenarioInfo(
            name="typical", file="typical.toml", hash="0" * 16, config={"slo": dict(slo)}
        ),
        "seed": 42,
        "users": 120,
        "deadline_ns": 5 * SECOND,
        "clock": Clock(stamps="wire"),
        "machine": Machine(host="host", cpu="cpu", cores=2, memory=8 << 30, kernel="6.18", python="3.11"),
        "phases": [Phase(name="steady", from_ns=ORIGIN + 5 * SECOND, to_ns=ORIGIN + seconds * SECOND)],
        "workers": [],
    }
    return Manifest(**{**base, **changes})


def samples(
    rng: np.random.Generator, n: int, seconds: int, *, failing: float = 0.004, slow: float = 1.0
) -> pa.Table:
    """Return n attempts with lognormal times; a share of them fails."""
    which = rng.choice(len(OPERATIONS), n, p=[share / 0.97 * 0.97 for *_, share in OPERATIONS])
    median = np.array([each[2] for each in OPERATIONS])[which]
    intended = ORIGIN + np.sort(rng.uniform(0, max(seconds - 1, 0.5), n) * SECOND).astype(np.int64)
    sent = intended + rng.exponential(0.05 * MS, n).astype(np.int64)
    arrived = sent + (median * slow * rng.lognormal(0, 0.45, n) * MS).astype(np.int64)
    https = np.array([each[0] == Kind.REQUEST for each in OPERATIONS])[which]
    bad = rng.random(n) < failing
    outcome = np.where(bad, rng.choice([Outcome.FAILED, Outcome.TIMEOUT, Outcome.BROKEN], n), Outcome.OK)
    named = np.array(["", "http-500", "timeout", "connection-reset", ""])[outcome]
    return table(
        SAMPLES,
        {
            "kind": np.array([each[0] for each in OPERATIONS])[which],
            "operation": np.array([each[1] for each in OPERATIONS])[which],
            "outcome": outcome,
            "user": rng.integers(0, 120, n),
            "intended": intended,
            "sent": sent,
            "first": np.where(https & ~bad, sent + (arrived - sent) * 3 // 4, 0),
            "arrived": arrived,
            "seen": arrived + rng.exponential(0.1 * MS, n).astype(np.int64),
            "status": np.where(bad, 500, 200),
            "error": named,
        },
    )


def deliveries(
    rng: np.random.Generator, n: int, seconds: int, *, fates: dict[Fate, int] | None = None, slow: float = 1.0
) -> pa.Table:
    """Return a ledger of n rows, on time but for those in `fates`."""
    operation = rng.choice(["chat.delivered", "receipt.delivered", "alert.delivered"], n, p=[0.6, 0.35, 0.05])
    intended = ORIGIN + np.sort(rng.uniform(0, max(seconds - 1, 0.5), n) * SECOND).astype(np.int64)
    sent = intended + rng.exponential(0.05 * MS, n).astype(np.int64)
    arrived = sent + (6 * slow * rng.lognormal(0, 0.6, n) * MS).astype(np.int64)
    fate = np.full(n, Fate.ON_TIME.value, dtype=object)
    at = rng.permutation(n)
    for name, count in (fates or {}).items():
        some, at = at[:count], at[count:]
        fate[some] = name.value
        if name in (Fate.LOST, Fate.OFFLINE, Fate.UNKNOWN):
            arrived[some] = 0
    return table(
        DELIVERIES,
        {
            "key": [f"m-{number:06d}" for number in range(n)],
            "operation": operation,
            "sender": [f"u-{number}" for number in rng.integers(0, 120, n)],
            "recipient": [f"u-{number}" for number in rng.integers(0, 120, n)],
            "intended": intended,
            "sent": sent,
            "arrived": arrived,
            "seen": np.where(arrived > 0, arrived + 100_000, 0),
            "fate": fate,
        },
    )


def rooms(
    rng: np.random.Generator, sizes: Sequence[int], messages: int, *, fates: dict[Fate, int] | None = None
) -> pa.Table:
    """Return a ledger of so many chat messages to each room, the last socket served last."""
    columns: dict[str, list[Any]] = {name: [] for name in ("key", "sender", "recipient", "socket", "sent")}
    for number in range(messages):
        for room, size in enumerate(sizes):
            columns["key"] += [f"m-{room}-{number}"] * size
            columns["sender"] += [f"writer-{room}"] * size
            columns["recipient"] += [f"host-{room}"] * size
            columns["socket"] += range(1000 * room + 1, 1000 * room + 1 + size)
            columns["sent"] += [ORIGIN + 6 * SECOND + (number * len(sizes) + room) * 10 * MS] * size
    n = len(columns["key"])
    place = np.array(columns["socket"]) % 1000
    sent = np.array(columns["sent"])
    arrived = sent + MS + place * 20_000 + rng.exponential(50_000, n).astype(np.int64)
    fate = np.full(n, Fate.ON_TIME.value, dtype=object)
    at = rng.permutation(n)
    for name, count in (fates or {}).items():
        fate[at[:count]], arrived[at[:count]], at = name.value, 0, at[count:]
    return table(
        DELIVERIES,
        {
            **columns,
            "worker": ["w0"] * n,
            "operation": ["chat.delivered"] * n,
            "intended": sent,
            "arrived": arrived,
            "seen": np.where(arrived > 0, arrived + 10_000, 0),
            "fate": fate,
        },
    )


def resources(
    rng: np.random.Generator, seconds: int, *, lag: int = MS // 5, pressure: float = 0.1
) -> pa.Table:
    """Return a row for the generator and one for the server in each second."""
    n = 2 * seconds
    generator = np.arange(n) % 2 == 0
    return table(
        with_worker(RESOURCES),
        {
            "worker": np.where(generator, "w0", "main"),
            "at": ORIGIN + (np.arange(n) // 2) * SECOND + SECOND // 2,
            "process": np.where(generator, "generator", "server"),
            "cpu": np.where(generator, rng.uniform(0.2, 0.35, n), rng.uniform(0.4, 0.8, n)),
            "rss": np.where(generator, 90 << 20, 140 << 20) + rng.integers(0, 20 << 20, n),
            "fds": rng.integers(100, 160, n),
            "pressure": np.where(generator, pressure, 0),
            "loop_lag_p99": np.where(generator, rng.exponential(lag, n), 0).astype(np.int64),
        },
    )


def wakeups(rng: np.random.Generator, seconds: int, *, lag: int) -> pa.Table:
    """Return a hundred wake-ups a second, late by `lag` on average."""
    due = ORIGIN + np.sort(rng.uniform(0, seconds, 100 * seconds) * SECOND).astype(np.int64)
    late = rng.exponential(lag, len(due)).astype(np.int64)
    return table(with_worker(WAKEUPS), {"worker": "w0" if len(due) else [], "due": due, "woken": due + late})


Build = Callable[..., Any]
"""Any, because a run in memory is not the `Run` that the code asks for; it only does what one does."""


def fake_run(folder: Path, *, seed: int = 7, n: int = 20_000, ledger: int = 9_000, **how: Any) -> FakeRun:
    """Return a run in memory; `how` says what is wrong with it."""
    rng = np.random.default_rng(seed)
    seconds = how.pop("seconds", 60)
    slow = how.pop("slow", 1.0)
    tables = {
        "samples": samples(rng, n, seconds, failing=how.pop("failing", 0.004), slow=slow),
        "deliveries": deliveries(rng, ledger, seconds, fates=how.pop("fates", None), slow=slow),
        "resources": resources(rng, seconds if n else 0, pressure=how.pop("pressure", 0.1)),
        "wakeups": wakeups(rng, seconds if n else 0, lag=how.pop("lag", MS // 5)),
    }
    rows = {name: tables[name].num_rows for name in ("samples", "resources", "wakeups")}
    worker = Worker(name="w0", pid=1, closed=True, rows=rows, found=dict(rows))
    workers = how.pop("workers", [worker])
    for key, changed in how.pop("tables", {}).items():
        tables[key] = changed
    return FakeRun(folder, manifest(seconds=seconds, workers=workers, **how), tables)


def on_disk(run: FakeRun, root: Path) -> Path:
    """Write the run as the suite would, and return its folder; the ledger is put in its place afterwards."""
    head = msgspec.structs.replace(run.manifest, status="running", ended_ns=0, workers=[])
    folder = create(root, head, force=True, min_free=0)
    writer = PartWriter(folder, "w0")
    for name in ("samples", "resources", "wakeups"):
        writer.append(name, {column: run.tables[name][column].to_pylist() for column in PARTS[name].names})
    writer.close()
    status = run.manifest.status
    sealed = seal(folder, ended_ns=run.manifest.ended_ns, status=None if status == "running" else status)
    for worker in sealed.workers:
        worker.rows = dict(worker.found)
        worker.closed = True
    if run.manifest.workers:
        write_manifest(folder, msgspec.structs.replace(sealed, reason=run.manifest.reason))
    ledger = run.tables["deliveries"].replace_schema_metadata({"run": run.manifest.id})
    pq.write_table(ledger, folder / "deliveries.parquet")
    return folder


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Build a run in memory; the same words give the same run."""
    return lambda **how: fake_run(tmp_path, **how)


@pytest.fixture
def store(tmp_path: Path) -> Callable[..., Path]:
    """Build a run on disk and return its folder."""
    return lambda **how: on_disk(fake_run(tmp_path, **how), tmp_path / "runs")
