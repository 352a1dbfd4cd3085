"""Calls: ringing, talking, over. What is said in them never comes here.

               ┌──accept (callee)──► accepted ──end (either)──► accepted, over
    ringing ───┼──reject (callee)──► rejected, over
               └──end (either), ring timeout, a party gone───► missed, over
    A callee who is offline or in a call has missed it from the start.

A step is taken by a conditional UPDATE: of an accept and an end at the same time, one wins. Who is in a call
has a row in `busy`, whose key makes it one call at a time. `sweep` ends what nobody ends: a call that rang
for too long, one of whose parties has been without a socket for longer than the grace, and one whose caller
has no coins left where calls are billed.

How long a call was is estimated from what both clients report: from when either has media until neither has.
Their clocks are not ours, so a timestamp is believed only between the last event we know of and now.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import Literal

from talkamie.contract import Call as WireCall
from talkamie.contract import (
    CallData,
    CallReport,
    CallStep,
    CallUser,
    Chat,
    Coins,
    Ledger,
    Search,
    User,
)
from talkamie.server import billing, clock, messages, relations, views
from talkamie.server.registry import action, operation
from talkamie.server.service import (
    Call,
    Cursor,
    Paged,
    Problem,
    Service,
    cursor,
    iso,
    like,
    page,
    pair,
    settled,
    text_id,
)
from talkamie.server.store import Row, Session, marks

SWEEP_AT_ONCE = 200
log = logging.getLogger("talkamie")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a callee may say to a ringing call."""

    status: Literal["accepted", "rejected"]
    tells: Literal["call-accepted", "call-rejected"]


ANSWERS = {
    "accept-call": Answer("accepted", "call-accepted"),
    "reject-call": Answer("rejected", "call-rejected"),
}

_MINE = f"""select k.*, {views.CARD} from calls k
    join users o on o.id = case when k.caller_id = $1 then k.callee_id else k.caller_id end
    where (k.caller_id = $1 or k.callee_id = $1)"""  # noqa: S608


@operation("get-call")
async def get_call(call: Call, call_id: str) -> WireCall:
    """Return one of my calls."""
    return views.call(await _one(call.db, call_id, call.me), call.me)


@operation("get-call-histories")
async def get_histories(call: Call, *, query: Search) -> Paged[list[WireCall]]:
    """Return my calls that are over, newest first."""
    before = cursor(query)
    rows, pagination = page(
        await call.db.all(
            f"""{_MINE} and k.ended is not null and k.id < $2 and o.name_key like $4 escape '!'
            order by k.id desc limit $3""",
            call.me,
            "~" if before is None else before.id,
            query.page_size + 1,
            like(query.keyword),
        ),
        query.page_size,
        lambda row: Cursor(id=row["id"], date_created=iso(row["created"])),
    )
    return Paged([views.call(row, call.me) for row in rows], pagination)


@action("call-user")
async def call_user(call: Call, *, body: CallUser) -> CallData:
    """Ring at every socket of the other member; missed at once if he is offline or in a call."""
    chat_id, me = text_id(body.chat_id), call.me
    await relations.expect_senior(call)
    other = await messages.open_member(call, chat_id)
    await billing.expect_coins(call)
    identity = call.db.new_id(call.now)
    async with call.db.transaction():
        ringing = await _seat(call.db, identity, me, other) and call.service.hub.online(other)
        if not ringing:
            await call.db.all("delete from busy where call_id = $1", identity)
        await call.db.all(
            """insert into calls (id, chat_id, caller_id, callee_id, type, status, ended, created)
            values ($1, $2, $3, $4, $5, $6, $7, $8)""",
            identity,
            chat_id,
            me,
            other,
            body.type,
            "ringing" if ringing else "missed",
            None if ringing else call.now,
            call.now,
        )
    if ringing:
        await _tell(call.service, call.db, other, "user-calling", identity, call.accepted)
    return await _data(call.db, identity, me)


@action("accept-call")
async def accept_call(call: Call, *, body: CallStep) -> CallData:
    """Answer a call that rings at me; the caller is told."""
    return await _answer(call, text_id(body.call_id), ANSWERS["accept-call"])


@action("reject-call")
async def reject_call(call: Call, *, body: CallStep) -> CallData:
    """Turn down a call that rings at me; the caller is told."""
    return await _answer(call, text_id(body.call_id), ANSWERS["reject-call"])


@action("end-call")
async def end_call(call: Call, *, body: CallStep) -> CallData:
    """Hang up; the other is told. A call that is over stays as it is, and nobody is told again.

    The caller's client does this by itself when a call was rejected: it stays rejected.
    """
    row = await _one(call.db, text_id(body.call_id), call.me)
    await _end(call.service, call.db, row["id"], call.now, call.accepted, besides=call.me)
    return await _data(call.db, row["id"], call.me)


@action("call-connected")
async def call_connected(call: Call, *, body: CallReport) -> None:
    """Note that my side has media."""
    await _report(call, body, up=1)


@action("call-disconnected")
async def call_disconnected(call: Call, *, body: CallReport) -> None:
    """Note that my side has lost its media."""
    await _report(call, body, up=0)


async def recover(service: Service) -> None:
    """Give whoever was in a call when the server stopped the grace to come back."""
    for row in await service.store.session().all("select user_id from busy"):
        service.hub.departed.setdefault(row["user_id"], clock.now())


async def sweep(service: Service) -> None:
    """End the calls that nobody ends; both parties are told."""
    try:
        await _sweep(service, service.store.session(), clock.now())
    except Exception:  # because this runs beside requests: like theirs, its failure must not stop the server
        log.exception("ending calls failed")


