"""What a worker has to do: the plan, which is the same for all workers of a run, and its share of it.

Pure: who comes, with which dice, to do what and when is a function of the scenario and the seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from msgspec import Struct

from loadtests import cast, sockets
from loadtests.pacing import Plan, plan
from scenarios.people import Person
from scenarios.population import Population
from scenarios.workload import Scenario

ALONE = "local"
"""The name of a worker that is the only one."""

Known = dict[str, dict[int, Person]]
"""People who have an account already, by their kind and their rank in it."""


class Order(Struct, kw_only=True, frozen=True):
    """The plan's few numbers, and a worker's place among all."""

    tag: str  # tells this run's people and messages from all others
    seed: int
    seconds: float  # how long people arrive, in an open model
    kinds: tuple[cast.Kind, ...]
    users: int
    name: str = ALONE
    worker: int = 0  # of `workers`, counted from 0
    workers: int = 1
    population: Population = Population()  # who has an account already, of all workers together


def arrivals(scenario: Scenario, order: Order) -> Plan | None:
    """Return the arrivals of an open model for all workers together; None of a closed one."""
    segments = scenario.load.segments(order.seconds)
    if not segments:
        return None
    spacing = scenario.load.spacing
    return plan(segments, scenario.recorded, spacing=spacing, seed=order.seed, seconds=order.seconds)


def own_places(order: Order) -> Iterator[cast.Place]:
    """Yield the virtual users of this worker."""
    everybody = islice(cast.places(order.kinds), order.users)
    return (each for each in everybody if cast.worker_of(each.number, order.workers) == order.worker)


def own_people(order: Order, everybody: Mapping[str, Sequence[Person]]) -> Known:
    """Return this worker's share of all people of a population."""
    found: Known = {}
    for each in own_places(order):
        kind = each.kind.lower()
        if each.rank < len(people := everybody.get(kind, ())):
            found.setdefault(kind, {})[each.rank] = people[each.rank]
    return found


def connections(scenario: Scenario, order: Order) -> int:
    """Return how many connections this worker has open at most: its people's, and their devices'."""
    found, devices = 0, scenario.rooms.devices
    for each in own_places(order):
        found += sockets.A_PERSON + (devices[each.rank] - 1 if each.kind == "Host" else 0)
    return found


def plan_hash(scenario: Scenario, order: Order) -> str:
    """Return the digest of the plan, whatever the worker: see `loadtests.cast`."""
    coming = arrivals(scenario, order)
    return cast.plan_hash(
        order.kinds,
        order.users,
        seed=order.seed,
        scenario=scenario.hash(),
        arrivals=coming.hash if coming else "",
    )
