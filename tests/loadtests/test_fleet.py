"""Coordinator and workers agree at the end, whatever is lost, repeated or overtaken between them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.cast import Kind
from loadtests.clock import SECOND
from loadtests.fleet import LEASE, Command, Crew, Duty, Hello, Phase, Snapshot, Spec, Wanted
from loadtests.order import Order
from loadtests.statement import Statement
from loadtests.target import Target
from reports import manifest as book
from scenarios import workload

HELLO = Hello(pid=1, host="here", boot_id="b", suite="1", git="g", locust="2", python="3.11")


def spec(name: str, index: int, workers: int, run: str = "run-1") -> Spec:
    """Return what a worker has to know."""
    scenario = workload.load("smoke")
    target = Target("https://127.0.0.1/v1", "wss://127.0.0.1/socket")
    manifest = book.Manifest(
        id=run,
        started="2026-11-22T00:00:00Z",
        origin_ns=1,
        suite=book.Suite(version="1"),
        target=book.Target(https=target.https, wss=target.wss, local=True),
        scenario=book.ScenarioInfo(name="smoke", file="smoke.toml", hash="h"),
        seed=1,
        users=2,
        deadline_ns=1,
        clock=book.Clock(stamps="wire"),
        machine=book.Machine(host="", cpu="", cores=1, memory=1, kernel="", python=""),
    )
    order = Order(
        tag="t",
        seed=1,
        seconds=1,
        kinds=(Kind("Senior", 1),),
        users=2,
        name=name,
        worker=index,
        workers=workers,
    )
    return Spec(manifest=manifest, folder="/nowhere", order=order, scenario=scenario, target=target)


@dataclass
class Hand:
    """A worker as `loadtests.worker` is, but for doing anything."""

    name: str
    duty: Duty = field(default_factory=lambda: Duty(0))
    run: str = ""
    phase: Phase = Phase.IDLE
    done: int = 0  # what it has counted
    heard_owed: list[Any] = field(default_factory=list)

    def snapshot(self) -> Snapshot:
        rows = {"samples": self.done}
        said = Statement(
            worker=book.Worker(name=self.name, rows=rows, closed=self.phase == Phase.CLOSED),
            clock=book.Clock(stamps="wire"),
        )
        owed = [(f"k-{self.name}", "somebody", 5)] if self.phase == Phase.QUIET else []
        return Snapshot(
            seq=self.duty.next(),
            hello=HELLO,
            run=self.run,
            phase=self.phase,
            statement=said if self.run else None,
            owed=owed,
        )

    def obey(self, command: Command, now: int) -> None:
        if not self.duty.heard(command, now):
            return
        if command.spec is not None and not self.run:
            self.run, self.phase = command.run, Phase.READY
        elif command.run == self.run and self.phase == Phase.READY and command.wanted >= Wanted.STOP:
            self.phase = Phase.QUIET
        elif command.run == self.run and self.phase == Phase.QUIET and command.wanted >= Wanted.LISTEN:
            self.heard_owed, self.phase = command.owed, Phase.CLOSED
        if self.phase == Phase.READY:
            self.done += 7


class Network:
    """Carries messages both ways; loses, repeats and delays some, by the dice."""

    def __init__(self, seed: int, workers: int, loss: float) -> None:
        self.dice, self.loss, self.now = random.Random(seed), loss, 0
        self.crew = Crew(HELLO)
        self.hands = {f"c{n}": Hand(f"w{n + 1}") for n in range(workers)}
        self.under_way: list[tuple[str, bytes, bool]] = []

    def post(self, client: str, message: Snapshot | Command) -> None:
        for _ in range(1 + (self.dice.random() < self.loss)):
            if self.dice.random() >= self.loss:
                self.under_way.append(
                    (client, msgspec.msgpack.encode(message), isinstance(message, Snapshot))
                )

    def second(self) -> None:
        """Let everybody say what they have to say, and some of what is under way arrive, in any order."""
        self.now += SECOND // 4
        for client, hand in self.hands.items():
            self.post(client, hand.snapshot())
        for member in self.crew.hands:
            self.post(member.client, self.crew.command(member))
        self.dice.shuffle(self.under_way)
        for _ in range(len(self.under_way) * 3 // 4):
            client, data, up = self.under_way.pop()
            if up:
                said = msgspec.msgpack.decode(data, type=Snapshot)
                self.post(client, self.crew.heard(client, said, self.now))
            else:
                self.hands[client].obey(msgspec.msgpack.decode(data, type=Command), self.now)

    def until(self, phase: Phase) -> None:
        for _ in range(400):
            if not self.crew.behind(phase):
                return
            self.second()
        raise AssertionError(f"not all came to {phase!r}")


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([0.0, 0.2, 0.5]))
def test_all_that_was_counted_is_known_at_the_end(seed: int, workers: int, loss: float) -> None:
    """Half of all messages lost, others twice or late: every worker's last statement is what is sealed."""
    net = Network(seed, workers, loss)
    while len(net.crew.fit()) < workers:
        net.second()
    hands = net.crew.fit()
    net.crew.enlist(
        hands, [spec(net.hands[each.client].name, n, workers) for n, each in enumerate(hands)], net.now
    )
    net.until(Phase.READY)
    for _ in range(4):
        net.second()
    net.crew.want(Wanted.STOP)
    net.until(Phase.QUIET)
    net.crew.want(Wanted.LISTEN)
    net.until(Phase.CLOSED)
    told = {
        each.worker.name: (each.worker.rows["samples"], each.worker.closed) for each in net.crew.statements()
    }
    assert told == {hand.name: (hand.done, True) for hand in net.hands.values()}
    for hand in net.hands.values():  # each listened for what all others owe, and not for its own
        assert {key for key, _, _ in hand.heard_owed} == {f"k-{o.name}" for o in net.hands.values()} - {
            f"k-{hand.name}"
        }


