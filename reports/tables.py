"""From parts to tables: each worker's rows as Parquet, the ledger and the histograms made from all of them.

Rules: rows pass through in blocks, so that samples need not fit into memory (sends and arrivals must: the
ledger joins them). A table appears under its name only when it is whole. Nothing of the parts is touched.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reports.deliveries import reconcile
from reports.histogram import bucket_of
from reports.manifest import ArtefactError, Manifest, sync_folder
from reports.parts import PartReader, plain
from reports.sample import DELIVERIES, HISTOGRAMS, PARTS, RESOURCES, Fate, Kind, Outcome
from reports.waits import told

_BLOCK = 131_072  # rows: one Parquet row group
_KEYS = ["second", "operation", "outcome", "bucket"]
_INSTANTS = ("intended", "sent", "settled", "arrived", "seen", "at", "woken", "ended")
_JOINED = ("sends", "arrivals", "presence", "waits")  # what the ledger is made from
_WORKER = pa.field("worker", pa.dictionary(pa.int32(), pa.string()))


def build_tables(
    folder: Path, manifest: Manifest, parts: list[PartReader], *, ended_ns: int | None
) -> tuple[dict[str, dict[str, int]], int]:
    """Write every table of a run, and return (rows found by worker and table, when the run ended).

    ended_ns left out: the last instant of any part, or the origin. Raises ArtefactError when a part is of
    another run, or the disk is full.
    """
    found: dict[str, dict[str, int]] = {}
    last: dict[str, int] = {}  # instant that each worker recorded
    folded, kept = _Folded(manifest.origin_ns), _Kept()

    def seen(part: PartReader) -> Iterator[pa.Table]:
        rows = 0
        for block in _blocks(part, manifest.id):
            rows += len(block)
            instants = [pc.max(block[name]).as_py() for name in _INSTANTS if name in block.column_names]
            last[part.worker] = max(last.get(part.worker, 0), *instants)
            if part.table == "samples":
                timed = block.filter(pc.not_equal(block["kind"], int(Kind.NOTICE)))  # a notice takes no time
                folded.add(timed["operation"], timed["outcome"], timed["intended"], timed["arrived"])
            elif part.table in _JOINED:
                kept.add(part, block)
            yield block
        found.setdefault(part.worker, {})[part.table] = rows

    resources = []
    for part in parts:
        if part.table == "resources":
            resources += [_named(block, part.worker) for block in seen(part)]
        else:
            meta = {"run": manifest.id, "worker": part.worker}
            path = folder / part.table / f"{part.worker}.parquet"
            if not _write(path, PARTS[part.table], seen(part), meta):
                path.unlink(missing_ok=True)  # no rows, no file
    meta = {"run": manifest.id, "worker": ""}
    _write(folder / "resources.parquet", RESOURCES.append(_WORKER), resources, meta)
    ended = max([manifest.origin_ns, *last.values()]) if ended_ns is None else ended_ns
    broken = {part.worker for part in parts if not part.closed}
    ledger = reconcile(
        kept.sends(),
        kept.table("arrivals"),
        kept.presence({worker: at for worker, at in last.items() if worker in broken}),
        deadline=manifest.deadline_ns,
        ended=ended,
    )
    _write(folder / "deliveries.parquet", DELIVERIES, [ledger], meta)
    good = ledger.filter(pc.is_in(ledger["fate"].cast(pa.string()), pa.array([Fate.ON_TIME, Fate.LATE])))
    outcome = pa.repeat(pa.scalar(int(Outcome.OK), pa.int8()), len(good))
    folded.add(good["operation"].cast(pa.string()), outcome, good["intended"], good["arrived"])
    _write(folder / "histograms.parquet", HISTOGRAMS, [folded.table()], meta)
    return found, ended


class _Kept:
    """The rows that the ledger is made from, in memory."""

    def __init__(self) -> None:
        self._tables: dict[str, list[pa.Table]] = {name: [] for name in _JOINED}

    def add(self, part: PartReader, block: pa.Table) -> None:
        self._tables[part.table].append(_named(block, part.worker))

    def table(self, name: str) -> pa.Table:
        tables = self._tables.pop(name)  # popped, because the ledger needs the memory
        return pa.concat_tables(tables) if tables else plain(PARTS[name]).append(_WORKER).empty_table()

    def sends(self) -> pa.Table:
        """Return the sends, and what those who came owed the senders of what waited for them."""
        more = told(self.table("waits"))
        schema = plain(PARTS["sends"]).append(_WORKER)
        return pa.concat_tables([self.table("sends"), pa.Table.from_pylist(more, schema=schema)])

    def presence(self, last: dict[str, int]) -> pa.Table:
        """Return the presence; the sockets of a worker that did not close ended with the last it wrote."""
        table = self.table("presence")
        if not last:
            return table
        cut = table.filter(pc.is_in(table["worker"].cast(pa.string()), pa.array(sorted(last))))
        ends = {(row["user"], row["socket"], row["worker"]) for row in cut.to_pylist()}
        rows = [
            # One later than the last, because what was sent at that instant was still due.
            {"user": user, "socket": socket, "online": False, "at": last[worker] + 1, "worker": worker}
            for user, socket, worker in sorted(ends)
        ]
        return pa.concat_tables([table, pa.Table.from_pylist(rows, schema=table.schema)])


class _Folded:
    """Response times counted by second, operation, outcome and bucket."""

    def __init__(self, origin_ns: int) -> None:
        self._origin = origin_ns
        self._tables: list[pa.Table] = []

    def add(
        self,
        operation: pa.ChunkedArray,
        outcome: pa.ChunkedArray,
        intended: pa.ChunkedArray,
        arrived: pa.ChunkedArray,
    ) -> None:
        if not len(operation):
            return
        ended = arrived.to_numpy()
        second = np.clip((ended - self._origin) // 1_000_000_000, -(2**31), 2**31 - 1)
        # A clock error of some µs can make a very short response time negative: that one counts as 0.
        bucket = bucket_of(np.maximum(0, ended - intended.to_numpy()))
        fresh = pa.table({"second": second, "operation": operation, "outcome": outcome, "bucket": bucket})
        self._tables.append(fresh.group_by(_KEYS).aggregate([([], "count_all")]))

    def table(self) -> pa.Table:
        if not self._tables:
            return HISTOGRAMS.empty_table()
        every = pa.concat_tables(self._tables).group_by(_KEYS).aggregate([("count_all", "sum")])
        every = every.sort_by([(key, "ascending") for key in _KEYS]).rename_columns([*_KEYS, "count"])
        return _encoded(every, HISTOGRAMS)


def _blocks(part: PartReader, run: str) -> Iterator[pa.Table]:
    """Yield the rows of a part in tables of some 100,000, names still plain. No table is empty."""
    batches: list[pa.RecordBatch] = []
    rows = 0
    for batch in part.batches():
        if part.run not in ("", run):
            raise ArtefactError(f"{part.path}: belongs to run {part.run!r}, not to {run!r}")
        batches.append(batch)
        rows += batch.num_rows
        if rows >= _BLOCK:
            yield pa.Table.from_batches(batches).replace_schema_metadata()
            batches, rows = [], 0
    if rows:
        yield pa.Table.from_batches(batches).replace_schema_metadata()


def _named(block: pa.Table, worker: str) -> pa.Table:
    names = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), len(block)), [worker])
    return block.append_column(_WORKER, names)


def _encoded(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the table with this schema: names as dictionaries, numbers in the types that it asks for."""
    columns = []
    for f in schema:
        column = table[f.name]
        if pa.types.is_dictionary(f.type) and not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        columns.append(column.cast(f.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _write(path: Path, schema: pa.Schema, blocks: Iterable[pa.Table], meta: dict[str, str]) -> int:
    """Write a Parquet file, all or nothing; return its rows. Raises ArtefactError on a full disk."""
    spare = path.with_name(f".{path.name}.tmp")
    numbers = [f.name for f in schema if pa.types.is_int64(f.type)]
    rows = 0
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as file:
            with pq.ParquetWriter(
                file,
                schema.with_metadata(meta),
                compression="zstd",
                write_page_checksum=True,
                use_dictionary=[f.name for f in schema if f.name not in numbers],
                column_encoding=dict.fromkeys(numbers, "DELTA_BINARY_PACKED"),
            ) as writer:
                for block in blocks:
                    rows += len(block)
                    writer.write_table(
                        _encoded(block, schema).replace_schema_metadata(meta), row_group_size=_BLOCK
                    )
            file.flush()
            os.fsync(file.fileno())
        os.replace(spare, path)
        sync_folder(path.parent)
    except OSError as error:
        spare.unlink(missing_ok=True)
        raise ArtefactError(f"{path}: could not be written: {error.strerror or error}") from error
    return rows
