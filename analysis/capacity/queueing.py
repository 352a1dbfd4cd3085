"""Two laws of queues, to check what was measured. Pure: numbers in, numbers out."""

from __future__ import annotations

from msgspec import Struct

from analysis.capacity.points import Point
from analysis.capacity.usl import Fit
from analysis.stats import SECOND

LITTLE = 0.05
UTILISATION = 0.8
MANY = 100_000
"""Of more servers none waits at a utilisation of 0.9 or less: the probability is below 1e-200."""


class Little(Struct, frozen=True):
    """Little's law at one point: as many are under way as come per second times how long they stay."""

    source: str
    load: float
    measured: float  # mean number under way
    expected: float  # rate x response time
    holds: bool  # the two are within 5 %


class Waiting(Struct, frozen=True):
    """What an M/M/c queue as large and as fast as the target would do, at a share of its capacity."""

    servers: int
    service: int  # ns: the time that one needs alone
    utilisation: float
    waits: float  # share of arrivals that wait
    wait: int  # ns: mean wait of all arrivals


def little(points: list[Point]) -> list[Little]:
    """Return the check of each point that has a response time (Little, Operations Research 9, 1961)."""
    found = []
    for point in points:
        if point.response and point.in_system and point.rate:
            expected = point.rate * point.response / SECOND
            holds = abs(expected / point.in_system - 1) <= LITTLE
            found.append(Little(point.source, point.load, point.in_system, expected, holds))
    return found


def erlang_c(servers: int, offered: float) -> float:
    """Return the probability of waiting in M/M/c at an offered load in erlangs below `servers`.

    By the recursion of Erlang's B, which never overflows (Gross et al., Fundamentals of Queueing Theory,
    4th ed., 2.3).
    """
    if not 0 < offered < servers:
        raise ValueError(f"a queue with {servers} servers has no steady state at {offered:g} erlangs")
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = offered * blocked / (number + offered * blocked)
    return blocked / (1 - offered / servers * (1 - blocked))


def waiting(fit: Fit, utilisation: float = UTILISATION) -> Waiting:
    """Return the waiting of the queue that the fit amounts to: capacity / g servers, each 1 / g a unit."""
    service = 1 / fit.single.value
    servers = max(1, round(fit.capacity * service))
    offered = utilisation * servers
    waits = erlang_c(servers, offered) if servers <= MANY else 0.0
    return Waiting(
        servers=servers,
        service=round(service * SECOND),
        utilisation=utilisation,
        waits=waits,
        wait=round(waits * service / (servers - offered) * SECOND),
    )
