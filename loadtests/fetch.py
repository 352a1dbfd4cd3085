"""Brings what other hosts' workers wrote to the run's folder, once they have closed their records.

Rule: a file comes in chunks that are asked for one by one, so that neither side holds more than one of it.
A chunk is wanted at one offset only, and counts when its checksum is right: what is lost, repeated or late
does no harm, and is asked for again. A file appears under its name when all of it is there and has the
checksum that its writer told. What can't be had stays where it is, and is named.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
import msgspec
from gevent.event import Event as Bell
from msgspec import Struct

from loadtests.fleet import File, Member
from reports import manifest as book
from reports.sample import PARTS

FETCH, CHUNK = "talkload-fetch", "talkload-chunk"
LARGEST = 1 << 20  # bytes of a chunk
PATIENCE_S, TRIES = 3.0, 5
EVENTS = "events.jsonl"

_decode = msgspec.msgpack.Decoder(dict[str, Any]).decode


class FetchError(Exception):
    """A file can't be had; the message says which and why."""


class Chunk(Struct, frozen=True):
    """A piece of a file."""

    name: str
    offset: int
    data: bytes
    crc: int  # CRC-32 of the data


def listing(folder: Path) -> list[File]:
    """Return the files of a worker's own run that its master needs."""
    paths = [*sorted((folder / "parts").iterdir()), folder / EVENTS]
    return [File(path.name, path.stat().st_size, _crc(path)) for path in paths if path.is_file()]


def chunk(folder: Path, name: str, offset: int) -> Chunk:
    """Return the piece of one of these files from an offset on. Raises OSError."""
    path = folder / (name if name == EVENTS else f"parts/{Path(name).name}")
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(LARGEST)
    return Chunk(name, offset, data, zlib.crc32(data))


def _crc(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while data := file.read(LARGEST):
            crc = zlib.crc32(data, crc)
    return crc


@dataclass(slots=True)
class Incoming:
    """A file on its way here."""

    file: File
    path: Path  # where it will be
    had: int = 0  # bytes
    crc: int = 0
    _spare: Path = field(init=False)

    def __post_init__(self) -> None:
        self._spare = self.path.with_name(f".{self.path.name}.tmp")
        self._spare.parent.mkdir(mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        os.close(os.open(self._spare, flags, 0o600))

    @property
    def whole(self) -> bool:
        return self.had >= self.file.size

    def take(self, piece: Chunk) -> bool:
        """Take a chunk if it is the one that is wanted now; tell whether it was. Raises OSError."""
        fits = piece.offset == self.had and piece.data and self.had + len(piece.data) <= self.file.size
        if piece.name != self.file.name or not fits or zlib.crc32(piece.data) != piece.crc:
            return False
        with self._spare.open("ab") as spare:
            spare.write(piece.data)
        self.had += len(piece.data)
        self.crc = zlib.crc32(piece.data, self.crc)
        return True

    def finish(self) -> None:
        """Give it its name. Raises FetchError where it is not what its writer told of."""
        if self.crc != self.file.crc:
            self.drop()
            raise FetchError(f"{self.file.name} is not as its worker wrote it")
        self._spare.replace(self.path)

    def drop(self) -> None:
        """Forget what is here of it."""
        self._spare.unlink(missing_ok=True)


class Fetcher:
    """Asks the workers of one master for their files."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self._waiting: dict[str, tuple[Incoming, Bell]] = {}  # by the worker's id at Locust
        runner.register_message(CHUNK, self._came)

    def fetch(self, hands: list[Member], folder: Path, note: Callable[[str], None]) -> None:
        """Bring all files of all workers here, those of several workers at once."""
        gevent.joinall([gevent.spawn(self._from, each, folder, note) for each in hands])

    def _from(self, member: Member, folder: Path, note: Callable[[str], None]) -> None:
        files = member.last.files if member.last else []
        try:
            for file in files:
                name = _name_here(file.name, member.name)
                note(f"fetching {file.name} ({file.size / 1e6:.1f} MB) from {member.hello.host}")
                self._one(member, Incoming(file, folder / "parts" / name))
        except (FetchError, OSError) as error:
            member.fetched = str(error)
            return
        if files:
            _append_events(folder, member.name)
            member.fetched = ""

    def _one(self, member: Member, incoming: Incoming) -> None:
        arrived = Bell()
        self._waiting[member.client] = incoming, arrived
        failed = 0
        try:
            while not incoming.whole:
                arrived.clear()
                wanted = {"name": incoming.file.name, "offset": incoming.had}
                self._runner.send_message(FETCH, msgspec.msgpack.encode(wanted), member.client)
                failed = 0 if arrived.wait(PATIENCE_S) else failed + 1
                if failed == TRIES:
                    raise FetchError(f"{incoming.file.name}: nothing came for {PATIENCE_S * TRIES:g} s")
            incoming.finish()
        except BaseException:
            incoming.drop()
            raise
        finally:
            del self._waiting[member.client]

    def _came(self, msg: Any, **_: Any) -> None:
        waiting = self._waiting.get(msg.node_id)
        try:
            piece = msgspec.msgpack.decode(msg.data, type=Chunk)
        except (msgspec.DecodeError, TypeError):
            return
        if waiting is not None and waiting[0].take(piece):
            waiting[1].set()


def wanted(data: bytes) -> tuple[str, int]:
    """Return the name and the offset that a master asks for. Raises ValueError."""
    said = _decode(data)
    name, offset = said.get("name"), said.get("offset")
    if not isinstance(name, str) or not isinstance(offset, int) or offset < 0:
        raise ValueError("not a question for a file")
    return name, offset


def _name_here(name: str, worker: str) -> str:
    """Return under which name a worker's file is kept. Raises FetchError where it is not one of its own."""
    tables = "|".join(PARTS)
    if name == EVENTS:
        return f"{worker}.events"
    if not re.fullmatch(rf"{re.escape(worker)}\.(({tables})\.arrow|json)", name):
        raise FetchError(f"{name!r} is no file of {worker}'s")
    return name


def _append_events(folder: Path, worker: str) -> None:
    path = folder / "parts" / f"{worker}.events"
    if path.exists():
        for line in path.read_bytes().splitlines():
            event = msgspec.json.decode(line)
            book.append_event(folder, event.pop("kind"), event.pop("at_ns"), worker=worker, **event)
        path.unlink()
