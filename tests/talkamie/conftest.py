"""A running server, and people who use it.

`server` is the real process, over https and wss with its throw-away CA, one for the whole session. `world` is
the application without a process or a socket, for rules that need neither.
"""

from __future__ import annotations

import json
import secrets
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.talkamie.client import TIMEOUT_S, Client
from tests.talkamie.stores import Backend, Sqlite, binaries, postgresql
from tests.talkamie.world import World, worlds

Ready = dict[str, Any]
ON_SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
PASSWORD = "correct horse battery"


@contextmanager
def running(
    *options: str, expect: int | None = 0, stderr: Any = None
) -> Iterator[tuple[Ready, subprocess.Popen[str]]]:
    """Start a server, yield its ready line and process, and stop it; `expect` is its exit code."""
    process = subprocess.Popen(
        [sys.executable, "-m", "talkamie.server", "--exit-with-parent", *options],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline()), process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        code = process.wait(TIMEOUT_S * 2)
        if process.stdout is not None:
            process.stdout.close()
    assert expect is None or code == expect


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Where databases come from: every test that uses one runs on both stores, unless it says otherwise."""
    if request.param == "sqlite":
        yield Sqlite()
        return
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL's own programs are not installed here (Debian: apt-get install postgresql)")
    with postgresql(programs) as cluster:
        yield cluster


@pytest.fixture
def world(backend: Backend) -> Iterator[World]:
    """An application in this process, empty, on some Monday."""
    with worlds(backend) as make:
        yield make()


@pytest.fixture(scope="session")
def server(backend: Backend) -> Iterator[Ready]:
    """The ready line of a server that lives as long as the session."""
    with running("--port", "0", "--test-endpoints", *backend.options()) as (ready, _):
        yield ready


@pytest.fixture(scope="session")
def tls(server: Ready) -> ssl.SSLContext:
    """A client's TLS that trusts the server's CA and no other."""
    return ssl.create_default_context(cafile=server["ca"])


@dataclass
class Person:
    """Somebody with an account on a running server, and the sockets he opened."""

    id: str
    email: str
    token: str
    http: httpx.Client
    ready: Ready
    tls: ssl.SSLContext | None
    sockets: list[Client] = field(default_factory=list)

    def call(self, method: str, path: str, body: Any = None, *, status: int = 200, **query: Any) -> Any:
        """Send a request, expect `status`, and return the whole envelope."""
        answer = self.http.request(
            method,
            self.ready["https"] + path,
            json=body,
            params=query,
            headers={"authorization": f"Bearer {self.token}"},
        )
        assert answer.status_code == status, answer.text
        return answer.json()

    def connect(self, *, authenticate: bool = True) -> Client:
        """Open a socket; authenticated unless told otherwise."""
        socket = open_socket(self.ready, self.tls)
        self.sockets.append(socket)
        if authenticate:
            ask(socket, "authenticate", token=self.token)
        return socket


@pytest.fixture
def people(server: Ready, tls: ssl.SSLContext) -> Iterator[Callable[..., list[Person]]]:
    """A function that makes `count` new people on the session's server."""
    with people_of(server, tls) as make:
        yield make


@contextmanager
def people_of(ready: Ready, tls: ssl.SSLContext | None) -> Iterator[Callable[..., list[Person]]]:
    """Yield a function that makes people on a server; their sockets are closed in the end."""
    made: list[Person] = []
    verify = tls if tls is not None else True
    with httpx.Client(verify=verify, timeout=TIMEOUT_S, trust_env=False) as http:

        def make(count: int = 2, kind: str = "senior") -> list[Person]:
            wanted = [
                {"email": unique_email(), "name": f"Person {n}", "type": kind, "password": PASSWORD}
                for n in range(count)
            ]
            created = http.post(ready["test"] + "/accounts", json=wanted).json()
            new = [
                Person(one["id"], one["email"], one["tokens"]["access"], http, ready, tls) for one in created
            ]
            made.extend(new)
            return new

        yield make
        for person in made:
            for socket in person.sockets:
                socket.close()


def unique_email() -> str:
    return f"{secrets.token_hex(6)}@example.test"


def befriend(one: Person, other: Person) -> str:
    """Connect two people and return their chat's id."""
    one.call("POST", f"/user/{other.id}/connection")
    accepted = other.call("POST", f"/user/{one.id}/connection/accept")
    return str(accepted["data"]["chat"]["id"])


def open_socket(ready: Ready, tls: ssl.SSLContext | None) -> Client:
    return Client(ready["wss"], tls)


def send(socket: Client, action: str, **fields: Any) -> None:
    socket.send(json.dumps({"action": action, **fields}))


def receive(socket: Client) -> Any:
    """Return the next frame, which must come soon."""
    return json.loads(socket.recv())


def ask(socket: Client, action: str, *, status: int = 200, **fields: Any) -> Any:
    """Send a frame and return its answer; frames of other actions that come first are dropped."""
    send(socket, action, **fields)
    while (frame := receive(socket)).get("action") != action:
        pass
    assert frame["statusCode"] == status, frame
    return frame


def quiet(socket: Client) -> bool:
    """Tell whether nothing is under way: frames keep their order, so this ping's answer comes next."""
    send(socket, "ping")
    return bool(receive(socket)["action"] == "ping")
