"""The instrument beside the usual way and its peers: `python -m benchmarks.instrument [--quick] [--peers]`.

All contenders do the same work against the same target in the same run, in turns. What is written here is
measured in several rounds, of which the median counts; peers are measured once. Believe the ratios: the
absolute figures are this machine's.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.contenders import OURS, OWN, USUAL, Contender
from benchmarks.figures import RATE, Cell, Figure, Goal, at_most, keep, line, report, times
from benchmarks.peers import NAMES, find
from benchmarks.server_cost import machine
from benchmarks.stand import Stand, StandError
from loadtests import clock

DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"


_SHORT = 10  # per cent of a core that may be missing from a level of CPU


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    seconds: float  # of one measurement: see `Job`
    rounds: int  # of what is written here
    sockets: tuple[int, int]  # of the two broadcasts
    users: int  # of echo and https
    stamp_sockets: int
    levels: tuple[int, ...]  # per cent of CPU
    held: tuple[int, int]  # sockets, whose difference is charged


FULL = Size(3.0, 3, (500, 2000), 100, 500, (10, 50, 80, 95), (100, 1100))
QUICK = Size(1.0, 1, (500, 2000), 50, 500, (10, 50, 80, 95), (100, 600))


class Run:
    """One run: who takes part, and who failed at what."""

    def __init__(self, stand: Stand, size: Size, contenders: Sequence[Contender]) -> None:
        self._stand, self._size, self._contenders = stand, size, contenders
        self.failures: list[str] = []
        self.remarks: list[str] = []

    def figures(self) -> Iterator[Figure]:
        """Measure everything."""
        yield from self._rates()
        yield from self._memory()
        yield from self._stamps()
        yield self._record()
        yield from self._service()

    def _measure(
        self,
        figure: Figure,
        work: str,
        once: Callable[[Contender], Cell],
        *,
        only: Sequence[Contender] = (),
        rounds: int = 1,
    ) -> Figure:
        """Fill the cells of those who can do the work: the median of all rounds."""
        able = [one for one in only or self._contenders if work in one.works]
        taken: dict[str, list[Cell]] = {one.name: [] for one in able}
        for number in range(rounds):
            for one in able:
                if number and one not in OWN:
                    continue
                try:
                    taken[one.name].append(once(one))
                except (StandError, OSError, ValueError, KeyError) as error:
                    self.failures.append(f"{one.name}, {figure.what}: {error}")
        for name, cells in taken.items():
            if cells:
                figure.cells[name] = tuple(median(column) for column in zip(*cells, strict=True))
        print(f"  {figure.what}: {line(figure)}", file=sys.stderr, flush=True)
        return figure

    def _rates(self) -> Iterator[Figure]:
        size, small, large = self._size, *self._size.sockets
        for key, what, work, users, tls, goal in (
            (
                "delivery_small_ws",
                f"deliveries, {small:,} sockets, ws",
                "receive",
                small,
                False,
                times(5, *NAMES),
            ),
            (
                "delivery_large_ws",
                f"deliveries, {large:,} sockets, ws",
                "receive",
                large,
                False,
                times(6, *NAMES),
            ),
            (
                "delivery_small_wss",
                f"deliveries, {small:,} sockets, wss",
                "receive",
                small,
                True,
                times(2.5, *NAMES),
            ),
            ("delivery_large_wss", f"deliveries, {large:,} sockets, wss", "receive", large, True, None),
            ("echo_ws", f"echo round trips, {size.users} sockets, ws", "echo", size.users, False, times(4)),
            ("echo_wss", f"echo round trips, {size.users} sockets, wss", "echo", size.users, True, None),
            ("connect_ws", "connects, ws", "connect", 20, False, times(2)),
            ("connect_wss", "connects, wss", "connect", 20, True, None),
            ("https_plain", f"http calls, {size.users} users", "https", size.users, False, times(2, "k6")),
            ("https_tls", f"https calls, {size.users} users", "https", size.users, True, times(2, "k6")),
        ):

            def once(one: Contender, work: str = work, users: int = users, tls: bool = tls) -> Cell:
                job = self._stand.job(work, tls=tls, users=users, seconds=size.seconds)
                return (self._stand.rate(one, job)[0],)

            yield self._measure(Figure(key, what, RATE, goal), work, once, rounds=size.rounds)

    def _memory(self) -> Iterator[Figure]:
        few, many = self._size.held
        for name, tls, limit in (("ws", False, 16), ("wss", True, 52)):

            def once(one: Contender, tls: bool = tls) -> Cell:
                def held(users: int) -> float:
                    job = self._stand.job("hold", tls=tls, users=users, seconds=self._size.seconds)
                    return self._stand.memory_kib(one, job)

                return ((held(many) - held(few)) / (many - few),)

            figure = Figure(f"memory_{name}", f"memory a socket and its user, {name}", "KiB")
            figure.goal = at_most(limit, unit="KiB")
            yield self._measure(figure, "hold", once)

    def _stamps(self) -> Iterator[Figure]:
        users, seconds, levels = self._size.stamp_sockets, self._size.seconds, self._size.levels
        for name, tls in (("ws", False), ("wss", True)):
            figures = [
                Figure(f"stamp_{name}_{level}", f"stamp error at {level} % CPU, {name}", "µs")
                for level in levels
            ]

            def once(one: Contender, figures: list[Figure] = figures, tls: bool = tls) -> Cell:
                self._stand.tell("broadcast 5")
                job = self._stand.job("stamp", tls=tls, users=users, seconds=seconds, levels=levels)
                told = self._stand.result(one, job)
                for figure, level in zip(figures, levels, strict=True):
                    found = told[str(level)]
                    figure.goal = at_most(20, 100, unit="µs")
                    figure.cells[one.name] = tuple(found[name] / clock.MICROSECOND for name in ("p50", "p99"))
                    if found["cpu"] < level - _SHORT:
                        self.remarks.append(
                            f"{one.name}, {figure.what}: the machine gave it {found['cpu']:.0f} %, "
                            "less than it asked for"
                        )
                return figures[0].cells[one.name]

            self._measure(figures[0], "stamp", once)
            yield from figures

    def _record(self) -> Figure:
        def once(one: Contender) -> Cell:
            return (self._stand.result(one, self._stand.job("record", users=1, seconds=1))["ns"],)

        return self._measure(
            Figure("record", "one delivery written down", "ns"), "record", once, only=(USUAL, OURS)
        )

    def _service(self) -> Iterator[Figure]:
        """Call a target of 20 ms at 70 % of what each can do: what it says, and what the target knows."""
        told = Figure("service", "service time it reports", "ms")
        truth = Figure("service_truth", "its truth at the target", "ms")
        lag = Figure("service_lag", "its own send lag", "ms")
        rate = Figure("service_rate", "calls a second", "/s")

        def once(one: Contender) -> Cell:
            users, seconds = 4 * self._size.users, self._size.seconds
            job = self._stand.job("https", path="/delay", users=users, seconds=seconds)
            calls = 0.7 * self._stand.rate(one, job)[1]
            self._stand.tell("truth")
            job = self._stand.job("service", path="/delay", users=users, seconds=seconds + 1, rate=calls)
            found = self._stand.result(one, job)
            known = self._stand.tell("truth")
            truth.cells[one.name] = _ms(known["p50"], known["p99"])
            if "lag_p50" in found:
                lag.cells[one.name] = _ms(found["lag_p50"], found["lag_p99"])
            rate.cells[one.name] = (known["count"] / (seconds + 1),)
            return _ms(found["p50"], found["p99"])

        self._measure(told, "service", once)

        def met(cells: dict[str, Cell]) -> bool:
            (p50, p99), (true50, true99) = cells[OURS.name], truth.cells[OURS.name]
            return abs(p50 - true50) <= 0.2 and abs(p99 / true99 - 1) <= 0.15

        told.goal = Goal("p50 ± 0.2 ms, p99 ± 15 % of its truth", met)
        yield from (told, truth, lag, rate)


def _ms(*durations: float) -> Cell:
    return tuple(duration / clock.MILLISECOND for duration in durations)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return 0 whatever the figures are: another machine is no failure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instrument", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few minutes, rough figures")
    parser.add_argument(
        "--peers",
        action="store_true",
        help="peers take part; what is not here is installed in this user's cache",
    )
    parser.add_argument("--json", action="store_true", help="figures for a program")
    parser.add_argument("--write", action="store_true", help="keep the table in docs/benchmarks.md")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # not before all that was started has ended
    peers, absent = (
        find(install=True) if options.peers else ([], dict.fromkeys(NAMES, "not asked for: --peers"))
    )
    return measure(QUICK if options.quick else FULL, [*OWN, *peers], absent, options)


def measure(
    size: Size, contenders: Sequence[Contender], absent: dict[str, str], options: argparse.Namespace
) -> int:
    """Run, and tell as the options say."""
    about, began = machine(), clock.now()
    try:
        with ExitStack() as stack:
            run = Run(Stand(stack), size, contenders)
            figures = list(run.figures())
    except (StandError, OSError) as error:
        print(f"benchmarks.instrument: {error}", file=sys.stderr)
        return 2
    switches = [f"--{name}" for name in ("quick", "peers") if getattr(options, name)]
    whole = about | {
        "command": " ".join(["python -m benchmarks.instrument", *switches]),
        "took_s": round((clock.now() - began) / clock.SECOND),
        "contenders": {one.name: one.version for one in contenders},
        "absent": absent,
        "failures": run.failures,
        "remarks": run.remarks,
    }
    if options.json:
        rows = [
            {"key": one.key, "what": one.what, "unit": one.unit, "cells": one.cells, "met": one.met}
            for one in figures
        ]
        print(json.dumps(whole | {"figures": rows}, indent=1, ensure_ascii=False))
    else:
        print(report(whole, figures))
    if options.write:
        keep(report(whole, figures), DOCUMENT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
