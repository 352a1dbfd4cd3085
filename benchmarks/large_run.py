"""How long the verdict on a run of an hour takes, and how much memory: `python -m benchmarks.large_run`.

    --rows 18000000   attempts; a sixth as many deliveries come with them
    --page            build the page as well
    --json            for a program

The run is synthetic and seeded: times are lognormal, some attempts fail, some messages get lost. It is
written as the suite writes runs, block by block, and judged in a process of its own, whose peak of memory is
told.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from loadtests import clock
from reports.artefact import Run, with_worker
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
from reports.sample import DELIVERIES, HISTOGRAMS, RESOURCES, SAMPLES, WAKEUPS, Fate, Kind, Outcome
from reports.tables import write_parquet

ROWS = 18_000_000
SECONDS = 3_600
GOAL_S, GOAL_BYTES = 60, 10**9
BLOCK = 1_000_000
NS, MS = 1_000_000_000, 1_000_000
ORIGIN = 1_000 * NS
WARM_UP = 60
USERS = 20_000
OPERATIONS = (
    (Kind.REQUEST, "get-chats", 9.0, 12),
    (Kind.REQUEST, "get-user", 5.0, 10),
    (Kind.REQUEST, "get-chat-messages", 7.5, 12),
    (Kind.REQUEST, "get-upcoming-schedules", 6.0, 6),
    (Kind.REQUEST, "sign-in", 62.0, 2),
    (Kind.SOCKET, "wss.send-message", 4.4, 20),
    (Kind.SOCKET, "wss.get-messages", 6.0, 8),
    (Kind.SOCKET, "wss.authenticate", 3.2, 2),
    (Kind.PING, "wss.ping", 1.1, 20),
    (Kind.CONNECT, "https.connect", 9.0, 2),
    (Kind.CONNECT, "wss.connect", 14.0, 2),
    (Kind.STEP, "chat.open", 21.0, 4),
)
"""Kind, name, median in ms, weight."""

DELIVERED = ("chat.delivered", "receipt.delivered", "alert.delivered")
SLO = {
    "https p99": "< 1 s",
    "chat.delivered p99": "< 250 ms",
    "wss.ping p99": "< 250 ms",
    "errors": "< 1 %",
    "lost": "= 0",
}


def make(folder: Path, rows: int, *, seconds: int = SECONDS, seed: int = 18) -> Path:
    """Write a run with so many attempts into a new folder, and return it."""
    rng = np.random.default_rng(seed)
    (folder / "samples").mkdir(parents=True)
    (folder / "wakeups").mkdir()
    head = _manifest(
        folder.name, seconds, seed, {"samples": rows, "resources": seconds, "wakeups": 100 * seconds}
    )
    own, shared = ({"run": head.id, "worker": worker} for worker in ("w0", ""))
    write_parquet(folder / "samples/w0.parquet", SAMPLES, _samples(rng, rows, seconds), own)
    write_parquet(folder / "deliveries.parquet", DELIVERIES, _deliveries(rng, rows // 6, seconds), shared)
    due = ORIGIN + np.sort(rng.uniform(0, seconds, 100 * seconds) * NS).astype(np.int64)
    woken = due + rng.exponential(MS / 5, len(due)).astype(np.int64)
    write_parquet(
        folder / "wakeups/w0.parquet", WAKEUPS, [_table(WAKEUPS, {"due": due, "woken": woken})], own
    )
    at = ORIGIN + np.arange(seconds) * NS + NS // 2
    usage = {
        "at": at,
        "process": "generator",
        "worker": "w0",
        "cpu": rng.uniform(0.2, 0.4, seconds),
        "rss": 90 << 20,
    }
    table = _table(with_worker(RESOURCES), usage)
    write_parquet(folder / "resources.parquet", with_worker(RESOURCES), [table], shared)
    write_parquet(folder / "histograms.parquet", HISTOGRAMS, [], shared)
    write_manifest(folder, head)
    return folder


def _samples(rng: np.random.Generator, rows: int, seconds: int) -> Iterator[pa.Table]:
    names = pa.array([name for _, name, _, _ in OPERATIONS])
    kinds, medians, weights = (np.array([each[n] for each in OPERATIONS]) for n in (0, 2, 3))
    errors = pa.array(["", "http-500", "timeout", "connection-reset", "stopped"])
    for begin, end in _spans(rows):
        n = end - begin
        which = rng.choice(len(OPERATIONS), n, p=weights / weights.sum())
        intended = _instants(rng, begin, end, rows, seconds)
        sent = intended + rng.exponential(0.05 * MS, n).astype(np.int64)
        arrived = sent + (medians[which] * rng.lognormal(0, 0.45, n) * MS).astype(np.int64)
        bad = rng.random(n) < 0.002
        outcome = np.where(bad, rng.integers(Outcome.FAILED, Outcome.CANCELLED, n), Outcome.OK)
        columns = {
            "kind": kinds[which],
            "operation": names.take(pa.array(which)),
            "outcome": outcome,
            "user": rng.integers(0, USERS, n),
            "intended": intended,
            "sent": sent,
            "first": np.where((kinds[which] == Kind.REQUEST) & ~bad, sent + (arrived - sent) * 3 // 4, 0),
            "arrived": arrived,
            "seen": arrived + rng.exponential(0.1 * MS, n).astype(np.int64),
            "status": np.where(bad, 500, 200),
            "size": rng.integers(50, 5_000, n),
            "error": errors.take(pa.array(outcome)),
        }
        yield _table(SAMPLES, columns)


def _deliveries(rng: np.random.Generator, rows: int, seconds: int) -> Iterator[pa.Table]:
    for begin, end in _spans(rows):
        n = end - begin
        intended = _instants(rng, begin, end, rows, seconds)
        sent = intended + rng.exponential(0.05 * MS, n).astype(np.int64)
        lost = rng.random(n) < 1e-4
        arrived = np.where(lost, 0, sent + (6 * rng.lognormal(0, 0.6, n) * MS).astype(np.int64))
        people = pa.array([f"5f0c-{number:012d}" for number in range(USERS)])
        columns = {
            "key": pa.array([f"m-{number:016x}" for number in range(begin, end)]),
            "operation": pa.array(DELIVERED).take(pa.array(rng.choice(3, n, p=[0.6, 0.3, 0.1]))),
            "sender": people.take(pa.array(rng.integers(0, USERS, n))),
            "recipient": people.take(pa.array(rng.integers(0, USERS, n))),
            "worker": "w0",
            "socket": rng.integers(0, USERS, n),
            "intended": intended,
            "sent": sent,
            "arrived": arrived,
            "seen": np.where(lost, 0, arrived + 100_000),
            "fate": pa.array([Fate.ON_TIME.value, Fate.LOST.value]).take(pa.array(lost.astype(np.int8))),
        }
        yield _table(DELIVERIES, columns)


def _spans(rows: int) -> Iterator[tuple[int, int]]:
    yield from ((begin, min(begin + BLOCK, rows)) for begin in range(0, rows, BLOCK))


def _instants(
    rng: np.random.Generator, begin: int, end: int, rows: int, seconds: int
) -> np.ndarray[Any, Any]:
    """Return ascending instants of that share of the run's time; what starts last has a second to end."""
    low, high = (each / rows * (seconds - 1) * NS for each in (begin, end))
    return ORIGIN + np.sort(rng.uniform(low, high, end - begin)).astype(np.int64)


