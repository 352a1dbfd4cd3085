"""The coordinator's half of a run on several workers: Locust's master, which carries out nothing itself.

It tells the workers what to do, shows what they say, waits at the end until each has said its last word, and
seals the run. See `loadtests.fleet` for how they agree.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import msgspec
from locust.env import Environment

from loadtests import channel, clock, statement
from loadtests.clocksync import Responder
from loadtests.fetch import Fetcher
from loadtests.fleet import Command, Crew, Hello, Member, Phase, Snapshot, Spec, Wanted
from loadtests.head import Head
from loadtests.health import every_second
from loadtests.order import Known, Order, own_people, plan_hash
from loadtests.statement import Statement
from loadtests.storm import schedule
from loadtests.target import Target
from reports import manifest as book
from scenarios.workload import Scenario

MESSAGE = "talkload"
JOIN_S = 20.0  # for workers that have connected to say who they are, and to open their books
PATIENCE_S = 60.0  # beyond the time that people may take to leave, until the run is sealed without a worker
_POLL_S = 0.02

_decode = msgspec.msgpack.Decoder(Snapshot).decode


class MasterError(Exception):
    """A run on workers can't begin; the message says why."""


def _hidden(people: Known) -> bytes:
    return channel.hide(msgspec.msgpack.encode(people))


