"""How much more do two processes of the reference server carry than one? `python -m benchmarks.scaling`

    pages     16 connections read a page of 100 messages over https: nothing but the server's own work
    messages  16 people write to as many friends with four devices each: SQLite has one writer at a time, and
              half of the pushes cross from one process to the other
    sign-ins  16 connections sign in at a realistic cost: hashing has as many threads as there are cores in
              one process already, so that a second one has nothing to add

A server of each size lives all the while, and they take turns in random order. Who has his answer asks again,
so that there is always something to do. Every push is waited for and checked for its turn, and the books of
the server must say the same: as many sent as were heard, none lost, and with several processes some crossed.

CPU of one is what an answer costs the server; a busy neighbour changes it least. A gain is the typical ratio
of neighbouring turns, with its 95 % interval (Hodges and Lehmann). Of one and two processes only one
parameter can be fitted, Amdahl's contention a in X(N) = N X(1) / (1 + a (N - 1)); of three sizes or more the
Universal Scalability Law is. The generator has to live on the same cores.

Exit codes: 0 the books balance, 1 they don't, 2 it could not be measured. Gains have no goal: the cores have.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from math import exp, log
from statistics import mean, median

import httpx
from msgspec import Struct, to_builtins

from analysis.capacity import usl
from analysis.formats import fmt_ms, fmt_number, fmt_rate, fmt_share
from analysis.stats import Shift, hodges_lehmann
from benchmarks.crowd import PAIRS, Crowd, Done
from benchmarks.line import TIMEOUT_S, LineError
from benchmarks.server_cost import machine
from benchmarks.subject import Subject
from loadtests import clock
from loadtests.target import Server, TargetError

LOADS: dict[str, Callable[[Crowd, float], Done]] = {
    "pages": Crowd.pages,
    "messages": Crowd.messages,
    "sign-ins": Crowd.sign_ins,
}
SERVE = ("--no-platform-limits", "--test-endpoints", "--password-cost", "realistic")
ROOM = 1.2  # times what one process and the generator used: with less on the cores no second one can show
TURNS, BLOCK_S = 8, 2.0
QUICK_TURNS, QUICK_BLOCK_S = 2, 0.4


class Block(Struct, frozen=True):
    """One load on one server for a while. Cores: how many were busy, on average."""

    load: str
    processes: int
    per_s: float
    server_cores: float
    generator_cores: float
    other_cores: float  # of everything else on the machine
    owed: int  # deliveries: messages that were confirmed, times the devices of their receivers
    heard: int
    strange: int  # of these: not in turn
    sent: int  # as the books of the server have it
    lost: int  # of any push, or not in the books for want of room
    crossed: int  # from one process to another

    @property
    def cpu_s(self) -> float:
        """Return what an answer cost the server; never nothing, though the kernel counts in ticks."""
        return max(self.server_cores / self.per_s, 1e-9)

    @property
    def balanced(self) -> bool:
        """Tell whether what was owed, what was sent and what was heard are one number."""
        crosses = self.crossed > 0 or self.processes == 1 or not self.owed
        return self.owed == self.heard == self.sent and not self.strange and not self.lost and crosses


class Gain(Struct, frozen=True):
    """What a number of processes carries, as a multiple of what one does; no interval of too few turns."""

    load: str
    processes: int
    gain: float
    low: float | None
    high: float | None
    dearer: Shift  # CPU of an answer, as a multiple too: what a busy neighbour changes least
    room: float  # what the cores would have allowed, less what the generator and others took of them

    @property
    def sentence(self) -> str:
        between, dearer = _between(self.low, self.high), self.dearer
        if self.room < ROOM:
            fitted = "too little to tell more"
        elif self.gain < 1 and (self.high is None or self.high < 1):
            fitted = "no a describes less than before: that is coherency, b > 0"
        else:
            ends = [contention(end, self.processes) for end in (self.high, self.low) if end is not None]
            fitted = f"a = {contention(self.gain, self.processes):.2f}"
            fitted += _between(*ends) if ends else ""
        return (
            f"{self.load}: {self.processes} processes carry {self.gain:.2f}{between} times what one does, at"
            f" {dearer.value:.2f}{_between(dearer.low, dearer.high)} times the CPU an answer; the cores had"
            f" room for {self.room:.2f}; {fitted}"
        )


def contention(gain: float, processes: int) -> float:
    """Return Amdahl's a of gain = N / (1 + a (N - 1)): 0 for N times as much, 1 for no more."""
    return min(1.0, max(0.0, (processes / gain - 1) / (processes - 1)))


