"""Makes a run's folder, locks it while it is written, and seals it: parts become tables.

The folder is locked as long as the process that made it lives, or until it sealed it. Sealing can be broken
off and begun again anywhere. A run found unsealed and unlocked was killed: it is sealed as partial.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import Literal

import msgspec
import pyarrow as pa

from reports.manifest import ArtefactError, Manifest, RunId, Worker, read_manifest, write_manifest
from reports.parts import find_parts, read_closing
from reports.tables import build_tables, read_clocks

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
    refuse_links(folder)
    parts = find_parts(folder)
    ids, manifest.clocks, lines = read_clocks(manifest, parts)
    given = ended_ns if ended_ns is not None else manifest.ended_ns or None
    found, ended = build_tables(folder, manifest, parts, lines, ended_ns=given)
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
        worker.clock = ids.get(name, worker.clock)
    manifest.workers = sorted(workers.values(), key=lambda worker: worker.name)
    manifest.ended_ns = max(ended, manifest.origin_ns, manifest.measured_from_ns)
    manifest.status = status or "partial"
    manifest.reason = (
        reason or manifest.reason or ("" if status else "it ended without being sealed: it was killed")
    )
    write_manifest(folder, manifest)
    return manifest


def refuse_links(folder: Path) -> None:
    """Raise ArtefactError when something in the folder leads out of it."""
    for here, folders, files in os.walk(folder):
        for name in folders + files:
            if os.path.islink(os.path.join(here, name)):
                raise ArtefactError(f"{os.path.join(here, name)}: is a link, expected a file")
