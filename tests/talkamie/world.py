"""The whole application in this process: no sockets, no threads but argon2's, a clock told the time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch
from urllib.parse import urlencode

from talkamie.server import accounts, calls, clock
from talkamie.server.actions import SocketEndpoint
from talkamie.server.app import make_app, make_service
from talkamie.server.hub import Socket
from talkamie.server.service import Settings
from talkamie.server.store import Store
from tests.talkamie.stores import Backend

MONDAY = 1_750_000_000_000  # some moment of June 2025, in ms
SECOND = 1000


@dataclass
class FakeConnection:
    """Takes frames apart instead of sending them."""

    frames: list[Any] = field(default_factory=list)
    closed: tuple[int, str] | None = None
    aborted: bool = False
    backlog: int = 0
    deaf: bool = False
    received: int = 0

    def write_frame(self, frame: bytes) -> None:
        size = {126: 4, 127: 10}.get(frame[1], 2)
        self.frames.append(json.loads(frame[size:]))

    def unread(self) -> int:
        return self.backlog

    def is_open(self) -> bool:
        return self.closed is None and not self.aborted

    def close_with(self, code: int, reason: str) -> None:
        self.closed = self.closed or (code, reason)

    def abort(self) -> None:
        self.aborted = True

    reset = abort

    def deafen(self) -> None:
        self.deaf = True


@dataclass
class Member:
    """Somebody with an account in a world."""

    world: World
    id: str
    email: str
    token: str

    def call(self, method: str, path: str, body: Any = None, *, status: int = 200, **query: Any) -> Any:
        """Send a request, expect `status`, and return the envelope."""
        found, envelope = self.world.request(method, path, body, token=self.token, **query)
        assert found == status, envelope
        return envelope

    def renew(self) -> None:
        """Sign in again: a token lives a day."""
        db = self.world.service.store.session()
        self.token = self.world.run(accounts.issue(db, self.id, self.world.now)).access

    def socket(self) -> Wire:
        """Open a socket and authenticate it; the answer is dropped."""
        wire = self.world.socket()
        wire.ask("authenticate", token=self.token)
        return wire


@dataclass
class Wire:
    """One socket, from the client's side."""

    world: World
    socket: Socket
    connection: FakeConnection

    def send(self, text: str) -> None:
        self.world.run(self.world.sockets.take(self.socket, text, clock.monotonic()))

    def ask(self, action: str, *, status: int = 200, **fields: Any) -> Any:
        """Send a frame and return its answer, taken out of what came."""
        self.send(json.dumps({"action": action, **fields}))
        answer = next(f for f in reversed(self.connection.frames) if f.get("action") == action)
        self.connection.frames.remove(answer)
        assert answer["statusCode"] == status, answer
        return answer

    def tell(self, action: str, **fields: Any) -> None:
        """Send a frame that has no answer unless it fails."""
        self.send(json.dumps({"action": action, **fields}))

    def pushed(self) -> list[Any]:
        """Return, and forget, the frames that came unasked."""
        frames = self.connection.frames[:]
        self.connection.frames.clear()
        return frames

    def close(self) -> None:
        self.connection.closed = (1000, "")
        self.world.service.hub.close(self.socket)


class World:
    """An application with an empty database; `now` is its wall clock."""

    def __init__(self, runner: asyncio.Runner, settings: Settings, store: Store) -> None:
        self.now = MONDAY
        self._runner = runner
        self.people: list[Member] = []
        self.service = make_service(settings, store)
        self.app = make_app(self.service)
        self.sockets = SocketEndpoint(self.service)

    def run(self, work: Any) -> Any:
        return self._runner.run(work)

    def sql(self, text: str, *args: Any) -> list[dict[str, Any]]:
        """Return what the database says."""
        return [dict(row) for row in self.run(self.service.store.session().all(text, *args))]

    def later(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)

    def sweep(self) -> None:
        """Do what the server does twice a second: end the calls that nobody ends."""
        self.run(calls.sweep(self.service))

    def member(self, kind: str | None = "senior", name: str = "Ann") -> Member:
        """Make an account, without an OTP."""
        email = f"person{len(self.people) + 1}@example.test"

        async def make() -> tuple[str, str]:
            db = self.service.store.session()
            user = await accounts.create(db, email, name, kind, "no hash", self.now)
            return user, (await accounts.issue(db, user, self.now)).access

        user, token = self.run(make())
        self.people.append(Member(self, user, email, token))
        return self.people[-1]

    def friends(self) -> tuple[Member, Member, str]:
        """Make two connected people, and return the id of their chat too."""
        one, other = self.member("senior", "Ann"), self.member("volunteer", "Bob")
        one.call("POST", f"/user/{other.id}/connection")
        chat = other.call("POST", f"/user/{one.id}/connection/accept")["data"]["chat"]["id"]
        return one, other, chat

    def socket(self) -> Wire:
        """Open a socket that is nobody's yet."""
        connection = FakeConnection()
        return Wire(self, self.service.hub.open(connection, clock.monotonic()), connection)

    def request(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, **query: Any
    ) -> tuple[int, Any]:
        """Send one request below the version prefix; return its status and envelope."""
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        headers = [] if token is None else [("authorization", f"Bearer {token}")]
        status, _, answer = self.raw(method, "/v1" + path, raw, headers=headers, query=urlencode(query))
        return status, json.loads(answer) if answer else None

    def raw(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: list[tuple[str, str]] | None = None,
        query: str = "",
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request as it is; return status, headers and body."""
        answer: tuple[int, dict[str, str], bytes] = self.run(
            self.send(method, path, body, headers=headers, query=query)
        )
        return answer

    def together(self, *steps: tuple[Member, str, str]) -> list[int]:
        """Send requests without bodies at the same time; return their statuses."""

        async def send_all() -> list[tuple[int, dict[str, str], bytes]]:
            return await asyncio.gather(
                *(
                    self.send(method, "/v1" + path, headers=[("authorization", f"Bearer {member.token}")])
                    for member, method, path in steps
                )
            )

        return [status for status, _, _ in self.run(send_all())]

    async def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: list[tuple[str, str]] | None = None,
        query: str = "",
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request as it is; return status, headers and body."""
        sent: list[Any] = []

        waiting = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            if not waiting:  # the client stays until he is answered
                await asyncio.Event().wait()
            return waiting.pop()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(k.encode(), v.encode()) for k, v in headers or []],
        }
        await self.app(scope, receive, send)
        head = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
        return sent[0]["status"], head, b"".join(part.get("body", b"") for part in sent[1:])


@contextmanager
def worlds(backend: Backend) -> Iterator[Callable[..., World]]:
    """Yield a function that makes worlds; each has its own time, and the last one the database."""
    made: list[World] = []
    runner = backend.runner()

    def make(**settings: Any) -> World:
        made.append(World(runner, Settings(**settings), backend.store(runner)))
        return made[-1]

    try:
        with patch.object(clock, "now", lambda: made[-1].now):
            yield make
    finally:
        for world in made:
            world.service.passwords.close()
        backend.release(runner, [world.service.store for world in made])