class Stage:
    """A server of some processes with its people."""

    def __init__(self, processes: int, bus: str, stack: ExitStack) -> None:
        self.processes = processes
        server = Server(*SERVE, "--workers", str(processes), "--bus", bus)
        stack.callback(server.stop)
        self._subject = Subject(server.ready(), people=2 * PAIRS)
        self._crowd = Crowd(self._subject)
        self._books = stack.enter_context(
            httpx.Client(base_url=self._subject.target.test, timeout=TIMEOUT_S, trust_env=False)
        )

    def block(self, load: str, seconds: float) -> Block:
        """Put a load on it for a while. Raises LineError."""
        self._books.delete("/ledger").raise_for_status()
        done = LOADS[load](self._crowd, seconds)
        took_s = done.duration / clock.SECOND
        book = self._books.get("/ledger/summary").raise_for_status().json()
        fates = book["fates"]
        return Block(
            load=load,
            processes=self.processes,
            per_s=done.answers / took_s,
            server_cores=done.used.server / took_s,
            generator_cores=done.used.generator / took_s,
            other_cores=max(0.0, done.used.other) / took_s,
            owed=done.owed,
            heard=done.heard,
            strange=done.strange,
            sent=fates.get("new-message", {}).get("sent", 0),
            lost=book["dropped"] + sum(fate.get("lost", 0) for fate in fates.values()),
            crossed=book["crossed"],
        )


def measure(sizes: Sequence[int], turns: int, seconds: float, bus: str) -> Iterator[Block]:
    """Yield the blocks of all turns, each turn with every load on every server. Raises what can go wrong."""
    order = random.Random(1)
    with ExitStack() as stack:
        stages = [Stage(size, bus, stack) for size in sizes]
        for _ in range(turns):
            for load in LOADS:
                for stage in order.sample(stages, len(stages)):
                    yield stage.block(load, seconds)


def gains(blocks: Sequence[Block]) -> list[Gain]:
    """Return by load what each size carries, compared with a single process turn by turn."""
    cores = _cores()
    found = []
    for load in dict.fromkeys(block.load for block in blocks):
        of = {n: [b for b in blocks if (b.load, b.processes) == (load, n)] for n in _sizes(blocks)}
        one = of.pop(1)
        ours = mean(block.server_cores + block.generator_cores for block in one)
        for size, several in of.items():
            pairs = list(zip(several, one, strict=True))
            gain = _ratio(more.per_s / less.per_s for more, less in pairs)
            dearer = _ratio(more.cpu_s / less.cpu_s for more, less in pairs)
            left = cores - mean(block.other_cores for block in several)
            found.append(Gain(load, size, gain.value, gain.low, gain.high, dearer, left / ours))
    return found


def sentences(blocks: Sequence[Block], found: Sequence[Gain]) -> Iterator[str]:
    """Yield what follows: books, gains, the fit, and what limits it."""
    owed, sent, heard = (sum(getattr(b, name) for b in blocks) for name in ("owed", "sent", "heard"))
    crossed, lost = (sum(getattr(block, name) for block in blocks) for name in ("crossed", "lost"))
    wrong = sum(not block.balanced for block in blocks)
    yield (
        f"deliveries: {owed:,} owed, {sent:,} sent, {heard:,} heard, {lost:,} lost; {crossed:,} pushes"
        " crossed from one process to another;"
        + (f" {wrong} of {len(blocks)} runs DO NOT BALANCE" if wrong else " every run balances")
    )
    cores, sizes = _cores(), _sizes(blocks)
    yield from (each.sentence for each in found)
    if len(sizes) >= usl.PARAMETERS:
        yield from _curves(blocks)
    else:
        yield (
            f"limits: {len(sizes)} sizes give one parameter, a, with b taken as 0; whether more processes"
            f" would carry less is not known, and the peak was not observed: at least what {max(sizes)} carry"
        )
    taken = mean(block.generator_cores for block in blocks if block.processes == max(sizes))
    others = mean(block.other_cores for block in blocks)
    yield (
        f"limits: {cores} cores have to carry server and generator; the generator took {taken:.2f} of them"
        f" beside {max(sizes)} processes, everything else on the machine {others:.2f}. a is of the server on"
        " this machine, not of the server alone"
    )


