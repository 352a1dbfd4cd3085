"""Scheduled calls: between two who may chat, past or not by the clock alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talkamie.server import timetable
from talkamie.server.service import from_iso, iso
from tests.talkamie.stores import Backend
from tests.talkamie.world import MONDAY, SECOND, Member, World, worlds

HOUR_S = 3600
DAY_S = 24 * HOUR_S


@given(
    start=st.integers(0, 10**13),
    length=st.integers(1, timetable.DAY_MS - 1),
    recurrence=st.sampled_from(["none", "daily", "weekly"]),
    now=st.integers(0, 2 * 10**13),
)
def test_an_occurrence_is_the_first_that_is_not_past(
    start: int, length: int, recurrence: str, now: int
) -> None:
    """Same length, a whole number of periods later, not past, and the one before it was."""
    begin, end = timetable.occurrence(start, start + length, recurrence, now)
    assert end - begin == length
    period = timetable.period(recurrence)
    if period is None:
        assert begin == start
        return
    assert (begin - start) % period == 0
    assert end >= now or begin == start
    assert timetable.status(begin, end, now) != "past"
    assert begin == start or end - period < now


slots = st.tuples(st.integers(0, 20), st.integers(1, 6), st.sampled_from(["none", "daily", "weekly"])).map(
    lambda slot: (slot[0], slot[0] + slot[1], slot[2])
)


@given(one=slots, other=slots)
@settings(max_examples=500, derandomize=True)
def test_timeslots_overlap_where_some_occurrences_do(one: timetable.Slot, other: timetable.Slot) -> None:
    """As trying them all says, with days of 4 and weeks of 6 hours; touching is no overlap."""
    with patch.dict(timetable.PERIOD_MS, {"daily": 4, "weekly": 6}):
        one, other = (short(slot) for slot in (one, other))
        tried = any(a < d and c < b for a, b in occurrences(one) for c, d in occurrences(other))
        assert timetable.overlap(one, other) is tried
        assert timetable.overlap(other, one) is tried


def short(slot: timetable.Slot) -> timetable.Slot:
    """Return the slot, cut to less than its period."""
    start, end, recurrence = slot
    period = timetable.period(recurrence)
    return slot if period is None else (start, min(end, start + period - 1), recurrence)


def occurrences(slot: timetable.Slot) -> list[tuple[int, int]]:
    start, end, recurrence = slot
    period = timetable.period(recurrence)
    return [(start + n * (period or 0), end + n * (period or 0)) for n in range(20 if period else 1)]


@pytest.mark.parametrize(
    ("now", "status"),
    [(99, "upcoming"), (100, "on-going"), (150, "on-going"), (200, "on-going"), (201, "past")],
)
def test_a_status_follows_from_now(now: int, status: str) -> None:
    """Both ends of a timeslot belong to it."""
    assert timetable.status(100, 200, now) == status


@given(ms=st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_instants_survive_the_wire(ms: int) -> None:
    """To text and back, for every millisecond of the years 1 to 9999."""
    assert from_iso(iso(ms)) == ms


def test_scheduling_is_a_message_and_an_alert(world: World) -> None:
    """The attendee gets one alert with schedule, whole chat and message; no new-message besides."""
    ann, bob, chat = world.friends()
    wire = bob.socket()
    made = schedule(ann, bob, title="Tea")
    assert made["schedule"]["attendee"]["id"] == bob.id
    assert made["message"]["type"] == "schedule"
    assert made["message"]["schedule"]["id"] == made["schedule"]["id"]
    assert made["chat"]["id"] == chat
    (push,) = wire.pushed()
    alert = push["data"]["alert"]
    assert alert["schedule"]["attendee"]["id"] == ann.id
    assert alert["chat"]["user"]["id"] == ann.id
    assert alert["message"]["id"] == made["message"]["id"]
    (message,) = bob.call("GET", f"/chat/{chat}/messages")["data"]
    assert message["schedule"]["title"] == "Tea"
    assert bob.call("GET", f"/schedule/{made['schedule']['id']}")["data"]["title"] == "Tea"


def test_only_those_who_may_chat_schedule(world: World) -> None:
    """403 for strangers; a schedule of others is not found by any operation."""
    ann, bob, _ = world.friends()
    eve = world.member()
    eve.call("POST", f"/user/{ann.id}/schedule", slot(world), status=403)
    ann.call("POST", f"/user/{ann.id}/schedule", slot(world), status=403)
    identity = schedule(ann, bob)["schedule"]["id"]
    eve.call("GET", f"/schedule/{identity}", status=404)
    eve.call("PUT", f"/schedule/{identity}", {"title": "mine"}, status=404)
    eve.call("DELETE", f"/schedule/{identity}", status=404)
    eve.call("DELETE", f"/user/{ann.id}/schedules")
    assert len(ann.call("GET", "/schedules")["data"]) == 1


def test_lists_follow_the_clock(world: World) -> None:
    """What is over moves from upcoming to past; what is going on is still upcoming's."""
    ann, bob, _ = world.friends()
    first = schedule(ann, bob, start_s=HOUR_S)["schedule"]["id"]
    second = schedule(ann, bob, start_s=3 * HOUR_S)["schedule"]["id"]
    assert lists(bob) == ([second, first], [], [first, second])
    world.later(HOUR_S)
    assert bob.call("GET", f"/schedule/{first}")["data"]["status"] == "on-going"
    assert lists(bob) == ([second, first], [], [first, second])
    world.later(HOUR_S + 1)
    assert lists(bob) == ([second, first], [first], [second])
    world.later(3 * HOUR_S)
    assert lists(ann) == ([second, first], [second, first], [])


