"""From an https request to a handler and back: one wrapper for every row of the contract.

Decode path, query and body; find the caller; run the handler; wrap what it returns in the envelope; tell
how long it took. Every failure is an envelope with its status, and none shows a traceback.
"""

from __future__ import annotations

import logging
import re
from itertools import count
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope, Send

from talkamie.contract import ANONYMOUS_TOKEN, Auth, Envelope, Operation, Wire
from talkamie.server import accounts, clock
from talkamie.server.registry import Handler
from talkamie.server.service import Call, Paged, Problem, Request, Service, failure_text, settled

MAX_BODY_BYTES = 1 << 20
MAX_QUERY_FIELDS = 64
PREFLIGHT_MAX_AGE_S = 600
ALLOWED_HEADERS = (
    b"authorization, content-type, accept, x-user-timezone-offset, x-auth-provider, x-user-device-id, "
    b"x-user-device, x-request-id"
)
log = logging.getLogger("talkamie")
_encode = msgspec.json.Encoder().encode
_ids = count(1)
_CLIENT_ID = re.compile(rb"[\w.:-]{1,64}")

Headers = list[tuple[bytes, bytes]]
MISBEHAVES = (b"x-talkamie-faults", b"on")


class Endpoint:
    """One operation as an ASGI application."""

    def __init__(self, service: Service, row: Operation, handler: Handler) -> None:
        self._service = service
        self._row = row
        self._handler = handler
        self._decode = None if row.body is None else msgspec.json.Decoder(row.body).decode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = clock.monotonic()
        headers = dict(scope["headers"])
        received = scope.get("extensions", {}).get("talkamie.received", {}).get("ns", started)
        call = Call(self._service, self._service.store.session(), clock.now(), received)
        extra: Headers = []
        faults = self._service.hub.faults
        try:
            if faults is not None:
                extra.append(MISBEHAVES)
                send = await faults.operation(self._row.name, call, scope, receive, send)
            status, answer = 200, _success(await self._run(call, scope, headers, receive))
        except Problem as problem:
            status, answer = problem.status, _failure(problem.status, problem.message)
            if problem.retry_after_s is not None:
                extra.append((b"retry-after", b"%d" % problem.retry_after_s))
            if status == 413:
                extra.append((b"connection", b"close"))
        except Exception:
            log.exception("%s failed", self._row.name)
            status, answer = 500, _failure(500, "Something went wrong on our side.")
        took = clock.monotonic() - started
        request_id = headers.get(b"x-request-id", b"")
        if _CLIENT_ID.fullmatch(request_id) is None:
            request_id = f"{self._service.name}-{next(_ids)}".encode()
        queued = started - received
        timing = b"app;dur=%.3f, db;dur=%.3f, queue;dur=%.3f, fault;dur=%.3f" % (
            took / 1e6,
            call.db.spent / 1e6,
            queued / 1e6,
            call.held / 1e6,
        )
        extra += [(b"server-timing", timing), (b"x-request-id", request_id)]
        await respond(send, status, answer, headers=extra + cross_origin(headers))
        for later in call.after:
            later()
        self._service.requests.append(
            Request(
                request_id.decode(),
                self._row.name,
                status,
                started,
                took,
                queued,
                call.held,
                " ".join(call.faults),
            )
        )
        self._service.metrics.request(self._row.name, status, took)

    async def _run(self, call: Call, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Any:
        row = self._row
        parts = list(scope["path_params"].values())
        await self._identify(call, headers)
        if row.auth is not Auth.PUBLIC:
            me = call.me
            if row.auth is Auth.SELF and parts[0] != me:
                raise Problem(403, "Only your own account can be changed.")
        arguments: dict[str, Any] = {}
        if row.query is not None:
            arguments["query"] = _query(scope["query_string"], row.query)
        if self._decode is not None:
            raw = await _body(receive, headers)
            try:
                arguments["body"] = self._decode(raw)
            except (msgspec.DecodeError, ValueError, RecursionError) as error:
                raise Problem(400, f"body: {failure_text(error)}") from error
        return await settled(lambda: self._handler(call, *parts, **arguments))

    async def _identify(self, call: Call, headers: dict[bytes, bytes]) -> None:
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not token or token == ANONYMOUS_TOKEN.encode():
            return
        owner = await accounts.owner_of(call.db, token, call.now)
        if owner is not None:
            call.user, call.session = owner


class PathEndpoint:
    """All methods of one path: picks the operation, answers preflights, refuses the rest with 405."""

    def __init__(self, endpoints: dict[str, Endpoint]) -> None:
        self._endpoints = endpoints
        self._allow = ", ".join([*endpoints, "OPTIONS"]).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope["method"])
        if endpoint is not None:
            await endpoint(scope, receive, send)
            return
        origin = cross_origin(dict(scope["headers"]))
        if scope["method"] == "OPTIONS":
            preflight = [
                (b"access-control-allow-methods", self._allow),
                (b"access-control-allow-headers", ALLOWED_HEADERS),
                (b"access-control-max-age", b"%d" % PREFLIGHT_MAX_AGE_S),
                (b"allow", self._allow),
            ]
            await respond(send, 204, b"", headers=preflight + origin)
            return
        refusal = _failure(405, f"{scope['method']} is not possible here.")
        await respond(send, 405, refusal, headers=[(b"allow", self._allow), *origin])


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer every path the contract does not know."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
        return
    headers = cross_origin(dict(scope["headers"]))
    await respond(send, 404, _failure(404, "There is no such operation."), headers=headers)


async def respond(
    send: Send, status: int, body: bytes, *, headers: Headers, content_type: bytes = b"application/json"
) -> None:
    """Write one whole answer."""
    head = [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *headers]
    if status == 204:
        head = headers
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


def cross_origin(headers: dict[bytes, bytes]) -> Headers:
    """Let the web client read the answer: its own origin, never `*`, because it sends credentials."""
    origin = headers.get(b"origin")
    if origin is None:
        return []
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", b"server-timing, x-request-id, retry-after"),
        (b"vary", b"origin"),
    ]


def _success(result: Any) -> bytes:
    data, pagination = (
        (result.data, result.pagination) if isinstance(result, Paged) else (result, msgspec.UNSET)
    )
    envelope: Envelope[Any] = Envelope(
        success=True,
        status_code=200,
        message="ok",
        data=msgspec.UNSET if data is None else data,
        pagination=pagination,
    )
    return _encode(envelope)


def _failure(status: int, message: str) -> bytes:
    envelope: Envelope[Any] = Envelope(success=False, status_code=status, message=message, error=message)
    return _encode(envelope)


def _query(raw: bytes, wanted: type[Wire]) -> Wire:
    try:
        # Blank values are dropped: the web client sends `?keyword=` for "no keyword".
        fields = dict(parse_qsl(raw.decode("ascii"), errors="strict", max_num_fields=MAX_QUERY_FIELDS))
        found: Wire = msgspec.convert(fields, wanted, strict=False)
    except ValueError as error:  # msgspec.ValidationError and UnicodeDecodeError are ValueErrors
        raise Problem(400, f"query: {error}") from error
    return found


async def _body(receive: Receive, headers: dict[bytes, bytes]) -> bytes:
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > MAX_BODY_BYTES:
        raise Problem(413, f"A body may have {MAX_BODY_BYTES} bytes, this one has {declared.decode()}.")
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "The body did not arrive.")
        chunk: bytes = message.get("body", b"")
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise Problem(413, f"A body may have {MAX_BODY_BYTES} bytes.")
        if not message.get("more_body", False):
            return body
