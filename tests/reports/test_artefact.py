"""reports.artefact: a run is made once, sealed however it ended, and read only when it can be believed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reports import artefact
from reports.artefact import ArtefactError, Manifest, PartWriter, Run, Worker, create, seal
from reports.histogram import bucket_of
from reports.parts import write_closing
from reports.sample import DELIVERIES, HISTOGRAMS, PARTS, Outcome

Maker = Callable[..., Manifest]
Fill = Callable[..., PartWriter]
ROOT = Path(__file__).parents[2]
TABLES = (*PARTS, "deliveries", "histograms")
ENDED = 10_000_000_000


def content(run: Run) -> dict[str, list[dict[str, Any]]]:
    """Return every row of every table."""
    return {name: getattr(run, name)().to_pylist() for name in TABLES}


def child(code: str, *arguments: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def sealed(folder: Path, fill: Fill) -> Path:
    """A complete run of one worker."""
    fill(folder)
    seal(folder, ended_ns=ENDED, status="complete")
    return folder


# --- making ---------------------------------------------------------------------------------------------


def test_fresh_run_is_private_and_running(folder: Path, manifest: Maker) -> None:
    """A new run is a folder only its owner can enter, with a manifest that says `running`."""
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (manifest(), "running") == (artefact.read_manifest(folder), manifest().status)
    assert artefact.is_live(folder)


def test_existing_run_is_not_overwritten(folder: Path, manifest: Maker, fill: Fill) -> None:
    """A run that exists stays, unless --force says otherwise and nobody is writing it."""
    with pytest.raises(ArtefactError, match="exists already"):
        create(folder.parent, manifest())
    with pytest.raises(ArtefactError, match="being written"):
        create(folder.parent, manifest(), force=True)
    fill(folder)
    seal(folder, status="complete")
    again = create(folder.parent, manifest(), force=True)
    assert (folder, False) == (again, (again / "samples").exists())


def test_force_never_removes_what_is_no_run(tmp_path: Path, manifest: Maker) -> None:
    """--force removes an older run, not somebody's photographs."""
    photo = tmp_path / manifest().id / "photo.jpg"
    photo.parent.mkdir()
    photo.write_text("me")
    with pytest.raises(ArtefactError, match="no run of ours"):
        create(tmp_path, manifest(), force=True)
    assert photo.exists()


def test_full_disk_is_refused_with_its_figure(tmp_path: Path, manifest: Maker) -> None:
    """Too little free space is told with both figures and a remedy, before anything is made."""
    with pytest.raises(ArtefactError, match=r"MB free, a run needs 1000000000000 MB: remove old runs"):
        create(tmp_path, manifest(), min_free=10**18)
    assert list(tmp_path.iterdir()) == []


def test_place_that_is_a_file_is_refused(tmp_path: Path, manifest: Maker) -> None:
    """A root that is a file, or below one, is refused in one sentence."""
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "runs"):
        with pytest.raises(ArtefactError, match="can't be made"):
            create(root, manifest())


