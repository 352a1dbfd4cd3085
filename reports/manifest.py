"""What a run says about itself, and the small files around its tables: manifest.json, verdict.json,
events.jsonl.

Rules: a file is replaced as a whole or not at all; only its owner can read it (0600); what is read is checked
before it is believed, and refused with a sentence that names the file and the field.

Version history of the manifest: 1, the first. A newer or older one is refused, never guessed at.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from reports.sample import PARTS

SCHEMA = 2
_LARGEST_JSON = 64 << 20  # bytes; ours have some KB, and a 10 GB one must not fill the memory

Ns = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
RunId = Annotated[str, Meta(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,150}\Z")]
WorkerName = Annotated[str, Meta(pattern=r"^[0-9A-Za-z_][0-9A-Za-z._-]{0,150}\Z")]
Rows = dict[str, Count]


class ArtefactError(Exception):
    """A run on disk can't be written, or can't be believed. The message: file, found, expected."""


class Suite(Struct, kw_only=True):
    """Which talkload wrote the run."""

    version: str
    git: str = ""  # commit, "+" appended when the tree had changes; "" when not in a repository


class Target(Struct, kw_only=True):
    """What was measured."""

    https: str
    wss: str
    local: bool  # on the generator's own host
    version: str = ""  # as told by its health page
    stage: str = ""
    faults: bool = False  # it was told to misbehave: never a baseline
    password_cost: str = ""
    processes: Count = 0  # that serve, as the target tells; 0: it does not


class ScenarioInfo(Struct, kw_only=True):
    """What people did."""

    name: str
    file: str
    hash: str  # of the resolved configuration: two runs with one hash did the same
    config: dict[str, Any] = {}  # the whole of it, resolved


class Clock(Struct, kw_only=True):
    """How instants were stamped."""

    id: str = ""  # boot and time namespace that tell this clock from others; "": not known
    stamps: str  # "wire" (by the kernel), "epoll" or "callback"
    realtime_offset_ns: int = 0  # CLOCK_REALTIME - CLOCK_MONOTONIC at the start
    steps_ns: list[int] = []  # by how much the wall clock was set during the run
    reads: Count = 0  # of sockets, that were to be stamped
    unstamped: Count = 0  # reads without a kernel stamp: stamped when the event loop was told
    frames: Count = 0  # that came with those reads
    coalesced: Count = 0  # frames that were read together with a later one: they have its stamp


class OtherClock(Struct, kw_only=True):
    """A clock of some workers that is not the run's; their instants were brought to the run's by sealing."""

    id: str
    exchanges: Count = 0  # in which they asked the run's clock
    offset_ns: int = 0  # it minus the run's clock, when they asked first
    drift_ppb: float = 0.0  # ns that it gained each second
    bound_ns: Ns | None = (
        None  # by so much may be wrong what was brought; null: nothing is known, nothing was
    )


class Machine(Struct, kw_only=True):
    """The generator's host."""

    host: str
    cpu: str
    cores: Count
    memory: Count  # bytes
    kernel: str
    python: str


class Arrivals(Struct, kw_only=True):
    """Of an open run: what was intended to begin, and what came of it."""

    plan_hash: str  # of all intended instants: the same for any number of workers
    planned: Count
    achieved: Count = 0  # begun, in time or late
    late: Count = 0  # of these: begun only when somebody was free again
    waiting: Count = 0  # never begun: nobody was free until the end
    dropped: Count = 0  # never begun: too many waited already
    longest_wait_ns: Ns = 0  # of those that were begun


class Aborted(Struct, kw_only=True):
    """Why a run was ended early: its target had run away."""

    at_ns: Ns
    since_ns: Ns  # from here on too few attempts succeeded
    attempts: Annotated[int, Meta(ge=1, le=2**63 - 1)]  # since then
    succeeded: Count  # of these


class Phase(Struct, kw_only=True):
    """A named stretch of the load; those of the arrivals lie within `steady`."""

    name: str
    from_ns: Ns
    to_ns: Ns = 0  # 0: not ended


class Worker(Struct, kw_only=True):
    """One process of the generator, and how much it says it wrote."""

    name: WorkerName
    pid: Count = 0
    closed: bool = False  # it said good-bye: all it had is on disk
    rows: Rows = {}  # by table, as its recorder counted
    dropped: Count = 0  # rows it could not keep, because the disk was full for too long
    errors: list[str] = []
    found: Rows = {}  # by table, as sealing found on disk
    host: str = ""  # name of its host
    boot_id: str = ""  # of its host's kernel
    python: str = ""  # version
    last_words_ns: Ns = 0  # when its coordinator last heard of one that it lost; 0: it did not lose it
    left: str = ""  # why it ended before the run did
    samples_at: str = ""  # host and folder of its samples, where they were not brought here
    clock: str = ""  # id of the one that it reads; "": the run's


