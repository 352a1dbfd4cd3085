"""A run on disk: made once, written by many, sealed, and read by whoever can believe it.

    create  ->  PartWriter.append ...  ->  seal  ->  Run.open

Here it is read: what a run says of itself and what is there must agree, or it is refused with one sentence.
`reports.sealing` makes and seals it.

The format is in `reports/README.md`. The names of `reports.manifest`, `reports.parts` and `reports.sealing`
can be had from here.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reports.manifest import (
    ArtefactError,
    Clock,
    Machine,
    Manifest,
    Phase,
    ScenarioInfo,
    Suite,
    Target,
    Worker,
    append_event,
    imbalance,
    read_events,
    read_json,
    read_manifest,
    run_id,
    write_json,
    write_manifest,
)
from reports.parts import PartReader, PartWriter, find_parts
from reports.sample import DELIVERIES, HISTOGRAMS, PARTS, RESOURCES
from reports.sealing import create, is_live, lock, refuse_links, release, seal

__all__ = [
    "ArtefactError",
    "Clock",
    "Machine",
    "Manifest",
    "PartReader",
    "PartWriter",
    "Phase",
    "Run",
    "ScenarioInfo",
    "Suite",
    "Target",
    "Worker",
    "append_event",
    "create",
    "imbalance",
    "is_live",
    "list_runs",
    "lock",
    "read_events",
    "read_json",
    "read_manifest",
    "release",
    "run_id",
    "seal",
    "write_json",
    "write_manifest",
]

RUNS = Path("reports/runs")
_BLOCK = 131_072  # rows: one row group, as it was written


@dataclass(frozen=True, slots=True)
class Run:
    """A run that was read, and agrees with itself. Tables are read when asked for; instants are in ns."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path, *, root: Path = RUNS, recover: bool = False) -> Run:
        """Open a run by its folder, by its id under root, or the newest one by the word "latest".

        recover: seal it first if it was killed. Raises ArtefactError when there is no such run, when it is
        not sealed, or when it can't be believed.
        """
        folder = _located(path, Path(root))
        manifest = read_manifest(folder)
        refuse_links(folder)
        if manifest.status == "running":
            if is_live(folder):
                raise ArtefactError(f"{folder}: the run is still on: wait for its end")
            if not recover:
                raise ArtefactError(
                    f"{folder}: the run was killed and is not sealed: expected complete or partial"
                )
            manifest = seal(folder)
        run = cls(folder, manifest)
        run._check()
        return run

    def samples(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return `SAMPLES` of all workers, and the column `worker`. columns: only these, in this order."""
        return self._of_workers("samples", columns)

    def sends(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return `SENDS` of all workers, and the column `worker`. columns: only these, in this order."""
        return self._of_workers("sends", columns)

    def arrivals(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return `ARRIVALS` of all workers, and the column `worker`. columns: only these, in this order."""
        return self._of_workers("arrivals", columns)

    def presence(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return `PRESENCE` of all workers, and the column `worker`. columns: only these, in this order."""
        return self._of_workers("presence", columns)

    def resources(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return `RESOURCES` of all workers, and the column `worker`. columns: only these, in this order."""
        return _read_table(self.path / "resources.parquet", columns)

    def wakeups(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return `WAKEUPS` of all workers, and the column `worker`. columns: only these, in this order."""
        return self._of_workers("wakeups", columns)

    def waits(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return `WAITS` of all workers, and the column `worker`. columns: only these, in this order."""
        return self._of_workers("waits", columns)

    def exchanges(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return `EXCHANGES` of all workers, and the column `worker`. columns: only these, in this order."""
        return self._of_workers("exchanges", columns)

    def deliveries(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return `DELIVERIES`, the ledger. columns: only these, in this order."""
        return _read_table(self.path / "deliveries.parquet", columns)

    def histograms(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return `HISTOGRAMS`. columns: only these, in this order."""
        return _read_table(self.path / "histograms.parquet", columns)

    def blocks(self, name: str, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield these columns of `samples` or `deliveries` block by block, in the order of the table."""
        for path in self._large(name):
            with _trouble_with(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
                for batch in file.iter_batches(batch_size=_BLOCK, columns=list(columns)):
                    yield _checked(pa.Table.from_batches([batch])).select(list(columns))

    def count(self, name: str) -> int:
        """Return how many rows `samples` or `deliveries` has."""
        total = 0
        for path in self._large(name):
            with _trouble_with(path), pq.ParquetFile(path) as file:
                total += file.metadata.num_rows
        return total

    def events(self) -> list[dict[str, Any]]:
        """Return the events in the order they were written, each with `kind` and `at_ns`."""
        return list(read_events(self.path))

    def _of_workers(self, name: str, columns: Sequence[str] | None) -> pa.Table:
        schema = with_worker(PARTS[name])
        wanted = (
            [f for f in schema if f.name != "worker"]
            if columns is None
            else [schema.field(c) for c in columns]
        )
        tables = []
        for path in self._files(name):
            own = [f.name for f in wanted if f.name != "worker"]
            table = _read_table(path, own)
            worker = pa.DictionaryArray.from_arrays(
                pa.repeat(pa.scalar(0, pa.int32()), len(table)), [path.stem]
            )
            table = table.append_column(schema.field("worker"), worker)
            tables.append(table.select([f.name for f in wanted] + (["worker"] if columns is None else [])))
        if not tables:
            return pa.schema(wanted + ([schema.field("worker")] if columns is None else [])).empty_table()
        return pa.concat_tables(tables).unify_dictionaries()

    def _large(self, name: str) -> list[Path]:
        return [self.path / f"{name}.parquet"] if name == "deliveries" else list(self._files(name))

    def _files(self, name: str) -> Iterator[Path]:
        for worker in self.manifest.workers:
            if worker.found.get(name):
                yield self.path / name / f"{worker.name}.parquet"

    def _check(self) -> None:
        """Raise ArtefactError unless the files of the manifest are there, with their rows, and no others."""
        if find_parts(self.path):
            raise ArtefactError(
                f"{self.path / 'parts'}: parts in a run that is {self.manifest.status}: seal it again"
            )
        for name, schema in PARTS.items():
            if name == "resources":
                total = sum(worker.found.get(name, 0) for worker in self.manifest.workers)
                self._check_file(self.path / "resources.parquet", with_worker(RESOURCES), total)
                continue
            expected = list(self._files(name))
            for path in expected:
                worker = next(w for w in self.manifest.workers if w.name == path.stem)
                self._check_file(path, schema, worker.found[name], worker=worker.name)
            surplus = sorted(set((self.path / name).glob("*.parquet")) - set(expected))
            if surplus:
                raise ArtefactError(f"{surplus[0]}: not of this run: its manifest tells of no such rows")
        self._check_file(self.path / "deliveries.parquet", DELIVERIES, None)
        self._check_file(self.path / "histograms.parquet", HISTOGRAMS, None)

    def _check_file(self, path: Path, schema: pa.Schema, rows: int | None, *, worker: str = "") -> None:
        with _trouble_with(path), pq.ParquetFile(path) as file:
            found, count, meta = file.schema_arrow, file.metadata.num_rows, file.metadata.metadata or {}
        if not found.equals(schema, check_metadata=False):
            raise ArtefactError(f"{path}: columns {_differing(found, schema)}")
        if rows is not None and rows != count:
            raise ArtefactError(f"{path}: {count} rows, the manifest tells of {rows}")
        run = meta.get(b"run", b"").decode("utf-8", "replace")
        if run != self.manifest.id:
            raise ArtefactError(f"{path}: belongs to run {run!r}, not to {self.manifest.id!r}")
        of = meta.get(b"worker", b"").decode("utf-8", "replace")
        if of != worker:
            raise ArtefactError(f"{path}: holds the rows of worker {of!r}, not of {worker!r}")


def list_runs(root: Path = RUNS) -> list[Path]:
    """Return the folders of the runs under root, oldest first, readable or not."""
    if not Path(root).is_dir():
        return []
    return sorted(path.parent for path in Path(root).glob("*/manifest.json"))


def with_worker(schema: pa.Schema) -> pa.Schema:
    """Return the schema with the column `worker` (a dictionary of strings) as its last."""
    return schema.append(pa.field("worker", pa.dictionary(pa.int32(), pa.string())))


def _located(path: str | Path, root: Path) -> Path:
    if str(path) == "latest":
        runs = list_runs(root)
        if not runs:
            raise ArtefactError(f"{root}: no run in it")
        return runs[-1].absolute()
    folder = Path(path)
    with contextlib.suppress(OSError, ValueError):
        if not folder.is_dir() and re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z._-]*", str(path)):
            folder = root / str(path)
        if folder.is_dir():
            return folder.absolute()
    raise ArtefactError(f"{str(path)!r}: expected the folder of a run, an id of one in {root}, or 'latest'")


def _read_table(path: Path, columns: Sequence[str] | None) -> pa.Table:
    with _trouble_with(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        table = _checked(file.read(columns=list(columns) if columns is not None else None))
        return table.select(list(columns)) if columns is not None else table


def _checked(table: pa.Table) -> pa.Table:
    """Return the table once Arrow finds it sound, and no value missing."""
    table.validate(full=True)
    nulls = [name for name in table.column_names if table[name].null_count]
    if nulls:
        raise ValueError(f"{nulls[0]}: {table[nulls[0]].null_count} values are missing")
    return table


@contextlib.contextmanager
def _trouble_with(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file makes Arrow raise, which is nearly everything, into an ArtefactError."""
    try:
        yield
    except FileNotFoundError:
        raise ArtefactError(f"{path}: is missing") from None
    except Exception as error:
        raise ArtefactError(f"{path}: not readable: {' '.join(str(error).split())[:300]}") from error


def _differing(found: pa.Schema, expected: pa.Schema) -> str:
    is_, should = ({f.name: str(f.type) for f in schema} for schema in (found, expected))
    wrong = [name for name in {**should, **is_} if is_.get(name) != should.get(name)] or list(is_)
    return ", ".join(f"{n}: {is_.get(n, 'missing')}, expected {should.get(n, 'none')}" for n in wrong)
