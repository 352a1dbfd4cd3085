"""What --extras adds: money that is never made or lost, files of the right kind, support that answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talkamie.contract import EXTRA_ACTIONS, EXTRA_OPERATIONS, OPERATIONS, Auth
from talkamie.server.extras import files
from tests.talkamie.stores import Backend
from tests.talkamie.test_rights import HOSTILE_BODIES
from tests.talkamie.world import Member, World, worlds

PNG = {"name": "me.png", "mimeType": "image/png", "objectType": "picture"}


@pytest.fixture
def extra(backend: Backend, tmp_path: Path) -> Iterator[World]:
    """A world that serves the extras."""
    with worlds(backend) as make:
        yield make(extras=True, files=str(tmp_path), origin="https://talkamie.test")


@pytest.mark.parametrize("served", [False, True])
def test_extras_are_served_where_they_are_asked_for(backend: Backend, served: bool) -> None:
    """404 without the option, for operations and actions alike; with it, each has its own method and path."""
    with worlds(backend) as make:
        host = make(extras=served)
        ann = host.member()
        for row in EXTRA_OPERATIONS.values():
            status, envelope = host.request(row.method, row.path, {}, token=ann.token)
            missing = status == 405 or envelope.get("message") == "There is no such operation."
            assert missing is not served, row.name
        answer = ann.socket()
        answer.tell("get-support-messages", ticketId="x")
        message = answer.pushed()[0]["message"]
        assert (message == "There is no such action.") is not served
    requests = [
        (row.method, re.sub(r"{\w+}", "{}", row.path)) for row in (OPERATIONS | EXTRA_OPERATIONS).values()
    ]
    assert len(requests) == len(set(requests))


@pytest.mark.parametrize("row", EXTRA_OPERATIONS.values(), ids=lambda row: row.name)
def test_extras_keep_the_rules_of_the_rest(extra: World, row: Any) -> None:
    """401 without a token, 400 for a bad body or page, and never 500."""
    ann, bob, _ = extra.friends()
    path = row.path.replace("{id}", bob.id)
    if row.auth is not Auth.PUBLIC:
        for token in (None, "undefined", "x" * 5000):
            assert extra.request(row.method, path, {}, token=token)[0] == 401
    if row.body is not None:
        for body in HOSTILE_BODIES:
            assert extra.request(row.method, path, body, token=ann.token)[0] == 400
    if row.query is not None:
        assert extra.request(row.method, path, token=ann.token, pageSize=0)[0] == 400
        assert extra.request(row.method, path, token=ann.token, lastEvaluatedKey="x")[0] == 400
        status = extra.request(row.method, path, token=ann.token, keyword="", pageSize="")[0]
        assert status == (404 if "{id}" in row.path else 200)
    gone = ann.token
    ann.call("DELETE", f"/user/{ann.id}")
    if row.auth is not Auth.PUBLIC:
        assert extra.request(row.method, path, {}, token=gone)[0] == 401


def test_no_extra_action_is_done_before_authentication(extra: World) -> None:
    """401 for actions, 404 for what only the server sends."""
    for name, row in EXTRA_ACTIONS.items():
        extra.socket().ask(name, status=401 if row.request else 404)


def test_a_refresh_token_works_once(extra: World) -> None:
    """New tokens of the same sign-in; the old ones are worthless, and signing out still closes its socket."""
    email = "ann@example.test"
    verify(extra, email)
    body = {"email": email, "password": "correct horse", "name": "Ann"}
    old = extra.request("POST", "/auth/sign-up", body)[1]["data"]["tokens"]
    wire = extra.socket()
    wire.ask("authenticate", token=old["access"])
    assert extra.request("POST", "/auth/refresh", {"refresh": old["access"]})[0] == 401
    new = extra.request("POST", "/auth/refresh", {"refresh": old["refresh"]})[1]["data"]["tokens"]
    assert extra.request("POST", "/auth/refresh", {"refresh": old["refresh"]})[0] == 401
    assert extra.request("GET", "/auth", token=old["access"])[0] == 401
    assert extra.request("GET", "/auth", token=new["access"])[0] == 200
    assert wire.connection.closed is None
    extra.request("DELETE", "/auth/sign-out", token=new["access"])
    assert wire.connection.closed == (4401, "token not valid")


def test_lists_are_paged_and_searched(extra: World) -> None:
    """Questions and specializations for everybody; a page goes on where the last ended."""
    first = extra.request("GET", "/faqs", pageSize=5)[1]
    assert len(first["data"]) == 5
    assert {"id", "question", "answer"} == set(first["data"][0])
    assert extra.request("GET", "/faqs", keyword="PAYPAL")[1]["data"][0]["id"] == "f08"
    assert extra.request("GET", "/faqs", keyword="f0")[1]["data"] == []
    found = extra.request("GET", "/specializations", keyword="nurs")[1]["data"]
    assert found == [{"id": "s05", "area": "Nursing"}]


def test_pending_chats_wait_for_an_answer(extra: World) -> None:
    """For both; an answered one is pending no more."""
    ann, bob = extra.member(), extra.member()
    ann.call("POST", f"/user/{bob.id}/message/request", {"text": "hi"})
    assert [len(one.call("GET", "/chats/pending")["data"]) for one in (ann, bob)] == [1, 1]
    bob.call("POST", f"/user/{ann.id}/message/request/accept")
    assert ann.call("GET", "/chats/pending")["data"] == []


def test_a_connection_can_be_ended_and_begun_again(extra: World) -> None:
    """Nobody can write afterwards; the old messages are back with the connection."""
    ann, bob, chat = extra.friends()
    ann.socket().ask("send-message", chatId=chat, message={"text": "hi"})
    extra.member().call("DELETE", f"/user/{bob.id}/connection/disconnect", status=404)
    bob.call("DELETE", f"/user/{ann.id}/connection/disconnect")
    bob.call("DELETE", f"/user/{ann.id}/connection/disconnect", status=404)
    ann.socket().ask("send-message", status=403, chatId=chat, message={"text": "?"})
    assert ann.call("GET", "/connections/users")["data"] == ann.call("GET", "/chats")["data"] == []
    ann.call("POST", f"/user/{bob.id}/connection")
    bob.call("POST", f"/user/{ann.id}/connection/accept")
    assert bob.call("GET", f"/chat/{chat}/messages")["data"][0]["text"] == "hi"


def test_a_message_needs_no_socket(extra: World) -> None:
    """Over https it is what it is over wss: pushed to the other, kept for both, and not for strangers."""
    ann, bob, chat = extra.friends()
    wire = bob.socket()
    sent = ann.call("POST", f"/chat/{chat}/message", {"text": "hi"})["data"]
    (push,) = wire.pushed()
    assert (push["action"], push["data"]["message"]) == ("new-message", sent["message"])
    assert sent["message"]["delivery"]["status"] == "delivered"
    assert bob.call("GET", f"/chat/{chat}/messages")["data"] == [sent["message"]]
    extra.member().call("POST", f"/chat/{chat}/message", {"text": "hi"}, status=404)
    bob.call("DELETE", f"/user/{ann.id}/connection/disconnect")
    ann.call("POST", f"/chat/{chat}/message", {"text": "hi"}, status=403)


def test_a_code_is_good_for_another_password(extra: World) -> None:
    """Once; every sign-in ends with its sockets, and the old password is worthless."""
    ann, body = extra.member(), {"email": "person1@example.test", "password": "another horse"}
    wire = ann.socket()
    assert extra.request("POST", "/auth/reset-password", body)[0] == 422
    verify(extra, body["email"])
    assert extra.request("POST", "/auth/reset-password", body)[0] == 200
    assert wire.connection.closed == (4401, "token not valid")
    assert extra.request("GET", "/auth", token=ann.token)[0] == 401
    assert extra.request("POST", "/auth/reset-password", body)[0] == 422
    assert extra.request("POST", "/auth/sign-in", body)[0] == 200
    assert extra.request("POST", "/auth/sign-in", body | {"password": "no hash"})[0] == 401


def test_an_address_without_an_account_is_told_to_its_reader_alone(extra: World) -> None:
    """404 once it is verified, and its verification is still good for signing up."""
    body = {"email": "nobody@example.test", "password": "another horse", "name": "Nobody"}
    assert extra.request("POST", "/auth/reset-password", body)[0] == 422
    verify(extra, body["email"])
    assert extra.request("POST", "/auth/reset-password", body)[0] == 404
    assert extra.request("POST", "/auth/sign-up", body)[0] == 200


def test_a_background_check_is_asked_for_once(extra: World) -> None:
    """By either of its two operations."""
    ann, bob = extra.member(), extra.member()
    body = {"firstName": "A", "lastName": "B", "zipCode": "1", "workLocations": [{"countryCode": "US"}]}
    old = {"dob": "1950-01-01", "state": "Ohio"}
    ann.call("POST", "/verification/background", body)
    checks = ann.call("GET", "/auth")["data"]["user"]["verification"]
    assert checks["background"] == {"status": "pending"}
    ann.call("POST", "/verification/background", body, status=409)
    ann.call("POST", f"/user/{ann.id}/background-check", old, status=409)
    bob.call("POST", f"/user/{bob.id}/background-check", old)
    bob.call("POST", "/verification/background", body, status=409)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["buy", "pay", "resume", "withdraw", "again"]), st.integers(40, 400)),
        max_size=15,
    )
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_money_is_neither_made_nor_lost(backend: Backend, steps: list[tuple[str, int]]) -> None:
    """Any purchases, payments and withdrawals: the balance is what was paid for less what was withdrawn."""
    with worlds(backend) as make:
        world = make(extras=True)
        ann, wire = world.member(), None
        wire = ann.socket()
        pages: list[tuple[str, int, str]] = []
        balance, last = 0, ""
        for name, coins in steps:
            match name:
                case "buy":
                    status, made = post(ann, "/web/finance/top-up/session", {"coins": coins})
                    assert status == (200 if coins >= 50 else 400)
                    if status == 200:
                        pages.append((made["session"]["url"], coins, made["transaction"]["id"]))
                case "resume" if pages:
                    _, old, identity = pages[-1]
                    body = {"coins": old, "transactionId": identity}
                    status, made = post(ann, "/web/finance/top-up/session", body)
                    assert status == 200
                    assert visit(world, pages.pop()[0], "POST") == 404
                    pages.append((made["session"]["url"], old, identity))
                case "pay" if pages:
                    url, paid, identity = pages.pop(0)
                    assert [visit(world, url, one) for one in ("GET", "POST", "POST", "GET")] == [
                        200,
                        200,
                        404,
                        404,
                    ]
                    balance += paid
                    (push,) = wire.pushed()
                    assert push["action"] == "update-user"
                    assert push["data"]["user"]["ledger"]["coins"] == {"balance": balance}
                    again = {"coins": paid, "transactionId": identity}
                    if paid >= 50:
                        assert post(ann, "/web/finance/top-up/session", again)[0] == 404
                case "withdraw":
                    body = {"coins": coins, "paypal": {"email": "ann@paypal.test"}}
                    status, made = post(ann, "/finance/withdraw", body)
                    assert status == (400 if coins < 100 else 200 if coins <= balance else 403)
                    if status == 200:
                        balance, last = balance - coins, made["transaction"]["id"]
                case "again" if last:
                    body = {"coins": 100, "paypal": {"email": "a@b.test"}, "transactionId": last}
                    assert post(ann, "/finance/withdraw", body)[1]["transaction"]["id"] == last
        ledger = ann.call("GET", "/auth")["data"]["user"]["ledger"]
        assert ledger["coins"] == {"balance": balance}
        booked = ann.call("GET", "/finance/transactions", pageSize=100)["data"]
        bought = sum(one["coins"]["amount"] for one in booked if one["status"] == "complete")
        taken = sum(one["coins"]["amount"] for one in booked if one["type"] == "withdrawal")
        assert bought - taken == balance


def test_transactions_are_their_owners(extra: World) -> None:
    """404 for anybody else's, by every way; each list holds its own kind."""
    ann, eve = extra.member(), extra.member()
    made = ann.call("POST", "/web/finance/top-up/session", {"coins": 500})["data"]
    identity = made["transaction"]["id"]
    assert ann.call("GET", f"/finance/transaction/{identity}")["data"]["transaction"]["funds"] == {
        "amount": 500,
        "currency": "USD",
    }
    eve.call("GET", f"/finance/transaction/{identity}", status=404)
    eve.call("POST", "/web/finance/top-up/session", {"coins": 50, "transactionId": identity}, status=404)
    body = {"coins": 100, "paypal": {"email": "eve@x.test"}, "transactionId": identity}
    eve.call("POST", "/finance/withdraw", body, status=404)
    assert visit(extra, "https://talkamie.test/pay/guess", "POST") == 404
    lists = {kind: ann.call("GET", f"/finance/transactions{kind}")["data"] for kind in
             ("", "/purchases", "/earnings", "/withdrawals")}  # fmt: skip
    assert [len(found) for found in lists.values()] == [1, 1, 0, 0]
    assert ann.call("GET", "/finance/subscriptions")["data"] == []
    assert eve.call("GET", "/finance/transactions")["data"] == []


