"""How rows reach the disk while a run is on: an append-only Arrow IPC stream per worker and table.

Rules, so that neither a SIGKILL nor a full disk takes what was already there:

- A batch is made in memory first and then written at the end of what is known to be good, in one go.
- A write that fails is cut back to the last good byte; its batch waits, and is tried again with the next one.
- What waits is bounded. Beyond the bound the newest batch is dropped, and counted.
- Names are plain strings here, because a dictionary would spread over several batches; sealing encodes them.
- A reader takes whole batches from the front, and stops at the first that is not whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from reports.manifest import ArtefactError, Worker, WorkerName, read_json, read_manifest, write_json
from reports.sample import PARTS

END = b"\xff\xff\xff\xff\x00\x00\x00\x00"  # how an Arrow stream says that it ends here
_PENDING = 64 << 20  # bytes
_INSTANTS = ("arrived", "settled", "at", "woken", "ended")


def plain(schema: pa.Schema) -> pa.Schema:
    """Return the schema with every dictionary of strings as plain strings."""
    kinds = [pa.string() if pa.types.is_dictionary(f.type) else f.type for f in schema]
    return pa.schema([pa.field(f.name, kind) for f, kind in zip(schema, kinds, strict=True)])


@dataclass(slots=True)
class _Stream:
    """One file: what is good of it, and what waits to be added."""

    path: Path
    schema: pa.Schema
    fd: int = -1
    good: int = 0  # bytes
    pending: deque[tuple[bytes, int]] = field(default_factory=deque)  # (message, its rows)


class PartWriter:
    """Writes what one worker records to `parts/<worker>.<table>.arrow`.

    Not for threads; under gevent it never switches. After `append` returns, a SIGKILL of the process loses
    nothing of it (a power cut may, up to `close`), unless the disk was full: see `errors` and `dropped`.
    """

    def __init__(self, folder: Path, worker: str, *, pending_limit: int = _PENDING) -> None:
        """Prepare the folder. Raises ArtefactError for a name taken or unfit, or when it can't be made."""
        try:
            msgspec.convert(worker, WorkerName)
        except msgspec.ValidationError as error:
            raise ArtefactError(f"{folder}: {worker!r} can't be a worker's name: {error}") from None
        self.worker = worker
        self.rows: dict[str, int] = dict.fromkeys(PARTS, 0)  # on disk
        self.dropped = 0  # rows, all tables together
        self.errors: list[str] = []  # distinct sentences, in the order met
        self._limit = pending_limit
        self._waiting = 0  # bytes
        self._lost: tuple[int, int] | None = None  # first and last instant of the rows dropped
        parts = Path(folder) / "parts"
        try:
            run = read_manifest(folder).id if (Path(folder) / "manifest.json").exists() else ""
            parts.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ArtefactError(f"{parts}: can't be made: {error.strerror}") from error
        meta = {"run": run, "worker": worker, "pid": str(os.getpid())}
        self._streams = {
            name: _Stream(
                parts / f"{worker}.{name}.arrow", plain(schema).with_metadata({**meta, "table": name})
            )
            for name, schema in PARTS.items()
        }
        for stream in self._streams.values():
            if stream.path.exists():
                raise ArtefactError(f"{stream.path}: exists: two workers can't have one name")

    def append(self, name: str, columns: Mapping[str, Any]) -> None:
        """Write these rows of one table. Each column: a list, `array` or numpy array, all of one length.

        An integer beyond its column's type becomes the nearest that fits, because a status of 70,000 from a
        hostile target must not cost everybody's rows. Raises ArtefactError for an unknown table, for missing
        or surplus columns, unequal lengths, or values of another type; then nothing of it is written. A disk
        that is full raises nothing: see `errors`.
        """
        stream = self._streams.get(name)
        if stream is None:
            raise ArtefactError(f"{name!r} is no table of a run, expected one of {', '.join(PARTS)}")
        batch = _batch(name, stream.schema, columns)
        if not batch.num_rows:
            return
        message = batch.serialize().to_pybytes()
        if self._waiting + len(message) > self._limit and not self.flush():
            self._drop(stream, batch)
            return
        if not stream.good and not stream.pending:
            self._wait(stream, stream.schema.serialize().to_pybytes(), 0)
        self._wait(stream, message, batch.num_rows)
        self._write(stream)

    def flush(self) -> bool:
        """Try again to write what waits. True when nothing waits any more."""
        done = [self._write(stream) for stream in self._streams.values()]
        return all(done)

    def close(self) -> None:
        """Write what waits and the end mark, and have the disk keep it. Closing twice does nothing more.

        What still can't be written then is dropped, and counted.
        """
        self.flush()
        for stream in self._streams.values():
            for _, rows in stream.pending:
                self.dropped += rows
                if rows:
                    self._remember(
                        f"{stream.path.name}: {rows} rows were still waiting for the disk at the end"
                    )
            # The end mark promises that nothing is missing: not after rows that never got there.
            whole = not stream.pending
            stream.pending.clear()
            if stream.fd < 0:
                continue
            if whole:
                self._wait(stream, END, 0)
                self._write(stream)
                stream.pending.clear()
            try:
                os.fsync(stream.fd)
            except OSError as error:
                self._remember(f"{stream.path.name}: {error.strerror}")
            os.close(stream.fd)
            stream.fd = -1
        self._waiting = 0
        self._streams = {}
        if self._lost:
            self._remember(
                f"{self.worker}: {self.dropped} rows dropped, between {self._lost[0]} and {self._lost[1]} ns"
            )

    def _wait(self, stream: _Stream, message: bytes, rows: int) -> None:
        stream.pending.append((message, rows))
        self._waiting += len(message)

    def _write(self, stream: _Stream) -> bool:
        """Write what waits for one file, as far as the disk lets us. True when nothing waits any more."""
        try:
            if stream.pending and stream.fd < 0:
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
                stream.fd = os.open(stream.path, flags, 0o600)
                # Held as long as this process lives: whoever wants to recover the run sees that it is not
                # over.
                fcntl.flock(stream.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            while stream.pending:
                message, rows = stream.pending[0]
                written = 0
                while written < len(message):  # a short write: only the next one tells why
                    written += os.pwrite(stream.fd, message[written:], stream.good + written)
                stream.good += written
                stream.pending.popleft()
                self._waiting -= len(message)
                self.rows[stream.path.name.rsplit(".", 2)[1]] += rows
        except OSError as error:
            self._remember(f"{stream.path.name}: {error.strerror}")
            if stream.fd >= 0:
                with contextlib.suppress(OSError):  # a reader stops at the torn batch anyway
                    os.ftruncate(stream.fd, stream.good)
            return False
        return True

    def _drop(self, stream: _Stream, batch: pa.RecordBatch) -> None:
        self.dropped += batch.num_rows
        column = next(c for c in _INSTANTS if c in stream.schema.names)
        instants = np.frombuffer(batch.column(column).buffers()[1], dtype=np.int64)
        low, high = int(instants.min()), int(instants.max())
        self._lost = (min(low, self._lost[0]), max(high, self._lost[1])) if self._lost else (low, high)

    def _remember(self, sentence: str) -> None:
        if sentence not in self.errors and len(self.errors) < 100:
            self.errors.append(sentence)


def _batch(name: str, schema: pa.Schema, columns: Mapping[str, Any]) -> pa.RecordBatch:
    if set(columns) != set(schema.names):
        raise ArtefactError(f"{name}: columns {sorted(columns)}, expected {sorted(schema.names)}")
    lengths = {column: len(values) for column, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ArtefactError(f"{name}: columns of unequal lengths {lengths}")
    arrays = []
    for f in schema:
        try:
            arrays.append(_array(f.type, columns[f.name]))
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ArtefactError(f"{name}.{f.name}: expected {f.type}, found {error}") from error
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _array(kind: pa.DataType, values: Any) -> pa.Array:
    """Return an Arrow array of these values. Not by `pa.array`, because that imports pandas: 40 MB."""
    n = len(values)
    if pa.types.is_string(kind):
        # A lone surrogate has no UTF-8: it becomes "?" instead of costing the whole batch.
        data = [value.encode("utf-8", "replace") for value in values]
        ends = np.zeros(n + 1, dtype=np.int32)
        np.cumsum([len(d) for d in data], out=ends[1:])
        return pa.StringArray.from_buffers(n, pa.py_buffer(ends), pa.py_buffer(b"".join(data)))
    a = np.asarray(values)
    if pa.types.is_boolean(kind):
        buffer = np.packbits(a.astype(bool), bitorder="little")
        return pa.Array.from_buffers(kind, n, [None, pa.py_buffer(buffer)])
    target = np.dtype(kind.to_pandas_dtype())
    if n and a.dtype.kind not in ("iub" if target.kind == "i" else "iubf"):
        raise TypeError(f"{a.dtype}, such as {a.flat[0]!r}")
    if n and target.kind == "i" and not np.can_cast(a.dtype, target, "safe"):
        limits = np.iinfo(target)
        a = np.clip(a, limits.min, limits.max)
    return pa.Array.from_buffers(kind, n, [None, pa.py_buffer(np.ascontiguousarray(a, dtype=target))])


class PartReader:
    """Reads a part file, whole or cut anywhere: every batch up to the first that is not whole."""

    def __init__(self, path: Path) -> None:
        """Raises ArtefactError when the file's name is not that of a part, or it is a link."""
        stem, _, table = path.name.removesuffix(".arrow").rpartition(".")
        if path.suffix != ".arrow" or table not in PARTS or not re.fullmatch(r"\w[\w.-]*", stem, re.ASCII):
            raise ArtefactError(f"{path}: expected <worker>.<table>.arrow, table one of {', '.join(PARTS)}")
        if path.is_symlink():
            raise ArtefactError(f"{path}: is a link, expected a file")
        self.path = path
        self.worker = stem
        self.table = table
        self.run = ""  # known after reading
        self.pid = 0
        self.closed = False  # its writer ended it properly

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the whole batches. Raises ArtefactError when it is the part of another worker or table."""
        try:
            source = pa.OSFile(str(self.path))
            size = source.size()
        except OSError as error:
            raise ArtefactError(f"{self.path}: {error.strerror or error}") from error
        with source:
            try:
                stream = pa.ipc.open_stream(source)
            except (pa.ArrowException, OSError, MemoryError):
                return  # cut before its first row
            self._check(stream.schema)
            with stream:
                while True:
                    try:
                        batch = stream.read_next_batch()
                        batch.validate(full=True)
                        if any(column.null_count for column in batch.columns):
                            return  # we write no nulls: this one is damaged
                    except StopIteration:
                        # A stream that is cut between two batches ends the same way: only the mark tells.
                        source.seek(max(0, size - len(END)))
                        self.closed = source.read() == END
                        return
                    except (pa.ArrowException, OSError, MemoryError):
                        return
                    yield batch

    def _check(self, schema: pa.Schema) -> None:
        try:
            meta = {k.decode(): v.decode() for k, v in (schema.metadata or {}).items()}
        except UnicodeDecodeError:
            meta = {}
        if (meta.get("worker"), meta.get("table")) != (self.worker, self.table):
            whose = f"{meta.get('table')!r} of {meta.get('worker')!r}"
            raise ArtefactError(f"{self.path}: holds {whose}, not what its name says")
        if schema.remove_metadata() != plain(PARTS[self.table]):
            # Not telling which it has, because the names of a damaged schema need not even be text.
            raise ArtefactError(f"{self.path}: other columns than {', '.join(PARTS[self.table].names)}")
        self.run = meta.get("run", "")
        self.pid = int(meta["pid"]) if meta.get("pid", "").isdecimal() else 0

    def is_written(self) -> bool:
        """Whether the process that writes it still lives."""
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False


def write_closing(folder: Path, worker: Worker) -> None:
    """Leave what a worker says of the record that it has closed, for whoever seals a run and never heard it.

    Raises ArtefactError when it can't be written.
    """
    write_json(Path(folder) / "parts", f"{worker.name}.json", worker)


def read_closing(folder: Path, name: str) -> Worker | None:
    """Return what a worker left with its record; None where it left nothing that can be read."""
    try:
        return msgspec.convert(read_json(Path(folder) / "parts", f"{name}.json"), Worker)
    except (ArtefactError, msgspec.ValidationError):
        return None


def find_parts(folder: Path) -> list[PartReader]:
    """Return the part files of a run, by name; none when it is sealed."""
    return [PartReader(path) for path in sorted((Path(folder) / "parts").glob("*.arrow"))]
