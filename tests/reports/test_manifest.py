"""reports.manifest: written wholly or not at all, and believed only when it makes sense."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from reports.artefact import (
    ArtefactError,
    Manifest,
    Phase,
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

Maker = Callable[..., Manifest]


def spoiled(folder: Path, **fields: Any) -> str:
    """Return what is said of a manifest in which these fields were changed by hand."""
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    with pytest.raises(ArtefactError) as caught:
        read_manifest(folder)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_what_was_written_is_read(folder: Path, manifest: Maker) -> None:
    """A manifest comes back as it was; only its owner can read the file."""
    head = manifest(workers=[Worker(name="w1", rows={"samples": 3})], phases=[Phase(name="p", from_ns=1)])
    write_manifest(folder, head)
    assert head == read_manifest(folder)
    assert (folder / "manifest.json").stat().st_mode & 0o777 == 0o600


def test_unknown_fields_are_ignored(folder: Path, manifest: Maker) -> None:
    """A field that a later talkload of the same schema added changes nothing for us."""
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "colour": "blue"}))
    assert manifest() == read_manifest(folder)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"schema": 3}, "schema 3 is newer than 2"),
        ({"schema": 1}, "schema 1 is older than 2, the one known here: run it again"),
        ({"schema": "1"}, "$.schema"),
        ({"status": "done"}, "$.status"),
        ({"users": -1}, "$.users"),
        ({"users": 1.5}, "$.users"),
        ({"seed": None}, "$.seed"),
        ({"id": "../up"}, "$.id"),
        ({"started": "yesterday"}, "started: expected an ISO 8601 instant, found 'yesterday'"),
        ({"origin_ns": 2**70}, "$.origin_ns"),
        ({"ended_ns": 5}, "ended_ns 5 is before origin_ns 1000000000"),
        ({"measured_from_ns": 5}, "measured_from_ns 5 is before origin_ns 1000000000"),
        ({"ended_ns": 2 * 10**9, "measured_from_ns": 3 * 10**9}, "is before measured_from_ns"),
        ({"status": "complete"}, "status is complete, but ended_ns is 0"),
        ({"phases": [{"name": "p", "from_ns": 9, "to_ns": 8}]}, "phase 'p': to_ns 8 is before from_ns 9"),
        (
            {"arrivals": {"plan_hash": "h", "planned": 9, "achieved": 8, "dropped": 2}},
            "arrivals: 10 were due, but only 9 planned",
        ),
        ({"arrivals": {"plan_hash": "h", "planned": 9, "late": 1}}, "arrivals: 1 late of 0 achieved"),
        ({"workers": [{"name": "w"}, {"name": "w"}]}, "2 workers, but only 1 names"),
        ({"workers": [{"name": "../w"}]}, "$.workers[0].name"),
        ({"workers": [{"name": "w", "rows": {"samples": -1}}]}, "$.workers[0].rows"),
        ({"workers": [{"name": "w", "rows": {"simples": 1}}]}, "unknown table ['simples']"),
    ],
)
def test_nonsense_is_refused(folder: Path, fields: dict[str, Any], said: str) -> None:
    """Another schema, wrong types, and facts that contradict each other are refused, each with its field."""
    assert said in spoiled(folder, **fields)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"[" * 100_000,
        b'{"schema": 2}',
    ],
    ids=["empty", "NUL", "cut", "list", "null", "no field", "BOM", "UTF-16", "deep", "only a schema"],
)
def test_other_content_is_refused(folder: Path, content: bytes) -> None:
    """What is no manifest at all is refused with the file's name."""
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(ArtefactError, match=r"manifest\.json"):
        read_manifest(folder)


def test_cut_or_flipped_never_crashes(folder: Path, manifest: Maker) -> None:
    """Cut at every byte it is refused; with any bit flipped it is refused or makes sense."""
    path = folder / "manifest.json"
    whole, chance = path.read_bytes(), random.Random(11)
    for cut in range(len(whole) - 2):
        path.write_bytes(whole[:cut])
        with pytest.raises(ArtefactError):
            read_manifest(folder)
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        with contextlib.suppress(ArtefactError):
            assert isinstance(read_manifest(folder), Manifest)


def test_huge_file_is_refused_unread(folder: Path) -> None:
    """A manifest of 10 GB is refused by its size."""
    os.truncate(folder / "manifest.json", 10 << 30)
    with pytest.raises(ArtefactError, match="10737418240 bytes"):
        read_manifest(folder)


