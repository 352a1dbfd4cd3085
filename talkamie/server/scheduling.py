"""Scheduled calls between two who may chat. When one is, `timetable` says; when one can, `availability`."""

from __future__ import annotations

from talkamie.contract import Alert, Schedule, Scheduled, ScheduleInput, ScheduleUpdate, Search
from talkamie.server import alerts, availability, chats, messages, relations, timetable, views
from talkamie.server.registry import operation
from talkamie.server.service import (
    Call,
    Cursor,
    Paged,
    Problem,
    cursor,
    from_iso,
    given,
    iso,
    like,
    page,
    pair,
)
from talkamie.server.store import Row

_MINE = f"""select s.*, {views.CARD} from schedules s
    join users o on o.id = case when s.low = $1 then s.high else s.low end
    where (s.low = $1 or s.high = $1)"""  # noqa: S608
_FIRST_BEFORE = " and (s.from_at < $2 or (s.from_at = $2 and s.id < $3)) order by s.from_at desc, s.id desc"
_FIRST_AFTER = " and (s.from_at > $2 or (s.from_at = $2 and s.id > $3)) order by s.from_at, s.id"
_KEYWORD = " and s.title_key like $5 escape '!'"
_END_OF_TIME = 2**62


@operation("schedule-call")
async def schedule_call(call: Call, other: str, *, body: ScheduleInput) -> Scheduled:
    """Schedule a call with somebody I may chat with; it is a message in our chat and an alert to him."""
    me = call.me
    await relations.expect_senior(call)
    start, end = _timeslot(body.start_date_time, body.end_date_time, body.recurrence)
    async with call.db.transaction():
        chat = await chats.of_pair(call.db, me, other)
        if chat is None or chat["request_status"] != "accepted":
            raise Problem(403, "You are not connected with this user.")
        await _expect_free(call, other, start, end, body.recurrence)
        identity = call.db.new_id(call.now)
        await call.db.all(
            """insert into schedules (id, chat_id, low, high, type, title, title_key, from_at, to_at,
                recurrence, created) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)""",
            identity,
            chat["id"],
            *pair(me, other),
            body.type,
            body.title,
            body.title.casefold(),
            start,
            end,
            body.recurrence,
            call.now,
        )
        theirs = views.schedule(await _one(call, identity, other), call.now)
        message = await messages.post(call, chat["id"], to=other, text=None, schedule=theirs)
        whole = await chats.view(call.db, chat["id"], other, call.now)
        alert = Alert(type="schedule", schedule=theirs, chat=whole, message=message)
        await alerts.store(call.db, other, alert, call.now)
    alerts.push(call, other, alert)
    mine = views.schedule(await _one(call, identity, me), call.now)
    message.schedule = mine
    return Scheduled(schedule=mine, chat=await chats.view(call.db, chat["id"], me, call.now), message=message)


@operation("get-schedule")
async def get_schedule(call: Call, identity: str) -> Schedule:
    """Return one of my schedules."""
    return views.schedule(await _one(call, identity, call.me), call.now)


@operation("update-schedule")
async def update_schedule(call: Call, identity: str, *, body: ScheduleUpdate) -> Schedule:
    """Change the given fields of one of my schedules, and alert the other party."""
    async with call.db.transaction():
        row = await _one(call, identity, call.me)
        recurrence = given(body.recurrence) or row["recurrence"]
        title = given(body.title) or row["title"]
        begun, ended = timetable.occurrence(row["from_at"], row["to_at"], row["recurrence"], call.now)
        start, end = _timeslot(
            given(body.start_date_time) or iso(begun), given(body.end_date_time) or iso(ended), recurrence
        )
        other: str = row["o_id"]
        if (start, end, recurrence) != (begun, ended, row["recurrence"]):
            await _expect_free(call, other, start, end, recurrence, besides=identity)
        await call.db.all(
            """update schedules set type = $2, title = $3, title_key = $4, from_at = $5, to_at = $6,
                recurrence = $7 where id = $1""",
            identity,
            given(body.type) or row["type"],
            title,
            title.casefold(),
            start,
            end,
            recurrence,
        )
        theirs = views.schedule(await _one(call, identity, other), call.now)
        whole = await chats.view(call.db, row["chat_id"], other, call.now)
        alert = Alert(type="schedule", schedule=theirs, chat=whole)
        await alerts.store(call.db, other, alert, call.now)
    alerts.push(call, other, alert)
    return views.schedule(await _one(call, identity, call.me), call.now)


