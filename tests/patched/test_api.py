"""Calls are written as the web client writes them, and every answer, good or bad, has its class."""

from __future__ import annotations

from collections.abc import Callable

import gevent
import pytest
from gevent import socket

from loadtests.api import Api, Called, target_of
from reports.sample import Outcome
from talkamie.contract import OPERATIONS, SignIn, User
from tests.patched.peer import listening

SHORT = 0.3


@pytest.mark.parametrize(
    ("operation", "fields", "target"),
    [
        ("get-user", {"id": "u/1 ü"}, "/user/u%2F1%20%C3%BC"),
        ("get-chats", {}, "/chats?pageSize=25&lastEvaluatedKey="),
        (
            "get-users",
            {"type": "senior", "keyword": "a&b", "page_size": 5},
            "/users?pageSize=5&keyword=a%26b&type=senior&lastEvaluatedKey=",
        ),
        ("get-users", {"email": "a@b.c"}, "/users?email=a%40b.c"),
        (
            "get-chat-messages",
            {"chatId": "c1", "last_evaluated_key": '{"id":"m"}'},
            "/chat/c1/messages?pageSize=25&lastEvaluatedKey=%7B%22id%22%3A%22m%22%7D",
        ),
    ],
)
def test_path_and_query_are_those_of_the_web_client(
    operation: str, fields: dict[str, object], target: str
) -> None:
    """Parts are escaped, pages always say so, an empty key is sent empty."""
    assert target_of(OPERATIONS[operation], fields) == target


def call(url: str, operation: str = "get-user", expect: tuple[int, ...] = ()) -> Called:
    """Make one call to a server at a ws address."""
    base = url.replace("ws://", "http://").rstrip("/")
    fields = {"id": "u1"} if operation == "get-user" else {}
    body = SignIn(email="a@b.c", password="x") if operation == "sign-in" else None
    return Api(base, None, timeout=SHORT).call(OPERATIONS[operation], body, fields, expect=expect)


def answering(answer: bytes) -> Callable[[socket.socket], None]:
    """Return a server that gives this answer to whatever is asked."""

    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer)
        connection.close()

    return handle


def http(body: bytes, status: str = "200 OK", extra: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s" % (status.encode(), len(body), extra, body)


GOOD = b'{"success":true,"statusCode":200,"data":{"id":"u1","name":"Ann"}}'


def test_a_good_answer_has_its_data_and_instants() -> None:
    """The data is of the contract's type; sent before arrived before seen."""
    with listening(answering(http(GOOD))) as url:
        called = call(url)
    assert called.outcome is Outcome.OK
    assert called.data == User(id="u1", name="Ann")
    assert called.sent <= called.arrived <= called.seen
    assert called.size == len(GOOD)


@pytest.mark.parametrize(
    ("answer", "outcome", "error"),
    [
        (
            http(b'{"success":false,"statusCode":403,"error":"no"}', "403 Forbidden"),
            Outcome.FAILED,
            "status 403",
        ),
        (http(b'{"success":false,"statusCode":200,"error":"no"}'), Outcome.FAILED, "success: false"),
        (http(b"<html>oops</html>", "502 Bad Gateway"), Outcome.FAILED, "status 502"),
        (http(b"<html>fine</html>"), Outcome.FAILED, "unreadable answer"),
        (http(b""), Outcome.FAILED, "unreadable answer"),
        (http(b"null"), Outcome.FAILED, "unreadable answer"),
        (http(b'{"success":true,"statusCode":200,"data":[]}'), Outcome.FAILED, "unreadable answer"),
        (http(b"[" * 50_000), Outcome.FAILED, "unreadable answer"),
        (
            http(b'{"success":true,"statusCode":200,"data":{"ledger":' + b"[" * 50_000),
            Outcome.FAILED,
            "unreadable answer",
        ),
        (
            http(b'{"success":false,"statusCode":500,"data":' + b"[" * 50_000, "500 Oops"),
            Outcome.FAILED,
            "status 500",
        ),
        (http(b"", "302 Found", b"Location: http://127.0.0.2:1/\r\n"), Outcome.FAILED, "status 302"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", Outcome.BROKEN, ""),
        (b"", Outcome.BROKEN, ""),
        (b"SSH-2.0-OpenSSH\r\n", Outcome.FAILED, "not HTTP"),
    ],
)
def test_every_bad_answer_has_its_class(answer: bytes, outcome: Outcome, error: str) -> None:
    """Said no, can't be read, points elsewhere, broke off: nothing raises and nothing is a success."""
    with listening(answering(answer)) as url:
        called = call(url)
    assert called.outcome is outcome
    assert called.error
    assert error in called.error
    assert called.data is None


def test_a_call_meant_to_be_turned_down_succeeds_by_being_so() -> None:
    """The page asks who is there before anybody is: 401 is the right answer, and 200 would be too."""
    turned_down = http(b'{"success":false,"statusCode":401,"error":"who?"}', "401 Unauthorized")
    with listening(answering(turned_down)) as url:
        assert call(url, "get-user-by-token", expect=(401,)).outcome is Outcome.OK


def test_an_answer_that_never_ends_is_given_up() -> None:
    """The whole call is bounded: a byte now and then does not keep it alive."""

    def trickle(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            gevent.sleep(SHORT / 10)
            connection.sendall(b"x")

    with listening(trickle) as url:
        called = call(url)
    assert called.outcome is Outcome.TIMEOUT
    assert called.error == "no answer in time"


def test_nobody_there_is_connection_refused() -> None:
    """A refusal is no response time: it is told apart from an answer."""
    with listening(answering(b"")) as url:
        pass
    called = call(url)
    assert (called.outcome, called.error) == (Outcome.BROKEN, "connection refused")


def test_a_token_that_would_break_out_of_its_header_is_not_sent() -> None:
    """Whatever a target hands out as a token: the call fails with its class, until the person signs out."""
    with listening(answering(http(GOOD))) as url:
        api = Api(url.replace("ws://", "http://").rstrip("/"), None, timeout=SHORT)
        for token in ("a\r\nX: y", "a\nb", "ü", "a b", "\0"):
            api.token = token
            called = api.call(OPERATIONS["get-user"], None, {"id": "u1"}, expect=())
            assert (called.outcome, called.error) == (Outcome.FAILED, "token unfit for a header")
        api.forget()
        assert api.call(OPERATIONS["get-user"], None, {"id": "u1"}, expect=()).outcome is Outcome.OK
        api.close()
