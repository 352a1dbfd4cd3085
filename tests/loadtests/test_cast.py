"""Who comes is the same for any number of workers: kinds, numbers, people; and nobody twice."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.cast import GENERATION, Casting, Dispatcher, Kind, Seats, places, plan_hash, worker_of

KINDS = (Kind("Host", 0, 2), Kind("Writer", 0, 2), Kind("Lurker", 1), Kind("Senior", 3), Kind("Volunteer", 2))
some_kinds = st.lists(st.tuples(st.floats(0.1, 9), st.integers(0, 4)), min_size=1, max_size=4).map(
    lambda found: tuple(Kind(f"k{n}", share, fixed if n else 0) for n, (share, fixed) in enumerate(found))
)


class Node:
    """A worker, as Locust's dispatcher knows it."""

    def __init__(self, identity: str) -> None:
        self.id = identity


def test_who_is_fixed_comes_first_and_the_others_by_their_shares() -> None:
    """Two hosts and two writers, then six of one share after the other."""
    first = [place.kind for place in islice(places(KINDS), 4)]
    assert sorted(first) == ["Host", "Host", "Writer", "Writer"]
    rest = [place.kind for place in islice(places(KINDS), 4, 604)]
    assert [rest.count(kind) for kind in ("Lurker", "Senior", "Volunteer")] == [100, 300, 200]


@given(some_kinds, st.integers(1, 9), st.integers(0, 60))
def test_workers_share_everybody_out(kinds: tuple[Kind, ...], workers: int, users: int) -> None:
    """Nobody is missing, nobody is with two, and no worker has two more than another."""
    everybody = list(islice(places(kinds), users))
    by_worker = [
        [place for place in everybody if worker_of(place.number, workers) == w] for w in range(workers)
    ]
    assert sorted(place for own in by_worker for place in own) == sorted(everybody)
    assert max(map(len, by_worker)) - min(map(len, by_worker)) <= 1
    counts = Casting(kinds).counts(users, workers)
    for own, count in zip(by_worker, counts, strict=True):
        assert count == {kind.name: sum(place.kind == kind.name for place in own) for kind in kinds}


@given(some_kinds, st.integers(1, 5))
def test_people_are_unique_and_the_same_for_any_number_of_workers(
    kinds: tuple[Kind, ...], workers: int
) -> None:
    """The seats that workers take are those that one alone would, and so are the people on them."""
    users = 24
    alone = Seats(kinds)
    one = {
        seat.place: [seat.person(), seat.person()]
        for seat in (alone.take(p.kind) for p in islice(places(kinds), users))
    }
    many = {}
    for worker in range(workers):
        seats = Seats(kinds, worker, workers)
        for place in islice(places(kinds), users):
            if worker_of(place.number, workers) == worker:
                seat = seats.take(place.kind)
                many[seat.place] = [seat.person(), seat.person()]
    assert many == one
    numbers = [number for people in many.values() for number in people]
    assert len(set(numbers)) == 2 * users
    assert max(numbers) < 2 * GENERATION


def test_a_seat_that_is_left_is_taken_by_somebody_else() -> None:
    """Same number of the user, another person."""
    seats = Seats(KINDS)
    seat = seats.take("Senior")
    first = seat.person()
    seats.leave(seat)
    again = seats.take("Senior")
    assert (again.place, again.person()) == (seat.place, first + GENERATION)


def test_the_hash_is_of_all_that_makes_a_plan() -> None:
    """Another seed, scenario, schedule, number or mix of people is another plan."""
    base: dict[str, Any] = {"kinds": KINDS, "users": 30, "seed": 1, "scenario": "s", "arrivals": "a"}
    others: list[dict[str, Any]] = [
        {"kinds": KINDS[2:]},
        {"users": 31},
        {"seed": 2},
        {"scenario": "t"},
        {"arrivals": "b"},
    ]

    def hashed(**change: Any) -> str:
        given = {**base, **change}
        return plan_hash(given.pop("kinds"), given.pop("users"), **given)

    assert hashed() == hashed()
    assert len({hashed(), *(hashed(**change) for change in others)}) == 6


def test_dispatching_ramps_up_and_leaves_the_lost_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many a second; one that is lost, or comes back, gets nobody, and the others no more than before."""
    waited: list[float] = []
    monkeypatch.setattr("loadtests.cast.gevent.sleep", waited.append)
    index = {"a": 0, "b": 1}
    nodes = [Node("a"), Node("b"), Node("stranger")]
    made = Dispatcher(nodes, [], casting=Casting(KINDS), index=lambda: index)
    made.new_dispatch(10, 4)
    sums = [sum(sum(counts.values()) for counts in now.values()) for now in made]
    assert (sums, waited) == ([4, 8, 10], [1.0, 1.0])
    made.new_dispatch(10, 4)
    (before,) = made
    assert set(before) == {"a", "b"}
    made.remove_worker(nodes[1])
    made.add_worker(nodes[1])
    made.new_dispatch(10, 4)
    assert list(made) == [{"a": before["a"]}]
    made.new_dispatch(3, 4)
    assert [now["a"] for now in made] == [Casting(KINDS).counts(users, 2)[0] for users in (6, 3)]
