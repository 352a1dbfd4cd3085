"""A file arrives as it was written, however its pieces come; and nothing else than a worker's own does."""

from __future__ import annotations

import random
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadtests import fetch
from loadtests.fetch import Chunk, Fetcher, FetchError, Incoming, chunk, listing, wanted
from loadtests.fleet import File, Hello, Member, Snapshot

HELLO = Hello(pid=1, host="there", boot_id="b", suite="1", git="g", locust="2", python="3.11")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.integers(1, 40), st.integers(0, 10**6))
def test_lost_repeated_and_damaged_pieces_do_no_harm(
    tmp_path: Path, content: bytes, size: int, seed: int
) -> None:
    """What was asked for is taken once; the rest is left alone."""
    dice = random.Random(seed)
    incoming = Incoming(File("f", len(content), zlib.crc32(content)), tmp_path / "f")
    while not incoming.whole:
        at = dice.choice([incoming.had, incoming.had, dice.randrange(len(content))])
        data = content[at : at + size]
        good = Chunk("f", at, data, zlib.crc32(data))
        bad = [Chunk("f", at, data + b"x", zlib.crc32(data)), Chunk("g", at, data, zlib.crc32(data))]
        had = incoming.had
        assert incoming.take(dice.choice([good, *bad])) == (incoming.had > had)
    incoming.finish()
    assert (tmp_path / "f").read_bytes() == content


def test_a_file_that_is_not_what_was_told_does_not_appear(tmp_path: Path) -> None:
    """Every piece may be right, and the whole another."""
    incoming = Incoming(File("f", 3, 1), tmp_path / "f")
    incoming.take(Chunk("f", 0, b"abc", zlib.crc32(b"abc")))
    with pytest.raises(FetchError, match="not as its worker wrote it"):
        incoming.finish()
    assert list(tmp_path.iterdir()) == []


class Wire:
    """A runner whose one worker answers from a folder, but for what is lost."""

    def __init__(self, folder: Path, lost: set[int]) -> None:
        self.folder, self.lost, self.asked = folder, lost, 0
        self.heard: Any = None

    def register_message(self, _kind: str, listener: Any) -> None:
        self.heard = listener

    def send_message(self, _kind: str, data: bytes, client: str) -> None:
        self.asked += 1
        if self.asked not in self.lost:
            piece = msgspec.msgpack.encode(chunk(self.folder, *wanted(data)))
            self.heard(Message(client, piece))


class Message:
    def __init__(self, node_id: str, data: bytes) -> None:
        self.node_id, self.data = node_id, data


def member(files: list[File]) -> Member:
    """Return a worker that has these."""
    said = Snapshot(seq=1, hello=HELLO, files=files)
    return Member("c", HELLO, 0, name="w1", last=said)


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A worker's own folder."""
    (tmp_path / "there" / "parts").mkdir(parents=True)
    (tmp_path / "there" / "parts" / "w1.samples.arrow").write_bytes(random.Random(1).randbytes(10_000))
    (tmp_path / "there" / "events.jsonl").write_text('{"kind":"refused","at_ns":5,"text":"no"}\n')
    return tmp_path / "there"


def test_files_come_whole_and_events_with_their_worker(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pieces of 512 bytes, two of which are lost."""
    monkeypatch.setattr(fetch, "LARGEST", 512)
    monkeypatch.setattr(fetch, "PATIENCE_S", 0.01)
    here, wire = tmp_path / "here", Wire(there, {2, 7})
    (here / "parts").mkdir(parents=True)
    hand = member(listing(there))
    Fetcher(wire).fetch([hand], here, lambda _: None)
    assert hand.fetched == ""
    name = "parts/w1.samples.arrow"
    assert (here / name).read_bytes() == (there / name).read_bytes()
    (event,) = (here / "events.jsonl").read_text().splitlines()
    assert msgspec.json.decode(event) == {"kind": "refused", "at_ns": 5, "worker": "w1", "text": "no"}
    assert sorted(path.name for path in (here / "parts").iterdir()) == ["w1.samples.arrow"]


def test_what_does_not_come_is_given_up_and_named(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some tries; no half of a file is left."""
    monkeypatch.setattr(fetch, "PATIENCE_S", 0.01)
    here = tmp_path / "here"
    (here / "parts").mkdir(parents=True)
    hand = member(listing(there))
    Fetcher(Wire(there, set(range(1000)))).fetch([hand], here, lambda _: None)
    assert "nothing came" in str(hand.fetched)
    assert list((here / "parts").iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["../manifest.json", "w2.samples.arrow", "w1.samples.arrow/../x", "manifest.json", "w1.nothing.arrow"],
)
def test_only_a_workers_own_files_are_taken(there: Path, tmp_path: Path, name: str) -> None:
    """Whoever has the secret still writes nothing but its own parts."""
    here = tmp_path / "here"
    (here / "parts").mkdir(parents=True)
    hand = member([File(name, 1, 1)])
    Fetcher(Wire(there, set())).fetch([hand], here, lambda _: None)
    assert "no file of w1's" in str(hand.fetched)
    assert list((here / "parts").iterdir()) == []
