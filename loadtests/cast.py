"""Who is who: the kind and number of every virtual user, fixed before a run starts, whoever carries them out.

Rule: the k-th virtual user to come is of the same kind and has the same number, and hence the same people
with the same dice, for any number of workers. Each worker takes every k-th of them, one place further in each
round, so that no kind gathers in one worker. Nobody takes over for a worker that is lost: its people would be
others, and the plan not the plan.

The dispatcher stands in for Locust's, which deals users out by what is left to do on which worker.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import gevent

GENERATION = 1_000_000  # more than there are virtual users: numbers of those who come after somebody


class Kind(NamedTuple):
    """How many of a kind there are: a share of everybody, or a fixed number of those who come first."""

    name: str
    share: float
    fixed: int = 0


class Place(NamedTuple):
    """A virtual user to come: its kind, its number among all, its rank among its kind."""

    kind: str
    number: int
    rank: int


def places(kinds: tuple[Kind, ...]) -> Iterator[Place]:
    """Yield everybody in the order in which they come, without end unless all are fixed.

    Next is whose share is least served: the highest quotient of share and 2n + 1 (Webster, Sainte-Laguë).
    """
    ranks: Counter[str] = Counter()
    numbers = itertools.count()

    def deal(shares: dict[str, float], many: float) -> Iterator[Place]:
        heap = [(-share, name, 0) for name, share in sorted(shares.items()) if share > 0]
        heapq.heapify(heap)
        while heap and many > 0:
            many -= 1
            _, name, had = heap[0]
            heapq.heapreplace(heap, (-shares[name] / (2 * had + 3), name, had + 1))
            ranks[name] += 1
            yield Place(name, next(numbers), ranks[name] - 1)

    fixed = {kind.name: float(kind.fixed) for kind in kinds}
    yield from deal(fixed, sum(fixed.values()))
    yield from deal({kind.name: kind.share for kind in kinds if not kind.fixed}, math.inf)


def plan_hash(kinds: tuple[Kind, ...], users: int, *, seed: int, scenario: str, arrivals: str) -> str:
    """Return a digest of who comes, with which seed, to do what and when: equal digests are the same plan.

    `scenario` and `arrivals` are the digests of what people do and of the instants of an open model.
    """
    digest = hashlib.sha256(f"{seed} {scenario} {arrivals}".encode())
    for place in itertools.islice(places(kinds), users):
        digest.update(f" {place.kind}:{place.number}".encode())
    return digest.hexdigest()[:16]


def worker_of(number: int, workers: int) -> int:
    """Return which of so many workers, counted from 0, takes this virtual user."""
    return (number + number // workers) % workers


@dataclass(slots=True)
class Seat:
    """A place that somebody has, and how many people have had it before."""

    place: Place
    before: int = 0

    def person(self) -> int:
        """Return the number of the next person on this seat, which nobody else has."""
        self.before += 1
        return (self.before - 1) * GENERATION + self.place.number


class Seats:
    """The seats of one worker."""

    def __init__(self, kinds: tuple[Kind, ...], worker: int = 0, workers: int = 1) -> None:
        self._own = (place for place in places(kinds) if worker_of(place.number, workers) == worker)
        self._free: defaultdict[str, list[tuple[int, Seat]]] = defaultdict(list)

    def take(self, kind: str) -> Seat:
        """Return the first free seat of a kind."""
        while not self._free[kind]:
            place = next(self._own)
            self.leave(Seat(place))
        return heapq.heappop(self._free[kind])[1]

    def leave(self, seat: Seat) -> None:
        """Free a seat: whoever has it next is somebody else."""
        heapq.heappush(self._free[seat.place.kind], (seat.place.number, seat))


class Casting:
    """How many of each kind each worker has to have, as everybody comes."""

    def __init__(self, kinds: tuple[Kind, ...]) -> None:
        self._kinds = kinds
        self._everybody = places(kinds)
        self._known: list[Place] = []

    def counts(self, users: int, workers: int) -> list[dict[str, int]]:
        """Return by worker and kind how many of the first `users` it has."""
        self._known += itertools.islice(self._everybody, max(0, users - len(self._known)))
        found = [dict.fromkeys((kind.name for kind in self._kinds), 0) for _ in range(workers)]
        for place in self._known[:users]:
            found[worker_of(place.number, workers)][place.kind] += 1
        return found


class Dispatcher:
    """Stands in for `locust.dispatch.UsersDispatcher`, whose public methods these are."""

    def __init__(
        self,
        worker_nodes: list[Any],
        user_classes: list[Any],
        *,
        casting: Casting,
        index: Callable[[], Mapping[str, int]],
    ) -> None:
        """`index` gives for a worker's id at Locust its place among all workers of the run."""
        self._casting, self._index = casting, index
        self._present = {node.id for node in worker_nodes}
        self._users = self._target = 0
        self._rate = 1.0
        self.dispatch_in_progress = False

    def new_dispatch(self, target_user_count: int, spawn_rate: float, user_classes: Any = None) -> None:
        """See Locust's."""
        self._target, self._rate = target_user_count, spawn_rate

    def __iter__(self) -> Iterator[dict[str, dict[str, int]]]:
        """Yield by worker and kind how many users there should be now, waiting in between."""
        self.dispatch_in_progress = True
        step = max(1, math.floor(self._rate))
        while True:
            ahead = self._target - self._users
            self._users += max(-step, min(step, ahead))
            yield self._now()
            if self._users == self._target:
                break
            gevent.sleep(step / self._rate)
        self.dispatch_in_progress = False

    def _now(self) -> dict[str, dict[str, int]]:
        index = self._index()
        counts = self._casting.counts(self._users, len(index))
        return {node: counts[place] for node, place in index.items() if node in self._present}

    def add_worker(self, worker_node: Any) -> None:
        """See Locust's. Who comes late, or comes back, gets nothing: see above."""

    def remove_worker(self, worker_node: Any) -> None:
        """See Locust's."""
        self._present.discard(worker_node.id)