def test_nonsense_is_not_written(folder: Path, manifest: Maker) -> None:
    """What could not be read again is not written, and the good one stays."""
    for bad in (manifest(users=-1), manifest(ended_ns=1), manifest(versions={"x": object()})):
        with pytest.raises(ArtefactError):
            write_manifest(folder, bad)
    assert manifest() == read_manifest(folder)


def test_failed_write_leaves_the_old_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk the old file stays as it was, and nothing else is left lying about."""
    write_json(folder, "verdict.json", {"code": 0})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    before = sorted(folder.iterdir())
    with pytest.raises(ArtefactError, match=r"verdict\.json: could not be written: No space left"):
        write_json(folder, "verdict.json", {"code": 1})
    assert read_json(folder, "verdict.json") == {"code": 0}
    assert before == sorted(folder.iterdir())


def test_json_files(folder: Path) -> None:
    """A JSON file comes back; a missing or broken one is refused, and so is a name that leads elsewhere."""
    write_json(folder, "verdict.json", {"code": 4, "why": ["é"]})
    assert read_json(folder, "verdict.json") == {"code": 4, "why": ["é"]}
    assert (folder / "verdict.json").stat().st_mode & 0o777 == 0o600
    (folder / "broken.json").write_text("{")
    for name in ("missing.json", "broken.json", "../verdict.json", "", "..", "a/b"):
        with pytest.raises(ArtefactError):
            read_json(folder, name)


def test_run_id_sorts_by_time() -> None:
    """The id begins with the UTC instant, whatever zone it was told in, and suits a folder."""
    at = datetime(2026, 11, 22, 20, 45, tzinfo=UTC)
    assert run_id(at, "typical", "3f9a") == "20261122T204500Z-typical-3f9a"
    assert run_id(at, "a", "b") == run_id(at.astimezone(timezone(timedelta(hours=5))), "a", "b")
    assert run_id(at, "../up/etc\nx", "é") == "20261122T204500Z-up-etc-x-x"
    with pytest.raises(ValueError, match="no time zone"):
        run_id(at.replace(tzinfo=None), "a", "b")


def test_imbalance_names_every_difference() -> None:
    """Rows that were counted but not found, and rows found that nobody counted, are both told."""
    worker = Worker(
        name="w", rows={"samples": 3, "sends": 1}, found={"samples": 2, "sends": 1, "presence": 1}
    )
    assert imbalance(worker) == {"samples": (3, 2), "presence": (0, 1)}


def test_events_come_back_in_order(folder: Path) -> None:
    """Events are read as they were written; without a file there are none."""
    assert list(read_events(folder)) == []
    append_event(folder, "clock-step", 5, by_ns=-3)
    append_event(folder, "stopped", 6)
    assert list(read_events(folder)) == [
        {"kind": "clock-step", "at_ns": 5, "by_ns": -3},
        {"kind": "stopped", "at_ns": 6},
    ]
    assert (folder / "events.jsonl").stat().st_mode & 0o777 == 0o600


def test_cut_event_is_told_and_hurts_no_other(folder: Path) -> None:
    """Cut at every byte, the last line is told as unreadable, and the next event stays whole."""
    append_event(folder, "first", 1)
    whole = (folder / "events.jsonl").read_bytes()
    for cut in range(1, len(whole) - 1):
        (folder / "events.jsonl").write_bytes(whole + whole[:cut])
        append_event(folder, "next", 2)
        kinds = [event["kind"] for event in read_events(folder)]
        assert kinds == ["first", "unreadable", "next"] or cut == len(whole) - 1


@pytest.mark.parametrize("line", [b"[]", b'{"kind": 1, "at_ns": 1}', b"\xff\xfe", b"[" * 100_000, b"{}"])
def test_strange_event_is_told(folder: Path, line: bytes) -> None:
    """A line that is no event is told as unreadable, with its number."""
    (folder / "events.jsonl").write_bytes(line + b"\n")
    assert list(read_events(folder)) == [{"kind": "unreadable", "at_ns": 0, "line": 1}]


def test_event_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """An event that is lost is an error, not silence."""
    with pytest.raises(ArtefactError, match="'started' could not be written"):
        append_event(tmp_path / "nowhere", "started", 1)
