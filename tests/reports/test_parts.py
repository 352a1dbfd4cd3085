"""reports.parts: what was appended is there, whatever happened to the process or the disk."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from reports.artefact import ArtefactError
from reports.parts import END, PartReader, PartWriter, find_parts

ROOT = Path(__file__).parents[2]
Rows = Callable[..., dict[str, dict[str, list[Any]]]]


def presence(n: int = 1, first: int = 0) -> dict[str, Any]:
    every = range(first, first + n)
    return {
        "user": [f"u{i}" for i in every],
        "socket": array("q", every),
        "online": [i % 2 == 0 for i in every],
        "at": np.arange(first, first + n),
    }


def read(path: Path) -> list[dict[str, Any]]:
    return [row for batch in PartReader(path).batches() for row in batch.to_pylist()]


def child(code: str, *arguments: Any) -> subprocess.Popen[str]:
    start = "import sys, json\nfrom pathlib import Path\nfrom reports.parts import PartWriter\n"
    command = [sys.executable, "-c", start + code, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)


def test_what_was_appended_is_read(folder: Path, rows: Rows) -> None:
    """Every row of every table comes back as it was, from a closed file."""
    writer = PartWriter(folder, "w1")
    for name, columns in rows(3).items():
        writer.append(name, columns)
    writer.close()
    for part in find_parts(folder):
        expected = rows(3)[part.table]
        table = pa.Table.from_batches(part.batches())
        assert expected == table.to_pydict()
        assert (part.worker, part.closed, part.pid) == ("w1", True, os.getpid())
        assert part.run == folder.name
        assert oct(part.path.stat().st_mode & 0o777) == "0o600"
    assert oct((folder / "parts").stat().st_mode & 0o777) == "0o700"


def test_it_is_on_disk_when_append_returns(folder: Path) -> None:
    """Nothing waits for a flush; only the end mark is missing until the writer is closed."""
    writer = PartWriter(folder, "w1")
    writer.append("presence", presence(2))
    (part,) = find_parts(folder)
    assert sum(batch.num_rows for batch in part.batches()) == 2
    assert (part.closed, writer.rows["presence"], part.is_written()) == (False, 2, True)
    writer.close()
    writer.close()
    assert not part.is_written()


def test_no_rows_no_file(folder: Path) -> None:
    """A batch without rows leaves nothing behind."""
    writer = PartWriter(folder, "w1")
    writer.append("presence", presence(0))
    writer.close()
    assert find_parts(folder) == []


def test_cut_anywhere_gives_the_whole_batches(folder: Path) -> None:
    """Cut at every single byte, a part gives all the batches before the cut and no exception."""
    writer = PartWriter(folder, "w1")
    path = folder / "parts" / "w1.presence.arrow"
    ends = [0]
    for i in range(3):
        writer.append("presence", presence(2, 2 * i))
        ends.append(path.stat().st_size)
    writer.close()
    whole, everything = path.read_bytes(), read(path)
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        part = PartReader(path)
        found = [row for batch in part.batches() for row in batch.to_pylist()]
        batches = sum(end <= cut for end in ends[1:])
        assert everything[: 2 * batches] == found, cut
        assert not part.closed


def test_flipped_bits_never_crash(folder: Path) -> None:
    """A part with flipped bits gives rows or an ArtefactError, never another exception."""
    writer = PartWriter(folder, "w1")
    for i in range(3):
        writer.append("presence", presence(2, 2 * i))
    writer.close()
    path = folder / "parts" / "w1.presence.arrow"
    whole, chance = path.read_bytes(), random.Random(5)
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        with contextlib.suppress(ArtefactError):
            read(path)


def test_sigkill_loses_nothing(folder: Path) -> None:
    """Whatever the process said it had appended before a SIGKILL is in the file."""
    writing = child(
        """
writer = PartWriter(Path(sys.argv[1]), "w1")
for i in range(1_000_000):
    writer.append("presence", {"user": [f"u{i}"], "socket": [i], "online": [True], "at": [i]})
    print(i, flush=True)
""",
        folder,
    )
    assert writing.stdout
    told = [int(writing.stdout.readline()) for _ in range(40)][-1]
    writing.send_signal(signal.SIGKILL)
    told = max([told, *(int(line) for line in writing.stdout.read().split("\n")[:-1])])
    writing.communicate()
    found = [row["at"] for row in read(folder / "parts" / "w1.presence.arrow")]
    assert list(range(len(found))) == found
    assert len(found) > told


FULL_DISK = """
import resource, signal
folder, limit, later = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "later"
writer = PartWriter(folder, "w1", pending_limit=4_000)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
for i in range(40):
    writer.append("presence", {"user": [f"u{i}"], "socket": [i], "online": [True], "at": [i]})