def _curves(blocks: Sequence[Block]) -> Iterator[str]:
    for load in dict.fromkeys(block.load for block in blocks):
        points = [(float(b.processes), b.per_s) for b in blocks if b.load == load]
        fit = usl.fit(*zip(*points, strict=True))
        peak = "" if fit.peak_observed else f"; peak not observed, at least {fmt_rate(fit.best_throughput)}"
        yield (
            f"{load}: g {fmt_rate(fit.single.value)}, a {fmt_number(fit.contention.value)},"
            f" b {fmt_number(fit.coherency.value)}{peak}"
        )


def table(blocks: Sequence[Block]) -> str:
    """Return the medians of the runs, a row a load and size."""
    rows: list[tuple[str, ...]] = [
        ("load", "processes", "a second", "CPU of one", "server, cores", "generator", "others", "crossed")
    ]
    for load in dict.fromkeys(block.load for block in blocks):
        for size in _sizes(blocks):
            runs = [block for block in blocks if (block.load, block.processes) == (load, size)]
            owed = sum(block.owed for block in runs)
            rows.append(
                (
                    load,
                    str(size),
                    f"{median(block.per_s for block in runs):,.0f}",
                    fmt_ms(median(block.cpu_s for block in runs) * clock.SECOND),
                    *(
                        f"{median(getattr(block, f'{name}_cores') for block in runs):.2f}"
                        for name in ("server", "generator", "other")
                    ),
                    fmt_share(sum(block.crossed for block in runs) / owed) if owed else "",
                )
            )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _ratio(ratios: Iterable[float]) -> Shift:
    """Return the typical one, with its interval."""
    found = hodges_lehmann([log(ratio) for ratio in ratios])
    low, high = (None if end is None else exp(end) for end in (found.low, found.high))
    return Shift(exp(found.value), low, high, found.n)


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [{low:.2f}, {high:.2f}]"


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _sizes(blocks: Sequence[Block]) -> list[int]:
    return sorted({block.processes for block in blocks})


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--processes", type=int, nargs="+", default=[2], metavar="N", help="beside one")
    parser.add_argument("--bus", default="unix", help="unix, nats://… or postgresql://…")
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--quick", action="store_true", help="ten seconds, rough figures")
    parser.add_argument("--json", action="store_true", help="figures for a program")
    given = parser.parse_args(arguments)
    turns, seconds = (QUICK_TURNS, QUICK_BLOCK_S) if given.quick else (given.turns, BLOCK_S)
    about, started = machine(), clock.now()
    try:
        blocks = list(measure(sorted({1, *given.processes}), turns, seconds, given.bus))
    except (LineError, TargetError, httpx.HTTPError, OSError) as error:
        print(f"benchmarks.scaling: {error}", file=sys.stderr)
        return 2
    took_s = round((clock.now() - started) / clock.SECOND, 1)
    found = gains(blocks)
    said = list(sentences(blocks, found))
    if given.json:
        whole = about | {"took_s": took_s, "quick": given.quick, "bus": given.bus, "sentences": said}
        whole |= {"blocks": to_builtins(blocks), "gains": to_builtins(found)}
        print(json.dumps(whole, indent=1, ensure_ascii=False))
    else:
        print(
            f"{about['date']} · {about['machine']} · Python {about['python']} · load {os.getloadavg()[0]:.1f}"
        )
        print(f"{'quick, rough figures: ' if given.quick else ''}{took_s:g} s\n\n{table(blocks)}\n")
        print("\n".join(said))
    return 0 if all(block.balanced for block in blocks) else 1


if __name__ == "__main__":
    sys.exit(main())
