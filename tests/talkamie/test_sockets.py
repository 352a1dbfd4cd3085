"""The real process over wss: what the other person's socket receives, in which order, and how sockets end."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from tests.talkamie.client import Client
from tests.talkamie.conftest import (
    Person,
    Ready,
    ask,
    befriend,
    open_socket,
    people_of,
    quiet,
    receive,
    running,
    send,
)

pytestmark = pytest.mark.end_to_end
People = Callable[..., list[Person]]


def test_a_message_reaches_every_socket_of_the_other_and_only_the_asking_one(people: People) -> None:
    """Push to all of the receiver's sockets, answer to the socket that sent."""
    ann, bob = people()
    chat = befriend(ann, bob)
    sender, idle = ann.connect(), ann.connect()
    first, second = bob.connect(), bob.connect()
    answer = ask(sender, "send-message", chatId=chat, message={"text": "grüß dich 👋\u0000"})["data"]
    for socket in (first, second):
        push = receive(socket)
        assert push["action"] == "new-message"
        assert push["data"]["message"] == answer["message"]
        assert push["data"]["viewer"] == {"id": bob.id, "totalUnreadChats": 1}
    assert answer["message"]["delivery"]["status"] == "delivered"
    assert answer["message"]["text"] == "grüß dich 👋\u0000"
    assert quiet(idle)
    assert quiet(sender)


def test_messages_arrive_in_the_order_sent(people: People) -> None:
    """One socket is first in, first out."""
    ann, bob = people()
    chat = befriend(ann, bob)
    sender, reader = ann.connect(), bob.connect()
    for number in range(50):
        send(sender, "send-message", chatId=chat, message={"text": f"m{number}"})
    for socket in (reader, sender):
        texts = [receive(socket)["data"]["message"]["text"] for _ in range(50)]
        assert texts == [f"m{number}" for number in range(50)]


def test_coming_online_tells_the_sender_what_was_delivered(people: People) -> None:
    """A waiting message is `sent`, then `delivered` by update-chats when its receiver authenticates."""
    ann, bob = people()
    chat = befriend(ann, bob)
    sender = ann.connect()
    stored = ask(sender, "send-message", chatId=chat, message={"text": "later"})["data"]["message"]
    assert stored["delivery"]["status"] == "sent"
    bob.connect()
    update = receive(sender)
    assert update["action"] == "update-chats"
    entry = update["data"]["chatsMap"][chat]
    assert entry["chat"] == {"id": chat}
    assert entry["messagesMap"][stored["id"]]["delivery"]["status"] == "delivered"


def test_a_receipt_reaches_both_with_their_own_counters(people: People) -> None:
    """update-messages goes to every socket of both, whole messages, viewer per recipient."""
    ann, bob = people()
    chat = befriend(ann, bob)
    sender, reader, twin = ann.connect(), bob.connect(), bob.connect()
    stored = ask(sender, "send-message", chatId=chat, message={"text": "hi"})["data"]["message"]
    assert receive(twin)["action"] == "new-message"
    answer = ask(reader, "update-messages", chatId=chat, messagesMap={stored["id"]: {"status": "read"}})
    whole = answer["data"]["messagesMap"][stored["id"]]
    assert whole["text"] == "hi"
    assert whole["delivery"]["status"] == "read"
    assert answer["data"]["viewer"] == {"id": bob.id, "totalUnreadChats": 0}
    assert receive(twin) == answer
    push = receive(sender)
    assert push["data"]["messagesMap"] == answer["data"]["messagesMap"]
    assert push["data"]["viewer"] == {"id": ann.id, "totalUnreadChats": 0}


def test_messages_are_paged_newest_first(people: People) -> None:
    """Each page goes on where the last ended, and the last has no key."""
    ann, bob = people()
    chat = befriend(ann, bob)
    socket = ann.connect()
    for number in range(9):
        ask(socket, "send-message", chatId=chat, message={"text": f"m{number}"})
    texts: list[str] = []
    key: dict[str, Any] = {}
    for _ in range(3):
        page = ask(socket, "get-messages", chatId=chat, pageSize=4, **key)
        texts += [message["text"] for message in page["data"]["messages"]]
        key = page.get("pagination", {})
    assert texts == [f"m{number}" for number in range(8, -1, -1)]
    assert key == {}


