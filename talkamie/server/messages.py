"""Messages.

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
    page,
    text_id,
)
from talkamie.server.store import Row, Session, marks


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
    return await views_of(call.db, rows, call.now, call.me)


async def views_of(db: Session, rows: Iterable[Row], now: int, viewer: str | None) -> list[Message]:
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
