"""Chats and messages.

A message goes sent → delivered → read and never backwards: delivered when its receiver has a socket at the
time, or once he authenticates; read when he says so. Both members may send while the chat's request is
accepted, and not otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import UNSET

from talkamie.contract import (
    Chat,
    ChatsUpdate,
    ChatUpdate,
    Delivery,
    DeliveryStatus,
    GetMessages,
    Message,
    MessageData,
    MessageDelivery,
    MessagePage,
    MessagesUpdate,
    Page,
    Schedule,
    Search,
    SendMessage,
    UpdateMessages,
    User,
    Viewer,
)
from talkamie.server import views
from talkamie.server.hub import success
from talkamie.server.registry import action, operation
from talkamie.server.service import (
    Call,
    Cursor,
    Paged,
    Problem,
    cursor,
    cursor_of,
    given,
    iso,
    known,
    like,
    page,
    pair,
    text_id,
)
from talkamie.server.store import Row, Session, marks

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


@operation("get-chat-messages")
async def get_chat_messages(call: Call, chat_id: str, *, query: Page) -> Paged[list[Message]]:
    """Return the messages of one of my chats, newest first."""
    await membership(call.db, chat_id, call.me)
    return await _messages(call, chat_id, cursor(query), query.page_size)


@action("get-messages")
async def get_messages(call: Call, *, body: GetMessages) -> Paged[MessagePage]:
    """Return the messages of one of my chats, newest first."""
    chat_id = text_id(body.chat_id)
    await membership(call.db, chat_id, call.me)
    key = given(body.last_evaluated_key)
    before = None if key is None else cursor_of(key)
    found = await _messages(call, chat_id, before, body.page_size)
    return Paged(MessagePage(chat=Chat(id=chat_id), messages=found.data), found.pagination)


@action("send-message")
async def send_message(call: Call, *, body: SendMessage) -> MessageData:
    """Store a message, push it to the other member, and return it as the sender keeps it."""
    return await say(call, text_id(body.chat_id), body.message.text)


async def say(call: Call, chat_id: str, text: str) -> MessageData:
    """Send a message, whichever way it came. 404 for a chat that is not mine, 403 for a closed one."""
    other = await open_member(call, chat_id)
    async with call.db.transaction():
        stored = await post(call, chat_id, to=other, text=text)
        unread = await total_unread(call.db, other)
    await _deliver_if_online(call, stored, other)
    chat = Chat(id=chat_id)
    push = MessageData(chat=chat, message=stored, viewer=Viewer(id=other, total_unread_chats=unread))
    call.service.hub.deliver(
        other, "new-message", success("new-message", push), (str(stored.id),), accepted=call.accepted
    )
    return MessageData(chat=chat, message=stored)


@action("update-messages")
async def update_messages(call: Call, *, body: UpdateMessages) -> MessagesUpdate:
    """Mark messages to me as read, and tell every socket of both members."""
    chat_id = text_id(body.chat_id)
    me = call.me
    member = await membership(call.db, chat_id, me)
    other: str = member["other_id"]
    ids = list(body.messages_map)
    among = f"l.chat_id = $1 and l.id in ({marks(len(ids), first=2)})"
    found = await call.db.all(f"select {views.MESSAGE} from messages l where {among}", chat_id, *ids)  # noqa: S608
    if not found:
        raise Problem(404, "There is no such message in this chat.")
    if any(row["l_sender_id"] == me for row in found):
        raise Problem(403, "Only messages sent to you can be marked as read.")
    async with call.db.transaction():
        changed = await call.db.all(
            f"""update messages set status = 'read', status_at = ${len(ids) + 2}
            where chat_id = $1 and id in ({marks(len(ids), first=2)}) and status <> 'read' returning id""",  # noqa: S608
            chat_id,
            *ids,
            call.now,
        )
        await call.db.all(
            "update members set unread = unread - $3 where chat_id = $1 and user_id = $2",
            chat_id,
            me,
            len(changed),
        )
    rows = await call.db.all(f"select {views.MESSAGE} from messages l where {among}", chat_id, *ids)  # noqa: S608
    whole = {
        row["l_id"]: message for row, message in zip(rows, await _with_schedules(call, rows), strict=True)
    }
    updates = {
        user: MessagesUpdate(
            chat=Chat(id=chat_id),
            messages_map=whole,
            viewer=Viewer(id=user, total_unread_chats=await total_unread(call.db, user)),
        )
        for user in (other, me)
    }
    for user, update in updates.items():
        call.service.hub.deliver(
            user,
            "update-messages",
            success("update-messages", update),
            whole,
            accepted=call.accepted,
            besides=call.socket,
        )
    return updates[me]


async def deliver_waiting(call: Call, user: str) -> None:
    """Make all that waited for `user` delivered; once he is answered, tell each sender who is online."""
    rows = await call.db.all(
        """update messages set status = 'delivered', status_at = $2
        where receiver_id = $1 and status = 'sent' returning id, chat_id, sender_id""",
        user,
        call.now,
    )
    if not rows:
        return
    delivery = Delivery(status="delivered", at=iso(call.now))
    senders: dict[str, dict[str, ChatUpdate]] = {}
    for row in rows:
        chats = senders.setdefault(row["sender_id"], {})
        update = chats.setdefault(row["chat_id"], ChatUpdate(chat=Chat(id=row["chat_id"]), messages_map={}))
        update.messages_map[row["id"]] = MessageDelivery(id=row["id"], delivery=delivery)

    def tell() -> None:
        hub = call.service.hub
        for sender, chats in senders.items():
            if hub.online(sender):
                ids = [message for update in chats.values() for message in update.messages_map]
                hub.push(sender, "update-chats", ChatsUpdate(chats_map=chats), ids, accepted=call.accepted)

    call.after.append(tell)


async def membership(db: Session, chat_id: str, user: str) -> Row:
    """Return {other_id, unread, request_status}; 404 for a chat that is not mine, as if it did not exist."""
    row = await db.one(
        """select m.other_id, m.unread, c.request_status from members m join chats c on c.id = m.chat_id
        where m.chat_id = $1 and m.user_id = $2""",
        chat_id,
        user,
    )
    if row is None:
        raise Problem(404, "There is no such chat.")
    return row


async def open_member(call: Call, chat_id: str) -> str:
    """Return the other member of an open chat of mine; 404 for one that is not mine, 403 for a closed one."""
    member = await membership(call.db, chat_id, call.me)
    if member["request_status"] != "accepted":
        raise Problem(403, "This chat is not open: no connection or message request was accepted.")
    other: str = member["other_id"]
    return other


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


async def post(
    call: Call,
    chat_id: str,
    *,
    to: str,
    text: str | None,
    schedule: Schedule | None = None,
    is_request: bool = False,
) -> Message:
    """Store a message of mine inside the caller's transaction, and count it as unread. Pushes nothing."""
    identity = call.db.new_id(call.now)
    status: DeliveryStatus = "delivered" if call.service.hub.online(to) else "sent"
    kind: Literal["text", "schedule"] = "text" if schedule is None else "schedule"
    await call.db.all(
        """insert into messages (id, chat_id, sender_id, receiver_id, type, text, schedule_id, is_request,
            status, status_at, created) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)""",
        identity,
        chat_id,
        call.me,
        to,
        kind,
        text,
        None if schedule is None else schedule.id,
        int(is_request),
        status,
        call.now,
    )
    await call.db.all("update chats set last_message_id = $2 where id = $1", chat_id, identity)
    await call.db.all(
        """update members set last_at = $2, unread = unread + case when user_id = $3 then 1 else 0 end
        where chat_id = $1""",
        chat_id,
        call.now,
        to,
    )
    return Message(
        id=identity,
        type=kind,
        text=known(text),
        schedule=known(schedule),
        timestamp=iso(call.now),
        sender=User(id=call.me),
        delivery=Delivery(status=status, at=iso(call.now)),
        is_request=True if is_request else UNSET,
    )


