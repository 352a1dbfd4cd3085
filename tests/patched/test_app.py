"""The app writes down each call, each connection that it needed, and what that was made of."""

from __future__ import annotations

import ssl
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from gevent import socket
from gevent import ssl as cooperative
from locust.env import Environment

from loadtests.app import App
from reports.sample import Kind, Outcome
from scenarios.actor import Unanswered
from tests.patched.peer import listening

ANSWER = b'{"success":true,"statusCode":200,"data":{"id":"u1"}}'


class Books:
    """What an app needs of a run: it keeps the samples."""

    def __init__(self, https: str, tls: ssl.SSLContext | None) -> None:
        self.target = SimpleNamespace(https=https, extras=False)
        self.tls = tls
        self.scenario = SimpleNamespace(client=SimpleNamespace(timeout_s=5))
        self.finishing = False
        self.strange = 0
        self.rows: list[dict[str, Any]] = []
        self.recorder = SimpleNamespace(sample=self._sample)

    def join(self, _: object) -> int:
        return 7

    def leave(self, _: object) -> None: ...

    def _sample(self, kind: Kind, operation: str, **row: Any) -> None:
        self.rows.append({"kind": kind, "operation": operation, **row})


def app(https: str, tls: ssl.SSLContext | None = None) -> tuple[Any, Books]:
    """Return an app of a run of its own."""
    books = Books(https, tls)

    class One(App):
        pass

    One.books = books  # type: ignore[assignment]
    return One(Environment()), books


def good(connection: socket.socket) -> None:
    """Answer each request."""
    while connection.recv(65536):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER))
    connection.close()


def test_a_connection_is_a_sample_of_its_own_before_the_call_that_needs_it() -> None:
    """In the response time of the first call, in no service time; a kept one is not told again."""
    with listening(good) as url:
        one, books = app(url.replace("ws:", "http:").rstrip("/"))
        with one.journey("open"):
            one.call("get-user", id="u1")
        one.call("get-user", id="u1")
        one.on_stop()
    connect, tcp, first, second = books.rows
    assert (connect["kind"], connect["operation"]) == (Kind.CONNECT, "https.connect")
    assert (tcp["kind"], tcp["operation"]) == (Kind.PHASE, "https.connect.tcp")
    assert [row["kind"] for row in (first, second)] == [Kind.REQUEST] * 2
    assert connect["journey"] == first["journey"] == "open"
    assert first["intended"] <= connect["sent"] <= connect["arrived"] <= first["sent"]
    assert (tcp["sent"], tcp["arrived"]) == (connect["sent"], connect["arrived"])
    for row in (first, second):
        assert row["sent"] <= row["first"] <= row["arrived"] <= row["seen"]


def test_tls_is_a_phase_of_its_own() -> None:
    """TCP and TLS together are the connect."""
    authority = trustme.CA()
    inside = cooperative.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(inside)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with listening(lambda connection: good(inside.wrap_socket(connection, server_side=True))) as url:
        one, books = app(url.replace("ws:", "https:").rstrip("/"), context)
        one.call("get-user", id="u1")
        one.on_stop()
    connect, tcp, tls, _ = books.rows
    assert [tcp["operation"], tls["operation"]] == ["https.connect.tcp", "https.connect.tls"]
    assert connect["sent"] == tcp["sent"] < tcp["arrived"] == tls["sent"] < tls["arrived"]
    assert tls["arrived"] == connect["arrived"]


def test_a_connection_that_can_not_be_made_is_one_failure() -> None:
    """That of the call: it counts once."""
    with listening(good) as url:
        pass
    one, books = app(url.replace("ws:", "http:").rstrip("/"))
    with pytest.raises(Unanswered):
        one.call("get-user", id="u1")
    (row,) = books.rows
    assert (row["outcome"], row["error"]) == (Outcome.BROKEN, "connection refused")
    assert row["intended"] <= row["sent"] <= row["arrived"]
    assert row["first"] == 0
