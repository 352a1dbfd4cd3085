"""Scheduled calls, availability and settings."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import UNSET

from scenarios.actor import GONE, Actor
from scenarios.journeys.meeting import connections, look_at
from scenarios.people import sentence
from talkamie.contract import (
    LIST_PAGE,
    BackgroundCheck,
    Schedule,
    ScheduleInput,
    ScheduleUpdate,
    Slot,
    UserUpdate,
    WeeklyAvailability,
)

_WORKING_DAY = [Slot(start="09:00", end="12:00"), Slot(start="14:00", end="18:00")]
_DROPS = 0.2  # share of looked-at schedules that are deleted, assumed


def schedule(actor: Actor) -> None:
    """Choose a connection, look when they are available, and make an appointment."""
    with actor.journey("schedule"):
        found = connections(actor)
        if not found:
            return
        other = look_at(actor, actor.rng.choice(found).id)
        if other is None:
            return
        actor.think("profile-read")
        begins = _some_hour(actor)
        wanted = ScheduleInput(
            title=sentence(actor.rng)[:60],
            type=actor.rng.choice(("audio", "video")),
            recurrence=actor.rng.choice(("none", "none", "daily", "weekly")),
            start_date_time=_text(begins),
            end_date_time=_text(begins + timedelta(hours=1)),
        )
        actor.call("schedule-call", wanted, id=other.id, expect=GONE)
        actor.call("get-schedules", page_size=LIST_PAGE)


def reschedule(actor: Actor) -> None:
    """Look through the schedules and move one, or drop it."""
    with actor.journey("schedule"):
        found: list[Schedule] = actor.call("get-schedules", page_size=LIST_PAGE)
        actor.call("get-past-schedules", page_size=LIST_PAGE)
        if not found:
            return
        actor.think("look")
        one: Schedule | None = actor.call("get-schedule", id=actor.rng.choice(found).id, expect=GONE)
        if one is None:
            return
        actor.think("look")
        if actor.rng.random() < _DROPS:
            actor.call("delete-schedule", id=one.id, expect=GONE)
            return
        begins = _some_hour(actor)
        moved = ScheduleUpdate(
            title=sentence(actor.rng)[:60],
            type=one.type,
            recurrence="none",
            start_date_time=_text(begins),
            end_date_time=_text(begins + timedelta(hours=1)),
        )
        actor.call("update-schedule", moved, id=one.id, expect=GONE)


def clear(actor: Actor) -> None:
    """Drop all appointments with somebody."""
    with actor.journey("schedule"):
        if found := connections(actor):
            actor.call("clear-schedules", id=actor.rng.choice(found).id)


def settings(actor: Actor) -> None:
    """Look at one's availability, set it, and mend the profile."""
    me = actor.user.id
    assert me is not UNSET
    with actor.journey("settings"):
        actor.together(
            lambda: actor.call("get-weekly-availability"), lambda: actor.call("get-custom-availability")
        )
        actor.think("form")
        if actor.rng.random() < 0.5:
            actor.call("set-weekly-availability", WeeklyAvailability(mon=_WORKING_DAY, thur=_WORKING_DAY))
        else:
            actor.call("set-custom-availability", {_text(_some_hour(actor))[:10]: _WORKING_DAY})
        actor.think("form")
        actor.call("update-user", UserUpdate(bio=sentence(actor.rng)), id=me)
        if actor.person.type == "volunteer" and _is_unchecked(actor):
            actor.call("background-check", BackgroundCheck(dob="1990-01-31", state="CA"), id=me)


def _some_hour(actor: Actor) -> datetime:
    """Return a full hour within the next two weeks."""
    hours = actor.rng.randrange(1, 14 * 24)
    return actor.now().replace(minute=0, second=0, microsecond=0) + timedelta(hours=hours)


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _is_unchecked(actor: Actor) -> bool:
    """Return whether this volunteer has never asked for a background check: the app asks once."""
    verification = actor.user.verification
    asked = verification is not UNSET and verification.background is not UNSET
    first = "background-check" not in actor.seen
    actor.seen.add("background-check")
    return first and not asked
