"""Every operation against every kind of caller and of bad request: the right status, never 500."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import pytest

from talkamie.contract import ACTIONS, OPERATIONS, Auth, Operation
from talkamie.server.operations import MAX_BODY_BYTES
from tests.talkamie.conftest import ON_SQLITE
from tests.talkamie.stores import Backend
from tests.talkamie.world import World, worlds

PROTECTED = [row for row in OPERATIONS.values() if row.auth is not Auth.PUBLIC]
EVERY = list(OPERATIONS.values())


@ON_SQLITE  # because tokens are one query, and these are many tests
@pytest.mark.parametrize("row", PROTECTED, ids=lambda row: row.name)
@pytest.mark.parametrize("token", [None, "undefined", "", "x" * 5000, "revoked", "expired", "deleted"])
def test_without_a_good_token_nothing_is_done(world: World, row: Operation, token: str | None) -> None:
    """401 for no token, a made-up, a revoked and an expired one, and one of an account that ended."""
    ann, bob, chat = world.friends()
    if token in ("revoked", "expired", "deleted"):
        if token == "revoked":
            ann.call("DELETE", "/auth/sign-out")
        elif token == "deleted":
            ann.call("DELETE", f"/user/{ann.id}")
        else:
            world.later(25 * 3600)
        token = ann.token
    path = row.path.replace("{id}", bob.id).replace("{chatId}", chat)
    assert world.request(row.method, path, {}, token=token)[0] == 401


def test_an_account_is_changed_by_its_owner_only(world: World) -> None:
    """403 for anybody else, whatever the body."""
    ann, bob = world.member(), world.member()
    ann.call("PUT", f"/user/{bob.id}", {"name": "Eve"}, status=403)


@pytest.mark.parametrize("name", [name for name, row in ACTIONS.items() if not row.anonymous])
def test_no_action_is_done_before_authentication(world: World, name: str) -> None:
    """401 for actions, 404 for what only the server sends; the socket stays open."""
    wire = world.socket()
    wire.ask(name, status=401 if ACTIONS[name].request else 404)
    assert wire.connection.closed is None


HOSTILE_BODIES = [
    b"",
    b"null",
    b"[]",
    b"5",
    b'"x"',
    b"{",
    b"\xff\xfe",
    b'{"email":NaN}',
    b'{"email":"\\ud800"}',
    b'{"text":"\\udc00\\ud800"}',
    b'{"a":' * 100_000,
    b"[" * 500_000,
    b'{"email":null,"password":null,"name":null,"text":null}',
]
ABSURD_NUMBERS = [b"9" * 30, b"9" * 100_000, b"-1", b"1e400", b"1e-400", b"0.1", b"-0"]


@pytest.mark.parametrize("row", [row for row in EVERY if row.body], ids=lambda row: row.name)
def test_a_bad_body_is_the_callers_mistake(world: World, row: Operation) -> None:
    """400 with a sentence, never 500; updates may be empty, but not what is no object."""
    ann, bob, _ = world.friends()
    path = row.path.replace("{id}", ann.id if row.auth is Auth.SELF else bob.id)
    for body in HOSTILE_BODIES:
        status, envelope = world.request(row.method, path, body, token=ann.token)
        assert status in (400, 404, 422), (body[:40], envelope)
        assert envelope["success"] is False
        assert envelope["statusCode"] == status
        assert "Traceback" not in envelope["message"]


@pytest.mark.parametrize("row", [row for row in EVERY if row.query], ids=lambda row: row.name)
def test_a_bad_page_is_refused(world: World, row: Operation) -> None:
    """Sizes below 1, above 100 or no number, and keys that are none of ours: 400. Empty ones are absent."""
    ann, _, chat = world.friends()
    path = "/v1" + row.path.replace("{chatId}", chat).replace("{id}", ann.id)
    headers = [("authorization", f"Bearer {ann.token}")]
    for query in ("pageSize=0", "pageSize=-1", "pageSize=1000000000", "pageSize=x", "pageSize=1.5",
                  "lastEvaluatedKey=x", "lastEvaluatedKey=%7B%7D", "lastEvaluatedKey=" + "%5B" * 5000,
                  "pageSize=%ff", "&".join(f"f{n}=1" for n in range(100))):  # fmt: skip
        assert world.raw(row.method, path, headers=headers, query=query)[0] == 400, query
    for query in ("", "pageSize=&lastEvaluatedKey=&keyword=", "pageSize=100", "unknown=1"):
        assert world.raw(row.method, path, headers=headers, query=query)[0] == 200, query


@pytest.mark.parametrize("row", [row for row in EVERY if row.body], ids=lambda row: row.name)
def test_an_absurd_number_breaks_nothing(world: World, row: Operation) -> None:
    """It is refused, or ignored where the operation does not know the field."""
    ann, bob, _ = world.friends()
    path = row.path.replace("{id}", ann.id if row.auth is Auth.SELF else bob.id)
    for number in ABSURD_NUMBERS:
        body = b'{"email":"x@example.test","code":' + number + b',"name":' + number + b"}"
        assert world.request(row.method, path, body, token=ann.token)[0] < 500


def test_a_body_over_the_limit_is_refused(world: World) -> None:
    """413, told by the length or by the bytes themselves."""
    body = b'{"email":"' + b"x" * MAX_BODY_BYTES + b'"}'
    assert world.raw("POST", "/v1/otp", body)[0] == 413
    assert world.raw("POST", "/v1/otp", b"", headers=[("content-length", str(len(body)))])[0] == 413


@pytest.mark.parametrize("enforced", [True, False])
def test_seniors_ask_schedule_and_call(backend: Backend, enforced: bool) -> None:
    """Where roles are enforced, 403 for volunteers and for who never said; answering is everybody's."""
    with worlds(backend) as make:
        world = make(enforce_roles=enforced)
        ann, bob, chat = world.friends()
        expected = 403 if enforced else 200
        body = {
            "title": "Tea",
            "type": "audio",
            "startDateTime": "2030-01-01T10:00:00.000Z",
            "endDateTime": "2030-01-01T11:00:00.000Z",
        }
        for me, other, status in ((bob, ann, expected), (ann, bob, 200)):
            me.call("POST", f"/user/{other.id}/schedule", body, status=status)
            me.socket().ask("call-user", status=status, chatId=chat, type="audio")
        for kind in ("volunteer", None):
            world.member(kind).call("POST", f"/user/{ann.id}/connection", status=expected)
        bob.socket().ask("send-message", chatId=chat, message={"text": "hi"})
        world.member("volunteer").call("POST", f"/user/{ann.id}/message/request", {"text": "hi"})


