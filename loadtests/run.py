"""One worker's part in a run: who takes part, the books that are kept, a polite end at which nothing is lost.

The end, in this order: nobody starts anything new; what is under way is answered; pushes that are still due
arrive or miss their deadline; sockets say goodbye and are read until the target has said it too; the last
rows go to disk. Only then does the process end.
"""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import gevent
import msgspec

from loadtests import cast, channel, clock, head, sockets
from loadtests.abort import Watch
from loadtests.clocksync import Prober
from loadtests.dispatch import Dispatcher, ThinkTimes, Turns
from loadtests.fanout import Ledger
from loadtests.health import Health, Source, every_second, of_pid
from loadtests.order import Known, Order, arrivals, connections, own_people
from loadtests.pacing import Plan
from loadtests.recorder import Recorder, Second
from loadtests.scrape import Scraper
from loadtests.statement import Live, Statement
from loadtests.target import Target
from loadtests.wire import engine
from reports import manifest as book
from reports.parts import PartWriter, write_closing
from reports.sample import PARTS
from scenarios.people import Person
from scenarios.workload import Scenario

_DRAIN_POLL_S = 0.02


class Participant(Protocol):
    """What a run asks of those who take part in it."""

    def wake(self) -> None:
        """Look up: the run is over."""

    def close_socket(self) -> None:
        """Say goodbye on the socket, if one is open."""