def test_read_only_place_is_refused(tmp_path: Path, manifest: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A root that may not be written is refused in one sentence."""
    if os.geteuid() == 0:  # root may write anywhere: only the file system itself can say no

        def refuse(*_: Any, **__: Any) -> None:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(Path, "mkdir", refuse)
    tmp_path.chmod(0o500)
    with pytest.raises(ArtefactError, match=r"can't be made: (Permission denied|Read-only file system)"):
        create(tmp_path / "runs", manifest())


def test_unfit_id_is_refused(tmp_path: Path, manifest: Maker) -> None:
    """An id can't lead out of the root, and nothing is left behind."""
    for name in ("../up", "a/b", "", ".hidden"):
        with pytest.raises(ArtefactError):
            create(tmp_path / "runs", manifest(id=name))
    assert [p for p in tmp_path.rglob("*") if p.name != "runs"] == []


def test_two_processes_cannot_write_one_run(folder: Path, fill: Fill) -> None:
    """While another process holds a run, it can be neither sealed nor read; when that one dies, both work."""
    fill(folder)
    artefact.release(folder)
    holder = child(
        "import sys; from reports.artefact import lock; lock(sys.argv[1]); print('held', flush=1); input()",
        folder,
    )
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(ArtefactError, match="another process"):
        seal(folder)
    with pytest.raises(ArtefactError, match="still on"):
        Run.open(folder, recover=True)
    holder.kill()
    holder.communicate()
    assert Run.open(folder, recover=True).manifest.status == "partial"


# --- sealing --------------------------------------------------------------------------------------------


def test_sealed_run_holds_what_was_recorded(sealed: Path, rows: Callable[..., Any]) -> None:
    """Every row that was appended is in the tables, with the worker's name, as the manifest says."""
    run = Run.open(sealed)
    for name, columns in rows(3).items():
        table = getattr(run, name)()
        assert columns == table.drop_columns("worker").to_pydict()
        assert {"w1"} == set(table["worker"].to_pylist())
    assert (run.manifest.status, run.manifest.reason, run.manifest.ended_ns) == ("complete", "", ENDED)
    (worker,) = run.manifest.workers
    assert artefact.imbalance(worker) == {}
    assert run.deliveries()["fate"].to_pylist() == ["on-time"] * 3
    assert not (sealed / "parts").exists()
    assert not artefact.is_live(sealed)
    private = [p for p in sealed.rglob("*") if stat.S_IMODE(p.stat().st_mode) & 0o077]
    assert private == []


def test_tables_have_their_schemas(sealed: Path) -> None:
    """What is read has the types that `reports.sample` promises, and any choice of columns can be read."""
    run = Run.open(sealed)
    for name, schema in PARTS.items():
        assert artefact.with_worker(schema) == getattr(run, name)().schema.remove_metadata()
    assert run.deliveries().schema.remove_metadata() == DELIVERIES
    assert run.histograms().schema.remove_metadata() == HISTOGRAMS
    assert run.samples(["worker", "sent"]).column_names == ["worker", "sent"]
    assert run.deliveries(["fate"]).column_names == ["fate"]


def test_histograms_count_samples_and_deliveries(sealed: Path) -> None:
    """Each attempt is counted once under its outcome, each delivery as a success, by its response time."""
    run = Run.open(sealed)
    counted = {
        (row["operation"], row["outcome"], row["bucket"]): row["count"]
        for row in run.histograms().to_pylist()
    }
    (slow, fast) = bucket_of(np.array([700, 200])).tolist()
    assert {
        ("get-chats", Outcome.OK, slow): 2,
        ("get-chats", Outcome.FAILED, slow): 1,
        ("chat.delivered", Outcome.OK, fast): 3,
    } == counted
    assert {0} == set(run.histograms()["second"].to_pylist())


def test_sealing_twice_changes_nothing(sealed: Path) -> None:
    """A sealed run stays as it is, byte for byte, whatever is asked the second time."""
    before = {p: p.read_bytes() for p in sealed.rglob("*") if p.is_file()}
    seal(sealed, ended_ns=5, status="partial", reason="no")
    assert before == {p: p.read_bytes() for p in sealed.rglob("*") if p.is_file()}


def test_killed_run_becomes_partial(folder: Path, fill: Fill) -> None:
    """A run nobody holds that still says `running` is sealed as partial, up to its last instant."""
    fill(folder, close=False)
    artefact.release(folder)
    assert artefact.is_live(folder), "its worker lives"
    with pytest.raises(ArtefactError, match="still on"):
        Run.open(folder, recover=True)
    for writer in list(folder.glob("parts/*")):
        shutil.copy(writer, writer.with_suffix(".copy"))
        writer.unlink()
        writer.with_suffix(".copy").rename(writer)  # nobody holds the copy: its worker is gone
    with pytest.raises(ArtefactError, match="was killed"):
        Run.open(folder)
    run = Run.open(folder, recover=True)
    assert (run.manifest.status, "killed" in run.manifest.reason) == ("partial", True)
    assert max(run.samples()["seen"].to_pylist()) == run.manifest.ended_ns
    (worker,) = run.manifest.workers
    assert ("w1", os.getpid(), False, 3) == (worker.name, worker.pid, worker.closed, worker.found["samples"])
    assert worker.rows == {}
    assert content(run) == content(Run.open(folder))


def test_sigkilled_run_is_recovered(tmp_path: Path, manifest: Maker) -> None:
    """After a SIGKILL of the process that made and wrote the run, everything it had appended is read."""
    code = """
import sys, msgspec
from pathlib import Path
from reports.artefact import Manifest, PartWriter, create
folder = create(Path(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=Manifest))
writer = PartWriter(folder, "w1")
for i in range(5):
    writer.append("presence", {"user": ["u"], "socket": [i], "online": [True], "at": [i]})
print(folder, flush=True)
input()
"""
    head = msgspec.json.encode(manifest()).decode()
    writing = child(code, tmp_path, head)
    assert writing.stdout
    made = Path(writing.stdout.readline().strip())
    with pytest.raises(ArtefactError, match="still on"):
        Run.open(made, recover=True)
    writing.kill()
    writing.communicate()
    run = Run.open(made, recover=True)
    assert (run.manifest.status, len(run.presence())) == ("partial", 5)


def test_sealing_can_break_off_anywhere(folder: Path, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken off before any of its steps and begun again, sealing gives what it would have given at once."""
    fill(folder)
    fill(folder, "w2", n=5)
    twin = folder.with_name("twin")
    shutil.copytree(folder, twin)
    seal(twin, ended_ns=ENDED, status="complete")
    expected = content(Run.open(twin))
    replace, steps = os.replace, 0

    class PowerCut(BaseException):
        pass

    for last in range(100):
        done = 0

        def cut(source: Any, target: Any) -> None:
            nonlocal done
            if done == last:  # noqa: B023  # called within this turn only
                raise PowerCut
            done += 1
            replace(source, target)

        monkeypatch.setattr(os, "replace", cut)
        try:
            seal(folder, ended_ns=ENDED, status="complete")
        except PowerCut:
            steps += 1
            continue
        break
    assert steps == 18, "2 workers x 7 tables, 3 common ones, the manifest"
    assert expected == content(Run.open(folder))
    assert list(folder.rglob("*.tmp")) == []


def test_parts_left_behind_are_removed(sealed: Path, rows: Callable[..., Any]) -> None:
    """A crash between the manifest and the removal of the parts is mended by sealing again."""
    (sealed / "parts").mkdir()
    PartWriter(sealed, "w1").append("sends", rows()["sends"])
    with pytest.raises(ArtefactError, match="seal it again"):
        Run.open(sealed)
    seal(sealed)
    assert len(Run.open(sealed).sends()) == 3


def test_missing_rows_are_kept_in_the_manifest(folder: Path, fill: Fill) -> None:
    """What a worker counted and what is there are both in the manifest, for the verdict to compare."""
    fill(folder)
    (folder / "parts" / "w1.arrivals.arrow").unlink()
    (worker,) = seal(folder, ended_ns=ENDED, status="complete").workers
    assert artefact.imbalance(worker) == {"arrivals": (3, 0)}
    run = Run.open(folder)
    assert (len(run.arrivals()), run.deliveries()["fate"].to_pylist()) == (0, ["lost"] * 3)


def test_run_without_rows(folder: Path) -> None:
    """A run in which nothing happened is a run: every table is there, and empty."""
    seal(folder, status="complete")
    run = Run.open(folder)
    assert {name: [] for name in TABLES} == content(run)
    assert run.events() == []
    for name, schema in PARTS.items():
        assert artefact.with_worker(schema) == getattr(run, name)().schema


def test_run_of_only_failures(folder: Path, rows: Callable[..., Any]) -> None:
    """Failures are kept and counted as failures, never as successes."""
    writer = PartWriter(folder, "w1")
    writer.append("samples", {**rows(3)["samples"], "outcome": [1, 2, 3]})
    writer.close()
    seal(folder, status="complete")
    outcomes = Run.open(folder).histograms()["outcome"].to_pylist()
    assert outcomes == [Outcome.FAILED, Outcome.TIMEOUT, Outcome.BROKEN]


def test_mad_instants_do_not_stop_the_seal(folder: Path, rows: Callable[..., Any]) -> None:
    """Instants that no clock can have told are kept as they are, and the run is still readable."""
    writer = PartWriter(folder, "w1")
    for name, columns in rows(3).items():
        mad = {c: [-(2**63), 0, 2**63 - 1] for c in columns if c in ("intended", "sent", "arrived", "seen")}
        writer.append(name, {**columns, **mad} if name != "presence" else columns)
    writer.close()
    seal(folder, status="complete")
    assert Run.open(folder).samples()["arrived"].to_pylist() == [-(2**63), 0, 2**63 - 1]


def test_split_over_workers_gives_the_same_histograms(folder: Path, rows: Callable[..., Any]) -> None:
    """The same samples, written by one worker or by seven, give the same histograms."""
    whole = rows(50)["samples"]
    twin = folder.with_name("twin")
    shutil.copytree(folder, twin)
    chance = random.Random(3)
    owner = [chance.randrange(7) for _ in range(50)]
    for place, count in ((folder, 1), (twin, 7)):
        for w in range(count):
            writer = PartWriter(place, f"w{w}")
            mine = [i for i in range(50) if count == 1 or owner[i] == w]
            for i in mine:
                writer.append("samples", {name: [values[i]] for name, values in whole.items()})
            writer.close()
        seal(place, status="complete")
    assert Run.open(folder).histograms() == Run.open(twin).histograms()
    assert (folder / "histograms.parquet").read_bytes() == (twin / "histograms.parquet").read_bytes()


def test_part_of_another_run_is_refused(tmp_path: Path, manifest: Maker, fill: Fill) -> None:
    """Parts of two runs can't be sealed together; the file is named, and nothing is lost."""
    one, two = (create(tmp_path, manifest(id=name)) for name in ("one", "two"))
    fill(one, "w1")
    fill(two, "w2")
    shutil.copy(one / "parts" / "w1.sends.arrow", two / "parts")
    with pytest.raises(ArtefactError, match=r"w1\.sends\.arrow: belongs to run 'one', not to 'two'"):
        seal(two)
    (two / "parts" / "w1.sends.arrow").unlink()
    seal(two)
    assert len(Run.open(two).sends()) == 3
    artefact.release(one)


# --- reading --------------------------------------------------------------------------------------------


def test_runs_are_found(tmp_path: Path, manifest: Maker) -> None:
    """A run opens by its folder, by its id under the root, or as the latest."""
    assert artefact.list_runs(tmp_path / "nowhere") == []
    for name in ("20250101T000000Z-b-1", "20240101T000000Z-a-1"):
        seal(create(tmp_path, manifest(id=name)), status="complete")
    (tmp_path / "no-run").mkdir()
    old, new = artefact.list_runs(tmp_path)
    assert (old.name, new.name) == ("20240101T000000Z-a-1", "20250101T000000Z-b-1")
    assert new == Run.open("latest", root=tmp_path).path == Run.open(new.name, root=tmp_path).path
    assert old == Run.open(str(old)).path


@pytest.mark.parametrize("name", ["", "nowhere", "../..", "/etc/hostname", "a\nb", "a\0b", "x" * 5000])
def test_what_is_no_run_is_refused(tmp_path: Path, name: str) -> None:
    """A path that leads to no run is refused with what was expected."""
    with pytest.raises(ArtefactError, match=r"expected the folder of a run|manifest\.json: No such file"):
        Run.open(name, root=tmp_path)
    with pytest.raises(ArtefactError, match="no run in it"):
        Run.open("latest", root=tmp_path)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    head = json.loads((folder / "manifest.json").read_text())
    change(head)
    (folder / "manifest.json").write_text(json.dumps(head))


def other_columns(folder: Path) -> None:
    path = folder / "samples" / "w1.parquet"
    table = pq.read_table(path)
    pq.write_table(table.rename_columns(["sort", *table.column_names[1:]]), path)


def other_run(folder: Path) -> None:
    path = folder / "sends" / "w1.parquet"
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"run": "x", "worker": "w1"}), path)


