"""Who may talk to whom: connection requests and message requests.

Both follow one table. A step is taken by one party, from `pending` only, by a conditional UPDATE: of an
accept and a cancel at the same time, one wins and the other is told 409.

    none ──send──► pending ──accept──► accepted     (by the receiver: both may chat)
                      ├─────reject──► rejected      (by the receiver)
                      └─────cancel──► canceled      (by the sender: as none)
A connection may be asked for again after a rejection; a message request may not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from talkamie.contract import (
    Alert,
    Chat,
    ChatData,
    ConnectRequest,
    MessageData,
    MessageRequest,
    Page,
    RequestStatus,
    Review,
    Search,
    User,
    UserRef,
    Viewer,
)
from talkamie.server import alerts, chats, messages, views
from talkamie.server.registry import operation
from talkamie.server.service import Call, Cursor, Paged, Problem, cursor, iso, like, page, pair
from talkamie.server.store import Row, Session, marks


@dataclass(frozen=True, slots=True)
class Step:
    """One transition out of `pending`, and who may take it."""

    target: RequestStatus
    by: Literal["sender", "receiver"]


STEPS = {
    "accept": Step("accepted", "receiver"),
    "reject": Step("rejected", "receiver"),
    "cancel": Step("canceled", "sender"),
}


async def _take_connection(db: Session, identity: str, status: str, now: int) -> Row | None:
    return await db.one(
        """update connections set status = $2, updated = $3 where id = $1 and status = 'pending'
        returning alert_id""",
        identity,
        status,
        now,
    )


async def _take_message(db: Session, identity: str, status: str, now: int) -> Row | None:
    return await db.one(
        """update chats set request_status = $2 where id = $1 and request_status = 'pending'
        returning request_alert_id as alert_id""",
        identity,
        status,
    )


@dataclass(frozen=True, slots=True)
class Kind:
    """How the request of a pair is found, and taken out of `pending`."""

    alert: Literal["connect-request", "message-request"]
    find: str
    take: Callable[[Session, str, str, int], Awaitable[Row | None]]


CONNECTION = Kind(
    "connect-request",
    """select id, status, from_id as sender from connections
    where low = $1 and high = $2 and status in ('pending', 'accepted')""",
    _take_connection,
)
MESSAGE = Kind(
    "message-request",
    """select id, request_status as status, request_sender as sender from chats
    where low = $1 and high = $2 and request_sender is not null and request_status <> 'canceled'""",
    _take_message,
)

_REQUEST = f"select r.*, {views.CARD} from connections r join users o on o.id = "  # noqa: S608


# How I ($1) and the user `o` of a query are related: its columns, and where they come from.
RELATION = """r.id as r_id, r.status as r_status, r.from_id as r_from, r.to_id as r_to, v.id as review_id,
    c.id as chat_id, c.request_id, c.request_status, c.request_sender, c.request_text, c.request_at"""
_PAIR = (
    "low = case when o.id < $1 then o.id else $1 end and {0}.high = case when o.id < $1 then $1 else o.id end"
)
RELATED = f"""
    left join connections r on r.{_PAIR.format("r")} and r.status in ('pending', 'accepted')
    left join chats c on c.{_PAIR.format("c")} and c.request_status <> 'canceled'
    left join reviews v on v.rater_id = $1 and v.user_id = o.id"""


@operation("send-connection-request")
async def send_request(call: Call, other: str) -> ConnectRequest:
    """Ask `other` for a connection. 409 while either has asked, or once connected."""
    me = call.me
    await expect_senior(call)
    await expect_user(call, other)
    identity = call.db.new_id(call.now)
    async with call.db.transaction():
        made = await call.db.value(
            """insert into connections (id, low, high, from_id, to_id, status, created, updated)
            values ($1, $2, $3, $4, $5, 'pending', $6, $6)
            on conflict (low, high) where status in ('pending', 'accepted') do nothing returning id""",
            identity,
            *pair(me, other),
            me,
            other,
            call.now,
        )
        if made is None:
            raise Problem(409, "A request is pending, or you are connected already.")
        alert = Alert(type="connect-request", connect_request=await _request(call.db, identity, other))
        alert_id = await alerts.store(call.db, other, alert, call.now)
        await call.db.all("update connections set alert_id = $2 where id = $1", identity, alert_id)
    alerts.push(call, other, alert)
    return await _request(call.db, identity, me)


@operation("cancel-connection-request")
async def cancel_request(call: Call, other: str) -> None:
    """Take my request back; its alert is withdrawn under the same id."""
    async with _step(call, other, CONNECTION, "cancel") as (identity, alert):
        alert.connect_request = await _request(call.db, identity, other)


@operation("accept-connection")
async def accept_request(call: Call, other: str) -> ConnectRequest:
    """Accept the request of `other`: we are connected, and have an open chat."""
    me = call.me
    async with _step(call, other, CONNECTION, "accept") as (identity, alert):
        chat = await chats.open_for(call.db, me, other, "connect", "accepted", call.now)
        theirs = await _request(call.db, identity, other)
        theirs.chat = alert.chat = await chats.view(call.db, chat["id"], other, call.now)
        alert.connect_request = theirs
    mine = await _request(call.db, identity, me)
    mine.chat = await chats.view(call.db, chat["id"], me, call.now)
    return mine


@operation("reject-connection")
async def reject_request(call: Call, other: str) -> None:
    """Turn the request of `other` down."""
    async with _step(call, other, CONNECTION, "reject") as (identity, alert):
        alert.connect_request = await _request(call.db, identity, other)


@operation("get-pending-requests")
async def get_pending(call: Call, *, query: Page) -> Paged[list[ConnectRequest]]:
    """Return the requests that wait for my answer, newest first."""
    before = cursor(query)
    rows, pagination = page(
        await call.db.all(
            f"""{_REQUEST} r.from_id where r.to_id = $1 and r.status = 'pending' and r.id < $2
            order by r.id desc limit $3""",
            call.me,
            "~" if before is None else before.id,
            query.page_size + 1,
        ),
        query.page_size,
        lambda row: Cursor(id=row["id"], date_created=iso(row["created"])),
    )
    return Paged([views.connect_request(row) for row in rows], pagination)


@operation("get-connections")
async def get_connections(call: Call, *, query: Search) -> Paged[list[User]]:
    """Return the users I am connected with, the newest connection first."""
    before = cursor(query)
    rows, pagination = page(
        await call.db.all(
            """select r.id as r_id, r.created as r_created, o.* from connections r
            join users o on o.id = case when r.from_id = $1 then r.to_id else r.from_id end
            where (r.from_id = $1 or r.to_id = $1) and r.status = 'accepted' and r.id < $2
            and o.name_key like $4 escape '!' order by r.id desc limit $3""",
            call.me,
            "~" if before is None else before.id,
            query.page_size + 1,
            like(query.keyword),
        ),
        query.page_size,
        lambda row: Cursor(id=row["r_id"], date_created=iso(row["r_created"])),
    )
    users = [views.user(row, call.now) for row in rows]
    await attach_viewers(call.db, call.me, users)
    return Paged(users, pagination)


@operation("send-message-request")
async def send_message_request(call: Call, other: str, *, body: MessageRequest) -> MessageData:
    """Ask `other`, with a first message, to open a chat. Once per chat, and not between connected users."""
    me = call.me
    await expect_user(call, other)
    async with call.db.transaction():
        chat = await chats.of_pair(call.db, me, other)
        match None if chat is None else chat["request_status"]:
            case "accepted":
                raise Problem(409, "The chat is open: send a message.")
            case "pending":
                raise Problem(409, "A message request is pending.")
            case "rejected":
                raise Problem(403, "The message request was rejected.")
        chat = await chats.open_for(call.db, me, other, "message", "pending", call.now)
        chat_id: str = chat["id"]
        message = await messages.post(call, chat_id, to=other, text=body.text, is_request=True)
        await call.db.all(
            """update chats set request_id = $2, request_text = $3, request_at = $4, request_sender = $5,
                request_message_id = $6 where id = $1""",
            chat_id,
            call.db.new_id(call.now),
            body.text,
            call.now,
            me,
            message.id,
        )
        whole = await chats.view(call.db, chat_id, other, call.now)
        alert = Alert(type="message-request", chat=whole, message=message)
        alert_id = await alerts.store(call.db, other, alert, call.now)
        await call.db.all("update chats set request_alert_id = $2 where id = $1", chat_id, alert_id)
    alerts.push(call, other, alert)
    return MessageData(chat=await chats.view(call.db, chat_id, me, call.now), message=message)


@operation("cancel-message-request")
async def cancel_message_request(call: Call, other: str) -> ChatData:
    """Take my message request back, its message too; its alert is withdrawn under the same id."""
    async with _step(call, other, MESSAGE, "cancel") as (chat, alert):
        await call.db.all("update chats set last_message_id = null where id = $1", chat)
        await call.db.all("delete from messages where chat_id = $1 and is_request = 1", chat)
        await call.db.all("update members set unread = 0 where chat_id = $1", chat)
        alert.chat = await chats.view(call.db, chat, other, call.now)
    return ChatData(chat=await chats.view(call.db, chat, call.me, call.now))


@operation("accept-message-request")
async def accept_message_request(call: Call, other: str) -> ChatData:
    """Open the chat that `other` asked for. It makes us connected too."""
    async with _step(call, other, MESSAGE, "accept") as (chat, alert):
        await connect(call.db, other, call.me, call.now)
        alert.chat = await chats.view(call.db, chat, other, call.now)
    return ChatData(chat=await chats.view(call.db, chat, call.me, call.now))


@operation("reject-message-request")
async def reject_message_request(call: Call, other: str) -> ChatData:
    """Turn the message request of `other` down: nobody can send in that chat."""
    async with _step(call, other, MESSAGE, "reject") as (chat, alert):
        alert.chat = await chats.view(call.db, chat, other, call.now)
    return ChatData(chat=await chats.view(call.db, chat, call.me, call.now))


async def connect(db: Session, one: str, other: str, now: int) -> None:
    """Make two users connected, `one` as who asked, whatever was between them."""
    await db.all(
        """insert into connections (id, low, high, from_id, to_id, status, created, updated)
        values ($1, $2, $3, $4, $5, 'accepted', $6, $6)
        on conflict (low, high) where status in ('pending', 'accepted')
        do update set status = 'accepted', updated = excluded.updated""",
        db.new_id(now),
        *pair(one, other),
        one,
        other,
        now,
    )


async def attach_viewers(db: Session, me: str, users: list[User]) -> None:
    """Fill in each user's `viewer`: my relation to him."""
    if not users:
        return
    rows = await db.all(
        f"""select o.id, {RELATION} from users o {RELATED}
        where o.id in ({marks(len(users), first=2)})""",  # noqa: S608 - numbers of ours
        me,
        *[str(user.id) for user in users],
    )
    found = {row["id"]: row for row in rows}
    for user in users:
        user.viewer = viewer(found[str(user.id)], me)