def _table(schema: pa.Schema, columns: dict[str, Any]) -> pa.Table:
    """Return a table; one value stands for a whole column, and what is not given is 0, "" or False."""
    n = max(len(column) for column in columns.values() if not isinstance(column, str | int))
    arrays = []
    for each in schema:
        text = pa.types.is_dictionary(each.type) or pa.types.is_string(each.type)
        column = columns.get(each.name, "" if text else 0)
        if isinstance(column, str | int):
            column = pa.repeat(column, n)
        arrays.append(column if text else pa.array(column).cast(each.type))
    names = [each.name for each in schema]
    return pa.Table.from_arrays(arrays, names=names)


def _manifest(name: str, seconds: int, seed: int, rows: dict[str, int]) -> Manifest:
    begin, end = ORIGIN + WARM_UP * NS, ORIGIN + seconds * NS
    return Manifest(
        id=name,
        status="complete",
        started="2026-11-22T20:45:00Z",
        origin_ns=ORIGIN,
        measured_from_ns=begin,
        ended_ns=end,
        suite=Suite(version="0"),
        target=Target(https="https://127.0.0.1:1/v1", wss="wss://127.0.0.1:1/", local=True),
        scenario=ScenarioInfo(name="synthetic", file="", hash="0" * 16, config={"slo": SLO}),
        seed=seed,
        users=USERS,
        deadline_ns=5 * NS,
        clock=Clock(stamps="wire"),
        machine=Machine(host="", cpu="", cores=1, memory=0, kernel="", python=""),
        phases=[Phase(name="steady", from_ns=begin, to_ns=end)],
        workers=[Worker(name="w0", closed=True, rows=rows, found=dict(rows))],
    )


def judge(folder: Path, *, page: bool) -> dict[str, float]:
    """Judge a run, or build its page, in this process; return the time it took and the peak of memory."""
    begun = clock.now()
    if page:
        from analysis.page import build

        build(folder)
    else:
        from analysis import verdict

        run = Run.open(folder)
        verdict.write(run, verdict.judge(run))
    used = resource.getrusage(resource.RUSAGE_SELF)
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "seconds": (clock.now() - begun) / NS,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_bytes": max(peaks) * 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--judge", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.judge:
        print(json.dumps(judge(told.judge, page=told.page)))
        return
    with TemporaryDirectory(prefix="talkload-") as spare:
        folder = make(Path(spare) / "large", told.rows)
        size = sum(each.stat().st_size for each in folder.rglob("*.parquet"))
        found: dict[str, Any] = {"rows": told.rows, "deliveries": told.rows // 6, "bytes": size}
        for what in ("verdict", "page") if told.page else ("verdict",):
            command = [sys.executable, "-m", "benchmarks.large_run", "--judge", str(folder)]
            command += ["--page"] if what == "page" else []
            found[what] = json.loads(
                subprocess.run(command, check=True, capture_output=True, text=True).stdout
            )
    if told.json:
        print(json.dumps(found))
        return
    print(f"{told.rows:,} attempts and {told.rows // 6:,} deliveries, {size / 1e6:,.0f} MB on disk")
    for what in ("verdict", "page"):
        if one := found.get(what):
            cpu = f" ({one['cpu_s']:.1f} s of CPU)" if what == "verdict" else ""
            print(
                f"{what:8} {one['seconds']:6.1f} s{cpu}, at most {one['peak_bytes'] / 1e6:,.0f} MB of memory"
            )
    print(f"goal     {GOAL_S:6.1f} s, at most {GOAL_BYTES / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
