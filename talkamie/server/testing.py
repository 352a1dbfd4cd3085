"""The test endpoints: the server's own truth about a run, and accounts without mail.

A separate application on its own port, plain http, 127.0.0.1 only, and only when asked for: whoever reaches
it can read who talked to whom and become anybody.

    GET  /ledger?since=N&limit=M   {columns, since, rows, total, dropped}: at most 100,000 rows at a time
    DELETE /ledger                 begin it anew
    GET  /ledger/summary           {total, dropped, crossed, fates: {action: {fate: count}}}
    GET  /requests                 {columns, rows}: the last 10,000 https requests
    GET  /actions                  the same of what was sent on sockets
    POST /accounts                 [{email, name, type?, password}] → [{id, email, tokens}], in this order;
                                   an address with an account keeps it and gets new tokens
    POST /connections              [[id, id]] → 204: all these pairs are connected and have an open chat
    DELETE /sockets                {sockets}: every socket is reset, as when a server falls over
    GET  /faults                   {on, plan, seed, rules: [{number, rule, places, seen, hits, achieved_ns,
                                   truth_ns}]}: the plan as it is followed, and what each rule has done
    PUT  /faults?name=N&seed=N     a plan (TOML) that replaces the one at work and begins now; answers as GET
    DELETE /faults                 no faults from now on
"""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route, Router

from talkamie.contract import SignUp, Tokens, Wire
from talkamie.server import accounts, chats, clock, faults, relations, security
from talkamie.server.faults.plan import PlanError, parse
from talkamie.server.ledger import PAGE
from talkamie.server.service import Problem, Request, Service, given, settled

_BATCH = 500
_encode = msgspec.json.Encoder().encode


class Created(Wire):
    id: str
    email: str
    tokens: Tokens


def make_test_app(service: Service) -> Router:
    """Return the ASGI application of the test endpoints of one process."""

    async def ledger(request: HttpRequest) -> Response:
        try:
            since = int(request.query_params.get("since", "0"))
            limit = int(request.query_params.get("limit", str(PAGE)))
        except ValueError:
            return _json({"error": "since and limit are whole numbers"}, status=400)
        if request.method == "DELETE":
            service.hub.ledger.clear()
            return Response(status_code=204)
        body = service.hub.ledger.rows(since, min(max(limit, 0), PAGE))
        return Response(body, media_type="application/json")

    async def summary(request: HttpRequest) -> Response:
        books = service.hub.ledger
        fates = books.summary()
        return _json(
            {"total": books.total, "dropped": books.dropped, "crossed": books.crossed, "fates": fates}
        )

    async def requests(request: HttpRequest) -> Response:
        return _json({"columns": Request._fields, "rows": list(service.requests)})

    async def actions(request: HttpRequest) -> Response:
        return _json({"columns": Request._fields, "rows": list(service.actions)})

    async def make_accounts(request: HttpRequest) -> Response:
        try:
            wanted = msgspec.json.decode(await request.body(), type=list[SignUp])
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            return _json({"error": str(error)}, status=400)
        return _json(await settled(lambda: _create(service, wanted)))

    async def make_connections(request: HttpRequest) -> Response:
        try:
            pairs = msgspec.json.decode(await request.body(), type=list[tuple[str, str]])
            await settled(lambda: _connect(service, pairs))
        except (msgspec.DecodeError, ValueError, RecursionError, Problem) as error:
            return _json({"error": str(error)}, status=400)
        return Response(status_code=204)

    async def sockets(request: HttpRequest) -> Response:
        return _json({"sockets": service.hub.reset_all()})

    async def faults_at_work(request: HttpRequest) -> Response:
        if request.method == "PUT":
            if not service.settings.loopback:
                return _json({"error": faults.LOOPBACK_ONLY}, status=409)
            name, seed = request.query_params.get("name", "unnamed"), request.query_params.get("seed", "1")
            try:
                plan = parse(await request.body(), file="body", name=name, seed=int(seed))
            except (PlanError, ValueError) as error:
                return _json({"error": str(error)}, status=400)
            start = request.query_params.get("start")
            await faults.switch(service, plan, None if start is None else int(start))
        elif request.method == "DELETE":
            await faults.switch(service, None)
        at_work = service.hub.faults
        return _json({"on": False} if at_work is None else at_work.report())

    return Router(
        routes=[
            Route("/ledger", ledger, methods=["GET", "DELETE"]),
            Route("/ledger/summary", summary),
            Route("/requests", requests),
            Route("/actions", actions),
            Route("/accounts", make_accounts, methods=["POST"]),
            Route("/connections", make_connections, methods=["POST"]),
            Route("/sockets", sockets, methods=["DELETE"]),
            Route("/faults", faults_at_work, methods=["GET", "PUT", "DELETE"]),
            Route("/health", lambda request: _json(service.health())),
            Route("/metrics", lambda request: Response(service.metrics.text())),
        ],
        redirect_slashes=False,
    )


async def _create(service: Service, wanted: list[SignUp]) -> list[Created]:
    # One hash for each password, because seeds share theirs and a hash is dear.
    hashes = {one: await service.passwords.hash(one) for one in {account.password for account in wanted}}
    db, now = service.store.session(), clock.now()
    created: list[Created] = []
    for start in range(0, len(wanted), _BATCH):
        async with db.transaction():
            for account in wanted[start : start + _BATCH]:
                email = security.email_key(account.email)
                user = await db.value("select id from users where email = $1", email)
                if user is None:
                    hashed = hashes[account.password]
                    user = await accounts.create(db, email, account.name, given(account.type), hashed, now)
                tokens = await accounts.issue(db, user, now)
                created.append(Created(id=user, email=email, tokens=tokens))
    return created


async def _connect(service: Service, pairs: list[tuple[str, str]]) -> None:
    db, now = service.store.session(), clock.now()
    for start in range(0, len(pairs), _BATCH):
        async with db.transaction():
            for one, other in pairs[start : start + _BATCH]:
                for each in (one, other):
                    if await db.value("select 1 from users where id = $1", each) is None:
                        raise Problem(404, f"there is no account with the id {each[:100]!r}")
                await relations.connect(db, one, other, now)
                await chats.open_for(db, one, other, "connect", "accepted", now)


def _json(body: Any, *, status: int = 200) -> Response:
    return Response(_encode(body), status_code=status, media_type="application/json")