class Manifest(Struct, kw_only=True):
    """The head of a run. All instants are CLOCK_MONOTONIC of the generator's host, in ns."""

    schema: int = SCHEMA
    id: RunId
    status: Literal["running", "complete", "partial"] = "running"
    reason: str = ""  # why it is partial
    started: str  # UTC, ISO 8601
    origin_ns: Ns  # when load began
    measured_from_ns: Ns = 0  # end of warm-up; 0: it never came
    ended_ns: Ns = 0  # 0: not ended
    boot_id: str = ""  # of the kernel: instants of two boots can't be compared
    suite: Suite
    target: Target
    scenario: ScenarioInfo
    seed: int
    plan_hash: str = ""  # who comes, with which dice, to do what and when: the same for any number of workers
    users: Count
    connected: Count = 0  # the most of them that were online at the same time
    arrivals: Arrivals | None = None  # null: a closed run
    aborted: Aborted | None = None  # null: it was not ended early by the scenario's [abort]
    deadline_ns: Ns  # a delivery later than this after its send is late
    clock: Clock
    machine: Machine
    phases: list[Phase] = []
    workers: list[Worker] = []
    refused_messages: Count = 0  # to the coordinator: forged, of another run, or not to be understood
    clocks: list[OtherClock] = []  # of the workers, but for the run's own
    versions: dict[str, str] = {}  # of the libraries that matter


def run_id(started: datetime, scenario: str, token: str) -> str:
    """Return a folder name that sorts by time: `20261122T204500Z-typical-3f9a`.

    Whatever may not be in a folder name becomes `-`. Raises ValueError for a time without zone.
    """
    if started.tzinfo is None:
        raise ValueError(f"{started} has no time zone: expected an instant in UTC")
    tidy = [re.sub(r"[^0-9A-Za-z_]+", "-", part).strip("-")[:60] or "x" for part in (scenario, token)]
    return f"{started.astimezone(UTC):%Y%m%dT%H%M%SZ}-{tidy[0]}-{tidy[1]}"


def read_manifest(folder: Path) -> Manifest:
    """Return the checked manifest of a run's folder. Raises ArtefactError where it can't be believed."""
    path = Path(folder) / "manifest.json"
    return _checked(_read(path), path)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest of a run's folder. Raises ArtefactError when it contradicts itself."""
    path = Path(folder) / "manifest.json"
    data = _encoded(manifest, path)
    _checked(data, path)
    _replace(path, data)


def clock_ids(manifest: Manifest) -> dict[str, str]:
    """Return by worker the id of the clock that it reads; "" is the run's own."""
    own = manifest.clock.id
    return {worker.name: "" if worker.clock == own else worker.clock for worker in manifest.workers}


def imbalance(worker: Worker) -> dict[str, tuple[int, int]]:
    """Return what the recorder counted and what is on disk (rows), by table, wherever the two differ."""
    pairs = {name: (worker.rows.get(name, 0), worker.found.get(name, 0)) for name in PARTS}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def write_json(folder: Path, name: str, obj: object) -> None:
    """Replace one file of a run by obj as JSON: afterwards it is wholly the old one or wholly the new one.

    Raises ArtefactError when it can't be written, and for a name that leads out of the folder.
    """
    path = _inside(Path(folder), name)
    _replace(path, _encoded(obj, path))


def read_json(folder: Path, name: str) -> Any:
    """Return the content of one JSON file of a run. Raises ArtefactError when it is missing or no JSON."""
    path = _inside(Path(folder), name)
    try:
        return msgspec.json.decode(_read(path))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path}: expected JSON, found {error}") from None


def append_event(folder: Path, kind: str, at_ns: int, **fields: Any) -> None:
    """Add one line to events.jsonl: `{"kind": …, "at_ns": …, **fields}`. Safe from several processes at once.

    Raises ArtefactError when it can't be written; nothing of it is in the file then, or a line cut short that
    `read_events` tells about.
    """
    path = Path(folder) / "events.jsonl"
    line = _encoded({"kind": kind, "at_ns": at_ns, **fields}, path)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(path, flags, 0o600)
        try:
            size = os.fstat(fd).st_size
            # A line that was cut by a crash or a full disk must not swallow this one as well.
            cut = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
            data = (b"\n" if cut else b"") + line
            if os.write(fd, data) != len(data):
                raise OSError(28, "no space left for a whole line")
        finally:
            os.close(fd)
    except OSError as error:
        raise ArtefactError(f"{path}: the event {kind!r} could not be written: {error.strerror}") from error


