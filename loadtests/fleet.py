"""How a coordinator and its workers agree, whatever gets lost on the way between them. Pure: time is told.

Rule: nobody counts on a single message. A worker says once a second, and whenever something changed, where
it is and all that it has counted so far (`Snapshot`); the coordinator answers each with all that it wants
(`Command`). Both are numbered: what is not newer than what was heard before is left alone, so that loss,
repetition and any order do no harm. Where a worker is and what is wanted of it only ever go forward:

    wanted   IDLE -> RUN    ->    STOP  ->  LISTEN  ->  RELEASE
    phase    IDLE -> READY  ->    QUIET ->  CLOSED  ->  IDLE

A worker is QUIET when its people have left: nothing is sent any more. What may still come to people of other
workers it tells, and everybody listens until that has come too. CLOSED, all it has is on its disk, and its
statement is final. Only then is the run sealed.

The lease: a worker that hears nothing for LEASE ends its load. The coordinator takes a worker that it does
not hear for as long for lost: its load is missing, and the run can't be valid, even if it comes back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import msgspec
from msgspec import Struct

from loadtests.clock import SECOND
from loadtests.order import Order
from loadtests.statement import Statement
from loadtests.target import Target
from reports import manifest as book
from scenarios.workload import Scenario

LEASE = 5 * SECOND
Owed = tuple[str, str, int]
"""Something that may still come to somebody: its key, who that is, ns left until it is late."""


class Phase(IntEnum):
    """Where a worker is."""

    IDLE = 0
    READY = 1  # its books are open
    QUIET = 2  # its people have left
    CLOSED = 3  # its books are closed


class Wanted(IntEnum):
    """Where the coordinator wants its workers to be."""

    IDLE = 0
    RUN = 1
    STOP = 2
    LISTEN = 3
    RELEASE = 4


class Hello(Struct, frozen=True, kw_only=True):
    """Who a worker is, and what it runs: unlike code does not measure alike."""

    pid: int
    host: str
    boot_id: str
    clock: str  # id of the one that it reads
    suite: str
    git: str
    locust: str
    python: str  # its minor version

    def unlike(self, mine: Hello) -> str:
        """Return how a worker's code differs from the coordinator's, "" if it does not."""
        for name, what in (
            ("suite", "talkload"),
            ("git", "commit"),
            ("locust", "Locust"),
            ("python", "Python"),
        ):
            theirs, ours = getattr(self, name), getattr(mine, name)
            if theirs != ours:
                return (
                    f"the worker on {self.host} (process {self.pid}) has {what} {theirs or 'unknown'}, its"
                    f" master {ours or 'unknown'}: install the same on both"
                )
        return ""


class File(Struct, frozen=True):
    """A file that a worker wrote, for whoever fetches it."""

    name: str
    size: int
    crc: int  # CRC-32 of all of it


class Spec(Struct, frozen=True, kw_only=True):
    """A run, as a worker has to know it."""

    manifest: book.Manifest
    folder: str  # where the coordinator writes it
    order: Order
    scenario: Scenario
    target: Target
    clock_port: int = 0  # where the coordinator tells the time to a worker with another clock (UDP)
    authority: str = ""  # PEM of whoever vouches for the target's certificates
    accounts: bytes = b""  # of a file: `order.Known` of this worker, hidden because of the passwords


class Snapshot(Struct, frozen=True, kw_only=True, tag=True):
    """What a worker says."""

    seq: int
    hello: Hello
    run: str = ""
    phase: Phase = Phase.IDLE
    plan_hash: str = ""
    complaint: str = ""  # why it can't take part
    statement: Statement | None = None
    owed: list[Owed] = []
    files: list[File] = []


class Command(Struct, frozen=True, kw_only=True, tag=True):
    """What the coordinator wants."""

    seq: int
    ack: int  # the last snapshot that was heard
    run: str = ""
    wanted: Wanted = Wanted.IDLE
    spec: Spec | None = None  # to whoever does not know it yet
    steady_ns: int = 0  # from when on everybody has been online; 0: not yet
    arrivals_ns: int = 0  # from when on the plan's instants count; 0: not yet
    owed: list[Owed] = []  # by other workers
    fetched: bool = False  # its files are with the coordinator
    refusal: str = ""  # why this worker is not wanted


@dataclass(slots=True)
class Member:
    """What the coordinator knows of a worker."""

    client: str
    hello: Hello
    heard: int
    seq: int = 0
    sent: int = 0
    refusal: str = ""
    name: str = ""  # of one that takes part
    index: int = -1
    phase: Phase = Phase.IDLE
    last: Snapshot | None = None
    owed: list[Owed] = field(default_factory=list)
    lost: int = 0  # when it was last heard before it was lost
    fetched: str | None = None  # "": its files were brought here; else why they could not be

    @property
    def statement(self) -> Statement | None:
        return self.last.statement if self.last else None


@dataclass(slots=True)
class Crew:
    """All workers of a coordinator, and those that take part in its run."""

    mine: Hello
    members: dict[str, Member] = field(default_factory=dict)
    hands: list[Member] = field(default_factory=list)
    specs: list[Spec] = field(default_factory=list)
    run: str = ""
    wanted: Wanted = Wanted.IDLE
    steady_ns: int = 0
    arrivals_ns: int = 0
    foreign: int = 0  # snapshots of another run

    def heard(self, client: str, said: Snapshot, now: int) -> Command:
        """Take in what a worker says; return the answer."""
        member = self.members.get(client)
        if member is None:
            member = self.members[client] = Member(
                client, said.hello, now, refusal=said.hello.unlike(self.mine)
            )
        member.heard = now
        if said.seq > member.seq:
            member.seq = said.seq
            if member.index >= 0 and said.run == self.run and self.run:
                member.phase, member.last = max(member.phase, said.phase), said
                if said.phase == Phase.QUIET:
                    member.owed = said.owed  # kept, because one that has closed is not asked again
            elif said.run and said.run != self.run:
                self.foreign += 1
            elif said.complaint and member.index >= 0:
                member.last = said
        return self.command(member)

    def command(self, member: Member) -> Command:
        """Return what is wanted of a worker now."""
        member.sent += 1
        if member.index < 0:
            return Command(seq=member.sent, ack=member.seq, refusal=member.refusal)
        knows = member.phase > Phase.IDLE or self.wanted != Wanted.RUN
        listens = self.wanted == Wanted.LISTEN and member.phase == Phase.QUIET
        return Command(
            seq=member.sent,
            ack=member.seq,
            run=self.run,
            wanted=self.wanted,
            spec=None if knows else self.specs[member.index],
            steady_ns=self.steady_ns,
            arrivals_ns=self.arrivals_ns,
            owed=self._owed_by_others(member) if listens else [],
            fetched=member.fetched == "",
        )

    def _owed_by_others(self, member: Member) -> list[Owed]:
        return [owed for each in self.hands if each is not member for owed in each.owed]

    def fit(self) -> list[Member]:
        """Return the workers that could take part in a run, in the order in which they came."""
        return [each for each in self.members.values() if not each.refusal]

    def enlist(self, hands: list[Member], specs: list[Spec], now: int) -> None:
        """Begin a run with these workers, each with what it is to do."""
        for each in self.members.values():
            each.index, each.name = -1, ""
        for index, (member, spec) in enumerate(zip(hands, specs, strict=True)):
            member.index, member.name = index, spec.order.name
            member.phase, member.last, member.lost, member.fetched, member.owed = (
                Phase.IDLE,
                None,
                0,
                None,
                [],
            )
            member.heard = now
        self.hands, self.specs, self.run = hands, specs, specs[0].manifest.id
        self.wanted, self.steady_ns, self.arrivals_ns = Wanted.RUN, 0, 0

    def want(self, wanted: Wanted) -> None:
        """Want something further; never something less."""
        self.wanted = max(self.wanted, wanted)

    def lose(self, now: int) -> list[Member]:
        """Return the workers that are lost since the last call: nothing was heard of them for a lease."""
        gone = [
            each
            for each in self.hands
            if not each.lost and each.phase < Phase.CLOSED and now - each.heard > LEASE
        ]
        for each in gone:
            each.lost = each.heard
        return gone

    def behind(self, phase: Phase) -> list[Member]:
        """Return whom to wait for, until all have come to a phase: not those that are lost."""
        return [each for each in self.hands if each.phase < phase and not (each.lost and self.silent(each))]

    @staticmethod
    def silent(member: Member) -> bool:
        """Tell whether a lost worker has not been heard again."""
        return member.heard == member.lost

    def statements(self) -> list[Statement]:
        """Return what each worker said last, with what is known of those that are lost."""
        found = []
        for each in self.hands:
            blank = Statement(
                worker=book.Worker(
                    name=each.name,
                    pid=each.hello.pid,
                    host=each.hello.host,
                    boot_id=each.hello.boot_id,
                    clock=each.hello.clock,
                    python=each.hello.python,
                ),
                clock=book.Clock(stamps="wire"),
            )
            said = each.statement or blank
            worker = msgspec.structs.replace(said.worker, last_words_ns=each.lost)
            if each.fetched == "":
                worker.samples_at = ""
            elif each.fetched:
                worker.errors = [*worker.errors, f"its samples could not be brought here: {each.fetched}"]
            found.append(msgspec.structs.replace(said, worker=worker))
        return found


@dataclass(slots=True)
class Duty:
    """What a worker knows of what is wanted of it."""

    heard_at: int
    seq: int = 0
    sent: int = 0
    command: Command = field(default_factory=lambda: Command(seq=0, ack=0))

    def heard(self, command: Command, now: int) -> bool:
        """Take in a command; tell whether it is newer than what was known."""
        self.heard_at = now
        if command.seq <= self.seq:
            return False
        self.seq, self.command = command.seq, command
        return True

    def next(self) -> int:
        """Return the number of the next snapshot."""
        self.sent += 1
        return self.sent

    def lapsed(self, now: int) -> bool:
        """Tell whether nothing was heard for a lease."""
        return now - self.heard_at > LEASE
