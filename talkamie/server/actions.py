"""From a frame to a handler and back: the life of one socket.

A socket is nobody's until it authenticates; until then only `ping` and `authenticate` are answered, and a
deadline runs. Every bad frame has an answer and leaves the socket open, except binary ones and a bad token.

With `--apigw-errors`, what never came to a handler's end is answered as API Gateway answers where a route is
missing or its integration fails: `{"message": "Forbidden", "connectionId": …, "requestId": …}`, no `action`.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import secrets
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from talkamie.contract import Action, SocketAction
from talkamie.server import clock
from talkamie.server.connection import EXTENSION
from talkamie.server.hub import Socket, failure, success, text_frame
from talkamie.server.registry import Handler, action_handler, actions
from talkamie.server.service import Call, Paged, Problem, Request, Service, failure_text, settled

UNSUPPORTED_DATA = 1003
log = logging.getLogger("talkamie")
_name = msgspec.json.Decoder(Action)
_salt = secrets.token_bytes(16)


class SocketEndpoint:
    """The wss address as an ASGI application: any path, no subprotocol."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._handlers: dict[str, tuple[SocketAction, Handler, msgspec.json.Decoder[Any]]] = {
            name: (row, action_handler(name), msgspec.json.Decoder(row.request))
            for name, row in actions(extras=service.settings.extras).items()
            if row.request is not None
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        hub = self._service.hub
        if hub.faults is not None:
            await hub.faults.handshake()
        await send({"type": "websocket.accept"})
        connection = scope["extensions"][EXTENSION]
        socket = hub.open(connection, clock.monotonic())
        try:
            while (message := await receive())["type"] == "websocket.receive":
                socket.last_seen = clock.monotonic()
                text = message.get("text")
                if text is None:
                    connection.close_with(UNSUPPORTED_DATA, "text frames only")
                    break
                await self.take(socket, text, connection.received)
        finally:
            hub.close(socket)

    async def take(self, socket: Socket, text: str, received: int) -> None:
        """Answer one frame, and do afterwards what waits for the answer."""
        started = clock.monotonic()
        call = Call(
            self._service,
            self._service.store.session(),
            clock.now(),
            received,
            user=socket.user,
            session=socket.session,
            socket=socket,
        )
        name: str | None = None
        status = 200
        try:
            name = self._read_name(text)
            answer = await self._run(call, name, text)
        except Problem as problem:
            status = problem.status
            answer = failure(name, status, problem.message)
        except Exception:
            log.exception("%s failed", name)
            status = 500
            answer = failure(name, status, "Something went wrong on our side.")
        if self._service.settings.apigw_errors and (name not in self._handlers or status == 500):
            answer = _gateway_failure(socket, "Internal server error" if status == 500 else "Forbidden")
        if answer is not None:
            self._service.hub.answer(socket, answer)
        for later in call.after:
            later()
        # Because a name nobody knows is the peer's invention: it must not grow the table of names.
        known = name if name in self._handlers else "unknown-action"
        took, queued = clock.monotonic() - started, started - received
        self._service.actions.append(
            Request("", known, status, started, took, queued, call.held, " ".join(call.faults))
        )
        self._service.metrics.request(known, status, took)

    def _read_name(self, text: str) -> str:
        try:
            return _name.decode(text).action
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise Problem(400, f"frame: {failure_text(error)}") from error

    async def _run(self, call: Call, name: str, text: str) -> bytes | None:
        """Return the frame that answers `name`; None where the handler has answered already."""
        found = self._handlers.get(name)
        if found is None:
            raise Problem(404, "There is no such action.")
        faults = self._service.hub.faults
        if faults is not None and not await faults.action(name, call):
            return None
        row, handler, decoder = found
        if call.user is None and not row.anonymous:
            raise Problem(401, "Authenticate first.")
        try:
            body = decoder.decode(text)
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise Problem(400, f"frame: {failure_text(error)}") from error
        result = await settled(lambda: handler(call, body=body))
        if row.silent:
            return None
        if call.socket is not None and not call.socket.connection.is_open():
            return None
        if isinstance(result, Paged):
            return success(name, result.data, result.pagination)
        return success(name, msgspec.UNSET if result is None else result)


def _gateway_failure(socket: Socket, message: str) -> bytes:
    """Return API Gateway's own frame; its ids are 11 bytes in base64, the connection's always the same."""
    connection = hashlib.blake2b(b"%d" % socket.number, digest_size=11, key=_salt).digest()
    body = {
        "message": message,
        "connectionId": base64.urlsafe_b64encode(connection).decode(),
        "requestId": base64.urlsafe_b64encode(secrets.token_bytes(11)).decode(),
    }
    return text_frame(msgspec.json.encode(body))
