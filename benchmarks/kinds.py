"""The same virtual user three times: the usual way, with websockets.sync, and ours.

Each is what a person would write who follows the documents of the library at hand, down to the record of
every single delivery. Where a library has a faster setting it is on: the comparison is with the usual way at
its best.
"""

from __future__ import annotations

import json
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import websocket
import websockets.sync.client
from gevent.event import Event
from locust import User
from locust.contrib.fasthttp import FastHttpUser
from locust.env import Environment

from benchmarks.target import RUN
from loadtests import clock
from loadtests.api import Api
from loadtests.fanout import Ledger
from loadtests.health import every_second
from loadtests.keys import CHAT
from loadtests.link import Link
from loadtests.recorder import Recorder
from reports.parts import PartWriter
from reports.sample import Kind
from talkamie.contract import OPERATIONS, MessageData

TIMEOUT_S = 60.0
PING = '{"action":"ping"}'
_GET_USER = OPERATIONS["get-user"]


@dataclass
class Desk:
    """What the virtual users of one process share."""

    url: str  # of the socket, or the base of https
    context: ssl.SSLContext | None
    environment: Environment
    on_stamp: Callable[[int, int], None] | None  # (arrived, the target's own stamp) of each delivery, ns
    on_answer: Callable[[int], None] | None  # how long an https call took as the library tells it, ns


class Person(Protocol):
    """A virtual user. All of it may wait."""

    def __init__(self, desk: Desk, number: int) -> None: ...

    def open(self) -> None:
        """Connect the socket."""

    def listen(self) -> None:
        """Take in and record messages for good."""

    def echo(self) -> None:
        """Do one round trip, and record it."""

    def close(self) -> None:
        """Close the socket with a goodbye."""

    def ask(self) -> None:
        """Do one https call, and record it."""

    def record(self, count: int) -> None:
        """Write down so many deliveries, and see them through: what a run does sooner or later is done."""


class Caller(FastHttpUser):
    """A user of https with verified certificates."""

    insecure = False

    def __init__(self, desk: Desk) -> None:
        self.host = desk.url
        self.ssl_context_factory = lambda cafile=None: desk.context
        super().__init__(desk.environment)


def _locust_user(desk: Desk) -> User:
    """Return the object that a virtual user is to Locust."""
    return Caller(desk) if desk.url.startswith("http") else User(desk.environment)


class Usual:
    """websocket-client, json.loads and Locust's request event; https by FastHttpUser."""

    def __init__(self, desk: Desk, number: int) -> None:
        self._desk = desk
        self._fire = desk.environment.events.request.fire
        self._user = _locust_user(desk)

    def open(self) -> None:
        options = {"context": self._desk.context} if self._desk.context else {}
        self._socket = websocket.create_connection(
            self._desk.url,
            timeout=TIMEOUT_S,
            sslopt=options,
            enable_multithread=False,
            skip_utf8_validation=True,
        )

    def receive(self) -> str | bytes:
        return self._socket.recv()

    def send(self, text: str) -> None:
        self._socket.send(text)

    def listen(self) -> None:
        while True:
            text = self.receive()
            arrived = clock.now()
            message = json.loads(text)
            stamp = int(message["data"]["message"]["timestamp"])
            if self._desk.on_stamp:
                self._desk.on_stamp(arrived, stamp)
            self._record(message["action"], arrived - stamp, len(text))

    def echo(self) -> None:
        sent = clock.now()
        self.send(PING)
        text = self.receive()
        arrived = clock.now()
        self._record(json.loads(text)["action"], arrived - sent, len(text))

    def _record(self, name: str, took: int, length: int) -> None:
        self._fire(  # type: ignore[no-untyped-call]
            request_type="WSS",
            name=name,
            response_time=took / clock.MILLISECOND,
            response_length=length,
            exception=None,
            context={},
        )

    def record(self, count: int) -> None:
        for _ in range(count):
            self._record("new-message", clock.MILLISECOND, 200)

    def close(self) -> None:
        self._socket.close()

    def ask(self) -> None:
        assert isinstance(self._user, Caller)
        self._user.client.get("/user/u-1", name="get-user").json()


class Synchronous(Usual):
    """websockets.sync, json.loads and Locust's request event."""

    def open(self) -> None:
        self._connection = websockets.sync.client.connect(
            self._desk.url,
            ssl=self._desk.context,
            compression=None,
            ping_interval=None,
            proxy=None,
            open_timeout=TIMEOUT_S,
        )

    def receive(self) -> str | bytes:
        return self._connection.recv()

    def send(self, text: str) -> None:
        self._connection.send(text)

    def close(self) -> None:
        self._connection.close()

    def ask(self) -> None:
        raise NotImplementedError("it has no http")


class Books:
    """Our recorder and ledger, written to disk once a second as in a run."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="talkload-bench-")
        self.recorder = Recorder(PartWriter(Path(self._folder.name), "bench"))
        self.ledger = Ledger(self.recorder, RUN)
        every_second(self.flush)

    def flush(self) -> None:
        self.recorder.flush()
        self.ledger.forget(clock.now() - 10 * clock.SECOND)


class Ours:
    """Link, Api, Ledger and Recorder of this suite."""

    books: Books | None = None

    def __init__(self, desk: Desk, number: int) -> None:
        Ours.books = self._books = Ours.books or Books()
        self._desk, self._number, self._me = desk, number, f"u-{number}"
        self._link: Link | None = None
        self._user = User(desk.environment)
        self._api = Api(desk.url, desk.context, timeout=TIMEOUT_S)

    def open(self) -> None:
        self._link = Link(self._on_push, lambda code, reason: None)
        self._link.connect(self._desk.url, self._desk.context, timeout=TIMEOUT_S)

    def _on_push(self, action: str, data: Any, arrived: int, seen: int) -> None:
        self._books.ledger.pushed(action, data, self._me, self._number, arrived=arrived, seen=seen)
        if self._desk.on_stamp and isinstance(data, MessageData):
            self._desk.on_stamp(arrived, int(str(data.message.timestamp)))

    def listen(self) -> None:
        Event().wait()  # pushes need no greenlet; a person's own waits for what it does next

    def echo(self) -> None:
        assert self._link is not None
        pong = self._link.ping(timeout=TIMEOUT_S)
        self._books.recorder.sample(
            Kind.PING,
            "wss.ping",
            journey="bench",
            user=self._number,
            intended=pong.sent,
            sent=pong.sent,
            arrived=pong.arrived,
            seen=pong.seen,
            size=pong.size,
        )

    def record(self, count: int) -> None:
        for number in range(count):
            self._books.recorder.arrival(f"m-{number}", CHAT, self._me, self._number, 1, 2)
        self._books.recorder.flush()

    def close(self) -> None:
        assert self._link is not None
        self._link.close(timeout=TIMEOUT_S)

    def ask(self) -> None:
        called = self._api.call(_GET_USER, None, {"id": "u-1"}, expect=())
        self._books.recorder.sample(
            Kind.REQUEST,
            _GET_USER.name,
            journey="bench",
            user=self._number,
            intended=called.sent,
            sent=called.sent,
            arrived=called.arrived,
            seen=called.seen,
            outcome=called.outcome,
            status=called.status,
            size=called.size,
            error=called.error,
        )
        if called.error:
            raise RuntimeError(f"get-user: {called.error} {called.text}")
        if self._desk.on_answer:
            self._desk.on_answer(called.arrived - called.sent)


KINDS: dict[str, type[Person]] = {"usual": Usual, "websockets.sync": Synchronous, "ours": Ours}