@operation("delete-schedule")
async def delete_schedule(call: Call, identity: str) -> None:
    """Remove one of my schedules. The message that made it stays, without a schedule."""
    await _one(call, identity, call.me)
    await call.db.all("delete from schedules where id = $1", identity)


@operation("clear-schedules")
async def clear_schedules(call: Call, other: str) -> None:
    """Remove every schedule between me and `other`."""
    await call.db.all("delete from schedules where low = $1 and high = $2", *pair(call.me, other))


@operation("get-schedules")
async def get_schedules(call: Call, *, query: Search) -> Paged[list[Schedule]]:
    """Return my schedules, the latest first."""
    return await _list(call, query, "", ascending=False)


@operation("get-past-schedules")
async def get_past_schedules(call: Call, *, query: Search) -> Paged[list[Schedule]]:
    """Return my schedules that are over, the latest first."""
    return await _list(call, query, " and s.to_at < $6", ascending=False)


@operation("get-upcoming-schedules")
async def get_upcoming_schedules(call: Call, *, query: Search) -> Paged[list[Schedule]]:
    """Return my schedules that are not over, those going on too, the next first."""
    return await _list(call, query, " and s.to_at >= $6", ascending=True)


async def _list(call: Call, query: Search, condition: str, *, ascending: bool) -> Paged[list[Schedule]]:
    await _roll(call)
    place = cursor(query)
    end = (-_END_OF_TIME, "") if ascending else (_END_OF_TIME, "~")
    at, identity = end if place is None else (place.at, place.id)
    order = _FIRST_AFTER if ascending else _FIRST_BEFORE
    rows, pagination = page(
        await call.db.all(
            f"{_MINE} {_KEYWORD} {condition} {order} limit $4",
            call.me,
            at,
            identity,
            query.page_size + 1,
            like(query.keyword),
            *([call.now] if condition else []),
        ),
        query.page_size,
        lambda row: Cursor(id=row["id"], date_created=iso(row["from_at"])),
    )
    return Paged([views.schedule(row, call.now) for row in rows], pagination)


async def _roll(call: Call) -> None:
    """Move my recurring schedules that are over to their next occurrence, so that SQL may sort by time."""
    rows = await call.db.all(
        """select id, from_at, to_at, recurrence from schedules
        where (low = $1 or high = $1) and recurrence <> 'none' and to_at < $2""",
        call.me,
        call.now,
    )
    for row in rows:
        start, end = timetable.occurrence(row["from_at"], row["to_at"], row["recurrence"], call.now)
        await call.db.all(
            "update schedules set from_at = $2, to_at = $3 where id = $1 and to_at = $4",
            row["id"],
            start,
            end,
            row["to_at"],
        )


async def _one(call: Call, identity: str, viewer: str) -> Row:
    """Return a schedule as `viewer` sees it; 404 unless he is one of its parties."""
    row = await call.db.one(f"{_MINE} and s.id = $2", viewer, identity)
    if row is None:
        raise Problem(404, "There is no such schedule.")
    return row


async def _expect_free(
    call: Call, other: str, start: int, end: int, recurrence: str, *, besides: str = ""
) -> None:
    """Raise 409 where overlaps are checked, and `other` is not available or either of us has another call."""
    if not call.service.settings.check_overlap:
        return
    if not await availability.covers(call.db, other, start, end):
        raise Problem(409, "The other party is not available then.")
    rows = await call.db.all(
        """select low, high, from_at, to_at, recurrence from schedules
        where (low in ($1, $2) or high in ($1, $2)) and id <> $3 and (to_at >= $4 or recurrence <> 'none')""",
        call.me,
        other,
        besides,
        min(start, call.now),
    )
    for row in rows:
        begun, ended = timetable.occurrence(row["from_at"], row["to_at"], row["recurrence"], call.now)
        if timetable.overlap((start, end, recurrence), (begun, ended, row["recurrence"])):
            whose = "You have" if call.me in (row["low"], row["high"]) else "The other party has"
            raise Problem(409, f"{whose} another call scheduled then.")


def _timeslot(start_text: str, end_text: str, recurrence: str) -> tuple[int, int]:
    """Return a timeslot in milliseconds; 400 for one that ends before it begins or overlaps its next."""
    start, end = from_iso(start_text), from_iso(end_text)
    if end <= start:
        raise Problem(400, "body: endDateTime must be after startDateTime")
    period = timetable.period(recurrence)
    if period is not None and end - start >= period:
        raise Problem(400, f"body: a {recurrence} call must be shorter than its period")
    return start, end
