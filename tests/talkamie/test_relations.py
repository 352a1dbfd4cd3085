"""Connection and message requests: who may take which step, from where, and who hears of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.talkamie.stores import Backend
from tests.talkamie.world import Member, World, worlds

CONNECTION = {
    "send": ("POST", "connection", None),
    "cancel": ("DELETE", "connection", None),
    "accept": ("POST", "connection/accept", None),
    "reject": ("DELETE", "connection/reject", None),
}
MESSAGE = {
    "send": ("POST", "message/request", {"text": "may I?"}),
    "cancel": ("DELETE", "message/request", None),
    "accept": ("POST", "message/request/accept", None),
    "reject": ("DELETE", "message/request/reject", None),
}


class Model:
    """What must happen: one request between two people at a time, `once` after a rejection or not."""

    def __init__(self, *, once: bool) -> None:
        self.once = once
        self.status = "none"
        self.sender: int | None = None

    def step(self, who: int, name: str) -> int:
        """Take a step and return the status code it must have."""
        if name == "send":
            if self.status in ("pending", "accepted"):
                return 409
            if self.status == "rejected" and self.once:
                return 403
            self.status, self.sender = "pending", who
            return 200
        if self.status in ("none", "canceled") or (self.status == "rejected" and not self.once):
            return 404
        if (who == self.sender) != (name == "cancel"):
            return 403
        if self.status != "pending":
            return 409
        self.status = {"cancel": "canceled", "accept": "accepted", "reject": "rejected"}[name]
        return 200


steps = st.lists(
    st.tuples(st.sampled_from([0, 1]), st.sampled_from(["send", "cancel", "accept", "reject"])), max_size=12
)


@given(steps=steps)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_connection_requests_do_what_the_model_does(backend: Backend, steps: list[tuple[int, str]]) -> None:
    """Any sequence of steps by either party has the model's status codes, and its end state shows."""
    with worlds(backend) as make:
        world = make()
        people = (world.member(), world.member())
        model = Model(once=False)
        for who, name in steps:
            assert do(CONNECTION, people, who, name) == model.step(who, name)
        request = people[0].call("GET", f"/user/{people[1].id}")["data"]["viewer"].get("connectRequest")
        live = model.status in ("pending", "accepted")
        assert (request["status"] if request else None) == (model.status if live else None)
        connected = {user["id"] for user in people[0].call("GET", "/connections/users")["data"]}
        assert connected == ({people[1].id} if model.status == "accepted" else set())
        for who, person in enumerate(people):
            waiting = person.call("GET", "/connections/pending")["data"]
            assert len(waiting) == (model.status == "pending" and who != model.sender)


@given(steps=steps)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_message_requests_do_what_the_model_does(backend: Backend, steps: list[tuple[int, str]]) -> None:
    """Any sequence of steps has the model's status codes; only an accepted request opens the chat."""
    with worlds(backend) as make:
        world = make()
        people = (world.member(), world.member())
        model = Model(once=True)
        for who, name in steps:
            assert do(MESSAGE, people, who, name) == model.step(who, name)
        found = people[0].call("GET", "/chats")["data"]
        assert [chat["request"]["status"] for chat in found] == (
            [] if model.status in ("none", "canceled") else [model.status]
        )
        if found:
            allowed = 200 if model.status == "accepted" else 403
            for person in people:
                person.socket().ask(
                    "send-message", status=allowed, chatId=found[0]["id"], message={"text": "hi"}
                )


@pytest.mark.parametrize("machine", [CONNECTION, MESSAGE], ids=["connection", "message"])
def test_nobody_asks_himself_or_a_stranger_to_the_house(world: World, machine: Any) -> None:
    """403 for oneself, 404 for nobody."""
    ann = world.member()
    method, path, body = machine["send"]
    ann.call(method, f"/user/{ann.id}/{path}", body, status=403)
    ann.call(method, f"/user/nobody/{path}", body, status=404)


