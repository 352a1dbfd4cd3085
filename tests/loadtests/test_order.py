"""What a worker has to do is its share of what all have to do."""

from __future__ import annotations

from itertools import chain

import msgspec
import pytest

from loadtests.cast import Kind
from loadtests.order import Order, connections, own_people
from scenarios import workload
from scenarios.population import Population

KINDS = (Kind("Host", 0, 2), Kind("Writer", 0, 2), Kind("Senior", 2), Kind("Volunteer", 1))
ORDER = Order(tag="ab12", seed=7, seconds=1, kinds=KINDS, users=20)
ROOMS = """description = "Rooms, and some others"

[load]
users = 20

[people]
senior = 2
volunteer = 1

[senior]
chat = 1

[volunteer]
chat = 1

[rooms]
devices = [100, 300]
"""


def shares(workers: int) -> list[Order]:
    """Return the order of each of so many workers."""
    return [msgspec.structs.replace(ORDER, worker=n, workers=workers) for n in range(workers)]


@pytest.mark.parametrize("workers", [1, 2, 3, 20])
def test_each_account_is_with_one_worker(workers: int) -> None:
    """Of all that there are for the people of this run, none is missing and none is twice."""
    everybody = Population(tag="ab12", counts={"senior": 9, "volunteer": 5, "lurker": 2}).people(7)
    found = [own_people(order, everybody) for order in shares(workers)]
    for kind in ("senior", "volunteer"):
        ranks = list(chain.from_iterable(each.get(kind, {}) for each in found))
        assert sorted(ranks) == list(range(len(everybody[kind])))
        assert all(everybody[kind][rank] == who for each in found for rank, who in each.get(kind, {}).items())
    assert not any("lurker" in each for each in found)  # nobody of that kind comes


@pytest.mark.parametrize("workers", [1, 2, 3, 20])
def test_the_connections_of_all_workers_are_those_of_all_people_and_devices(workers: int) -> None:
    """Four a person, and one for each device but the one that a host reads on, with its host's worker."""
    scenario = workload.parse(ROOMS, name="rooms", file="rooms.toml")
    found = [connections(scenario, order) for order in shares(workers)]
    assert sum(found) == 20 * 4 + 99 + 299
    assert max(found) >= 4 + 299