def viewer(row: Row, me: str) -> Viewer:
    """Return my relation to the user of a row that has the columns RELATION."""
    found = Viewer(id=me)
    if row["r_id"] is not None:
        found.connect_request = ConnectRequest(
            id=row["r_id"],
            status=row["r_status"],
            from_=UserRef(id=row["r_from"]),
            to=UserRef(id=row["r_to"]),
        )
    if row["chat_id"] is not None:
        found.chat = Chat(id=row["chat_id"], request=views.chat_request(row, row["chat_id"]))
    if row["review_id"] is not None:
        found.review = Review(id=row["review_id"])
    return found


@asynccontextmanager
async def _step(call: Call, other: str, kind: Kind, name: str) -> AsyncIterator[tuple[str, Alert]]:
    """Take a step of the request between us, or say why not. What follows from it is done inside.

    Yields the id that `kind` keeps it under, and the alert to fill in: it is stored, or withdrawn with the
    request, in the same transaction, and pushed to `other` after it.
    """
    step = STEPS[name]
    async with call.db.transaction():
        row = await call.db.one(kind.find, *pair(call.me, other))
        if row is None:
            raise Problem(404, "There is no such request.")
        if (call.me == row["sender"]) != (step.by == "sender"):
            raise Problem(403, f"Only the {step.by} of a request can do this.")
        if row["status"] != "pending":
            raise Problem(409, f"The request is {row['status']} already.")
        taken = await kind.take(call.db, row["id"], step.target, call.now)
        if taken is None:
            raise Problem(409, "The request is not pending any more.")
        alert = Alert(type=kind.alert)
        yield row["id"], alert
        if step.target == "canceled":
            await alerts.withdraw(call.db, other, taken["alert_id"], alert, call.now)
        else:
            await alerts.store(call.db, other, alert, call.now)
    alerts.push(call, other, alert)


async def _request(db: Session, identity: str, viewer: str) -> ConnectRequest:
    """Return a request as `viewer`, one of its parties, sees it."""
    row = await db.one(
        f"{_REQUEST} case when r.from_id = $2 then r.to_id else r.from_id end where r.id = $1",
        identity,
        viewer,
    )
    if row is None:
        raise RuntimeError("the request just written is gone")
    return views.connect_request(row)


async def expect_senior(call: Call) -> None:
    """Raise 403 for everybody else, where roles are enforced."""
    if not call.service.settings.enforce_roles:
        return
    if await call.db.value("select type from users where id = $1", call.me) != "senior":
        raise Problem(403, "Only seniors can do this.")


async def expect_user(call: Call, other: str) -> None:
    """Raise 403 for myself, 404 for nobody and for one who is gone."""
    if other == call.me:
        raise Problem(403, "You cannot do this to yourself.")
    if await call.db.value("select 1 from users where id = $1 and deleted is null", other) is None:
        raise Problem(404, "There is no such user.")
