"""One run: who takes part, the books that are kept, and a polite end at which nothing is lost.

The end, in this order: nobody starts anything new; what is under way is answered; pushes that are still due
arrive or miss their deadline; sockets say goodbye and are read until the target has said it too; the last
rows go to disk; the run is sealed. Only then does the process end.
"""

from __future__ import annotations

import itertools
import os
import platform
import ssl
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import gevent
import msgspec
import psutil

from loadtests import clock
from loadtests.dispatch import Dispatcher, ThinkTimes, Turns
from loadtests.fanout import Ledger
from loadtests.health import Health, every_second
from loadtests.pacing import plan
from loadtests.recorder import Recorder, Second
from loadtests.storm import schedule
from loadtests.target import Target
from loadtests.wire import engine
from reports import manifest as book
from reports.artefact import create, seal
from reports.parts import PartWriter
from reports.sample import PARTS
from scenarios.people import Person
from scenarios.population import Population
from scenarios.workload import Scenario

_WORKER = "local"
_DRAIN_POLL_S = 0.02
_LIBRARIES = ("locust", "gevent", "websockets", "httptools", "msgspec", "pyarrow")


class Participant(Protocol):
    """What a run asks of those who take part in it."""

    def wake(self) -> None:
        """Look up: the run is over."""

    def close_socket(self) -> None:
        """Say goodbye on the socket, if one is open."""