def test_an_alert_carries_the_request_and_its_end_the_same_id(people: People) -> None:
    """A canceled request is told under the id of the alert that announced it."""
    ann, bob = people()
    socket = bob.connect()
    ann.call("POST", f"/user/{bob.id}/connection")
    first = receive(socket)["data"]["alert"]
    assert first["type"] == "connect-request"
    assert first["connectRequest"]["status"] == "pending"
    assert first["connectRequest"]["user"]["id"] == ann.id
    ann.call("DELETE", f"/user/{bob.id}/connection")
    last = receive(socket)["data"]["alert"]
    assert last["id"] == first["id"]
    assert last["connectRequest"]["status"] == "canceled"


def test_ping_is_answered_before_and_after_authentication(people: People) -> None:
    """The keepalive needs no token."""
    (ann,) = people(1)
    socket = ann.connect(authenticate=False)
    assert ask(socket, "ping") == {"action": "ping", "success": True, "statusCode": 200}
    user = ask(socket, "authenticate", token=ann.token)["data"]
    assert user["id"] == ann.id
    assert (user["totalUnreadChats"], user["totalUnreadAlerts"]) == (0, 0)
    assert "ping" in ask(socket, "ping")["action"]


def test_a_bad_token_is_told_so_and_closed(people: People) -> None:
    """First a failure frame, then 4401."""
    (ann,) = people(1)
    socket = ann.connect(authenticate=False)
    assert ask(socket, "authenticate", status=401, token="no such token")["success"] is False
    assert close_code(socket) == 4401


def test_signing_out_closes_that_sign_ins_sockets_and_no_other(people: People) -> None:
    """A revoked token ends its sockets with 4401; another sign-in of the same person stays."""
    ann, _ = people()
    again = ann.http.post(ann.ready["test"] + "/accounts", json=[account(ann)]).json()[0]
    doomed = ann.connect()
    other = Person(ann.id, ann.email, again["tokens"]["access"], ann.http, ann.ready, ann.tls).connect()
    ann.call("DELETE", "/auth/sign-out")
    assert receive(doomed)["statusCode"] == 401
    assert close_code(doomed) == 4401
    assert quiet(other)
    other.close()
    ann.call("GET", "/auth", status=401)


def test_anonymous_and_unknown_actions_are_refused_and_the_socket_stays(people: People) -> None:
    """401 before authentication, 404 with an echo for a name nobody knows, 400 for what is no frame."""
    (ann,) = people(1)
    socket = ann.connect(authenticate=False)
    assert ask(socket, "get-messages", status=401, chatId="x")["success"] is False
    assert ask(socket, "launch-missiles", status=404)["success"] is False
    assert ask(socket, "new-message", status=404)["success"] is False
    for nonsense in ("", "{", "[]", '{"action":5}', "[" * 20_000, '{"action":"\\ud800"}', '{"a":NaN}'):
        socket.send(nonsense)
        frame = receive(socket)
        assert (frame["success"], frame["statusCode"]) == (False, 400)
    assert quiet(socket)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        pytest.param(b"\x00\x01", 1003, id="binary"),
        pytest.param("x" * (32 * 1024 + 1), 1009, id="a frame over 32 KiB"),
        pytest.param("x" * 1_000_000, 1009, id="a frame of 1 MB"),
        pytest.param(["x" * 30_000] * 5, 1009, id="a message over 128 KiB"),
    ],
)
def test_frames_of_the_wrong_kind_close_the_socket(people: People, payload: Any, code: int) -> None:
    """The close code arrives, although the client has sent more than was read."""
    (ann,) = people(1)
    socket = ann.connect()
    with contextlib.suppress(ConnectionClosed, OSError):  # it may come while we are still sending
        socket.send(payload)
    assert close_code(socket) == code