def test_api_gateway_answers_in_its_own_way(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `action`, for what has no route and for what fails; our own refusals are as ever."""

    async def fail(*_: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("talkamie.server.messages.membership", fail)
    with worlds(backend) as make:
        world = make(apigw_errors=True)
        one, other = world.member().socket(), world.socket()
        frames = []
        for wire, text, message in (
            (one, '{"action":"dance"}', "Forbidden"),
            (one, "hi", "Forbidden"),
            (one, '{"action":"new-message"}', "Forbidden"),
            (one, '{"action":"get-messages","chatId":"x"}', "Internal server error"),
            (other, '{"action":"dance"}', "Forbidden"),
        ):
            wire.send(text)
            (frame,) = wire.pushed()
            assert frame["message"] == message
            assert list(frame) == ["message", "connectionId", "requestId"]
            assert all(len(base64.urlsafe_b64decode(frame[name])) == 11 for name in list(frame)[1:])
            frames.append(frame)
        assert len({frame["connectionId"] for frame in frames[:4]}) == 1
        assert frames[4]["connectionId"] != frames[0]["connectionId"]
        assert len({frame["requestId"] for frame in frames}) == len(frames)
        one.ask("update-alerts", status=404, alertsMap={"x": {"status": "read"}})
        one.ask("get-messages", status=400, chatId=[])
        other.ask("get-messages", status=401, chatId="x")


def test_unknown_paths_and_methods(world: World) -> None:
    """404 and 405 in the envelope, 405 with what is allowed."""
    assert world.request("GET", "/nothing")[1]["statusCode"] == 404
    assert world.raw("GET", "/auth")[0] == 404
    for method in ("TRACE", "PATCH", "HEAD", "BREW"):
        status, head, _ = world.raw(method, "/v1/auth")
        assert (status, head["allow"]) == (405, "GET, OPTIONS")


def test_every_answer_tells_its_time_and_name(world: World) -> None:
    """Server-Timing has app, db, queue and fault; X-Request-Id is the caller's where he gave a sane one."""
    _, head, _ = world.raw("GET", "/v1/interests")
    assert [part.split(";")[0] for part in head["server-timing"].split(", ")] == [
        "app",
        "db",
        "queue",
        "fault",
    ]
    assert head["x-request-id"]
    _, head, _ = world.raw("GET", "/v1/interests", headers=[("x-request-id", "run-1:7")])
    assert head["x-request-id"] == "run-1:7"
    _, head, _ = world.raw("GET", "/v1/interests", headers=[("x-request-id", "a\tb")])
    assert head["x-request-id"] != "a\tb"
    assert [request.operation for request in world.service.requests] == ["get-interests"] * 3


def test_a_browser_may_read_the_answers(world: World) -> None:
    """The caller's own origin, never `*`, on preflights, answers and errors."""
    origin = [("origin", "https://app.example.test")]
    for method, path, status in (
        ("OPTIONS", "/v1/user/{id}", 204),
        ("GET", "/v1/interests", 200),
        ("GET", "/v1/auth", 401),
        ("GET", "/v1/nothing", 404),
        ("PATCH", "/v1/auth", 405),
    ):
        found, head, _ = world.raw(method, path, headers=origin)
        assert found == status
        assert head["access-control-allow-origin"] == "https://app.example.test"
        assert head["access-control-allow-credentials"] == "true"
    _, head, _ = world.raw("OPTIONS", "/v1/user/{id}", headers=origin)
    assert head["access-control-allow-methods"] == "PUT, GET, DELETE, OPTIONS"
    for wanted in ("authorization", "content-type", "x-user-timezone-offset", "x-auth-provider"):
        assert wanted in head["access-control-allow-headers"]


def test_a_failing_handler_shows_nothing_of_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """500 in the envelope, over https and wss, and the server goes on."""

    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret detail")

    ann, _, chat = world.friends()
    wire = ann.socket()
    monkeypatch.setattr("talkamie.server.messages.membership", fail)
    status, envelope = world.request("GET", f"/chat/{chat}/messages", token=ann.token)
    assert status == 500
    frame = wire.ask("get-messages", status=500, chatId=chat)
    assert "secret" not in json.dumps([envelope, frame])
    assert ann.call("GET", "/auth")["success"]


def test_random_requests_never_break_the_server(world: World) -> None:
    """2,000 seeded requests and frames of valid shapes and absurd values: no 500."""
    chance = random.Random(20_250_601)
    ann, bob, chat = world.friends()
    wire = ann.socket()
    values: list[Any] = [
        ann.id, bob.id, chat, "", "x", "\u0000", "💥" * 50, -1, 0, 2**63, 10**40, 1.5, True, None, [], {},
        {"type": "offer", "sdp": "v=0"}, [{"start": "08:00", "end": "09:00"}], {"enabled": True}, 3, 700,
        {"text": "hi"}, {"status": "read"}, {ann.id: {"status": "read"}}, "2025-06-01T10:00:00.000Z", "daily",
        "audio", "senior", "a@b", "1234", "9999-12-31T23:59:59.999Z", "../..", "%00", "' or 1=1 --",
    ]  # fmt: skip
    names = ["email", "password", "name", "type", "code", "text", "title", "startDateTime", "endDateTime",
             "recurrence", "dob", "interests", "chatId", "message", "messagesMap", "alertsMap", "pageSize",
             "lastEvaluatedKey", "token", "visibility", "gender", "rate", "callId", "signal",
             "timestamp", "mon", "2025-06-01", "picture", "certificate", "specialization", "maxCallCount",
             "pushNotification", "oldPassword", "newPassword", "state", "links"]  # fmt: skip
    skipped = {"sign-out", "delete-user"}  # they would end the caller
    rows = [row for row in EVERY if row.name not in skipped]
    actions = [name for name in ACTIONS if name != "authenticate"]
    for _ in range(1000):
        row = chance.choice(rows)
        body = {chance.choice(names): chance.choice(values) for _ in range(chance.randrange(6))}
        path = row.path.replace("{id}", str(chance.choice(values))).replace("{chatId}", chat)
        path = path.replace("{callId}", str(chance.choice(values)))
        if "/" in path and not path.isascii():
            path = row.path.replace("{id}", bob.id)
        status, envelope = world.request(row.method, path, body, token=ann.token)
        assert status < 500, (row.name, path, body, envelope)
        frame = {"action": chance.choice(actions)} | {
            chance.choice(names): chance.choice(values) for _ in range(chance.randrange(6))
        }
        wire.send(json.dumps(frame))
        for answer in wire.pushed():
            assert answer["statusCode"] < 500, (frame, answer)