class Run:
    """What the users of one test share. Made when it starts, `finish`ed once when it stops."""

    def __init__(
        self,
        scenario: Scenario,
        target: Target,
        tls: ssl.SSLContext | None,
        *,
        seed: int,
        users: int,
        seconds: float,
        root: Path,
        token: str,
        population: Population,
    ) -> None:
        """Create the folder `<root>/<id>` and open the books. Raises reports' ArtefactError.

        `seconds` is how long people arrive, in an open model.
        """
        self.scenario, self.target, self.tls, self.seed, self.users = scenario, target, tls, seed, users
        self.tag = population.tag or token
        self._known = {kind: iter(people) for kind, people in population.people(seed).items()}
        self._token = token
        self.finishing = False
        self.interrupted = ""
        self.strange = 0  # frames that are not of the contract
        self.overlooked = 0  # events that a full inbox pushed out
        self.troubles: list[str] = []  # mistakes of our own: they make the run invalid
        self._numbers, self._persons, self._sockets = itertools.count(), itertools.count(), itertools.count(1)
        self._rooms: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)
        self._people: list[Participant] = []
        self._online: set[int] = set()
        self._spawned = 0
        self._refusals: Counter[tuple[str, str]] = Counter()
        self.manifest = self._first_manifest()
        self.folder = create(root, self.manifest)
        self._writer = PartWriter(self.folder, _WORKER)
        self.recorder = Recorder(self._writer)
        self.ledger = Ledger(self.recorder, token)
        self.health = Health(self.recorder, target.pid, engine())
        self.deadline = clock.ns(scenario.client.delivery_deadline_s)
        self.arrivals = self._dispatcher(seconds)
        self.turns: Turns = self.arrivals or ThinkTimes()
        self.on_plan_end: Callable[[], object] = lambda: None
        self._ticker = every_second(self._tick)
        self.listeners: list[Callable[[Second], None]] = []  # told of each second, once it is on disk

    def _first_manifest(self) -> book.Manifest:
        started, now = clock.utc(), clock.now()
        scenario, target = self.scenario, self.target
        return book.Manifest(
            id=book.run_id(started, scenario.name, self._token),
            started=started.isoformat(timespec="milliseconds"),
            origin_ns=now,
            boot_id=clock.boot_id(),
            suite=book.Suite(version=version("talkload"), git=_git_state()),
            target=book.Target(
                https=target.https,
                wss=target.wss,
                local=target.local,
                version=target.version,
                stage=target.stage,
                faults=target.faults,
                password_cost=target.password_cost,
            ),
            scenario=book.ScenarioInfo(
                name=scenario.name, file=scenario.file, hash=scenario.hash(), config=scenario.resolved()
            ),
            seed=self.seed,
            users=self.users,
            deadline_ns=clock.ns(scenario.client.delivery_deadline_s),
            clock=book.Clock(stamps=engine().stamps, realtime_offset_ns=engine().realtime.offset),
            machine=_machine(),
            workers=[book.Worker(name=_WORKER, pid=os.getpid())],
            versions={name: version(name) for name in _LIBRARIES},
        )

    def _dispatcher(self, seconds: float) -> Dispatcher | None:
        """Return who hands the arrivals on; None in a closed model, where people come by themselves."""
        load = self.scenario.load
        segments = load.segments(seconds)
        if not segments:
            return None
        recorded = self.scenario.recorded
        made = plan(segments, recorded, spacing=load.spacing, seed=self.seed, seconds=seconds)
        found = Dispatcher(made, self.recorder, waiting=load.waiting, on_drop=self._drop)
        self.manifest.arrivals = found.books
        gevent.spawn_later(load.warm_up_s, self._arrivals_begin)
        return found

    def _drop(self) -> None:
        self.health.dropped += 1

    def _arrivals_begin(self) -> None:
        if self.arrivals and not self.finishing:
            self.arrivals.begin(clock.now(), lambda: self.on_plan_end())

    # --- Taking part ---

    def join(self, user: Participant) -> int:
        """Count a virtual user in and return its number."""
        self._people.append(user)
        return next(self._numbers)

    def next_person(self) -> int:
        """Return the number of the next person who has never been here."""
        return next(self._persons)

    def known_person(self, kind: str) -> Person | None:
        """Return the next one of a kind who has an account already, None where nobody is left."""
        return next(self._known.get(kind, iter(())), None)

    def next_socket(self) -> int:
        """Return the number of the next socket."""
        return next(self._sockets)

    def next_room(self, kind: str) -> int:
        """Return the number of the next room that has nobody of this kind yet."""
        return next(self._rooms[kind]) % len(self.scenario.rooms.devices)

    def spawned(self, users: int) -> None:
        """Every virtual user has been started; the run is steady once all are online at the same time."""
        self._spawned = users
        self._settle_in()

    def arrived_online(self, user: int) -> None:
        """A virtual user is online."""
        self._online.add(user)
        self.manifest.connected = max(self.manifest.connected, len(self._online))
        self._settle_in()

    def went_offline(self, user: int) -> None:
        """A virtual user is not online any more."""
        self._online.discard(user)

    def _settle_in(self) -> None:
        if self._spawned and len(self._online) >= self._spawned and not self.manifest.measured_from_ns:
            self.manifest.measured_from_ns = clock.now()
            self.event("steady", users=len(self._online))
            self._arrivals_begin()
            storms = self.scenario.storm.at_s
            schedule(storms, self.folder, self.target.test, over=lambda: self.finishing)
            book.write_manifest(self.folder, self.manifest)  # whoever reads a killed run must know it too

    # --- Keeping the books ---

    def event(self, kind: str, **fields: Any) -> None:
        """Add a line to events.jsonl."""
        try:
            book.append_event(self.folder, kind, clock.now(), **fields)
        except book.ArtefactError as error:
            self.trouble(str(error))

    def refused(self, operation: str, error: str, text: str) -> None:
        """Note what the target said, once for each operation and class of error."""
        self._refusals[operation, error] += 1
        if self._refusals[operation, error] == 1:
            self.event("refused", operation=operation, error=error, text=text)

    def trouble(self, what: str) -> None:
        """Note a mistake of our own, once: a run with one can't be trusted."""
        if what not in self.troubles and len(self.troubles) < 100:
            self.troubles.append(what)

    def _tick(self) -> None:
        try:
            self._watch_the_clock()
            self.health.note(len(self._people), self.ledger.sockets)
            second = self.recorder.flush()
            self.ledger.forget(clock.now() - 10 * self.deadline)
            for listen in self.listeners:
                listen(second)
        except Exception as error:
            self.trouble(f"the recorder failed: {type(error).__name__}: {error}")

    def _watch_the_clock(self) -> None:
        realtime = engine().realtime
        before = realtime.offset
        if step := realtime.sample():
            self.manifest.clock.steps_ns.append(step)
            self.event("clock-step", step_ns=step, before_ns=before, after_ns=realtime.offset)

    def phase(self) -> str:
        """Return where the run is: warm-up, steady or draining."""
        if self.finishing:
            return "draining"
        return "steady" if self.manifest.measured_from_ns else "warm-up"

    def snapshot(self) -> dict[str, Any]:
        """Return what the live view shows."""
        return {
            "elapsed_s": (clock.now() - self.manifest.origin_ns) / clock.SECOND,
            "phase": self.phase(),
            "users": len(self._people),
            "online": self.ledger.people,
            "arrivals": self.arrivals and msgspec.to_builtins(self.arrivals.books),
            "groups": self.recorder.recent(),
            "counts": dict(self.recorder.counts),
            "failures": dict(self.recorder.failures),
            "health": self.health.figures,
            "troubles": self.troubles + self.recorder.troubles,
        }

    # --- Ending ---

    def stop_people(self) -> None:
        """Nobody starts anything new from here on; whoever rests wakes up and leaves."""
        self.finishing = True
        if self.arrivals:
            self.arrivals.stop()
        for user in self._people:
            user.wake()

    def finish(self) -> book.Manifest:
        """Drain, close and seal; return the final manifest. Call once, when all users have left."""
        self.stop_people()
        stopped = clock.now()
        give_up = stopped + self.deadline
        while self.ledger.outstanding(clock.now(), self.deadline) and clock.now() < give_up:
            gevent.sleep(_DRAIN_POLL_S)
        gevent.joinall([gevent.spawn(user.close_socket) for user in self._people])
        self._ticker.kill()
        self.health.stop()
        self._tick()
        self._writer.close()
        return self._close_books(stopped)

    def _close_books(self, stopped: int) -> book.Manifest:
        ended = clock.now()
        final = self.manifest
        steady_from = final.measured_from_ns or stopped
        final.phases = [
            book.Phase(name="warm-up", from_ns=final.origin_ns, to_ns=steady_from),
            book.Phase(name="steady", from_ns=steady_from, to_ns=stopped),
            book.Phase(name="drain", from_ns=stopped, to_ns=ended),
        ]
        for name, count in self.health.received().items():
            setattr(final.clock, name, count)
        final.workers = [
            book.Worker(
                name=_WORKER,
                pid=os.getpid(),
                closed=True,
                rows={name: self.recorder.counts[name] for name in PARTS},
                dropped=self._writer.dropped,
                errors=self.troubles + self.recorder.troubles,
            )
        ]
        counts = {"foreign": self.ledger.foreign, "strange": self.strange, "overlooked": self.overlooked}
        self.event("ended", **counts)
        book.write_manifest(self.folder, final)
        return seal(
            self.folder,
            ended_ns=ended,
            status="partial" if self.interrupted else "complete",
            reason=self.interrupted,
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


def live_line(run: Run) -> str:
    """Return a snapshot as one line of JSON, for whoever watches this process from outside."""
    return msgspec.json.encode(run.snapshot()).decode()