def test_a_file_is_put_once_and_got_by_anybody(extra: World) -> None:
    """As it was, under its kind, and with nothing that lets a browser take it for something else."""
    ann = extra.member()
    item = sign(ann, PNG)
    assert put(extra, item["uploadUrl"], b"\x89PNG", "image/png") == 200
    assert put(extra, item["uploadUrl"], b"other", "image/png") == 409
    status, head, body = extra.raw("GET", urlsplit(item["fileUrl"]).path)
    assert (status, body) == (200, b"\x89PNG")
    assert (head["content-type"], head["x-content-type-options"]) == ("image/png", "nosniff")
    picture = {"org": {"mimeType": "image/png", "url": item["fileUrl"]}}
    assert ann.call("PUT", f"/user/{ann.id}", {"picture": picture})["data"]["picture"] == picture


def test_an_address_is_good_for_what_it_was_asked_for(extra: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not without its token, not for another kind, not for too much, not too late; then nothing is kept."""
    ann = extra.member()
    item = sign(ann, PNG)
    url = item["uploadUrl"]
    assert put(extra, item["fileUrl"], b"x", "image/png") == 403
    assert put(extra, url[:-1] + ("a" if url[-1] != "a" else "b"), b"x", "image/png") == 403
    assert put(extra, url, b"<script>", "text/html") == 415
    monkeypatch.setitem(files.MAX_BYTES, "picture", 4)
    assert put(extra, url, b"12345", "image/png") == 413
    assert extra.raw("GET", urlsplit(item["fileUrl"]).path)[0] == 404
    assert list(Path(extra.service.settings.files).iterdir()) == []
    assert put(extra, url, b"1234", "image/png") == 200
    late = sign(ann, PNG)["uploadUrl"]
    monkeypatch.setattr(files, "STORE_BYTES", 7)
    assert put(extra, late, b"1", "image/png") == 507
    extra.later(15 * 60)
    assert put(extra, late, b"1", "image/png") == 403
    for wrong in ({"mimeType": "text/html"}, {"mimeType": "image/svg+xml"}, {"objectType": "video"}):
        ann.call("POST", "/signed/urls", {"type": "user", "items": {"a": PNG | wrong}}, status=400)


def test_support_answers(extra: World) -> None:
    """The first message opens a ticket; the answer comes to every socket, and can be marked as read."""
    ann, eve = extra.member(), extra.member()
    ann.call("GET", "/support/open/ticket", status=404)
    wire, twin = ann.socket(), ann.socket()
    sent = wire.ask("send-support-message", message={"text": "help"})["data"]
    ticket = sent["ticket"]["id"]
    assert sent["message"]["delivery"]["status"] == "read"
    assert ann.call("GET", "/support/open/ticket")["data"] == {
        "id": ticket,
        "user": {"id": ann.id},
        "status": "open",
    }
    (push,) = wire.pushed()
    assert push["action"] == "new-support-message"
    assert [push] == twin.pushed()
    answer = push["data"]["message"]
    assert (answer["sender"]["name"], answer["delivery"]["status"]) == ("Support", "delivered")
    again = wire.ask("send-support-message", ticketId=ticket, message={"text": "still there?"})["data"]
    assert again["ticket"]["id"] == ticket
    page = wire.ask("get-support-messages", ticketId=ticket, pageSize=3)
    assert [one["sender"]["id"] for one in page["data"]["messages"]] == ["support", ann.id, "support"]
    rest = wire.ask("get-support-messages", ticketId=ticket, **page["pagination"])
    assert [one["text"] for one in rest["data"]["messages"]] == ["help"]
    path = f"/support/ticket/{ticket}/messages"
    first = ann.call("GET", path, pageSize=3)
    assert first["data"] == page["data"]["messages"]
    key = json.dumps(first["pagination"]["lastEvaluatedKey"])
    assert ann.call("GET", path, lastEvaluatedKey=key)["data"] == rest["data"]["messages"]
    eve.call("GET", path, status=404)
    twin.pushed()
    read = {answer["id"]: {"status": "read"}}
    update = wire.ask("update-support-messages", ticketId=ticket, messagesMap=read)
    assert update["data"]["messagesMap"][answer["id"]]["delivery"]["status"] == "read"
    assert twin.pushed() == [update]
    mine = {sent["message"]["id"]: {"status": "read"}}
    wire.ask("update-support-messages", status=404, ticketId=ticket, messagesMap=mine)
    stranger = eve.socket()
    stranger.ask("get-support-messages", status=404, ticketId=ticket)
    stranger.ask("send-support-message", status=404, ticketId=ticket, message={"text": "hi"})
    stranger.ask("update-support-messages", status=404, ticketId=ticket, messagesMap=read)


def post(me: Member, path: str, body: Any) -> tuple[int, Any]:
    status, envelope = me.world.request("POST", path, body, token=me.token)
    return status, envelope.get("data")


def verify(world: World, email: str) -> None:
    """Prove that somebody reads an address."""
    code = world.request("POST", "/otp", {"email": email})[1]["data"]["otp"]
    world.request("POST", "/otp/verify", {"email": email, "code": code})


def visit(world: World, url: str, method: str) -> int:
    return world.raw(method, urlsplit(url).path)[0]


def sign(me: Member, wish: dict[str, str]) -> Any:
    body = {"type": "user", "items": {"mine": wish}}
    return me.call("POST", "/signed/urls", body)["data"]["items"]["mine"]


def put(world: World, url: str, body: bytes, kind: str) -> int:
    parts = urlsplit(url)
    return world.raw("PUT", parts.path, body, headers=[("content-type", kind)], query=parts.query)[0]
