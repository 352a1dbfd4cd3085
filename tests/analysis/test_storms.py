"""What a storm did, from when everybody was online, what was sent meanwhile, and the attempts to connect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pandas as pd
import pytest

from analysis.frames import Frames
from analysis.storms import Storm, storms
from reports.sample import Fate, Kind, Outcome

ORIGIN, MS, SECOND = 5_000_000_000, 1_000_000, 1_000_000_000
BEGIN = ORIGIN + 10 * SECOND


def frames(
    back: Mapping[str, float | None],
    *,
    chats: Sequence[tuple[str, float, Fate]] = (),
    connects: Sequence[tuple[float, Outcome]] = (),
    planned: int = 1,
    stopped: float = 40.0,
) -> Frames:
    """Return a run: who came back how many ms after the storm, what was sent to whom and when (ms)."""
    presence = []
    for number, (user, after) in enumerate(back.items()):
        presence.append((user, number, True, ORIGIN + SECOND))
        presence.append((user, number, False, BEGIN + MS))
        if after is not None:
            presence.append((user, 100 + number, True, BEGIN + round(after * MS)))
    presence.append(("away", 50, True, ORIGIN + SECOND))  # who left before it
    presence.append(("away", 50, False, ORIGIN + 2 * SECOND))
    ledger = [
        {
            "operation": "chat.delivered",
            "recipient": to,
            "sent": BEGIN + round(at * MS),
            "arrived": BEGIN + round(at * MS) + MS if fate is Fate.DUPLICATE else 0,
            "fate": fate.value,
        }
        for to, at, fate in chats
    ]
    columns = ["operation", "recipient", "sent", "arrived", "fate"]
    samples: list[dict[str, Any]] = [
        {
            "kind": int(Kind.CONNECT),
            "operation": "wss.connect",
            "sent": BEGIN + round(at * MS),
            "outcome": outcome,
        }
        for at, outcome in connects
    ]
    manifest = SimpleNamespace(
        origin_ns=ORIGIN,
        deadline_ns=5 * SECOND,
        scenario=SimpleNamespace(config={"storm": {"at_s": [5.0] * planned}}),
        phases=[SimpleNamespace(name="drain", from_ns=ORIGIN + round(stopped * SECOND))],
    )
    made = SimpleNamespace(
        manifest=manifest,
        events=[{"kind": "steady", "at_ns": ORIGIN}, {"kind": "storm", "at_ns": BEGIN, "sockets": len(back)}],
        presence=pd.DataFrame(presence, columns=["user", "socket", "online", "at"]),
        deliveries=pd.DataFrame(ledger, columns=columns).astype({"sent": "int64", "arrived": "int64"}),
        samples=pd.DataFrame(samples, columns=["kind", "operation", "sent", "outcome"]).astype(
            {"kind": "int8", "sent": "int64"}
        ),
    )
    return cast("Frames", made)


def test_it_is_over_for_99_in_a_hundred_when_all_but_one_of_them_are_back() -> None:
    """The nearest rank: of 100 people the 99th who comes back counts, of 2 both."""
    many = {f"u{number}": 10.0 * (number + 1) for number in range(100)}
    (found,) = storms(frames(many))
    assert (found.people, found.back, found.sockets) == (100, 100, 100)
    assert found.recovery == 990 * MS
    (found,) = storms(frames({"a": 20, "b": 70}))
    assert found.recovery == 70 * MS
    assert "99 % back after 70.0 ms" in found.sentence


def test_who_is_not_back_in_time_is_not_back() -> None:
    """Then there is no time to tell, but how many came; the end of the run is the end of the storm."""
    (found,) = storms(frames({"a": 20, "b": None}))
    assert (found.people, found.back, found.recovery) == (2, 1, None)
    assert "only 1 came back" in found.sentence
    (found,) = storms(frames({"a": 20, "b": 35_000}))
    assert found.back == 1


def test_the_backlog_is_drained_when_the_last_who_missed_something_is_back() -> None:
    """Only what was sent while the storm kept its recipient away was missed because of it."""
    chats = [
        ("a", 10, Fate.OFFLINE),
        ("b", 300, Fate.OFFLINE),
        ("b", 900, Fate.OFFLINE),  # back by then, and away for a reason of their own
        ("away", 100, Fate.OFFLINE),
        ("a", -100, Fate.UNKNOWN),
        ("a", -6000, Fate.UNKNOWN),
        ("a", 700, Fate.DUPLICATE),
    ]
    (found,) = storms(frames({"a": 20, "b": 400, "c": 600}, chats=chats))
    assert (found.missed, found.drained) == (2, 400 * MS)
    assert (found.unknown, found.duplicates) == (1, 1)
    (found,) = storms(frames({"a": 20, "b": None}, chats=chats))
    assert (found.missed, found.drained) == (3, None)


def test_the_peak_is_of_any_second_and_not_of_a_clock_s() -> None:
    """Attempts after everybody is back are not the storm's."""
    at = [100.0, 900, 950, 1050, 1099, 2500, 9000]
    outcomes = [Outcome.BROKEN, Outcome.TIMEOUT, *[Outcome.OK] * 5]
    (found,) = storms(frames({"a": 3000}, connects=list(zip(at, outcomes, strict=True))))
    assert (found.attempts, found.failed, found.peak) == (6, 2, 5)


@pytest.mark.parametrize("people", [{}, {"a": 20.0}])
def test_without_a_storm_in_the_scenario_there_is_none(people: dict[str, float | None]) -> None:
    """And one that nobody was in has no figures."""
    assert storms(frames(people, planned=0)) == []
    (found,) = storms(frames(people))
    assert isinstance(found, Storm)
    assert (found.recovery is None) == (not people)
