"""A run on disk: made once, written by many, sealed, and read by whoever can believe it.

    create  ->  PartWriter.append ...  ->  seal  ->  Run.open

Rules: the folder is locked as long as the process that made it lives, or until it sealed it. Sealing turns
parts into Parquet and can be broken off and begun again anywhere. A run found unsealed and unlocked was
killed: it is sealed as partial. What a run says of itself and what is there must agree, or it is refused with
one sentence.

The format is in `reports/README.md`. The names of `reports.manifest` and `reports.parts` can be had from
here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from reports.manifest import (
    ArtefactError,
    Clock,
    Machine,
    Manifest,
    Phase,
    RunId,
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
from reports.parts import PartReader, PartWriter, find_parts, read_closing
from reports.sample import DELIVERIES, HISTOGRAMS, PARTS, RESOURCES
from reports.tables import build_tables

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
LOCK = ".lock"
_locks: dict[Path, int] = {}  # the runs that this process holds, and by which file descriptor


def create(root: Path, manifest: Manifest, *, force: bool = False, min_free: int = 200_000_000) -> Path:
    """Make the folder `root/<manifest.id>` with its manifest, lock it, and return it.

    force: an older run of the same id is removed first, if nobody is writing it. min_free: bytes that must be
    free. Raises ArtefactError when the folder exists, or can't be made, or the disk is too full.
    """
    root = Path(root).absolute()
    try:
        folder = root / msgspec.convert(manifest.id, RunId)
    except msgspec.ValidationError as error:
        raise ArtefactError(f"{root}: {manifest.id!r} can't be a run's name: {error}") from None
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ArtefactError(f"{root}: can't be made: {error.strerror or error}") from error
    try:
        free = shutil.disk_usage(root).free
        if free < min_free:
            raise ArtefactError(
                f"{root}: {free / 1e6:.0f} MB free, a run needs {min_free / 1e6:.0f} MB: "
                "remove old runs, or write to another place"
            )
        if folder.exists() and force:
            _remove_old(folder)
        folder.mkdir(mode=0o700)
    except FileExistsError:
        raise ArtefactError(
            f"{folder}: exists already: choose another place, or overwrite it with --force"
        ) from None
    except OSError as error:
        raise ArtefactError(f"{folder}: can't be made: {error.strerror or error}") from error
    lock(folder)
    try:
        write_manifest(folder, manifest)
    except ArtefactError:
        release(folder)
        shutil.rmtree(folder, ignore_errors=True)  # nothing but ours can be in it yet
        raise
    return folder


def lock(folder: Path) -> None:
    """Hold the run for this process and its forks, until `release` or the last of them ends.

    Does nothing when it is held already. Raises ArtefactError when another process holds it.
    """
    folder = Path(folder).absolute()
    if folder in _locks:
        return
    try:
        fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ArtefactError(f"{folder}: can't be locked: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise ArtefactError(f"{folder}: is being written by another process: wait for its end") from None
    _locks[folder] = fd


def release(folder: Path) -> None:
    """Stop holding the run, so that another process may seal it. Does nothing when it is not held."""
    fd = _locks.pop(Path(folder).absolute(), None)
    if fd is not None:
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


def is_live(folder: Path) -> bool:
    """Whether some process still writes the run: the one that made it, or one of its workers."""
    folder = Path(folder).absolute()
    if folder in _locks:
        return True
    try:
        fd = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ArtefactError(f"{folder / LOCK}: {error.strerror}") from error
    else:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
    return any(part.is_written() for part in find_parts(folder))


def _remove_old(folder: Path) -> None:
    if not (folder / "manifest.json").is_file() or folder.is_symlink():
        raise ArtefactError(f"{folder}: exists and is no run of ours: not removed, whatever --force says")
    if is_live(folder):
        raise ArtefactError(f"{folder}: is being written by another process: wait for its end")
    shutil.rmtree(folder)


def seal(
    folder: Path,
    *,
    ended_ns: int | None = None,
    status: Literal["complete", "partial"] | None = None,
    reason: str = "",
) -> Manifest:
    """Turn the parts of a run into its tables, and return the manifest as it is on disk then.

    ended_ns: when the run stopped listening; left out: as the manifest says, else the last instant recorded.
    status: left out, a run that is still `running` was killed, hence `partial`. Each worker's `found` tells
    what was on disk. Sealing a sealed run changes nothing. Raises ArtefactError when another process writes
    the run, when a part belongs to another run, or the disk is full; then it can be tried again, and nothing
    is lost.
    """
    folder = Path(folder).absolute()
    manifest = read_manifest(folder)
    held = folder in _locks
    if manifest.status == "running" or (folder / "parts").exists():
        lock(folder)
        try:
            manifest = read_manifest(folder)
            if manifest.status == "running":
                manifest = _sealed(folder, manifest, ended_ns, status, reason)
            # Only now, because a crash before this line must find everything to begin again with.
            shutil.rmtree(folder / "parts", ignore_errors=True)
            for spare in folder.rglob(".*.tmp"):
                spare.unlink()  # what a sealing that was broken off left
        except (OSError, MemoryError, pa.ArrowException) as error:
            raise ArtefactError(
                f"{folder}: could not be sealed: {getattr(error, 'strerror', '') or error}"
            ) from error
        finally:
            if not held:
                release(folder)
    release(folder)
    return manifest


def _sealed(
    folder: Path,
    manifest: Manifest,
    ended_ns: int | None,
    status: Literal["complete", "partial"] | None,
    reason: str,
) -> Manifest:
    _refuse_links(folder)
    parts = find_parts(folder)
    given = ended_ns if ended_ns is not None else manifest.ended_ns or None
    found, ended = build_tables(folder, manifest, parts, ended_ns=given)
    workers = {worker.name: worker for worker in manifest.workers}
    for part in parts:
        worker = workers.get(part.worker)
        if worker is None:
            # Its coordinator never wrote it down: all that is known is what it left.
            own = [p for p in parts if p.worker == part.worker]
            worker = Worker(name=part.worker, pid=part.pid, closed=all(p.closed for p in own))
        if (not worker.closed or part.worker not in workers) and (last := read_closing(folder, part.worker)):
            last.last_words_ns = worker.last_words_ns  # its coordinator never heard what it said then
            worker = last
        workers[part.worker] = worker
    for name, worker in workers.items():
        worker.found = found.get(name, {})
    manifest.workers = sorted(workers.values(), key=lambda worker: worker.name)
    manifest.ended_ns = max(ended, manifest.origin_ns, manifest.measured_from_ns)
    manifest.status = status or "partial"
    manifest.reason = (
        reason or manifest.reason or ("" if status else "it ended without being sealed: it was killed")
    )
    write_manifest(folder, manifest)
    return manifest


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
        _refuse_links(folder)
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

    def deliveries(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return `DELIVERIES`, the ledger. columns: only these, in this order."""
        return _read_table(self.path / "deliveries.parquet", columns)

    def histograms(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return `HISTOGRAMS`. columns: only these, in this order."""
        return _read_table(self.path / "histograms.parquet", columns)

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


def _refuse_links(folder: Path) -> None:
    """Raise ArtefactError when something in the folder leads out of it."""
    for here, folders, files in os.walk(folder):
        for name in folders + files:
            if os.path.islink(os.path.join(here, name)):
                raise ArtefactError(f"{os.path.join(here, name)}: is a link, expected a file")


def _read_table(path: Path, columns: Sequence[str] | None) -> pa.Table:
    with _trouble_with(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        table = file.read(columns=list(columns) if columns is not None else None)
        table.validate(full=True)
        nulls = [name for name in table.column_names if table[name].null_count]
        if nulls:
            raise ValueError(f"{nulls[0]}: {table[nulls[0]].null_count} values are missing")
        return table.select(list(columns)) if columns is not None else table


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