class Master:
    """Coordinates one run after the other on the workers of one Locust master."""

    def __init__(
        self,
        environment: Environment,
        scenario: Scenario,
        target: Target,
        order: Callable[[int], Order],
        *,
        hello: Hello,
        root: Path,
        expected: int,
        say: Callable[[dict[str, Any]], None],
    ) -> None:
        """`order` gives the plan for so many people; `say` is told what the live view shows."""
        self._environment, self._scenario, self._target, self._order = environment, scenario, target, order
        self._root, self._expected, self._say = root, expected, say
        self._crew = Crew(hello)
        self._head: Head | None = None
        self._users = self._stopped = 0
        self._note = ""
        self._time: Responder | None = None
        self.misfits = 0  # messages of a worker that could not be understood
        assert environment.runner is not None
        self._runner: Any = environment.runner
        self._runner.register_message(MESSAGE, self._heard)
        self._fetcher = Fetcher(self._runner)
        self._ticker = every_second(self._tick)

    @property
    def index(self) -> dict[str, int]:
        """Return the place of each worker of the run by its id at Locust."""
        return {each.client: each.index for each in self._crew.hands}

    def _heard(self, msg: Any, **_: Any) -> None:
        try:
            said = _decode(msg.data)
        except (msgspec.DecodeError, TypeError):
            self.misfits += 1
            return
        self._send(msg.node_id, self._crew.heard(msg.node_id, said, clock.now()))

    def _send(self, client: str, command: Command) -> None:
        self._runner.send_message(MESSAGE, msgspec.msgpack.encode(command), client)

    def _tell_all(self) -> None:
        for each in self._crew.hands:
            self._send(each.client, self._crew.command(each))

    # --- Beginning ---

    def start(self) -> None:
        """Begin a run on all workers that are fit. Raises MasterError and reports' ArtefactError."""
        hands = self._muster()
        self._users, self._stopped, self._note = self._runner.target_user_count, 0, ""
        order = self._order(self._users)
        plan = plan_hash(self._scenario, order)
        head = Head(
            self._scenario,
            self._target,
            seed=order.seed,
            users=self._users,
            plan_hash=plan,
            root=self._root,
            tag=order.tag,
        )
        authority = Path(self._target.ca).read_text() if self._target.ca else ""
        # A file of accounts is on this host; who is made for the run, each worker makes of the seed.
        people = order.population.people(order.seed) if order.population.file else {}
        self._tell_time(hands)
        orders = [
            msgspec.structs.replace(order, name=f"w{index + 1}", worker=index, workers=len(hands))
            for index in range(len(hands))
        ]
        specs = [
            Spec(
                manifest=head.manifest,
                folder=str(head.folder),
                order=own,
                scenario=self._scenario,
                target=self._target,
                clock_port=self._time.port if self._time else 0,
                authority=authority,
                accounts=_hidden(own_people(own, people)) if people else b"",
            )
            for own in orders
        ]
        self._crew.enlist(hands, specs, clock.now())
        self._tell_all()
        self._wait(lambda: not self._crew.behind(Phase.READY) or bool(self._complaints(plan)), JOIN_S)
        if why := self._complaints(plan) or [
            f"{each.name} does not answer" for each in self._crew.behind(Phase.READY)
        ]:
            raise MasterError("; ".join(why))
        head.enlist([each.worker for each in self._crew.statements()])
        self._head = head
        gevent.spawn_later(self._scenario.load.warm_up_s, self._arrivals_begin, head)
        self._say({"run": str(head.folder)})

    def _muster(self) -> list[Member]:
        connected = self._runner.clients.ready
        enough = max(self._expected, len(connected))

        def fit() -> list[Member]:
            present = {client.id for client in self._runner.clients.ready}
            return [each for each in self._crew.fit() if each.client in present]

        self._wait(lambda: len(fit()) >= enough or bool(self._refusals()), JOIN_S)
        if why := self._refusals():
            raise MasterError("; ".join(why))
        if len(found := fit()) < enough:
            raise MasterError(f"{enough} workers were expected, {len(found)} have said who they are")
        return found

    def _tell_time(self, hands: list[Member]) -> None:
        """Be there for those who have another clock, at the port that they know, but over UDP."""
        if self._time is None and any(each.hello.clock != self._crew.mine.clock for each in hands):
            options: Any = self._environment.parsed_options
            port = self._runner.server.port
            self._time = Responder(options.master_bind_host, port, secret=channel.secret)

    def _refusals(self) -> list[str]:
        return [each.refusal for each in self._crew.members.values() if each.refusal]

    def _complaints(self, plan: str) -> list[str]:
        found = []
        for each in self._crew.hands:
            if each.last and each.last.complaint:
                found.append(f"{each.name} on {each.hello.host}: {each.last.complaint}")
            elif each.last and each.phase >= Phase.READY and each.last.plan_hash != plan:
                found.append(f"{each.name} on {each.hello.host} makes another plan of the same seed")
        return found

    # --- While it is on ---

    def _tick(self) -> None:
        head = self._head
        now = clock.now()
        for gone in self._crew.lose(now):
            if head:
                book.append_event(head.folder, "worker-lost", now, worker=gone.name, heard_ns=gone.lost)
        self._tell_all()
        if head is None:
            return
        settled = sum(each.live.settled for each in self._said())
        head.online(settled)
        if self._users and settled >= self._users and not self._crew.steady_ns and not self._stopped:
            self._crew.steady_ns = now
            head.steady(now, settled)
            storms, test = self._scenario.storm.at_s, self._target.test
            schedule(storms, head.folder, test, over=lambda: head is not self._head or bool(self._stopped))
            self._arrivals_begin(head)
        aborted = next((each.aborted for each in self._said() if each.aborted), None)
        if aborted and not head.manifest.aborted and not self._stopped:
            head.abort(aborted, self._scenario.abort)
            self._plan_ends(head)
        self._say(self.picture(head))

    def spawned(self, users: int) -> None:
        """All users have been started."""
        self._users = users

    def _arrivals_begin(self, head: Head) -> None:
        order = self._crew.specs[0].order
        if head is not self._head or self._stopped or self._crew.arrivals_ns:
            return
        if self._scenario.load.segments(order.seconds):
            # A little ahead, so that each worker knows it in time.
            self._crew.arrivals_ns = clock.now() + clock.SECOND // 2
            self._tell_all()
            gevent.spawn_later(order.seconds + 0.5, self._plan_ends, head)

    def _plan_ends(self, head: Head) -> None:
        if head is self._head and not self._stopped:
            gevent.spawn(self._runner.stop if self._environment.web_ui else self._runner.quit)

    def _said(self) -> list[Statement]:
        return self._crew.statements()

    def picture(self, head: Head) -> dict[str, Any]:
        """Return what the live view shows."""
        said = self._said()
        lost = [f"{each.name} is lost: the run can't be valid" for each in self._crew.hands if each.lost]
        shown = statement.picture(
            said,
            elapsed_s=head.elapsed_s(),
            phase=head.phase(stopping=bool(self._stopped)),
            note=self._note,
        )
        shown["troubles"] += lost
        return shown

    # --- Ending ---

    def stop(self) -> None:
        """Have everybody leave, listen, and close; wait for it."""
        if self._head is None or self._stopped:
            return
        self._stopped = clock.now()
        give_up_s = (self._environment.stop_timeout or 0) + PATIENCE_S
        give_up_s += self._scenario.client.delivery_deadline_s
        for wanted, phase in ((Wanted.STOP, Phase.QUIET), (Wanted.LISTEN, Phase.CLOSED)):
            self._crew.want(wanted)
            self._tell_all()
            self._wait(lambda phase=phase: not self._behind(phase), give_up_s)  # type: ignore[misc]
        self._fetcher.fetch(self._crew.hands, self._head.folder, self._say_note)
        self._note = ""

    def _say_note(self, note: str) -> None:
        self._note = note

    def _behind(self, phase: Phase) -> list[Member]:
        behind = self._crew.behind(phase)
        self._note = f"waiting for {', '.join(each.name for each in behind)}" if behind else ""
        return behind

    def seal(self, interrupted: str) -> book.Manifest | None:
        """Seal the run on what each worker said last; None if there is none. Raises ArtefactError."""
        if self._head is None:
            return None
        self.stop()
        head, self._head = self._head, None
        head.interrupted = interrupted
        try:
            refused = channel.traffic.refused + self.misfits + self._crew.foreign
            refused += self._time.refused if self._time else 0
            return head.close(self._said(), stopped=self._stopped, refused=refused)
        finally:
            self._crew.want(Wanted.RELEASE)
            self._tell_all()

    @property
    def folder(self) -> Path | None:
        """Return the folder of the run that is on."""
        return self._head.folder if self._head else None

    @staticmethod
    def _wait(done: Callable[[], bool], seconds: float) -> None:
        give_up = clock.now() + clock.ns(seconds)
        while not done() and clock.now() < give_up:
            gevent.sleep(_POLL_S)
