"""The head of a run: its folder and its manifest, kept by the one process that seals it.

That is the generator itself, or the coordinator of several workers. Either way the books are closed on
statements: what each worker says it wrote is compared with what is there, after the run, by whoever judges.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import psutil

from loadtests import clock, clocksync, statement
from loadtests.fleet import Hello
from loadtests.statement import Statement
from loadtests.target import Target
from loadtests.wire import engine
from reports import manifest as book
from reports.artefact import create, seal
from scenarios.workload import Abort, Scenario

_LIBRARIES = ("locust", "gevent", "websockets", "httptools", "msgspec", "pyarrow")


class Head:
    """A run from its begin to its seal."""

    def __init__(
        self,
        scenario: Scenario,
        target: Target,
        *,
        seed: int,
        users: int,
        plan_hash: str,
        root: Path,
        tag: str,
    ) -> None:
        """Create the folder `<root>/<id>`. Raises reports' ArtefactError."""
        self.tag = tag
        self.interrupted = ""
        self.manifest = _first_manifest(scenario, target, seed, users, plan_hash, tag)
        self.folder = create(root, self.manifest)

    def enlist(self, workers: Sequence[book.Worker]) -> None:
        """Write down who takes part, for whoever finds a run that was killed."""
        self.manifest.workers = list(workers)
        book.write_manifest(self.folder, self.manifest)

    def online(self, users: int) -> None:
        """So many are online now."""
        self.manifest.connected = max(self.manifest.connected, users)

    def steady(self, at: int, users: int) -> None:
        """Everybody is online: what begins from here on is judged, and storms are on their way."""
        self.online(users)
        self.manifest.measured_from_ns = at
        book.append_event(self.folder, "steady", at, users=users)
        book.write_manifest(self.folder, self.manifest)  # whoever reads a killed run must know it too

    def abort(self, found: book.Aborted, rule: Abort) -> None:
        """The run is ended early, because its target has run away."""
        self.manifest.aborted = found
        self.manifest.reason = (
            f"for {rule.for_s:g} s less than {rule.success_below * 100:g} % of all attempts succeeded"
        )
        fields = {"why": self.manifest.reason, "attempts": found.attempts, "succeeded": found.succeeded}
        book.append_event(self.folder, "aborted", found.at_ns, **fields)
        book.write_manifest(self.folder, self.manifest)

    def elapsed_s(self) -> float:
        """Return how long the run has been on."""
        return (clock.now() - self.manifest.origin_ns) / clock.SECOND

    def phase(self, *, stopping: bool) -> str:
        """Return where the run is: warm-up, steady or draining."""
        if stopping:
            return "draining"
        return "steady" if self.manifest.measured_from_ns else "warm-up"

    def close(self, said: Sequence[Statement], *, stopped: int, refused: int = 0) -> book.Manifest:
        """Close the books on what each worker said last, and seal the run. Raises ArtefactError."""
        ended = clock.now()
        final = self.manifest
        steady_from = final.measured_from_ns or stopped
        final.phases = [
            book.Phase(name="warm-up", from_ns=final.origin_ns, to_ns=steady_from),
            book.Phase(name="steady", from_ns=steady_from, to_ns=stopped),
            book.Phase(name="drain", from_ns=stopped, to_ns=ended),
            *statement.phases(said, stopped),
        ]
        final.workers = [each.worker for each in said]
        final.refused_messages = refused
        if said:
            final.clock, final.arrivals = statement.clock(final.clock, said), statement.arrivals(said)
        counts = {
            name: sum(getattr(each, name) for each in said) for name in ("foreign", "strange", "overlooked")
        }
        book.append_event(self.folder, "ended", ended, **counts)
        book.write_manifest(self.folder, final)
        return seal(
            self.folder,
            ended_ns=ended,
            status="partial" if self.interrupted or final.aborted else "complete",
            reason=self.interrupted or final.reason,
        )


def identity(name: str) -> book.Worker:
    """Return who this process is."""
    return book.Worker(
        name=name,
        pid=os.getpid(),
        host=platform.node(),
        boot_id=clock.boot_id(),
        clock=clocksync.identity(),
        python=platform.python_version(),
    )


def hello() -> Hello:
    """Return who this process is, and what it runs, for its master."""
    me, ours = identity(""), suite()
    return Hello(
        pid=me.pid,
        host=me.host,
        boot_id=me.boot_id,
        clock=me.clock,
        suite=ours.version,
        git=ours.git,
        locust=version("locust"),
        python=".".join(me.python.split(".")[:2]),
    )


def suite() -> book.Suite:
    """Return which talkload this is."""
    return book.Suite(version=version("talkload"), git=_git_state())


def _first_manifest(
    scenario: Scenario, target: Target, seed: int, users: int, plan_hash: str, tag: str
) -> book.Manifest:
    started, now = clock.utc(), clock.now()
    return book.Manifest(
        id=book.run_id(started, scenario.name, tag),
        started=started.isoformat(timespec="milliseconds"),
        origin_ns=now,
        boot_id=clock.boot_id(),
        suite=suite(),
        target=book.Target(
            https=target.https,
            wss=target.wss,
            local=target.local,
            version=target.version,
            stage=target.stage,
            faults=target.faults,
            password_cost=target.password_cost,
            processes=target.processes,
        ),
        scenario=book.ScenarioInfo(
            name=scenario.name, file=scenario.file, hash=scenario.hash(), config=scenario.resolved()
        ),
        seed=seed,
        plan_hash=plan_hash,
        users=users,
        deadline_ns=clock.ns(scenario.client.delivery_deadline_s),
        clock=book.Clock(
            id=clocksync.identity(),
            stamps=engine().stamps,
            realtime_offset_ns=engine().realtime.offset,
        ),
        machine=_machine(),
        versions={name: version(name) for name in _LIBRARIES},
    )


def _git_state() -> str:
    """Return the commit of the suite, with a plus where the tree has changes; "" outside a repository."""
    here = Path(__file__).parent
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.strip() if said.returncode == 0 else ""


def _machine() -> book.Machine:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor()
    return book.Machine(
        host=platform.node(),
        cpu=cpu,
        cores=os.cpu_count() or 0,
        memory=psutil.virtual_memory().total,
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
    )
