"""Coins: bought on a payment page that takes no money, and paid out to nobody.

A coin is a US cent. A balance changes by one conditional UPDATE inside the transaction that books it, so
that it is never below zero and always the sum of what is complete or on its way out.

purchase:    pending ──paid──► complete (the coins are there, and every socket of the user is told)
withdrawal:  pending (the coins are gone; nobody completes it here)
What calls cost and earn is `billing`'s, and complete from the start.
"""

from __future__ import annotations

import html
import secrets

from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import BaseRoute, Route

from talkamie.contract import (
    CoinAmount,
    Funds,
    Page,
    PaymentSession,
    Plan,
    TopUp,
    TopUpData,
    Transaction,
    TransactionData,
    UserData,
    Withdrawal,
)
from talkamie.server import clock
from talkamie.server.billing import book
from talkamie.server.profiles import own
from talkamie.server.registry import operation
from talkamie.server.security import token_hash
from talkamie.server.service import Call, Cursor, Paged, Problem, Service, cursor, iso, page, text_id
from talkamie.server.store import Row

_PAGE = """<!doctype html><meta charset="utf-8"><title>Top up</title><h1>{title}</h1><p>{text}</p>{form}"""
_FORM = '<form method="post"><button>Pay</button></form>'


@operation("get-transactions")
async def get_transactions(call: Call, *, query: Page) -> Paged[list[Transaction]]:
    """Return my transactions, newest first."""
    return await _list(call, query, "%")


@operation("get-purchases")
async def get_purchases(call: Call, *, query: Page) -> Paged[list[Transaction]]:
    """Return what I bought, newest first."""
    return await _list(call, query, "purchase")


@operation("get-earnings")
async def get_earnings(call: Call, *, query: Page) -> Paged[list[Transaction]]:
    """Return what I earned, newest first."""
    return await _list(call, query, "earning")


@operation("get-withdrawals")
async def get_withdrawals(call: Call, *, query: Page) -> Paged[list[Transaction]]:
    """Return what I withdrew, newest first."""
    return await _list(call, query, "withdrawal")


@operation("get-transaction")
async def get_transaction(call: Call, identity: str) -> TransactionData:
    """Return one of my transactions."""
    return TransactionData(transaction=_view(await _one(call, identity)))


@operation("get-subscriptions")
async def get_subscriptions(call: Call, *, query: Page) -> Paged[list[Plan]]:
    """Return the plans one can subscribe to: none."""
    cursor(query)
    return Paged([], UNSET)


@operation("open-top-up-session")
async def open_top_up(call: Call, *, body: TopUp) -> TopUpData:
    """Book a purchase that is to be paid, or go on with one that was not; return where to pay."""
    session = secrets.token_urlsafe(24)
    wanted = body.transaction_id
    if isinstance(wanted, UnsetType):
        identity = await book(
            call.db, call.me, "purchase", "top-up", body.coins, call.now, payment=token_hash(session)
        )
    else:
        identity = text_id(wanted)
        resumed = await call.db.value(
            """update transactions set payment = $3, coins = $4 where id = $1 and user_id = $2
            and type = 'purchase' and status = 'pending' returning id""",
            identity,
            call.me,
            token_hash(session),
            body.coins,
        )
        if resumed is None:
            raise Problem(404, "There is no such transaction that could be paid.")
    url = f"{call.service.settings.origin}/pay/{session}"
    return TopUpData(
        session=PaymentSession(id=session, url=url), transaction=_view(await _one(call, identity))
    )


@operation("withdraw-coins")
async def withdraw(call: Call, *, body: Withdrawal) -> TransactionData:
    """Take coins out of my balance to pay them out. 403 where there are not as many.

    With the id of a withdrawal it is asked about again, and nothing is taken.
    """
    wanted = body.transaction_id
    if not isinstance(wanted, UnsetType):
        row = await _one(call, text_id(wanted))
        if row["intent"] != "withdraw":
            raise Problem(404, "There is no such withdrawal.")
        return TransactionData(transaction=_view(row))
    async with call.db.transaction():
        left = await call.db.value(
            "update users set coins = coins - $2, paypal = $3 where id = $1 and coins >= $2 returning coins",
            call.me,
            body.coins,
            body.paypal.email,
        )
        if left is None:
            raise Problem(403, "You do not have as many coins.")
        identity = await book(call.db, call.me, "withdrawal", "withdraw", body.coins, call.now)
    return TransactionData(transaction=_view(await _one(call, identity)))


def routes(service: Service) -> list[BaseRoute]:
    """Return the payment page. Whoever has its address may pay, and once."""

    async def show(request: Request) -> HTMLResponse:
        row = await _payable(service, request.path_params["session"])
        if row is None:
            return _page("Nothing to pay", "This address is not known, or it has been paid.", status=404)
        return _page("Top up", f"{row['coins']} coins for {row['coins'] / 100:.2f} USD.", form=_FORM)

    async def pay(request: Request) -> HTMLResponse:
        user = await _settle(service, request.path_params["session"])
        if user is None:
            return _page("Nothing to pay", "This address is not known, or it has been paid.", status=404)
        return _page("Thank you", "The coins are yours.")

    return [
        Route("/pay/{session}", show, methods=["GET"]),
        Route("/pay/{session}", pay, methods=["POST"]),
    ]


async def _settle(service: Service, session: str) -> str | None:
    """Complete the purchase of a payment session and tell its user; nothing where there is none to pay."""
    accepted, now = clock.monotonic(), clock.now()
    db = service.store.session()
    async with db.transaction():
        row = await db.one(
            """update transactions set status = 'complete', payment = null
            where payment = $1 and status = 'pending' returning user_id, coins""",
            token_hash(session),
        )
        if row is None:
            return None
        user: str = row["user_id"]
        await db.all("update users set coins = coins + $2 where id = $1", user, row["coins"])
    data = UserData(user=await own(db, user, now))
    service.hub.push(user, "update-user", data, (user,), accepted=accepted)
    return user


async def _payable(service: Service, session: str) -> Row | None:
    return await service.store.session().one(
        "select coins from transactions where payment = $1 and status = 'pending'", token_hash(session)
    )


def _page(title: str, text: str, *, form: str = "", status: int = 200) -> HTMLResponse:
    policy = {"content-security-policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'"}
    content = _PAGE.format(title=html.escape(title), text=html.escape(text), form=form)
    return HTMLResponse(content, status_code=status, headers=policy)


async def _one(call: Call, identity: str) -> Row:
    row = await call.db.one("select * from transactions where id = $1 and user_id = $2", identity, call.me)
    if row is None:
        raise Problem(404, "There is no such transaction.")
    return row


async def _list(call: Call, query: Page, kind: str) -> Paged[list[Transaction]]:
    before = cursor(query)
    rows, pagination = page(
        await call.db.all(
            """select * from transactions where user_id = $1 and type like $2 and id < $3
            order by id desc limit $4""",
            call.me,
            kind,
            "~" if before is None else before.id,
            query.page_size + 1,
        ),
        query.page_size,
        lambda row: Cursor(id=row["id"], date_created=iso(row["created"])),
    )
    return Paged([_view(row) for row in rows], pagination)


def _view(row: Row) -> Transaction:
    return Transaction(
        id=row["id"],
        type=row["type"],
        intent=row["intent"],
        status=row["status"],
        funds=Funds(amount=row["coins"], currency="USD"),
        coins=CoinAmount(amount=row["coins"]),
        timestamp=iso(row["created"]),
    )