def linked(folder: Path) -> None:
    (folder / "presence" / "w1.parquet").unlink()
    (folder / "presence" / "w1.parquet").symlink_to(folder / "sends" / "w1.parquet")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "manifest.json").unlink(), r"manifest\.json: No such file"),
        (lambda f: (f / "samples" / "w1.parquet").unlink(), r"samples/w1\.parquet: is missing"),
        (lambda f: (f / "deliveries.parquet").unlink(), r"deliveries\.parquet: is missing"),
        (lambda f: (f / "resources.parquet").write_bytes(b""), r"resources\.parquet: not readable"),
        (
            lambda f: shutil.copy(f / "sends/w1.parquet", f / "sends/w2.parquet"),
            r"w2\.parquet: not of this run",
        ),
        (
            lambda f: edit(f, lambda m: m["workers"][0]["found"].update(samples=2)),
            "3 rows, the manifest tells of 2",
        ),
        (lambda f: edit(f, lambda m: m["workers"][0].update(name="w9")), r"w9\.parquet: is missing"),
        (
            lambda f: edit(f, lambda m: m.update(id="x")),
            "belongs to run '20261122T204500Z-typical-3f9a', not to 'x'",
        ),
        (lambda f: edit(f, lambda m: m.update(schema=3)), "schema 3 is newer"),
        (
            other_columns,
            r"samples/w1\.parquet: columns kind: missing, expected int8, sort: int8, expected none",
        ),
        (other_run, r"sends/w1\.parquet: belongs to run 'x'"),
        (linked, r"presence/w1\.parquet: is a link"),
    ],
)
def test_run_that_contradicts_itself_is_refused(
    sealed: Path, spoil: Callable[[Path], object], said: str
) -> None:
    """Missing, surplus, foreign or changed files, and false counts, are refused with the file's name."""
    spoil(sealed)
    with pytest.raises(ArtefactError, match=said):
        Run.open(sealed)


