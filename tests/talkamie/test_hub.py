"""The hub and its ledger: who is written to, who is cut off, and that the books say so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from talkamie.server.hub import EVICT_BYTES, Hub, failure, success, text_frame
from talkamie.server.ledger import Fate, Ledger
from talkamie.server.metrics import Metrics
from tests.talkamie.world import FakeConnection

SECOND = 1_000_000_000


def test_a_frame_reaches_every_socket_but_the_excepted(hub: Hub) -> None:
    """And each is one row."""
    one, other, asking = (add(hub, "bob") for _ in range(3))
    hub.deliver("bob", "alert", success("alert"), ["a1"], accepted=5, besides=asking)
    assert [len(frames(socket)) for socket in (one, other, asking)] == [1, 1, 0]
    assert [row[:5] for row in rows(hub)] == [["a1", "alert", "bob", n, 5] for n in (1, 2)]


def test_nobody_there_is_one_row(hub: Hub) -> None:
    """Fate offline, socket 0."""
    hub.deliver("bob", "new-message", success("new-message"), ["m1"], accepted=5)
    assert [(row[3], row[6]) for row in rows(hub)] == [(0, "offline")]


def test_a_slow_reader_is_evicted_and_the_others_are_served(hub: Hub) -> None:
    """Once: afterwards it is no socket of the user any more."""
    slow, quick = add(hub, "bob"), add(hub, "bob")
    slow.connection.backlog = EVICT_BYTES + 1
    for _ in range(2):
        hub.deliver("bob", "new-message", success("new-message"), ["m1"], accepted=1)
    assert slow.connection.aborted
    assert len(frames(quick)) == 2
    assert [row[6] for row in rows(hub)] == ["evicted", "sent", "sent"]
    assert len(hub) == 1


def test_online_is_having_an_open_socket(hub: Hub) -> None:
    """One that is closing does not count, and neither does one of nobody."""
    hub.open(FakeConnection(), 0)
    assert not hub.online("bob")
    socket = add(hub, "bob")
    assert hub.online("bob")
    socket.connection.close_with(1000, "")
    assert not hub.online("bob")


def test_authenticating_again_moves_the_socket(hub: Hub) -> None:
    """It is pushed to for its last user only."""
    socket = add(hub, "ann")
    hub.authenticate(socket, "bob", "s2")
    assert not hub.online("ann")
    assert hub.online("bob")


@pytest.mark.parametrize(
    ("age_s", "idle_s", "user", "limits", "code"),
    [
        (29, 29, None, True, None),
        (31, 1, None, True, 4408),
        (31, 1, None, False, 4408),
        (601, 599, "ann", True, None),
        (601, 601, "ann", True, 1001),
        (601, 601, "ann", False, None),
        (7201, 1, "ann", True, 1001),
        (7201, 1, "ann", False, None),
    ],
)
def test_time_is_up_for(
    hub: Hub, age_s: int, idle_s: int, user: str | None, limits: bool, code: int | None
) -> None:
    """The unauthenticated after the deadline, the idle after 10 minutes, everybody after 2 hours."""
    socket = hub.open(FakeConnection(), 0) if user is None else add(hub, user)
    socket.last_seen = (age_s - idle_s) * SECOND
    hub.sweep(age_s * SECOND, auth_deadline_s=30, platform_limits=limits)
    connection: Any = socket.connection
    assert (connection.closed and connection.closed[0]) == code


@pytest.mark.parametrize(
    ("size", "head"),
    [(0, "8100"), (125, "817d"), (126, "817e007e"), (65535, "817effff"), (65536, "817f0000000000010000")],
)
def test_a_frame_is_what_the_standard_says(size: int, head: str) -> None:
    """RFC 6455, 5.2: seven bits of length, or 126 and sixteen, or 127 and sixty-four."""
    assert text_frame(b"x" * size) == bytes.fromhex(head) + b"x" * size


def test_a_failure_has_no_action_where_none_was_read() -> None:
    """Clients ignore a frame without one, so nothing is invented."""
    assert json.loads(failure(None, 400, "no")[2:]) == {"success": False, "statusCode": 400, "message": "no"}


def test_a_full_ledger_counts_what_it_drops() -> None:
    """Nothing is lost silently; the summary still counts all."""
    ledger = Ledger(capacity=3)
    for number in range(5):
        enter(ledger, f"m{number}")
    book = json.loads(ledger.rows(0))
    assert (book["total"], book["dropped"]) == (3, 2)
    assert [row[0] for row in book["rows"]] == ["m0", "m1", "m2"]
    assert ledger.summary() == {"new-message": {"sent": 5}}


def test_any_part_of_the_ledger_can_be_read() -> None:
    """Across chunks, from any row, up to any limit."""
    ledger = Ledger()
    for number in range(25_000):
        enter(ledger, f"m{number}")
    for since, limit in (
        (0, 3),
        (9_999, 2),
        (10_000, 1),
        (19_990, 20),
        (24_999, 10),
        (25_000, 10),
        (99_999, 1),
    ):
        found = [row[0] for row in json.loads(ledger.rows(since, limit))["rows"]]
        assert found == [f"m{number}" for number in range(since, min(since + limit, 25_000))]
    assert len(json.loads(ledger.rows(0))["rows"]) == 25_000


@pytest.fixture
def hub() -> Hub:
    return Hub(Metrics())


def add(hub: Hub, user: str) -> Any:
    socket = hub.open(FakeConnection(), 0)
    hub.authenticate(socket, user, "s1")
    return socket


def frames(socket: Any) -> list[Any]:
    found: list[Any] = socket.connection.frames
    return found


def rows(hub: Hub) -> list[Any]:
    found: list[Any] = json.loads(hub.ledger.rows(0))["rows"]
    return found


def enter(ledger: Ledger, ids: str) -> None:
    ledger.add(ids, "new-message", "bob", socket=1, accepted=1, written=2, fate=Fate.SENT)
