"""Merging is addition: the same samples give the same bytes, however many workers they came from.

What is merged is known sample by sample, and where it belongs follows from the formula of
`reports.histogram`, worked out here on its own: in integers, and one by one.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np

from analysis.calibration import Cell, cell
from reports import artefact
from reports.artefact import Clock, Machine, Manifest, PartWriter, Run, ScenarioInfo, Suite, Target, Worker
from reports.sample import SAMPLES

WORKERS = (1, 2, 3, 7, 16)
SAMPLES_EACH = 4_000
_ORIGIN = 1_000_000_000


def cells(case: str, folder: Path) -> list[Cell]:
    """Write the samples once for each number of workers, in another order each time, and compare."""
    took = [round(10 ** (3 + 8 * each / SAMPLES_EACH)) for each in range(SAMPLES_EACH)]  # 1 µs … 100 s
    known = Counter(map(_bucket, took))
    files, counted, elsewhere = set(), 0, 0
    for workers in WORKERS:
        path = _sealed(folder / f"merged-{workers}", took, workers)
        files.add((path / "histograms.parquet").read_bytes())
        found = Run.open(path).histograms(["bucket", "count"])
        counts: Counter[int] = Counter()
        for bucket, count in zip(*(found[c].to_pylist() for c in ("bucket", "count")), strict=True):
            counts[bucket] += count
        counted += counts.total()
        elsewhere += (counts - known).total()
    return [
        cell(case, "1 to 16 workers", "different histograms", "", 1, len(files), 0),
        cell(case, "1 to 16 workers", "samples counted", "", len(WORKERS) * SAMPLES_EACH, counted, 0),
        cell(case, "1 to 16 workers", "samples in another's bucket", "", 0, elsewhere, 0),
    ]


def _bucket(ns: int) -> int:
    dropped = max(0, ns.bit_length() - 11)
    return (dropped << 10) + (ns >> dropped)


def _sealed(root: Path, took: list[int], workers: int) -> Path:
    names = [f"worker-{number}" for number in range(workers)]
    folder = artefact.create(root, _manifest(names))
    order = list(range(len(took)))
    random.Random(workers).shuffle(order)
    for number, name in enumerate(names):
        writer = PartWriter(folder, name)
        mine = np.array(order[number::workers])
        intended = _ORIGIN + mine * 1_000_000
        arrived = intended + np.array(took)[mine]
        zeros = np.zeros(len(mine), np.int64)
        given = {"intended": intended, "sent": intended, "arrived": arrived, "seen": arrived}
        texts = {"operation": ["known"] * len(mine), "journey": [""] * len(mine), "error": [""] * len(mine)}
        columns = {column: given.get(column, texts.get(column, zeros)) for column in SAMPLES.names}
        for half in (slice(0, len(mine) // 2), slice(len(mine) // 2, None)):
            writer.append("samples", {column: values[half] for column, values in columns.items()})
        writer.close()
    artefact.seal(folder, status="complete")
    return folder


def _manifest(names: list[str]) -> Manifest:
    return Manifest(
        id="20260101T000000Z-merge-known",
        started="2026-01-01T00:00:00Z",
        origin_ns=_ORIGIN,
        suite=Suite(version="calibration"),
        target=Target(https="https://127.0.0.1", wss="wss://127.0.0.1", local=True),
        scenario=ScenarioInfo(name="merge", file="", hash="", config={}),
        seed=1,
        users=0,
        deadline_ns=_ORIGIN,
        clock=Clock(stamps="wire", realtime_offset_ns=0),
        machine=Machine(host="", cpu="", cores=1, memory=1, kernel="", python=""),
        workers=[Worker(name=name, pid=0, closed=True) for name in names],
    )