before = dict(rows=writer.rows["presence"], dropped=writer.dropped, errors=list(writer.errors))
if later:
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    writer.append("presence", {"user": ["u40"], "socket": [40], "online": [True], "at": [40]})
writer.close()
after = dict(rows=writer.rows["presence"], dropped=writer.dropped, errors=list(writer.errors))
print(json.dumps([before, after]))
"""


def full_disk(folder: Path, limit: int, *, space_returns: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    out, _ = child(FULL_DISK, folder, limit, "later" if space_returns else "never").communicate(timeout=30)
    before, after = json.loads(out)
    return before, after


@pytest.mark.parametrize("limit", [0, 100, 700, 1_003, 3_000])
def test_full_disk_is_remembered_and_survived(folder: Path, limit: int) -> None:
    """While the disk is full rows wait; when space returns they are written; what did not fit is counted."""
    before, after = full_disk(folder, limit, space_returns=True)
    assert before["errors"] == ["w1.presence.arrow: File too large"]
    assert before["rows"] + before["dropped"] < 40, "some rows wait"
    assert after["rows"] + after["dropped"] == 41
    found = [row["at"] for row in read(folder / "parts" / "w1.presence.arrow")]
    assert (after["rows"], sorted(set(found)), 40) == (len(found), found, found[-1])
    assert after["dropped"] > 0
    lost = [i for i in range(41) if i not in found]
    assert f"w1: {after['dropped']} rows dropped, between {lost[0]} and {lost[-1]} ns" in after["errors"]


def test_disk_full_to_the_end_counts_all_that_is_lost(folder: Path) -> None:
    """If space never returns, the file is readable, not marked as ended, and every missing row is counted."""
    _, after = full_disk(folder, 1_003, space_returns=False)
    part = PartReader(folder / "parts" / "w1.presence.arrow")
    assert after["rows"] == sum(batch.num_rows for batch in part.batches())
    assert (after["rows"] + after["dropped"], part.closed) == (40, False)
    assert any("still waiting for the disk" in error for error in after["errors"])


def test_strange_values_fit_or_are_refused(folder: Path, rows: Rows) -> None:
    """A figure too large becomes the largest that fits, a lone surrogate "?"; other types are refused."""
    writer = PartWriter(folder, "w1")
    sample = rows(2)["samples"]
    writer.append(
        "samples", {**sample, "status": [70_000, -70_000], "error": ["\ud800", "é"], "size": [2**40, 1]}
    )
    (row, other) = read(folder / "parts" / "w1.samples.arrow")
    assert (row["status"], row["error"], row["size"]) == (32_767, "?", 2**31 - 1)
    assert (other["status"], other["error"], other["size"]) == (-32_768, "é", 1)
    for column, values in (
        ("sent", [1.5, 2.0]),
        ("sent", [None, 1]),
        ("sent", [2**70, 1]),
        ("sent", ["1", "2"]),
        ("error", [None, "x"]),
        ("error", [b"x", "x"]),
    ):
        with pytest.raises(ArtefactError, match=rf"samples\.{column}"):
            writer.append("samples", {**sample, column: values})
    assert writer.rows["samples"] == 2
    writer.close()


def test_wrong_columns_are_refused(folder: Path) -> None:
    """An unknown table, missing or surplus columns, and unequal lengths are refused."""
    writer = PartWriter(folder, "w1")
    for name, columns, found in (
        ("samplse", presence(), "no table"),
        ("presence", {"user": ["u"]}, "expected"),
        ("presence", {**presence(), "more": [1]}, "more"),
        ("presence", {**presence(), "user": []}, "unequal"),
    ):
        with pytest.raises(ArtefactError, match=found):
            writer.append(name, columns)


def test_two_workers_of_one_name_are_refused(folder: Path) -> None:
    """A name that was used can't be used again, because sockets are numbered by worker."""
    writer = PartWriter(folder, "w1")
    writer.append("presence", presence())
    with pytest.raises(ArtefactError, match="one name"):
        PartWriter(folder, "w1")
    writer.close()


@pytest.mark.parametrize("name", ["", "../w1", "a/b", ".w", "w\n", "w\0", "x" * 200])
def test_unfit_worker_names_are_refused(folder: Path, name: str) -> None:
    """A worker's name can't lead out of the folder."""
    with pytest.raises(ArtefactError, match="worker's name"):
        PartWriter(folder, name)


def test_part_of_another_worker_is_refused(folder: Path) -> None:
    """A part that was copied under another name is found out."""
    writer = PartWriter(folder, "w1")
    writer.append("presence", presence())
    writer.close()
    parts = folder / "parts"
    (parts / "w2.presence.arrow").write_bytes((parts / "w1.presence.arrow").read_bytes())
    with pytest.raises(ArtefactError, match="not what its name says"):
        read(parts / "w2.presence.arrow")
    (parts / "w1.sends.arrow").write_bytes((parts / "w1.presence.arrow").read_bytes())
    with pytest.raises(ArtefactError, match="not what its name says"):
        read(parts / "w1.sends.arrow")


@pytest.mark.parametrize("name", ["x.arrow", "w1.foo.arrow", ".presence.arrow", "w1.presence.txt"])
def test_foreign_file_is_refused(folder: Path, name: str) -> None:
    """A file that is not named as a part is none."""
    with pytest.raises(ArtefactError, match="expected <worker>"):
        PartReader(folder / "parts" / name)


def test_link_is_refused(folder: Path) -> None:
    """A part is never a link to something else."""
    (folder / "parts").mkdir()
    (folder / "parts" / "w1.presence.arrow").symlink_to("/etc/hostname")
    with pytest.raises(ArtefactError, match="is a link"):
        find_parts(folder)


def test_end_mark_is_arrows_own() -> None:
    """A closed part is an Arrow stream that other tools can read."""
    sink = pa.BufferOutputStream()
    pa.ipc.new_stream(sink, pa.schema([("a", pa.int8())])).close()
    assert sink.getvalue().to_pybytes().endswith(END)


def test_writing_does_not_load_pandas(folder: Path) -> None:
    """A worker that imports the artefact and appends to it never loads pandas: 40 MB and half a second."""
    code = """
import reports.artefact
writer = PartWriter(Path(sys.argv[1]), "w1")
writer.append("presence", {"user": ["u"], "socket": [1], "online": [True], "at": [1]})
writer.close()
print("pandas" in sys.modules)
"""
    out, _ = child(code, folder).communicate(timeout=30)
    assert out == "False\n"
