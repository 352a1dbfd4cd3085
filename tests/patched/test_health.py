"""One row a process and second, from counters: what is written is what happened since the row before."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import psutil
import pytest

from loadtests import clock
from loadtests.health import Collections, Health, of_pid
from loadtests.recorder import Recorder
from loadtests.usage import Reading, Usage
from reports.parts import PartWriter, find_parts
from reports.sample import RESOURCES, Kind

MS, SECOND = 1_000_000, 1_000_000_000


class Counters:
    """A reader of sockets with counters that a test sets; some of what they count was before the run."""

    reads, frames, coalesced, unstamped = 100, 200, 50, 7


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    """A recorder with a folder of its own."""
    return Recorder(PartWriter(tmp_path, "w"))


@pytest.fixture
def receiver() -> Counters:
    """A reader of sockets."""
    return Counters()


@pytest.fixture
def health(recorder: Recorder, receiver: Counters) -> Iterator[Health]:
    """A watcher of this process, which is also "the server"."""
    made = Health(recorder, of_pid(os.getpid()), receiver)
    yield made
    made.stop()


def rows(recorder: Recorder, folder: Path) -> list[dict[str, Any]]:
    """Flush, and return all rows of resources so far."""
    recorder.flush()
    (part,) = (part for part in find_parts(folder) if part.table == "resources")
    return [row for batch in part.batches() for row in batch.to_pylist()]


def test_counters_become_what_happened_since_the_row_before(
    health: Health, recorder: Recorder, receiver: Counters, tmp_path: Path
) -> None:
    """Reads, frames and dropped starts are differences; the server's row has none of them."""
    receiver.reads, receiver.frames, receiver.coalesced, receiver.unstamped = 110, 230, 56, 8
    health.dropped = 2
    health.note(users=5, sockets=4)
    receiver.reads, receiver.frames = 115, 240
    health.note(users=5, sockets=4)
    assert health.received() == {"reads": 15, "unstamped": 1, "frames": 40, "coalesced": 6}
    first, server, second, _ = rows(recorder, tmp_path)
    assert set(first) == set(RESOURCES.names)
    assert [first[name] for name in ("reads", "frames", "coalesced", "unstamped", "dropped")] == [
        10,
        30,
        6,
        1,
        2,
    ]
    assert [second[name] for name in ("reads", "frames", "coalesced", "unstamped", "dropped")] == [
        5,
        10,
        0,
        0,
        0,
    ]
    assert (first["users"], first["sockets"]) == (5, 4)
    assert server["process"] == "server"
    assert server["rss"] == pytest.approx(first["rss"], rel=0.2)
    assert (server["reads"], server["users"]) == (0, 0)


def test_lags_are_those_of_the_second(health: Health, recorder: Recorder, tmp_path: Path) -> None:
    """Send lag of what had a time of its own, read lag of answers and pushes; none is carried over."""
    common: dict[str, Any] = {"journey": "", "user": 1, "arrived": 100 * MS}
    recorder.sample(Kind.PING, "wss.ping", intended=0, sent=7 * MS, seen=101 * MS, **common)
    recorder.sample(Kind.PING, "wss.ping", intended=50 * MS, sent=50 * MS, seen=103 * MS, **common)
    recorder.arrival("k", "chat.delivered", recipient="u", socket=1, arrived=MS, seen=6 * MS)
    assert recorder.lags()[1:] == ([7 * MS], [MS, 3 * MS, 5 * MS])
    health.note(users=1, sockets=1)
    first = rows(recorder, tmp_path)[0]
    assert (first["send_lag_p99"], first["read_lag_p99"]) == (7 * MS, 5 * MS)
    health.note(users=1, sockets=1)
    later = rows(recorder, tmp_path)[2]
    assert (later["send_lag_p99"], later["read_lag_p99"]) == (0, 0)


def test_instants_that_a_stall_swallowed_count_as_late(health: Health, recorder: Recorder) -> None:
    """A loop that nobody may use for 100 ms is late for each instant within, not for one of them."""
    gevent.sleep(0)
    until = clock.now() + 100 * MS
    while clock.now() < until:
        pass
    gevent.sleep(0.02)
    late = [lag for lag in recorder.lags()[0] if lag > 5 * MS]
    assert len(late) > 2


def test_collections_are_counted_with_their_time() -> None:
    """Two collections of 3 and 4 ms are two and 7 ms."""
    collections = Collections()
    for begin, end in ((10, 13), (20, 24)):
        collections.note("start", begin * MS)
        collections.note("stop", end * MS)
    assert (collections.runs, collections.pause) == (2, 7 * MS)


def test_a_source_that_says_nothing_new_or_begins_anew_gives_no_row(
    recorder: Recorder, receiver: Counters, tmp_path: Path
) -> None:
    """The next row tells of the longer time; of what was used before a restart nothing is known."""
    said = [None, (1, 2), (1, 2), (3, 5), (4, 1), (5, 2)]  # second, CPU seconds
    readings = iter(
        each and Reading(each[0] * SECOND, Usage(each[1] * SECOND, 0, 0, 0, 7, 0)) for each in said
    )
    made = Health(recorder, lambda: next(readings), receiver)
    for _ in said[1:]:
        made.note(users=0, sockets=0)
    made.stop()
    server = [row for row in rows(recorder, tmp_path) if row["process"] == "server"]
    assert [(row["at"] // SECOND, row["cpu"], row["rss"]) for row in server] == [(3, 1.5, 7), (5, 1.0, 7)]


def test_a_server_that_is_gone_is_not_asked_again(recorder: Recorder, receiver: Counters) -> None:
    """The run will hear of it from its own requests."""
    asked = []

    def gone() -> None:
        asked.append(1)
        raise psutil.NoSuchProcess(1)

    made = Health(recorder, gone, receiver)
    made.note(users=0, sockets=0)
    made.stop()
    assert len(asked) == 1


def test_a_stopped_watcher_leaves_no_callback(recorder: Recorder) -> None:
    """The collector of a process that goes on is not told of for ever."""
    before = list(gc.callbacks)
    Health(recorder, None, Counters()).stop()
    assert gc.callbacks == before