def test_a_recurring_call_rolls_forward(world: World) -> None:
    """It is never past, and the lists are in the order of the next occurrences."""
    ann, bob, _ = world.friends()
    daily = schedule(ann, bob, start_s=HOUR_S, recurrence="daily")["schedule"]["id"]
    once = schedule(ann, bob, start_s=4 * HOUR_S)["schedule"]["id"]
    world.later(3 * HOUR_S)
    assert lists(ann)[2] == [once, daily]
    rolled = ann.call("GET", f"/schedule/{daily}")["data"]
    assert rolled["timeslot"]["from"] == iso(MONDAY + 1000 * (HOUR_S + DAY_S))
    assert rolled["status"] == "upcoming"


def test_changing_a_schedule_alerts_the_other(world: World) -> None:
    """Either party may, field by field."""
    ann, bob, _ = world.friends()
    identity = schedule(ann, bob)["schedule"]["id"]
    wire = ann.socket()
    changed = bob.call("PUT", f"/schedule/{identity}", {"title": "Cake"})["data"]
    assert (changed["title"], changed["type"]) == ("Cake", "audio")
    (push,) = wire.pushed()
    assert push["data"]["alert"]["schedule"]["title"] == "Cake"
    bob.call("PUT", f"/schedule/{identity}", {"endDateTime": iso(world.now)}, status=400)


def test_removing_schedules(world: World) -> None:
    """One by its id, all between two by the other's; the message stays, without one."""
    ann, bob, chat = world.friends()
    first = schedule(ann, bob)["schedule"]["id"]
    schedule(bob, ann)
    bob.call("DELETE", f"/schedule/{first}")
    bob.call("DELETE", f"/schedule/{first}", status=404)
    assert len(ann.call("GET", "/schedules")["data"]) == 1
    ann.call("DELETE", f"/user/{bob.id}/schedules")
    assert ann.call("GET", "/schedules")["data"] == []
    messages = ann.call("GET", f"/chat/{chat}/messages")["data"]
    assert [message["type"] for message in messages] == ["schedule", "schedule"]
    assert not any("schedule" in message for message in messages)


@pytest.mark.parametrize(
    "wrong",
    [
        {"startDateTime": "2025-02-31T10:00:00.000Z"},
        {"startDateTime": "0000-01-01T10:00:00.000Z"},
        {"startDateTime": "2025-06-01T25:00:00.000Z"},
        {"startDateTime": "2025-06-01T10:00:00+02:00"},
        {"startDateTime": "9999-12-31T23:59:59.999Z"},
        {"type": "telepathy"},
        {"title": ""},
        {"recurrence": "hourly"},
    ],
)
def test_a_timeslot_that_cannot_be_is_refused(world: World, wrong: dict[str, str]) -> None:
    """400, never 500."""
    ann, bob, _ = world.friends()
    ann.call("POST", f"/user/{bob.id}/schedule", slot(world) | wrong, status=400)


@given(
    wanted=st.lists(
        st.tuples(st.integers(-40, 40), st.integers(1, 23), st.sampled_from(["none", "daily", "weekly"])),
        min_size=1,
        max_size=5,
    ),
    waits=st.lists(st.integers(0, 200), min_size=1, max_size=3),
)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_lists_are_what_counting_hours_gives(
    backend: Backend, wanted: list[tuple[int, int, str]], waits: list[int]
) -> None:
    """Status, timeslot and place in the lists follow from the hours gone by, whatever was asked before."""
    with worlds(backend) as make:
        world = make()
        ann, bob, _ = world.friends()
        model = {}
        for start, length, recurrence in wanted:
            body = slot(world, start_s=start * HOUR_S, recurrence=recurrence)
            body["endDateTime"] = iso(MONDAY + 1000 * HOUR_S * (start + length))
            made = ann.call("POST", f"/user/{bob.id}/schedule", body)["data"]["schedule"]
            model[made["id"]] = (start, length, recurrence)
        now = 0
        for wait in waits:
            now += wait
            world.later(wait * HOUR_S)
            ann.renew()
            bob.renew()
            expected = {identity: rolled(*one, now) for identity, one in model.items()}
            for person in (ann, bob):
                everything, past, upcoming = lists(person)
                assert set(everything) == set(model)
                assert {one for one in model if expected[one][1] < now} == set(past)
                assert sorted(upcoming) == sorted(set(model) - set(past))
                assert [expected[one][0] for one in upcoming] == sorted(expected[one][0] for one in upcoming)
            for identity, (start, end) in expected.items():
                found = bob.call("GET", f"/schedule/{identity}")["data"]
                assert found["timeslot"]["from"] == iso(MONDAY + 1000 * HOUR_S * start)
                status = "upcoming" if now < start else "on-going" if now <= end else "past"
                assert found["status"] == status


