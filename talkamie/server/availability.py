"""When a user can be called: the same every week, but for the days he named.

Each map is replaced as a whole. Times are UTC; a slot ends on the day it begins.
"""

from __future__ import annotations

import msgspec

from talkamie.contract import CustomAvailability, Page, WeeklyAvailability, WeeklyInput, WeekQuery
from talkamie.server import timetable, views
from talkamie.server.registry import operation
from talkamie.server.service import Call, Problem, cursor, from_iso, given, iso
from talkamie.server.store import Session

_THURSDAY = 4  # 1970 began with one; the week begins with Sunday
_encode = msgspec.json.Encoder().encode


@operation("get-custom-availability")
async def get_custom(call: Call, *, query: Page) -> CustomAvailability:
    """Return the days on which I am available otherwise. One page holds them all: they are set together."""
    if cursor(query) is not None:
        return {}
    row = await call.db.one("select * from users where id = $1", call.me)
    return {} if row is None else given(views.availability(row).custom) or {}


@operation("get-weekly-availability")
async def get_weekly(call: Call, *, query: WeekQuery) -> WeeklyAvailability:
    """Return when I am available every week, whichever week is asked for."""
    if cursor(query) is not None:
        return WeeklyAvailability()
    row = await call.db.one("select * from users where id = $1", call.me)
    return (
        WeeklyAvailability() if row is None else given(views.availability(row).weekly) or WeeklyAvailability()
    )


@operation("set-custom-availability")
async def set_custom(call: Call, *, body: CustomAvailability) -> CustomAvailability:
    """Replace the days on which I am available otherwise. 400 for a day that does not exist."""
    for day in body:
        try:
            from_iso(f"{day}T00:00:00Z")
        except Problem as problem:
            raise Problem(400, f"body: there is no day {day}") from problem
    await call.db.all(
        "update users set availability_custom = $2 where id = $1", call.me, _encode(body).decode()
    )
    return body


@operation("set-weekly-availability")
async def set_weekly(call: Call, *, body: WeeklyInput) -> WeeklyAvailability:
    """Replace when I am available every week. 400 for a key that is no day."""
    await call.db.all(
        "update users set availability_weekly = $2 where id = $1", call.me, _encode(body).decode()
    )
    return body


async def covers(db: Session, user: str, start: int, end: int) -> bool:
    """Tell whether `user` is available from `start` to `end` (ms); always, while he has not said when."""
    row = await db.one("select availability_weekly, availability_custom from users where id = $1", user)
    if row is None or {row["availability_weekly"], row["availability_custom"]} <= {None, "{}"}:
        return True
    said = views.availability(row)
    slots = (given(said.custom) or {}).get(iso(start)[:10])
    weekly = given(said.weekly)
    if slots is None and weekly is not None:
        weekday = (start // timetable.DAY_MS + _THURSDAY) % 7
        slots = given(getattr(weekly, weekly.__struct_fields__[weekday]))
    midnight = start - start % timetable.DAY_MS
    reached = start
    # Slots may touch: a call may begin in one and end in the next.
    for begins, ends in sorted((_of_day(slot.start), _of_day(slot.end)) for slot in slots or ()):
        if midnight + begins <= reached:
            reached = max(reached, midnight + ends)
    return reached >= end


def _of_day(time: str) -> int:
    """Return the milliseconds from midnight to a time of the day."""
    hours, minutes, *seconds = map(int, time.split(":"))
    return (hours * 3600 + minutes * 60 + sum(seconds)) * 1000