async def _sweep(service: Service, db: Session, now: int) -> None:
    settings, departed = service.settings, service.hub.departed
    rung = await db.all(
        f"select id from calls where status = 'ringing' and created <= $1 limit {SWEEP_AT_ONCE}",  # noqa: S608
        now - round(settings.ring_timeout_s * 1000),
    )
    over = [(row["id"], now) for row in rung]
    if settings.billing:
        over += await billing.spent(db, now, SWEEP_AT_ONCE)
    latest = now - round(settings.call_grace_s * 1000)
    gone = [user for user, since in departed.items() if since <= latest][:SWEEP_AT_ONCE]
    if gone:
        left = await db.all(
            f"select user_id, call_id from busy where user_id in ({marks(len(gone), first=1)})",  # noqa: S608
            *gone,
        )
        # What was said ended when he left, not when we stopped waiting for him; he may be back by now.
        over += [(row["call_id"], departed[user]) for row in left if (user := row["user_id"]) in departed]
    for identity, at in over:
        await settled(partial(_end, service, db, identity, at, clock.monotonic()))
    for user in gone:
        departed.pop(user, None)


async def _seat(db: Session, identity: str, me: str, other: str) -> bool:
    """Make both of us busy with this call; tell whether the other was free. 409 if I was not."""
    rows = await db.all(
        """insert into busy (user_id, call_id) values ($1, $3), ($2, $3) on conflict (user_id) do nothing
        returning user_id""",
        *pair(me, other),
        identity,
    )
    seated = {row["user_id"] for row in rows}
    if me not in seated:
        raise Problem(409, "You are in a call already.")
    return other in seated


async def _answer(call: Call, identity: str, answer: Answer) -> CallData:
    """Take the callee's step out of ringing. 403 for the caller, 409 where it rings no more."""
    row = await _one(call.db, identity, call.me)
    if row["callee_id"] != call.me:
        raise Problem(403, "Only who is called can answer.")
    over = answer.status == "rejected"
    async with call.db.transaction():
        taken = await call.db.value(
            """update calls set status = $2, accepted = $3, ended = $4 where id = $1 and status = 'ringing'
            returning id""",
            identity,
            answer.status,
            None if over else call.now,
            call.now if over else None,
        )
        if taken is None:
            raise Problem(409, "The call does not ring any more.")
        if over:
            await call.db.all("delete from busy where call_id = $1", identity)
    await _tell(call.service, call.db, row["caller_id"], answer.tells, identity, call.accepted)
    return await _data(call.db, identity, call.me)


async def _report(call: Call, body: CallReport, *, up: int) -> None:
    """Note what my side has. 409 before the call is accepted; once it is over, nothing changes any more."""
    row = await _one(call.db, text_id(body.call_id), call.me)
    if row["ended"] is not None:
        return
    if row["status"] != "accepted":
        raise Problem(409, "The call has not been accepted.")
    mine, theirs = ("caller_up", "callee_up") if row["caller_id"] == call.me else ("callee_up", "caller_up")
    # Never earlier than what has been counted, so that a call is never longer than it was.
    earliest = row["up_since"] or row["accepted"] + row["talked"]
    at = min(max(body.timestamp, earliest), call.now)
    # One statement, because both sides report at the same time.
    await call.db.all(
        f"""update calls set {mine} = $2,
            talked = talked + case when up_since is not null and $2 + {theirs} = 0
                then $3 - up_since else 0 end,
            up_since = case when $2 + {theirs} = 0 then null when up_since is null then $3 else up_since end
        where id = $1 and ended is null""",  # noqa: S608 - columns of ours
        row["id"],
        up,
        at,
    )


async def _end(
    service: Service, db: Session, identity: str, at: int, accepted: int, *, besides: str | None = None
) -> None:
    """End a call that is not over, as of `at`; its parties are told, `besides` only what it cost."""
    async with db.transaction():
        row = await db.one(
            """update calls set status = case when status = 'ringing' then 'missed' else status end,
                talked = talked + case when up_since is not null and up_since < $2
                    then $2 - up_since else 0 end,
                up_since = null, ended = $2
            where id = $1 and ended is null returning *""",
            identity,
            at,
        )
        if row is None:
            return
        await db.all("delete from busy where call_id = $1", identity)
        cost = service.settings.billing and await billing.settle(db, row, at)
    for user in (row["caller_id"], row["callee_id"]):
        if user != besides:
            await _tell(service, db, user, "call-ended", identity, accepted)
    if cost:
        await billing.tell(service, db, row, at, accepted)


async def _tell(service: Service, db: Session, user: str, push: str, identity: str, accepted: int) -> None:
    """Push a call to every socket of one of its parties, as he sees it."""
    data = await _data(db, identity, user)
    if push == "call-ended":
        data.me = await _purse(db, user)
    service.hub.push(user, push, data, (identity,), accepted=accepted)


async def _data(db: Session, identity: str, viewer: str) -> CallData:
    row = await _one(db, identity, viewer)
    return CallData(chat=Chat(id=row["chat_id"]), call=views.call(row, viewer))


async def _purse(db: Session, user: str) -> User:
    balance: int = await db.value("select coins from users where id = $1", user)
    return User(id=user, ledger=Ledger(coins=Coins(balance=balance)))


async def _one(db: Session, identity: str, viewer: str) -> Row:
    """Return a call as `viewer` sees it; 404 unless he is one of its parties."""
    row = await db.one(f"{_MINE} and k.id = $2", viewer, identity)
    if row is None:
        raise Problem(404, "There is no such call.")
    return row
