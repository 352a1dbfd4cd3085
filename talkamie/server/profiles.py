"""Profiles: what users see of themselves and of each other, and how they find each other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import UnsetType

from talkamie.contract import (
    BackgroundCheck,
    DailyInfo,
    File,
    Media,
    Specialization,
    User,
    UserSearch,
    UserUpdate,
)
from talkamie.server import alerts, messages, relations, security, timetable, views
from talkamie.server.registry import operation
from talkamie.server.service import Call, Cursor, Paged, Problem, cursor, given, iso, like, page
from talkamie.server.store import Row
from talkamie.server.store import Session as Db

# Columns that a body may set. What is not here or in `_columns` cannot be assigned, whatever a body says.
_PLAIN = (
    *("name", "type", "gender", "bio", "language", "dob", "visibility", "country", "state", "city"),
    *("file_dir_path", "certificate_state", "max_call_duration", "max_call_count"),
)
_CONNECTED = """(select count(*) from connections where from_id = o.id and status = 'accepted')
    + (select count(*) from connections where to_id = o.id and status = 'accepted') as connected"""
_encode = msgspec.json.Encoder().encode


@operation("get-user")
async def get_user(call: Call, user_id: str) -> User:
    """Return a user and my relation to him. One who hides from me is not found, unless we have a relation."""
    if user_id == call.me:
        return await own(call.db, user_id, call.now)
    row = await call.db.one(
        f"""select o.*, {_CONNECTED}, {relations.RELATION} from users o {relations.RELATED}
        where o.id = $2 and o.deleted is null""",  # noqa: S608 - names of ours
        call.me,
        user_id,
    )
    if row is None:
        raise Problem(404, "There is no such user.")
    user = views.user(row, call.now)
    user.availability = views.availability(row)
    user.viewer = relations.viewer(row, call.me)
    related = row["chat_id"] is not None or row["r_id"] is not None
    if not (related or row["visibility"] == "public" or row["visibility"] in await _visible_to(call)):
        raise Problem(404, "There is no such user.")
    user.total_connections = row["connected"]
    return user


@operation("update-user")
async def update_user(call: Call, user_id: str, *, body: UserUpdate) -> User:
    """Set the given fields of my account, and no other."""
    columns = _columns(body)
    if "dob" in columns:
        _expect_birthday(str(columns["dob"]), call.now)
    if columns:
        assignments = ", ".join(f"{name} = ${n}" for n, name in enumerate(columns, start=2))
        await call.db.all(f"update users set {assignments} where id = $1", user_id, *columns.values())  # noqa: S608 - names of ours
    return await own(call.db, user_id, call.now)


@operation("background-check")
async def background_check(call: Call, user_id: str, *, body: BackgroundCheck) -> None:
    """Ask for a check of my background, which is pending from now on; 409 while one is."""
    _expect_birthday(body.dob, call.now)
    asked = await call.db.value(
        """update users set background = 'pending', background_check = $2
        where id = $1 and (background is null or background = 'failed') returning id""",
        user_id,
        _encode(body).decode(),
    )
    if asked is None:
        raise Problem(409, "A check has been asked for already.")


@operation("get-users")
async def get_users(call: Call, *, query: UserSearch) -> Paged[list[User]]:
    """Return users, the newest first. Without a token only `?email=` is answered: is it taken?"""
    email = given(query.email)
    if call.user is None:
        if email is None:
            raise Problem(401, "Sign in first.")
        found = await call.db.value("select id from users where email = $1", security.email_key(email))
        return Paged([] if found is None else [User(id=found)], msgspec.UNSET)
    conditions, values = _filters(call, query)
    conditions.append("o.deleted is null")
    conditions.append(f"o.visibility in ({', '.join(repr(one) for one in sorted(await _visible_to(call)))})")
    before = cursor(query)
    where = " and ".join(conditions)
    rows, pagination = page(
        await call.db.all(
            f"select * from users o where o.id < $1 and {where} order by o.id desc limit $2",  # noqa: S608
            "~" if before is None else before.id,
            query.page_size + 1,
            *values,
        ),
        query.page_size,
        lambda row: Cursor(id=row["id"], date_created=iso(row["created"])),
    )
    users = [views.user(row, call.now) for row in rows]
    await relations.attach_viewers(call.db, call.user, users)
    return Paged(users, pagination)


async def own(db: Db, user_id: str, now: int) -> User:
    """Return all that a user may see of himself."""
    row = await _row(db, user_id)
    user = views.user(row, now)
    user.email = row["email"]
    user.availability = views.availability(row)
    user.preferences, user.ledger = views.preferences(row), views.ledger(row)
    user.daily_info = DailyInfo(total_calls=await _calls_today(db, user_id, now))
    user.total_unread_chats = await messages.total_unread(db, user_id)
    user.total_unread_alerts = await alerts.total_unread(db, user_id)
    user.total_connections = row["connected"]
    user.total_pending_requests = await db.value(
        "select count(*) from connections where to_id = $1 and status = 'pending'", user_id
    )
    return user


async def _calls_today(db: Db, user_id: str, now: int) -> int:
    """Return how many calls of today, UTC, were answered."""
    count: int = await db.value(
        """select count(*) from calls where (caller_id = $1 or callee_id = $1) and status = 'accepted'
        and created >= $2""",
        user_id,
        now - now % timetable.DAY_MS,
    )
    return count


def _columns(body: UserUpdate) -> dict[str, object]:
    """Return the columns that a body sets, each with its value."""
    columns: dict[str, object] = {name: given(getattr(body, name)) for name in _PLAIN}
    name, push = given(body.name), given(body.push_notification)
    area = given(body.specialization)
    columns |= {
        "name_key": None if name is None else name.casefold(),
        "licence_id": given(body.license_id),
        "push_enabled": None if push is None else int(push.enabled),
        "specialization": given(area.area) if isinstance(area, Specialization) else area,
        "interests": _text(given(body.interests)),
        "picture": _text(_media(body.picture)),
        "video": _text(_media(body.video)),
        "certificate": _text(_file(body.certificate)),
    }
    return {name: value for name, value in columns.items() if value is not None}


def _text(value: object | None) -> str | None:
    return None if value is None else _encode(value).decode()


def _media(value: Media | str | UnsetType) -> Media | None:
    return Media(org=File(url=value)) if isinstance(value, str) else given(value)


def _file(value: File | str | UnsetType) -> File | None:
    return File(url=value) if isinstance(value, str) else given(value)


async def _row(db: Db, user_id: str) -> Row:
    row = await db.one(f"select o.*, {_CONNECTED} from users o where o.id = $1", user_id)  # noqa: S608 - ours
    if row is None:
        raise Problem(404, "There is no such user.")
    return row


async def _visible_to(call: Call) -> set[str]:
    """Return the visibilities that let the caller find a user he has no relation to."""
    kind = await call.db.value("select type from users where id = $1", call.me)
    return {"public", f"{kind}s"} if kind else {"public"}


def _filters(call: Call, query: UserSearch) -> tuple[list[str], list[object]]:
    """Return the conditions of a search and their values, numbered from $3."""
    wanted: list[tuple[str, object]] = [("o.id <> {}", call.me)]
    keyword = given(query.keyword)
    if keyword is not None:
        wanted.append(("o.name_key like {} escape '!'", like(keyword)))
    for column, value in (
        ("email", None if (email := given(query.email)) is None else security.email_key(email)),
        ("type", given(query.type)),
        ("gender", given(query.gender)),
        ("country", given(query.location)),
    ):
        if value is not None:
            wanted.append((f"o.{column} = {{}}", value))
    exact = given(query.age)
    youngest = given(query.min_age) if exact is None else exact
    oldest = given(query.max_age) if exact is None else exact
    if youngest is not None:
        wanted.append(("o.dob <= {}", _born(call.now, youngest)))
    if oldest is not None:
        wanted.append(("o.dob > {}", _born(call.now, oldest + 1)))
    conditions = [sql.format(f"${n}") for n, (sql, _) in enumerate(wanted, start=3)]
    return conditions, [value for _, value in wanted]


def _born(now: int, years: int) -> str:
    """Return the date of birth of somebody who is exactly `years` old today."""
    if not 0 <= years <= 200:
        raise Problem(400, f"query: nobody is {years} years old")
    today = datetime.fromtimestamp(now / 1000, UTC).date()
    try:
        return today.replace(year=today.year - years).isoformat()
    except ValueError:  # 29 February
        return (today - timedelta(days=1)).replace(year=today.year - years).isoformat()


def _expect_birthday(dob: str, now: int) -> None:
    try:
        age = views.age(dob, now)
    except ValueError as error:
        raise Problem(400, f"body: dob: {error}") from error
    if not 0 <= age <= 150:
        raise Problem(400, f"body: dob: {dob} is nobody's birthday")