def read_events(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the events in the order they were written; nothing when there is no events.jsonl.

    A line that can't be read, such as one cut by a crash, comes as `{"kind": "unreadable", "at_ns": 0,
    "line": n}`.
    """
    path = Path(folder) / "events.jsonl"
    if not path.exists():
        return
    for number, line in enumerate(_read(path, limit=1 << 30).splitlines(), start=1):
        try:
            event = msgspec.json.decode(line, type=dict[str, Any])
            good = isinstance(event["kind"], str) and isinstance(event["at_ns"], int)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, KeyError):
            good = False
        yield event if good else {"kind": "unreadable", "at_ns": 0, "line": number}


def _checked(data: bytes, path: Path) -> Manifest:
    """Return the manifest in these bytes once nothing in it contradicts anything else."""

    class Version(Struct):
        schema: int

    try:
        version = msgspec.json.decode(data, type=Version).schema
        if version != SCHEMA:
            age, remedy = (
                ("newer", "read it with a newer talkload") if version > SCHEMA else ("older", "run it again")
            )
            raise ArtefactError(
                f"{path}: schema {version} is {age} than {SCHEMA}, the one known here: {remedy}"
            )
        manifest = msgspec.json.decode(data, type=Manifest)
        _started(manifest)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ValueError) as error:
        raise ArtefactError(f"{path}: {error}") from None
    for wrong, sentence in _contradictions(manifest):
        if wrong:
            raise ArtefactError(f"{path}: {sentence}")
    return manifest


def _started(manifest: Manifest) -> datetime:
    try:
        return datetime.fromisoformat(manifest.started)
    except ValueError:
        raise ValueError(f"started: expected an ISO 8601 instant, found {manifest.started!r}") from None


def _contradictions(m: Manifest) -> Iterator[tuple[bool, str]]:
    yield 0 < m.ended_ns < m.origin_ns, f"ended_ns {m.ended_ns} is before origin_ns {m.origin_ns}"
    yield (
        0 < m.measured_from_ns < m.origin_ns,
        f"measured_from_ns {m.measured_from_ns} is before origin_ns {m.origin_ns}",
    )
    yield (
        0 < m.ended_ns < m.measured_from_ns,
        f"ended_ns {m.ended_ns} is before measured_from_ns {m.measured_from_ns}",
    )
    yield m.status == "complete" and not m.ended_ns, "status is complete, but ended_ns is 0"
    for phase in m.phases:
        yield (
            0 < phase.to_ns < phase.from_ns,
            f"phase {phase.name!r}: to_ns {phase.to_ns} is before from_ns {phase.from_ns}",
        )
    if came := m.arrivals:
        of = came.achieved + came.waiting + came.dropped
        yield of > came.planned, f"arrivals: {of} were due, but only {came.planned} planned"
        yield came.late > came.achieved, f"arrivals: {came.late} late of {came.achieved} achieved"
    names = [worker.name for worker in m.workers]
    yield len(set(names)) < len(names), f"workers: {len(names)} workers, but only {len(set(names))} names"
    known = {clock.id for clock in m.clocks}
    yield len(known) < len(m.clocks), f"clocks: {len(m.clocks)} clocks, but only {len(known)} ids"
    for worker in m.workers:
        strange = sorted((set(worker.rows) | set(worker.found)) - set(PARTS))
        yield (
            bool(strange),
            f"worker {worker.name}: unknown table {strange}, expected some of {sorted(PARTS)}",
        )


def _inside(folder: Path, name: str) -> Path:
    if not name or name != Path(name).name:
        raise ArtefactError(f"{folder}: {name!r} is not the name of a file in it")
    return folder / name


def _read(path: Path, *, limit: int = _LARGEST_JSON) -> bytes:
    try:
        size = path.stat().st_size
        if size > limit:
            raise ArtefactError(f"{path}: {size} bytes, expected at most {limit}")
        return path.read_bytes()
    except OSError as error:
        raise ArtefactError(f"{path}: {error.strerror or error}") from None


def _encoded(obj: object, path: Path) -> bytes:
    try:
        return msgspec.json.format(msgspec.json.encode(obj, order="deterministic"), indent=-1) + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise ArtefactError(f"{path}: can't be written as JSON: {error}") from error


def _replace(path: Path, data: bytes) -> None:
    """Put data where path is, all or nothing, also when the power fails."""
    if path.suffix == ".json":
        data = msgspec.json.format(data, indent=2) + b"\n"
    spare = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        fd = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(spare, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            spare.unlink()
        raise ArtefactError(f"{path}: could not be written: {error.strerror or error}") from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