async def _deliver_if_online(call: Call, message: Message, to: str) -> None:
    """Make a message delivered whose receiver came online while it was being stored."""
    delivery = given(message.delivery)
    if delivery is None or delivery.status != "sent" or not call.service.hub.online(to):
        return
    await call.db.all(
        "update messages set status = 'delivered', status_at = $2 where id = $1 and status = 'sent'",
        message.id,
        call.now,
    )
    message.delivery = Delivery(status="delivered", at=iso(call.now))


async def total_unread(db: Session, user: str) -> int:
    """Return how many chats of `user` hold messages he has not read."""
    count: int = await db.value("select count(*) from members where user_id = $1 and unread > 0", user)
    return count


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
        zip([row["id"] for row in with_last], await _message_views(db, with_last, now, None), strict=True)
    )
    return [views.chat(row, lasts.get(row["id"])) for row in rows]


async def _messages(call: Call, chat_id: str, before: Cursor | None, size: int) -> Paged[list[Message]]:
    rows, pagination = page(
        await call.db.all(
            f"""select {views.MESSAGE} from messages l where l.chat_id = $1 and l.id < $2
            order by l.id desc limit $3""",  # noqa: S608
            chat_id,
            "~" if before is None else before.id,
            size + 1,
        ),
        size,
        lambda row: Cursor(id=row["l_id"], date_created=iso(row["l_created"])),
    )
    return Paged(await _with_schedules(call, rows), pagination)


async def _with_schedules(call: Call, rows: list[Row]) -> list[Message]:
    return await _message_views(call.db, rows, call.now, call.me)


async def _message_views(db: Session, rows: Iterable[Row], now: int, viewer: str | None) -> list[Message]:
    """Return messages; those of type schedule with their schedule, where it still exists."""
    rows = list(rows)
    ids = [row["l_schedule_id"] for row in rows if row["l_schedule_id"] is not None]
    schedules = {}
    if ids:
        # The attendee of a schedule is whoever did not send the message that made it.
        found = await db.all(
            f"""select s.*, {views.CARD} from schedules s join messages l on l.schedule_id = s.id
            join users o on o.id = l.receiver_id where s.id in ({marks(len(ids), first=1)})""",  # noqa: S608
            *ids,
        )
        schedules = {row["id"]: views.schedule(row, now) for row in found}
    return [views.message(row, schedules.get(row["l_schedule_id"])) for row in rows]
