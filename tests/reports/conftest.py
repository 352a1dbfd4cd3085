"""Small runs to test with: a manifest, some rows, and a folder that is let go of at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reports import artefact
from reports.artefact import Clock, Machine, Manifest, PartWriter, ScenarioInfo, Suite, Target, Worker
from reports.sample import RESOURCES

ORIGIN = 1_000_000_000


@pytest.fixture
def manifest() -> Callable[..., Manifest]:
    """Return a maker of manifests; any field can be given."""

    def make(**fields: Any) -> Manifest:
        return Manifest(
            **{
                "id": "20261122T204500Z-typical-3f9a",
                "started": "2026-11-22T20:45:00Z",
                "origin_ns": ORIGIN,
                "suite": Suite(version="0.1.0"),
                "target": Target(https="https://127.0.0.1:8443", wss="wss://127.0.0.1:8443", local=True),
                "scenario": ScenarioInfo(name="typical", file="typical.toml", hash="abc", config={"a": [1]}),
                "seed": 7,
                "users": 2,
                "deadline_ns": 1_000,
                "clock": Clock(stamps="wire", realtime_offset_ns=-5),
                "machine": Machine(host="h", cpu="c", cores=2, memory=1, kernel="k", python="3.11"),
                **fields,
            }
        )

    return make


@pytest.fixture
def folder(tmp_path: Path, manifest: Callable[..., Manifest]) -> Iterator[Path]:
    """A fresh run, locked by us."""
    made = artefact.create(tmp_path / "runs", manifest())
    yield made
    artefact.release(made)


@pytest.fixture
def rows() -> Callable[..., dict[str, dict[str, list[Any]]]]:
    """Return a maker of one batch for each table: n rows each, u1 sends to u2 who is online on socket 1."""

    def make(n: int = 3, first: int = 0) -> dict[str, dict[str, list[Any]]]:
        every = range(first, first + n)
        sent = [ORIGIN + 10_000 * i for i in every]
        return {
            "samples": {
                "kind": [0] * n,
                "operation": ["get-chats"] * n,
                "journey": ["open"] * n,
                "outcome": [i % 2 for i in every],
                "user": [1] * n,
                "intended": sent,
                "sent": sent,
                "first": [t + 600 for t in sent],
                "arrived": [t + 700 for t in sent],
                "seen": [t + 800 for t in sent],
                "status": [200] * n,
                "size": [9] * n,
                "error": ["" if i % 2 == 0 else "http-500" for i in every],
            },
            "sends": {
                "key": [f"k{i}" for i in every],
                "operation": ["chat.delivered"] * n,
                "sender": ["u1"] * n,
                "recipient": ["u2"] * n,
                "accepted": [0] * n,
                "intended": sent,
                "sent": sent,
                "settled": [t + 300 for t in sent],
                "besides": [-1] * n,
            },
            "arrivals": {
                "key": [f"k{i}" for i in every],
                "operation": ["chat.delivered"] * n,
                "recipient": ["u2"] * n,
                "socket": [1] * n,
                "arrived": [t + 200 for t in sent],
                "seen": [t + 250 for t in sent],
            },
            "presence": {"user": ["u2"], "socket": [1], "online": [True], "at": [5]},
            "resources": {
                "at": sent,
                "process": ["generator"] * n,
                **{name: [1] * n for name in RESOURCES.names[2:]},
            },
            "wakeups": {"due": sent, "woken": [t + 100 for t in sent]},
            "waits": {
                "what": [1] * n,
                "message": [""] * n,
                "sender": [""] * n,
                "user": ["u2"] * n,
                "began": sent,
                "ended": [t + 100 for t in sent],
            },
        }

    return make


@pytest.fixture
def fill(rows: Callable[..., dict[str, dict[str, list[Any]]]]) -> Callable[..., PartWriter]:
    """Return what writes one batch for each table as one worker, and books that worker into the manifest."""

    def do(folder: Path, worker: str = "w1", *, n: int = 3, close: bool = True) -> PartWriter:
        writer = PartWriter(folder, worker)
        for name, columns in rows(n).items():
            writer.append(name, columns)
        if close:
            writer.close()
            head = artefact.read_manifest(folder)
            head.workers.append(Worker(name=worker, pid=1, closed=True, rows=dict(writer.rows)))
            artefact.write_manifest(folder, head)
        return writer

    return do