def test_a_message_in_fragments_is_one_message(people: People) -> None:
    """Frames up to 32 KiB make messages up to 128 KiB."""
    ann, bob = people()
    chat = befriend(ann, bob)
    socket = ann.connect()
    text = json.dumps({"action": "send-message", "chatId": chat, "message": {"text": "x" * 3000}})
    socket.send([text[:100], text[100:2000], text[2000:]])
    assert receive(socket)["data"]["message"]["text"] == "x" * 3000


def test_a_socket_that_never_authenticates_is_closed() -> None:
    """After the deadline, with 4408; pings do not extend it."""
    with running("--port", "0", "--plain", "--auth-deadline", "0.2") as (ready, _):
        socket = open_socket(ready, None)
        send(socket, "ping")
        assert receive(socket)["action"] == "ping"
        assert close_code(socket) == 4408


def test_a_reader_that_stalls_is_cut_off_and_nobody_waits_for_it(people: People) -> None:
    """Others get every message while a stalled socket's buffer fills, and the ledger says it was evicted."""
    ann, bob = people()
    chat = befriend(ann, bob)
    sender, reader = ann.connect(), bob.connect()
    stalled = Client(bob.ready["wss"], bob.tls, receive_buffer=4096)
    ask(stalled, "authenticate", token=bob.token)
    text = "x" * 4000
    with httpx.Client(trust_env=False) as http:
        for number in range(5000):
            ask(sender, "send-message", chatId=chat, message={"text": text})
            assert receive(reader)["action"] == "new-message"
            if number % 100 == 0 and "evicted" in fates(http, bob.ready).get("new-message", {}):
                break
        assert fates(http, bob.ready)["new-message"]["evicted"] == 1
    stalled.close()


def test_the_ledger_is_what_arrived() -> None:
    """Every push a client saw is one row, every row one push; nobody's socket is `offline`."""
    with running("--port", "0", "--test-endpoints") as (ready, _):
        tls = ssl.create_default_context(cafile=ready["ca"])
        with people_of(ready, tls) as make:
            ann, bob = make()
            chat = befriend(ann, bob)
            sender = ann.connect()
            ask(sender, "send-message", chatId=chat, message={"text": "nobody there"})
            readers = [bob.connect(), bob.connect()]
            assert receive(sender)["action"] == "update-chats"
            ids = [
                ask(sender, "send-message", chatId=chat, message={"text": f"{n}"})["data"]["message"]["id"]
                for n in range(20)
            ]
            seen = [[receive(reader)["data"]["message"]["id"] for _ in ids] for reader in readers]
            ledger = ann.http.get(ready["test"] + "/ledger").json()
            rows = [dict(zip(ledger["columns"], row, strict=True)) for row in ledger["rows"]]
            assert (ledger["total"], ledger["dropped"]) == (len(rows), 0)
            pushes = [row for row in rows if row["action"] == "new-message"]
            assert pushes[0]["fate"] == "offline"
            by_socket: dict[int, list[str]] = {}
            for row in pushes[1:]:
                assert row["recipient"] == bob.id
                assert row["fate"] == "sent"
                assert 0 < row["accepted_ns"] <= row["written_ns"]
                by_socket.setdefault(row["socket"], []).append(row["ids"])
            assert list(by_socket.values()) == seen == [ids, ids]
            tail = ann.http.get(ready["test"] + "/ledger", params={"since": len(rows) - 3}).json()
            assert tail["rows"] == ledger["rows"][-3:]
            assert fates(ann.http, ready) == {
                "alert": {"offline": 2},
                "new-message": {"offline": 1, "sent": 40},
                "update-chats": {"sent": 1},
            }


def fates(http: httpx.Client, ready: Ready) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = http.get(ready["test"] + "/ledger/summary").json()["fates"]
    return table


def account(person: Person) -> dict[str, str]:
    return {"email": person.email, "name": "Ann", "password": "correct horse battery"}


def close_code(socket: Any) -> int | None:
    """Read until the socket is closed, and return the code the server gave."""
    try:
        while True:
            socket.recv()
    except ConnectionClosed as closed:
        return None if closed.rcvd is None else closed.rcvd.code