def test_deleted_while_read_is_told(sealed: Path) -> None:
    """A run that is removed under the reader's hands is an ArtefactError."""
    run = Run.open(sealed)
    shutil.rmtree(sealed)
    for name in (*TABLES,):
        with pytest.raises(ArtefactError, match="is missing"):
            getattr(run, name)()


def test_nulls_are_refused(sealed: Path) -> None:
    """A value that is missing is refused, with its column."""
    path = sealed / "deliveries.parquet"
    table = pq.read_table(path)
    keys = pa.array([None, *table["key"].to_pylist()[1:]], pa.string())
    pq.write_table(table.set_column(0, table.schema.field(0), keys), path)
    with pytest.raises(ArtefactError, match="key: 1 values are missing"):
        Run.open(sealed).deliveries()


def test_flipped_bits_are_refused_or_harmless(sealed: Path) -> None:
    """With any bit of a table flipped, or a table cut anywhere, a run is refused or readable."""
    chance = random.Random(17)
    for name in ("samples/w1", "deliveries", "histograms"):
        path = sealed / f"{name}.parquet"
        whole = path.read_bytes()
        damages = [whole[: chance.randrange(len(whole))] for _ in range(20)]
        for _ in range(120):
            damaged = bytearray(whole)
            damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
            damages.append(bytes(damaged))
        for damage in damages:
            path.write_bytes(damage)
            with contextlib.suppress(ArtefactError):
                getattr(Run.open(sealed), name.split("/")[0])()
        path.write_bytes(whole)
    assert len(Run.open(sealed).samples()) == 3


def test_a_worker_whose_coordinator_died_is_known_by_what_it_left(folder: Path, fill: Fill) -> None:
    """Its closing statement is taken for what it says; without one it has not closed its record."""
    for name in ("w1", "w2"):
        fill(folder, name, close=False).close()
    said = Worker(name="w1", pid=7, closed=True, rows={"samples": 3}, left="it heard nothing")
    write_closing(folder, said)
    artefact.release(folder)
    one, two = Run.open(folder, recover=True).manifest.workers
    assert (one.rows, one.left, one.closed, one.found["samples"]) == (
        {"samples": 3},
        "it heard nothing",
        True,
        3,
    )
    assert (two.rows, two.left) == ({}, "")
