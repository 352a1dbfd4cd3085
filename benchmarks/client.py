"""One load generator at one work: `python -m gevent.monkey --module benchmarks.client KIND WORK URL …`.

It works until it is ended, and says nothing: what it got done the target counts, what that took the kernel.
Works that know more than that end by themselves, with a line of JSON:

    receive  a socket for each user, who takes in and records every message
    echo     a socket for each user, who does round trips
    connect  each user opens and closes sockets
    https    each user does calls
    stamp    as `receive`, at each level of CPU: how far the arrival stamps are from the target's own
    service  calls at a fixed rate: how long they took as the library tells it, and how late we sent them
    record   what it takes to write down one delivery
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import logging
import random
import resource
import ssl
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gevent
import numpy as np
from gevent.pool import Pool
from locust import User
from locust.env import Environment

from benchmarks.kinds import KINDS, Desk, Person
from loadtests import clock

_DIALLING = 20  # connects under way at the same time
_BURNERS, _BURST = 40, clock.MILLISECOND // 2  # greenlets that use CPU, and how much of it at a time
_SETTLING_S = 0.6
_NEAR = 0.02  # of a core: a level that is reached
_ROWS = 200_000


def quantiles(values: Any) -> dict[str, float]:
    """Return number, p50 and p99 of ns values."""
    numbers = np.asarray(values) if len(values) else np.array([np.nan])
    p50, p99 = np.quantile(numbers, (0.5, 0.99), method="inverted_cdf").tolist()
    return {"count": len(values), "p50": p50, "p99": p99}


class Generator:
    """The users of one process."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._stamps, self._took = array("q"), array("q")
        self._noting = False
        context = ssl.create_default_context(cafile=options.ca) if options.ca else None
        environment = Environment(user_classes=[User])
        environment.create_local_runner()
        if options.work == "service":
            environment.events.request.add_listener(self._on_request)  # type: ignore[no-untyped-call]
        on_stamp = self._on_stamp if options.work == "stamp" else None
        self._desk = Desk(options.url, context, environment, on_stamp, self._took.append)
        self._people: list[Person] = [KINDS[options.kind](self._desk, n) for n in range(options.users)]

    def _on_stamp(self, arrived: int, stamp: int) -> None:
        if self._noting:
            self._stamps.append(abs(arrived - stamp))

    def _on_request(self, response_time: float, **_: Any) -> None:
        self._took.append(round(response_time * clock.MILLISECOND))

    # --- Works ---

    def receive(self) -> None:
        self._open()
        gevent.joinall([gevent.spawn(person.listen) for person in self._people])

    def echo(self) -> None:
        self._open()
        self._forever(lambda person: person.echo())

    def connect(self) -> None:
        def once(person: Person) -> None:
            person.open()
            person.close()

        self._forever(once)

    def https(self) -> None:
        self._forever(lambda person: person.ask())

    def stamp(self) -> dict[int, dict[str, float]]:
        self._open()
        for person in self._people:
            gevent.spawn(person.listen)
        found = {}
        with self._busy() as reach:
            for level in self._options.level:
                reach(level / 100)
                self._stamps = array("q")
                self._noting = True
                used = _cpu_share(self._options.seconds)
                self._noting = False
                found[level] = {**quantiles(self._stamps), "cpu": 100 * used}
        return found

    def service(self) -> dict[str, float]:
        lags = array("q")
        interval = clock.ns(len(self._people) / self._options.rate)
        begin = clock.now() + clock.SECOND // 2
        end = begin + clock.ns(self._options.seconds)

        def live(person: Person, number: int) -> None:
            intended = begin + number * interval // len(self._people)
            while intended < end:
                gevent.sleep(max(0, intended - clock.now()) / clock.SECOND)
                lags.append(clock.now() - intended)
                person.ask()
                intended += interval

        gevent.joinall(
            [gevent.spawn(live, person, n) for n, person in enumerate(self._people)], raise_error=True
        )
        lag = quantiles(lags)
        return {**quantiles(self._took), "lag_p50": lag["p50"], "lag_p99": lag["p99"]}

    def record(self) -> dict[str, float]:
        before = time.process_time_ns()
        self._people[0].record(_ROWS)
        return {"ns": (time.process_time_ns() - before) / _ROWS}

    # --- What they share ---

    def _open(self) -> None:
        dialling = Pool(_DIALLING)
        for each in [dialling.spawn(person.open) for person in self._people]:
            each.get()
        gc.collect()
        gc.freeze()

    def _forever(self, do: Callable[[Person], None]) -> None:
        def live(person: Person) -> None:
            while True:
                do(person)

        gevent.joinall([gevent.spawn(live, person) for person in self._people], raise_error=True)

    @contextlib.contextmanager
    def _busy(self) -> Iterator[Callable[[float], None]]:
        """Give what lets the process use so much of a core altogether, by using CPU in short bursts."""
        dice = random.Random(7)
        pause = [0.0]  # s, mean; 0 is at rest

        def burn() -> None:
            while True:
                gevent.sleep(dice.expovariate(1 / pause[0]) if pause[0] else 0.05)
                until = time.thread_time_ns() + _BURST
                while pause[0] and time.thread_time_ns() < until:
                    pass

        burners = [gevent.spawn(burn) for _ in range(_BURNERS)]
        at_rest = _cpu_share(_SETTLING_S)

        def reach(share: float) -> None:
            wanted = share - at_rest
            if wanted < _NEAR:
                return
            pause[0] = _BURNERS * _BURST / clock.SECOND / wanted
            shortest = pause[0] / 2  # because a core that neighbours take would never be enough
            for _ in range(5):
                burnt = max(0.005, _cpu_share(_SETTLING_S) - at_rest)
                if abs(burnt - wanted) < _NEAR:
                    return
                pause[0] = min(1.0, max(shortest, pause[0] * burnt / wanted))

        yield reach
        gevent.killall(burners)


def _cpu_share(seconds: float) -> float:
    """Wait; return how much of a core the process used meanwhile."""
    cpu, wall = time.process_time_ns(), clock.now()
    gevent.sleep(seconds)
    return (time.process_time_ns() - cpu) / (clock.now() - wall)


def main(arguments: Sequence[str] | None = None) -> None:
    """Work, and print what came out of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("work", choices="receive echo connect https stamp service record".split())
    parser.add_argument("url")
    parser.add_argument("--ca")
    parser.add_argument("--users", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rate", type=float, default=1.0)
    parser.add_argument("--level", type=int, action="append", default=[], help="per cent of CPU, rising")
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(json.dumps(getattr(Generator(options), options.work)()), flush=True)


if __name__ == "__main__":
    main()
