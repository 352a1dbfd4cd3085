"""Requests at the same time: one winner, on both stores."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.talkamie.conftest import ON_POSTGRESQL
from tests.talkamie.world import World

TURNS = 6


@pytest.mark.parametrize("kind", ["connection", "message/request"])
@pytest.mark.parametrize("answer", ["accept", "reject"])
def test_of_an_answer_and_a_cancel_one_wins(world: World, kind: str, answer: str) -> None:
    """The other is told that the request is not pending any more, or gone, and the state is the winner's."""
    for _ in range(TURNS):
        ann, bob = world.member(), world.member()
        ann.call("POST", f"/user/{bob.id}/{kind}", {"text": "hi"})
        method = "POST" if answer == "accept" else "DELETE"
        answered, cancelled = world.together(
            (bob, method, f"/user/{ann.id}/{kind}/{answer}"), (ann, "DELETE", f"/user/{bob.id}/{kind}")
        )
        assert sorted([answered == 200, cancelled == 200]) == [False, True]
        assert {answered, cancelled} <= {200, 404, 409}
        connected = ann.call("GET", "/connections/users")["data"]
        assert len(connected) == (answer == "accept" and answered == 200)


def test_of_the_same_request_twice_one_is_made(world: World) -> None:
    """Also when both ask each other."""
    for _ in range(TURNS):
        ann, bob = world.member(), world.member()
        steps = [(one, "POST", f"/user/{other.id}/connection") for one, other in ((ann, bob), (bob, ann))] * 2
        assert sorted(world.together(*steps)) == [200, 409, 409, 409]
        waiting = [len(one.call("GET", "/connections/pending")["data"]) for one in (ann, bob)]
        assert sorted(waiting) == [0, 1]


def test_an_open_chat_stays_open(world: World) -> None:
    """Accepting a connection and a message request cross each other: whoever is first, both may send."""
    for _ in range(TURNS):
        ann, bob = world.member(), world.member()
        ann.call("POST", f"/user/{bob.id}/connection")
        bob.call("POST", f"/user/{ann.id}/message/request", {"text": "hi"})
        statuses = world.together(
            (bob, "POST", f"/user/{ann.id}/connection/accept"),
            (ann, "POST", f"/user/{bob.id}/message/request/accept"),
        )
        assert 200 in statuses
        (chat,) = ann.call("GET", "/chats")["data"]
        assert chat["request"]["status"] == "accepted"


def test_every_message_sent_at_once_is_counted(world: World) -> None:
    """From several sockets of both: none is lost, none is stored twice, each unread once."""
    ann, bob, chat = world.friends()
    senders = [ann.socket() for _ in range(4)] + [bob.socket() for _ in range(4)]
    text = json.dumps({"action": "send-message", "chatId": chat, "message": {"text": "hi"}})

    async def all_at_once() -> None:
        await asyncio.gather(*(world.sockets.take(wire.socket, text, 0) for wire in senders))

    world.run(all_at_once())
    assert len(ann.call("GET", f"/chat/{chat}/messages")["data"]) == 8
    for member in (ann, bob):
        assert member.call("GET", f"/chat/{chat}")["data"]["totalUnreadMessages"] == 4
    for wire in senders:
        frames = wire.pushed()
        assert [frame["statusCode"] for frame in frames] == [200] * 5
        assert sorted(frame["action"] for frame in frames) == ["new-message"] * 4 + ["send-message"]


@ON_POSTGRESQL
def test_who_comes_online_while_a_message_is_stored_has_it_delivered(world: World) -> None:
    """Whichever is first, the message is `delivered` in the end, and not left waiting."""
    ann, bob, chat = world.friends()
    sender = ann.socket()
    text = json.dumps({"action": "send-message", "chatId": chat, "message": {"text": "hi"}})
    for turn in range(TURNS):
        arriving = world.socket()
        hello = json.dumps({"action": "authenticate", "token": bob.token})

        async def cross(arriving=arriving, hello=hello, turn=turn) -> None:  # type: ignore[no-untyped-def]
            waiting = [world.sockets.take(sender.socket, text, 0)]
            waiting.insert(turn % 2, world.sockets.take(arriving.socket, hello, 0))
            await asyncio.gather(*waiting)

        world.run(cross())
        newest = ann.call("GET", f"/chat/{chat}/messages")["data"][0]
        assert newest["delivery"]["status"] == "delivered"
        arriving.close()


@ON_POSTGRESQL
def test_a_socket_that_signs_in_while_signing_out_is_closed(world: World) -> None:
    """A token that was revoked in between opens nothing for long."""
    for _ in range(TURNS):
        ann = world.member()
        wire = world.socket()
        hello = json.dumps({"action": "authenticate", "token": ann.token})

        async def cross(ann=ann, wire=wire, hello=hello) -> None:  # type: ignore[no-untyped-def]
            head = [("authorization", f"Bearer {ann.token}")]
            await asyncio.gather(
                world.sockets.take(wire.socket, hello, 0),
                world.send("DELETE", "/v1/auth/sign-out", headers=head),
            )

        world.run(cross())
        assert wire.connection.closed == (4401, "token not valid")
        assert not world.service.hub.online(ann.id)
