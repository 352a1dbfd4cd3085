"""Chats: two users each, the lists of them, and the whole of one as a member sees it."""

from __future__ import annotations

from talkamie.contract import Chat, Search
from talkamie.server import messages, views
from talkamie.server.registry import operation
from talkamie.server.service import Call, Cursor, Paged, Problem, cursor, iso, like, page, pair
from talkamie.server.store import Row, Session

FREQUENT_MS = 30 * 24 * 3600 * 1000

_SCORE = "(select count(*) from messages n where n.chat_id = c.id and n.created > $6)"
_COLUMNS = f"""c.id, c.type, c.request_id, c.request_status, c.request_text, c.request_at,
    c.request_sender, m.unread, m.last_at, m.other_id, {views.CARD}, {views.MESSAGE}"""
_MINE = """from members m join chats c on c.id = m.chat_id join users o on o.id = m.other_id
    left join messages l on l.id = c.last_message_id
    where m.user_id = $1"""
# A request that was taken back leaves no trace in any list.
_LISTED = " and c.request_status <> 'canceled' and o.name_key like $5 escape '!'"
_NEWEST = """ and (m.last_at < $2 or (m.last_at = $2 and m.chat_id < $3))
    order by m.last_at desc, m.chat_id desc limit $4"""
_END_OF_TIME = 2**62


@operation("get-chats")
async def get_chats(call: Call, *, query: Search) -> Paged[list[Chat]]:
    """Return my chats, the one with the latest activity first."""
    return await _list(call, query, "")


@operation("get-unread-chats")
async def get_unread_chats(call: Call, *, query: Search) -> Paged[list[Chat]]:
    """Return my chats that hold messages I have not read."""
    return await _list(call, query, " and m.unread > 0")


async def pending(call: Call, query: Search) -> Paged[list[Chat]]:
    """Return my chats that a message request is to open, whoever made it."""
    return await _list(call, query, " and c.request_status = 'pending'")


@operation("get-frequent-chats")
async def get_frequent_chats(call: Call, *, query: Search) -> Paged[list[Chat]]:
    """Return my chats, the one with the most messages of the last 30 days first."""
    after = cursor(query) or Cursor(id="~", date_created=iso(0), rank=_END_OF_TIME)
    rows = await call.db.all(
        f"""select * from (select {_SCORE} as score, {_COLUMNS} {_MINE} {_LISTED}) as ranked
        where score < $2 or (score = $2 and id < $3) order by score desc, id desc limit $4""",  # noqa: S608
        call.me,
        after.rank,
        after.id,
        query.page_size + 1,
        like(query.keyword),
        call.now - FREQUENT_MS,
    )
    rows, pagination = page(
        rows,
        query.page_size,
        lambda row: Cursor(id=row["id"], date_created=iso(row["last_at"]), rank=row["score"]),
    )
    return Paged(await _views(call.db, rows, call.now), pagination)


@operation("get-chat")
async def get_chat(call: Call, chat_id: str) -> Chat:
    """Return one of my chats."""
    return await view(call.db, chat_id, call.me, call.now)


async def view(db: Session, chat_id: str, user: str, now: int) -> Chat:
    """Return the whole chat as `user`, one of its members, sees it. 404 for anybody else."""
    rows = await db.all(f"select {_COLUMNS} {_MINE} and m.chat_id = $2", user, chat_id)
    if not rows:
        raise Problem(404, "There is no such chat.")
    return (await _views(db, rows, now))[0]


async def of_pair(db: Session, one: str, other: str) -> Row | None:
    """Return the chat of two users, where they have one."""
    return await db.one("select * from chats where low = $1 and high = $2", *pair(one, other))


async def open_for(db: Session, one: str, other: str, kind: str, status: str, now: int) -> Row:
    """Return the chat of two users, made where there was none; its request has `status` from now on."""
    low, high = pair(one, other)
    row = await db.one(
        """insert into chats (id, low, high, type, request_status, created) values ($1, $2, $3, $4, $5, $6)
        on conflict (low, high) do update set request_status = excluded.request_status returning *""",
        db.new_id(now),
        low,
        high,
        kind,
        status,
        now,
    )
    if row is None:
        raise RuntimeError("the chat was neither found nor made")
    await db.all(
        """insert into members (chat_id, user_id, other_id, unread, last_at)
        values ($1, $2, $3, 0, $4), ($1, $3, $2, 0, $4) on conflict (chat_id, user_id) do nothing""",
        row["id"],
        low,
        high,
        now,
    )
    return row


async def _list(call: Call, query: Search, condition: str) -> Paged[list[Chat]]:
    before = cursor(query)
    rows, pagination = page(
        await call.db.all(
            f"select {_COLUMNS} {_MINE} {_LISTED} {condition} {_NEWEST}",
            call.me,
            _END_OF_TIME if before is None else before.at,
            "" if before is None else before.id,
            query.page_size + 1,
            like(query.keyword),
        ),
        query.page_size,
        lambda row: Cursor(id=row["id"], date_created=iso(row["last_at"])),
    )
    return Paged(await _views(call.db, rows, call.now), pagination)


async def _views(db: Session, rows: list[Row], now: int) -> list[Chat]:
    with_last = [row for row in rows if row["l_id"] is not None]
    lasts = dict(
        zip([row["id"] for row in with_last], await messages.views_of(db, with_last, now, None), strict=True)
    )
    return [views.chat(row, lasts.get(row["id"])) for row in rows]