class Run:
    """What the users of one worker share. Made when a test starts, `close`d once when it stops."""

    def __init__(
        self,
        order: Order,
        scenario: Scenario,
        target: Target,
        tls: ssl.SSLContext | None,
        folder: Path,
        known: Known | None = None,
    ) -> None:
        """Open the books in a run's folder. Raises reports' ArtefactError, WorkloadError.

        `known` are this worker's people who have an account, where the order's population can't be read here.
        """
        self.order, self.scenario, self.target, self.tls, self.folder = order, scenario, target, tls, folder
        self.seed, self.tag = order.seed, order.population.tag or order.tag
        self._known = own_people(order, order.population.people(order.seed)) if known is None else known
        self.finishing = False
        self.steady_from = 0
        self.strange = 0  # frames that are not of the contract
        self.overlooked = 0  # events that a full inbox pushed out
        self.left = ""  # why this worker ended before the run
        self.troubles: list[str] = []  # mistakes of our own: they make the run invalid
        self._me = head.identity(order.name)
        self._prober: Prober | None = None
        everybody = msgspec.structs.replace(order, worker=0, workers=1)  # may be on this host, all of them
        engine().spread(sockets.sources(connections(scenario, everybody)))
        self._seats = cast.Seats(order.kinds, order.worker, order.workers)
        self._sockets = 0
        self._people: dict[Participant, cast.Seat] = {}
        self._online: set[int] = set()
        self._spawned = 0
        self._refusals: Counter[tuple[str, str]] = Counter()
        self._steps: list[int] = []
        self._writer = PartWriter(folder, order.name)
        self.recorder = Recorder(self._writer)
        self.ledger = Ledger(self.recorder, order.tag, worker=order.worker, workers=order.workers)
        self._scraper: Scraper | None = None
        self.health = Health(self.recorder, self._server(), engine())
        self.deadline = clock.ns(scenario.client.delivery_deadline_s)
        self.arrivals = self._dispatcher()
        self.turns: Turns = self.arrivals or ThinkTimes()
        self.on_settled: Callable[[int], object] = lambda _: None
        self.on_end: Callable[[], object] = lambda: None  # called when it is over by its own rules
        self.aborted: book.Aborted | None = None
        rule = scenario.abort
        self._watch = Watch(rule.success_below, clock.ns(rule.for_s)) if rule.success_below else None
        self._ticked = clock.now()
        self._ticker = every_second(self._tick)
        self.listeners: list[Callable[[Second], None]] = []  # told of each second, once it is on disk

    def _dispatcher(self) -> Dispatcher | None:
        """Return who hands the arrivals on; None in a closed model, where people come by themselves."""
        whole = arrivals(self.scenario, self.order)
        if whole is None:
            return None
        own = Plan(whole.share(self.order.worker, self.order.workers), whole.length, whole.phases)
        waiting = -(-self.scenario.load.waiting // self.order.workers)
        found = Dispatcher(own, self.recorder, waiting=waiting, on_drop=self._drop)
        found.books.plan_hash = whole.hash
        return found

    def _server(self) -> Source | None:
        """Return what tells of the server: of all workers the first one watches it, too."""
        if self.order.worker:
            return None
        if self.target.pid:
            return of_pid(self.target.pid)
        if not self.target.metrics:
            return None
        self._scraper = Scraper(self.target.metrics, self.tls)
        return self._scraper.latest

    def compare_clocks(self, host: str, port: int) -> None:
        """Ask the run's clock for the time as long as this is on: ours is another."""
        self._prober = Prober(host, port, secret=channel.secret, on_exchange=self.recorder.exchange)

    def here(self, at: int) -> int:
        """Return an instant of the run's clock by ours; now, while nothing is known of the run's."""
        unknown = self._prober is not None and self._prober.offset is None
        return clock.now() if unknown else at + self._ahead

    @property
    def _ahead(self) -> int:
        """By how much our clock is ahead of the run's, as far as is known."""
        return (self._prober.offset or 0) if self._prober is not None else 0

    def _drop(self) -> None:
        self.health.dropped += 1

    def arrive_from(self, at: int) -> None:
        """Let the arrivals of an open model begin at an instant, once."""
        if self.arrivals and not self.finishing:
            self.arrivals.begin(at, lambda: self.on_end())

    # --- Taking part ---

    def join(self, user: Participant) -> int:
        """Give a virtual user its seat, and return its number: the same for any number of workers."""
        seat = self._people[user] = self._seats.take(type(user).__name__)
        return seat.place.number

    def leave(self, user: Participant) -> None:
        """Take a virtual user's seat back."""
        if (seat := self._people.pop(user, None)) is not None:
            self._seats.leave(seat)

    def next_person(self, user: Participant) -> int:
        """Return the number of the next person on this user's seat."""
        return self._people[user].person()

    def room(self, user: Participant) -> int:
        """Return the number of the room of an occupant."""
        return self._people[user].place.rank % len(self.scenario.rooms.devices)

    def known_person(self, user: Participant) -> Person | None:
        """Return who has an account already and this user's seat, None where there is nobody or was one."""
        seat = self._people[user]
        found = self._known.get(seat.place.kind.lower(), {}).get(seat.place.rank)
        if seat.before or found is None:
            return None
        seat.person()
        return found

    def next_socket(self) -> int:
        """Return the number of the next socket."""
        self._sockets += 1
        return self._sockets

    def spawned(self, users: int) -> None:
        """Every virtual user has been started; the run is steady once all are online at the same time."""
        self._spawned = users
        self._settle_in()

    def arrived_online(self, user: int) -> None:
        """A virtual user is online."""
        self._online.add(user)
        self._settle_in()

    def went_offline(self, user: int) -> None:
        """A virtual user is not online any more."""
        self._online.discard(user)

    @property
    def online(self) -> int:
        """Return how many virtual users are online."""
        return len(self._online)

    def _settle_in(self) -> None:
        if self._spawned and len(self._online) >= self._spawned and not self.steady_from:
            self.on_settled(len(self._online))

    # --- Keeping the books ---

    def event(self, kind: str, **fields: Any) -> None:
        """Add a line to events.jsonl."""
        try:
            book.append_event(self.folder, kind, clock.now() - self._ahead, **fields)
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
            self._watch_the_target(second)
            self.ledger.forget(clock.now() - 10 * self.deadline)
            for listen in self.listeners:
                listen(second)
        except Exception as error:
            self.trouble(f"the recorder failed: {type(error).__name__}: {error}")

    def _watch_the_clock(self) -> None:
        realtime = engine().realtime
        before = realtime.offset
        if step := realtime.sample():
            self._steps.append(step)
            self.event("clock-step", step_ns=step, before_ns=before, after_ns=realtime.offset)

    def _watch_the_target(self, second: Second) -> None:
        began, self._ticked = self._ticked, clock.now()
        if self._watch is None or self.finishing or self.aborted:
            return
        ended = ((row[0], row[3]) for row in second.samples)
        self.aborted = self._watch.second(began - self._ahead, self._ticked - self._ahead, ended)
        if self.aborted:
            self.on_end()

    def statement(self, *, closed: bool = False) -> Statement:
        """Return what this worker says of itself, of what is on disk by now."""
        worker = msgspec.structs.replace(
            self._me,
            closed=closed,
            rows={name: self.recorder.counts[name] for name in PARTS},
            dropped=self._writer.dropped,
            errors=self.troubles + self.recorder.troubles,
            left=self.left,
        )
        realtime = engine().realtime
        stamping = book.Clock(
            id=self._me.clock,
            stamps=engine().stamps,
            realtime_offset_ns=realtime.offset,
            steps_ns=self._steps,
            **self.health.received(),
        )
        return Statement(
            worker=worker,
            clock=stamping,
            arrivals=self.arrivals.books if self.arrivals else None,
            phases=self.arrivals.phases(ahead=self._ahead) if self.arrivals else [],
            aborted=self.aborted,
            foreign=self.ledger.foreign,
            strange=self.strange,
            overlooked=self.overlooked,
            live=Live(
                users=len(self._people),
                settled=len(self._online),
                online=self.ledger.people,
                windows=self.recorder.windows(),
                counts=dict(self.recorder.counts),
                failures=dict(self.recorder.failures),
                health=self.health.figures,
            ),
        )

    # --- Ending ---

    def stop_people(self) -> None:
        """Nobody starts anything new from here on; whoever rests wakes up and leaves."""
        self.finishing = True
        if self.arrivals:
            self.arrivals.stop()
        for user in self._people:
            user.wake()

    def owed_elsewhere(self) -> list[tuple[str, str, int]]:
        """Return what may still come to people of other workers; see Ledger."""
        return self.ledger.owed_elsewhere(clock.now(), self.deadline)

    def listen(self, owed: Iterable[tuple[str, str, int]] = ()) -> None:
        """Wait for what is still due here, from other workers too, until its deadline at most."""
        self.ledger.expect(owed, clock.now(), self.deadline)
        give_up = clock.now() + self.deadline
        while self.ledger.outstanding(clock.now(), self.deadline) and clock.now() < give_up:
            gevent.sleep(_DRAIN_POLL_S)

    def close(self) -> Statement:
        """Say goodbye on all sockets, write everything, and return the last statement. Call once."""
        gevent.joinall([gevent.spawn(user.close_socket) for user in self._people])
        if self._prober is not None:
            self._prober.stop()
        self._ticker.kill()
        if self._scraper is not None:
            self._scraper.stop()
        self.health.stop()
        self._tick()
        self._writer.close()
        said = self.statement(closed=True)
        write_closing(self.folder, said.worker)
        return said