@pytest.fixture
def strict(backend: Backend) -> Iterator[World]:
    """A world that checks for overlaps."""
    with worlds(backend) as make:
        yield make(check_overlap=True)


def test_nobody_is_in_two_calls_at_once(strict: World) -> None:
    """409 over another schedule of either party, made or moved, and a sentence whose it is."""
    ann, bob, _ = strict.friends()
    eve = strict.member()
    befriend(eve, bob)
    first = schedule(ann, bob)["schedule"]["id"]
    for me, other, whose in (
        (ann, bob, "You have"),
        (bob, ann, "You have"),
        (eve, bob, "The other party has"),
    ):
        refused = me.call("POST", f"/user/{other.id}/schedule", slot(strict, start_s=HOUR_S // 2), status=409)
        assert refused["message"] == f"{whose} another call scheduled then."
    second = schedule(eve, bob, start_s=2 * HOUR_S)["schedule"]["id"]
    moved = {"startDateTime": slot(strict)["startDateTime"]}
    eve.call("PUT", f"/schedule/{second}", moved, status=409)
    eve.call("PUT", f"/schedule/{second}", {"title": "Tea"})
    ann.call("PUT", f"/schedule/{first}", {"startDateTime": iso(strict.now)})
    ann.call("DELETE", f"/schedule/{first}")
    eve.call("PUT", f"/schedule/{second}", moved)


def test_a_recurring_call_is_in_the_way_every_time(strict: World) -> None:
    """Days later too, after it has rolled, and for another that recurs; what is past is in nobody's way."""
    ann, bob, _ = strict.friends()
    schedule(ann, bob)
    strict.later(3 * HOUR_S)
    schedule(ann, bob, start_s=-2 * HOUR_S + DAY_S, recurrence="daily")
    for days, recurrence in ((1, "none"), (9, "none"), (3, "weekly")):
        body = slot(strict, start_s=days * DAY_S - 2 * HOUR_S, recurrence=recurrence)
        ann.call("POST", f"/user/{bob.id}/schedule", body, status=409)
    schedule(ann, bob, start_s=0, recurrence="weekly")


def test_a_call_is_when_the_other_is_available(strict: World) -> None:
    """Any time until he says when; then only then, by every week or by that day."""
    ann, bob, _ = strict.friends()
    schedule(ann, bob)
    strict.later(HOUR_S)
    days = ("sun", "mon", "tue", "wed", "thur", "fri", "sat")
    weekly = {day: [{"start": "09:00", "end": "12:00"}] for day in days}
    bob.call("POST", "/availability/weekly", weekly)
    morning = noon(strict) - 3 * HOUR_S
    refused = ann.call(
        "POST", f"/user/{bob.id}/schedule", slot(strict, start_s=morning + DAY_S // 2), status=409
    )
    assert refused["message"] == "The other party is not available then."
    made = schedule(ann, bob, start_s=morning)["schedule"]
    late = {"endDateTime": iso(strict.now + (morning + 4 * HOUR_S) * SECOND)}
    ann.call("PUT", f"/schedule/{made['id']}", late, status=409)
    bob.call("PUT", f"/schedule/{made['id']}", late)
    bob.call("POST", "/availability/custom", {made["timeslot"]["from"][:10]: []})
    ann.call("POST", f"/user/{bob.id}/schedule", slot(strict, start_s=morning + 4 * HOUR_S), status=409)


def noon(world: World) -> int:
    """Return the seconds until noon of tomorrow, UTC."""
    return (timetable.DAY_MS - world.now % timetable.DAY_MS) // SECOND + DAY_S // 2


def befriend(one: Member, other: Member) -> None:
    one.call("POST", f"/user/{other.id}/connection")
    other.call("POST", f"/user/{one.id}/connection/accept")


def rolled(start: int, length: int, recurrence: str, now: int) -> tuple[int, int]:
    """Return the hours from and to of the occurrence that counts at `now`, by trying one after the other."""
    period = {"none": 0, "daily": 24, "weekly": 168}[recurrence]
    while period and start + length < now:
        start += period
    return start, start + length


def slot(
    world: World, start_s: int = HOUR_S, recurrence: str = "none", title: str = "Call"
) -> dict[str, Any]:
    start = world.now + 1000 * start_s
    return {
        "title": title,
        "type": "audio",
        "recurrence": recurrence,
        "startDateTime": iso(start),
        "endDateTime": iso(start + 1000 * HOUR_S),
    }


def schedule(me: Member, other: Member, **fields: Any) -> Any:
    return me.call("POST", f"/user/{other.id}/schedule", slot(me.world, **fields))["data"]


def lists(me: Member) -> tuple[list[str], list[str], list[str]]:
    """Return the ids of (all, past, upcoming)."""
    all_, past, upcoming = (
        [one["id"] for one in me.call("GET", path)["data"]]
        for path in ("/schedules", "/schedules/past", "/schedules/upcoming")
    )
    return all_, past, upcoming
