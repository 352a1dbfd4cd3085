"""Support: one open ticket a user, and an answer to each message from a machine that is always there.

A user's message is read at once; support's is sent, delivered and read like anybody's. The first message
without a ticket opens one.
"""

from __future__ import annotations

from typing import Literal

from msgspec import UnsetType

from talkamie.contract import (
    Delivery,
    GetSupportMessages,
    Message,
    Page,
    SendSupportMessage,
    SupportMessageData,
    SupportMessagePage,
    SupportMessagesUpdate,
    Ticket,
    UpdateSupportMessages,
    User,
)
from talkamie.server.hub import success
from talkamie.server.registry import action, operation
from talkamie.server.service import Call, Cursor, Paged, Problem, cursor, cursor_of, given, iso, page, text_id
from talkamie.server.store import Row, marks

SUPPORT = "support"
REPLY = "Thank you for your message. We have noted it and come back to you."


@operation("get-open-ticket")
async def get_open_ticket(call: Call) -> Ticket:
    """Return my open ticket. 404 without one."""
    row = await call.db.one("select * from tickets where user_id = $1 and status = 'open'", call.me)
    if row is None:
        raise Problem(404, "You have no open ticket.")
    return _ticket(row)


@action("send-support-message")
async def send_support_message(call: Call, *, body: SendSupportMessage) -> SupportMessageData:
    """Write to support, opening a ticket where there is none; support answers every socket of mine."""
    me, wanted = call.me, body.ticket_id
    async with call.db.transaction():
        row = await _open(call) if isinstance(wanted, UnsetType) else await _mine(call, text_id(wanted))
        if row["status"] != "open":
            raise Problem(409, "The ticket is closed.")
        mine = await _post(call, row["id"], me, body.message.text, "read")
        status: Literal["delivered", "sent"] = "delivered" if call.service.hub.online(me) else "sent"
        reply = await _post(call, row["id"], SUPPORT, REPLY, status)
    data = SupportMessageData(ticket=Ticket(id=row["id"]), message=reply)

    def answer() -> None:
        call.service.hub.push(me, "new-support-message", data, (str(reply.id),), accepted=call.accepted)

    call.after.append(answer)
    return SupportMessageData(ticket=_ticket(row), message=mine)


@action("get-support-messages")
async def get_support_messages(call: Call, *, body: GetSupportMessages) -> Paged[SupportMessagePage]:
    """Return the messages of one of my tickets, newest first."""
    key = given(body.last_evaluated_key)
    row = await _mine(call, text_id(body.ticket_id))
    found = await _messages(call, row["id"], None if key is None else cursor_of(key), body.page_size)
    return Paged(SupportMessagePage(ticket=_ticket(row), messages=found.data), found.pagination)


@operation("get-ticket-messages")
async def get_ticket_messages(call: Call, ticket: str, *, query: Page) -> Paged[list[Message]]:
    """Return the messages of one of my tickets, newest first."""
    before = cursor(query)
    await _mine(call, ticket)
    return await _messages(call, ticket, before, query.page_size)


@action("update-support-messages")
async def update_support_messages(call: Call, *, body: UpdateSupportMessages) -> SupportMessagesUpdate:
    """Mark support's messages as read, and tell my other sockets."""
    row = await _mine(call, text_id(body.ticket_id))
    ids = list(body.messages_map)
    among = f"ticket_id = $1 and sender_id = '{SUPPORT}' and id in ({marks(len(ids), first=3)})"
    await call.db.all(
        f"update support_messages set status = 'read', status_at = $2 where {among} and status <> 'read'",  # noqa: S608
        row["id"],
        call.now,
        *ids,
    )
    found = await call.db.all(
        f"select * from support_messages where {among} and created <= $2",  # noqa: S608
        row["id"],
        call.now,
        *ids,
    )
    if not found:
        raise Problem(404, "There is no such message to you in this ticket.")
    update = SupportMessagesUpdate(
        ticket=Ticket(id=row["id"]), messages_map={one["id"]: _message(one) for one in found}
    )
    action_name = "update-support-messages"
    call.service.hub.deliver(
        call.me,
        action_name,
        success(action_name, update),
        update.messages_map,
        accepted=call.accepted,
        besides=call.socket,
    )
    return update


async def _open(call: Call) -> Row:
    """Return my open ticket, made where there was none."""
    await call.db.all(
        """insert into tickets (id, user_id, status, created) values ($1, $2, 'open', $3)
        on conflict (user_id) where status = 'open' do nothing""",
        call.db.new_id(call.now),
        call.me,
        call.now,
    )
    row = await call.db.one("select * from tickets where user_id = $1 and status = 'open'", call.me)
    if row is None:
        raise RuntimeError("the ticket was neither found nor made")
    return row


async def _mine(call: Call, identity: str) -> Row:
    row = await call.db.one("select * from tickets where id = $1 and user_id = $2", identity, call.me)
    if row is None:
        raise Problem(404, "There is no such ticket.")
    return row


async def _post(call: Call, ticket: str, sender: str, text: str, status: str) -> Message:
    row = await call.db.one(
        """insert into support_messages (id, ticket_id, sender_id, text, status, status_at, created)
        values ($1, $2, $3, $4, $5, $6, $6) returning *""",
        call.db.new_id(call.now),
        ticket,
        sender,
        text,
        status,
        call.now,
    )
    if row is None:
        raise RuntimeError("the message was not stored")
    return _message(row)


async def _messages(call: Call, ticket: str, before: Cursor | None, size: int) -> Paged[list[Message]]:
    rows, pagination = page(
        await call.db.all(
            """select * from support_messages where ticket_id = $1 and id < $2
            order by id desc limit $3""",
            ticket,
            "~" if before is None else before.id,
            size + 1,
        ),
        size,
        lambda row: Cursor(id=row["id"], date_created=iso(row["created"])),
    )
    return Paged([_message(row) for row in rows], pagination)


def _ticket(row: Row) -> Ticket:
    return Ticket(id=row["id"], user=User(id=row["user_id"]), status=row["status"])


def _message(row: Row) -> Message:
    sender = User(id=row["sender_id"])
    if row["sender_id"] == SUPPORT:
        sender.name = "Support"
    return Message(
        id=row["id"],
        type="text",
        text=row["text"],
        timestamp=iso(row["created"]),
        sender=sender,
        delivery=Delivery(status=row["status"], at=iso(row["status_at"])),
    )