def crew_of(workers: int, now: int = 0) -> Crew:
    """Return a crew whose workers are all at work."""
    crew = Crew(HELLO)
    for n in range(workers):
        crew.heard(f"c{n}", Snapshot(seq=1, hello=HELLO), now)
    crew.enlist(crew.fit(), [spec(f"w{n + 1}", n, workers) for n in range(workers)], now)
    for n in range(workers):
        crew.heard(f"c{n}", Snapshot(seq=2, hello=HELLO, run="run-1", phase=Phase.READY), now)
    return crew


def test_a_worker_that_is_silent_for_a_lease_is_lost_and_nobody_waits_for_it() -> None:
    """Once; when it comes back its word counts, but its having been away stays on record."""
    crew = crew_of(2, now=1)
    now = LEASE + 2
    crew.heard("c0", Snapshot(seq=3, hello=HELLO, run="run-1", phase=Phase.QUIET), now)
    assert [each.name for each in crew.lose(now)] == ["w2"]
    assert crew.lose(now) == []
    assert crew.behind(Phase.QUIET) == []
    crew.heard("c1", Snapshot(seq=3, hello=HELLO, run="run-1", phase=Phase.READY), now + 1)
    assert [each.name for each in crew.behind(Phase.QUIET)] == ["w2"]
    assert [each.worker.name for each in crew.statements()] == ["w1", "w2"]


def test_who_was_lost_says_so_in_the_manifest() -> None:
    """The instant of its last words, which a killed run's reader can find."""
    crew = crew_of(2, now=3)
    crew.heard("c0", Snapshot(seq=3, hello=HELLO, run="run-1", phase=Phase.READY), LEASE + 5)
    crew.lose(LEASE + 5)
    assert [each.worker.last_words_ns for each in crew.statements()] == [0, 3]


def test_what_is_of_another_run_is_counted_and_changes_nothing() -> None:
    """A snapshot of an older run, or of a stranger's, says nothing about this one."""
    crew = crew_of(1)
    crew.heard("c0", Snapshot(seq=9, hello=HELLO, run="run-0", phase=Phase.CLOSED), 1)
    assert (crew.foreign, crew.hands[0].phase) == (1, Phase.READY)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"suite": "2"}, "talkload 2"),
        ({"git": "x+"}, "commit x+"),
        ({"locust": "3"}, "Locust 3"),
        ({"python": "3.12"}, "Python 3.12"),
    ],
)
def test_unlike_code_is_refused_by_its_name(change: dict[str, str], word: str) -> None:
    """Which of the two has what, and what to do; it takes no part."""
    crew = Crew(HELLO)
    other = msgspec.structs.replace(HELLO, host="there", **change)
    said = crew.heard("c", Snapshot(seq=1, hello=other), 0)
    assert f"the worker on there (process 1) has {word}" in said.refusal
    assert crew.fit() == []


def test_a_lease_ends_five_seconds_after_the_last_word() -> None:
    """Any word of the master's renews it, even one that is not news."""
    duty = Duty(0)
    assert not duty.lapsed(LEASE)
    assert duty.lapsed(LEASE + 1)
    command = Command(seq=1, ack=0)
    assert duty.heard(command, LEASE)
    assert not duty.heard(command, 2 * LEASE)
    assert not duty.lapsed(3 * LEASE)


def test_what_is_wanted_only_goes_forward() -> None:
    """A late wish for something less is none."""
    crew = crew_of(1)
    crew.want(Wanted.LISTEN)
    crew.want(Wanted.STOP)
    assert crew.wanted == Wanted.LISTEN