@pytest.mark.parametrize("machine", [CONNECTION, MESSAGE], ids=["connection", "message"])
def test_each_step_tells_the_other_party_once(world: World, machine: Any) -> None:
    """send and cancel tell the receiver under one alert id; accept and reject tell the sender."""
    for last, hears in (("cancel", "receiver"), ("accept", "sender"), ("reject", "sender")):
        ann, bob = world.member(), world.member()
        wires = {"sender": ann.socket(), "receiver": bob.socket()}
        assert do(machine, (ann, bob), 0, "send") == 200
        (first,) = wires["receiver"].pushed()
        assert wires["sender"].pushed() == []
        assert do(machine, (ann, bob), 0 if last == "cancel" else 1, last) == 200
        (second,) = wires[hears].pushed()
        assert wires["sender" if hears == "receiver" else "receiver"].pushed() == []
        one, other = first["data"]["alert"], second["data"]["alert"]
        assert (one["id"] == other["id"]) == (last == "cancel")
        assert status_in(one) == "pending"
        assert status_in(other) == {"cancel": "canceled", "accept": "accepted", "reject": "rejected"}[last]


def test_accepting_opens_a_chat_that_both_see_whole(world: World) -> None:
    """The answer and the alert carry the chat, each with the other party."""
    ann, bob = world.member(name="Ann"), world.member(name="Bob")
    wire = ann.socket()
    ann.call("POST", f"/user/{bob.id}/connection")
    mine = bob.call("POST", f"/user/{ann.id}/connection/accept")["data"]
    assert mine["status"] == "accepted"
    assert mine["chat"]["user"]["name"] == "Ann"
    (push,) = wire.pushed()
    theirs = push["data"]["alert"]["chat"]
    assert theirs["id"] == mine["chat"]["id"]
    assert theirs["user"]["name"] == "Bob"
    assert (theirs["type"], theirs["request"]["status"]) == ("connect", "accepted")


def test_a_message_request_is_a_message_of_its_own_kind(world: World) -> None:
    """It waits unread at the receiver, marked as a request, and vanishes with it."""
    ann, bob = world.member("volunteer"), world.member("senior")
    sent = ann.call("POST", f"/user/{bob.id}/message/request", {"text": "may I?"})["data"]
    assert sent["message"]["isRequest"] is True
    (chat,) = bob.call("GET", "/chats/unread")["data"]
    assert chat["lastMessage"]["text"] == "may I?"
    assert chat["request"]["sender"] == {"id": ann.id}
    assert chat["type"] == "message"
    ann.call("DELETE", f"/user/{bob.id}/message/request")
    assert bob.call("GET", "/chats")["data"] == []
    assert bob.call("GET", "/auth")["data"]["user"]["totalUnreadChats"] == 0
    assert bob.call("GET", f"/chat/{chat['id']}/messages")["data"] == []
    ann.call("POST", f"/user/{bob.id}/message/request", {"text": "again"})


def test_accepting_a_message_request_connects(world: World) -> None:
    """Also where a connection request was pending."""
    for asked_before in (False, True):
        ann, bob = world.member(), world.member()
        if asked_before:
            bob.call("POST", f"/user/{ann.id}/connection")
        ann.call("POST", f"/user/{bob.id}/message/request", {"text": "hi"})
        bob.call("POST", f"/user/{ann.id}/message/request/accept")
        viewer = ann.call("GET", f"/user/{bob.id}")["data"]["viewer"]
        assert viewer["connectRequest"]["status"] == "accepted"
        ann.call("POST", f"/user/{bob.id}/connection", status=409)


def test_a_connection_opens_a_chat_whose_request_was_rejected(world: World) -> None:
    """The may-send rule: a connection or an accepted message request."""
    ann, bob = world.member(), world.member()
    chat = ann.call("POST", f"/user/{bob.id}/message/request", {"text": "hi"})["data"]["chat"]["id"]
    bob.call("DELETE", f"/user/{ann.id}/message/request/reject")
    bob.call("POST", f"/user/{ann.id}/connection")
    ann.call("POST", f"/user/{bob.id}/connection/accept")
    ann.socket().ask("send-message", chatId=chat, message={"text": "at last"})
    ann.call("POST", f"/user/{bob.id}/message/request", {"text": "no need"}, status=409)


def do(machine: Any, people: tuple[Member, Member], who: int, name: str) -> int:
    method, path, body = machine[name]
    me, other = people[who], people[1 - who]
    status, _ = me.world.request(method, f"/user/{other.id}/{path}", body, token=me.token)
    return status


def status_in(alert: Any) -> str:
    request = alert["connectRequest"] if alert["type"] == "connect-request" else alert["chat"]["request"]
    status: str = request["status"]
    return status
