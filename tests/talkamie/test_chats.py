"""Messages: sent, delivered, read, never backwards; counters, receipts, lists, and who may."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.talkamie.stores import Backend
from tests.talkamie.world import Member, Wire, World, worlds

events = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from([0, 1]), st.just(0)),
        st.tuples(st.just("online"), st.sampled_from([0, 1]), st.just(0)),
        st.tuples(st.just("offline"), st.sampled_from([0, 1]), st.just(0)),
        st.tuples(st.just("read"), st.sampled_from([0, 1]), st.integers(0, 20)),
    ),
    max_size=25,
)


@given(events=events)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_delivery_is_what_the_model_says(backend: Backend, events: list[tuple[str, int, int]]) -> None:
    """After any sequence of sending, coming, going and reading, every status and counter is the model's."""
    with worlds(backend) as make:
        world = make()
        ann, bob, chat = world.friends()
        people = (ann, bob)
        readers = (ann.socket(), bob.socket())
        for reader in readers:
            reader.close()
        online: list[Wire | None] = [None, None]
        model: list[dict[str, Any]] = []
        for name, who, index in events:
            if name == "send":
                send(world, people[who], chat, model, who, online)
            elif name == "online":
                online[who] = online[who] or people[who].socket()
                for message in model:
                    if message["sender"] != who and message["status"] == "sent":
                        message["status"] = "delivered"
            elif name == "offline" and online[who] is not None:
                leaving = online[who]
                assert leaving is not None
                leaving.close()
                online[who] = None
            elif name == "read" and model and online[who] is not None:
                read(online[who], chat, model, who, index % len(model))
        for who, person in enumerate(people):
            found = person.call("GET", f"/chat/{chat}/messages", pageSize=100)["data"]
            expected = [(m["id"], m["status"]) for m in reversed(model)]
            assert [(m["id"], m["delivery"]["status"]) for m in found] == expected
            unread = sum(m["sender"] != who and m["status"] != "read" for m in model)
            assert person.call("GET", f"/chat/{chat}")["data"]["totalUnreadMessages"] == unread
            assert person.call("GET", "/auth")["data"]["user"]["totalUnreadChats"] == (unread > 0)
            assert bool(person.call("GET", "/chats/unread")["data"]) == (unread > 0)


def send(
    world: World, me: Member, chat: str, model: list[dict[str, Any]], who: int, online: list[Wire | None]
) -> None:
    """Send one message, from the sender's socket or one opened for it, and enter it into the model."""
    wire = online[who] or me.socket()
    if online[who] is None:  # opening one was coming online for a moment
        for message in model:
            if message["sender"] != who and message["status"] == "sent":
                message["status"] = "delivered"
    stored = wire.ask("send-message", chatId=chat, message={"text": "hi"})["data"]["message"]
    status = "sent" if online[1 - who] is None else "delivered"
    assert stored["delivery"]["status"] == status
    model.append({"id": stored["id"], "sender": who, "status": status})
    if online[who] is None:
        wire.close()


def read(wire: Wire | None, chat: str, model: list[dict[str, Any]], who: int, index: int) -> None:
    """Mark one message as read, where it is not the reader's own."""
    assert wire is not None
    message = model[index]
    mine = message["sender"] == who
    mark = {message["id"]: {"status": "read"}}
    wire.ask("update-messages", status=403 if mine else 200, chatId=chat, messagesMap=mark)
    if not mine:
        message["status"] = "read"


def test_a_closed_chat_takes_no_message(world: World) -> None:
    """403 while a message request is pending; 404 for a chat of others, or none."""
    ann, bob, eve = world.member(), world.member(), world.member()
    chat = ann.call("POST", f"/user/{bob.id}/message/request", {"text": "hi"})["data"]["chat"]["id"]
    message = {"text": "more"}
    ann.socket().ask("send-message", status=403, chatId=chat, message=message)
    bob.socket().ask("send-message", status=403, chatId=chat, message=message)
    eve.socket().ask("send-message", status=404, chatId=chat, message=message)
    eve.socket().ask("send-message", status=404, chatId="nothing", message=message)
    eve.socket().ask("send-message", status=404, chatId=10**30, message=message)


def test_a_stranger_sees_and_changes_nothing_of_a_chat(world: World) -> None:
    """Every way to a chat of others is 404, as if it did not exist."""
    ann, _, chat = world.friends()
    eve = world.member()
    message = ann.socket().ask("send-message", chatId=chat, message={"text": "secret"})["data"]["message"][
        "id"
    ]
    eve.call("GET", f"/chat/{chat}", status=404)
    eve.call("GET", f"/chat/{chat}/messages", status=404)
    wire = eve.socket()
    wire.ask("get-messages", status=404, chatId=chat)
    wire.ask("update-messages", status=404, chatId=chat, messagesMap={message: {"status": "read"}})
    assert wire.pushed() == []
    assert eve.call("GET", "/chats")["data"] == []


def test_a_message_of_another_chat_cannot_be_marked_through_mine(world: World) -> None:
    """The chat in the frame must be the message's own."""
    ann, bob, chat = world.friends()
    message = ann.socket().ask("send-message", chatId=chat, message={"text": "x"})["data"]["message"]["id"]
    _, other, elsewhere = world.friends()
    mark = {message: {"status": "read"}}
    other.socket().ask("update-messages", status=404, chatId=elsewhere, messagesMap=mark)
    assert bob.call("GET", f"/chat/{chat}")["data"]["totalUnreadMessages"] == 1


@pytest.mark.parametrize("text", ["", "x" * 4001, None, 5])
def test_a_text_has_one_to_four_thousand_characters(world: World, text: Any) -> None:
    """Anything else is a 400 that names the field."""
    ann, _, chat = world.friends()
    frame = ann.socket().ask("send-message", status=400, chatId=chat, message={"text": text})
    assert "text" in frame["message"]


@pytest.mark.parametrize(
    "text", ["\u202eabc", "👩‍👩‍👧‍👦", "a\u0000b", "<script>", "'; drop table users; --", " "]
)
def test_a_text_is_passed_on_as_it_is(world: World, text: str) -> None:
    """Nothing is trimmed, escaped or normalised."""
    ann, bob, chat = world.friends()
    ann.socket().ask("send-message", chatId=chat, message={"text": text})
    assert bob.call("GET", f"/chat/{chat}")["data"]["lastMessage"]["text"] == text


def test_chats_come_by_their_last_activity(world: World) -> None:
    """Writing brings a chat to the top; pages hold each once."""
    me = world.member()
    chats = []
    for name in ("Ada", "Ben", "Cid"):
        other = world.member(name=name)
        me.call("POST", f"/user/{other.id}/connection")
        chats.append(other.call("POST", f"/user/{me.id}/connection/accept")["data"]["chat"]["id"])
        world.later(1)
    wire = me.socket()
    wire.ask("send-message", chatId=chats[0], message={"text": "hi"})
    assert [chat["id"] for chat in me.call("GET", "/chats")["data"]] == [chats[0], chats[2], chats[1]]
    for path, expected in (("/chats", [chats[0], chats[2], chats[1]]), ("/chats/frequent", None)):
        key: dict[str, Any] = {}
        met = []
        while True:
            envelope = me.call("GET", path, pageSize=1, **key)
            met += [chat["id"] for chat in envelope["data"]]
            if "pagination" not in envelope:
                break
            key = {"lastEvaluatedKey": json.dumps(envelope["pagination"]["lastEvaluatedKey"])}
        assert sorted(met) == sorted(chats)
        assert expected is None or met == expected
        assert met[0] == chats[0]
    assert [chat["user"]["name"] for chat in me.call("GET", "/chats", keyword="be")["data"]] == ["Ben"]


def test_frequent_chats_count_the_last_thirty_days(world: World) -> None:
    """Old messages do not count."""
    ann, bob, chat = world.friends()
    eve = world.member(name="Eve")
    ann.call("POST", f"/user/{eve.id}/connection")
    other = eve.call("POST", f"/user/{ann.id}/connection/accept")["data"]["chat"]["id"]
    for _ in range(3):
        bob.socket().ask("send-message", chatId=chat, message={"text": "old"})
    world.later(31 * 24 * 3600)
    with_token = world.run(renew(ann))
    status, envelope = world.request("GET", "/chats/frequent", token=with_token)
    assert status == 200
    assert {one["id"] for one in envelope["data"]} == {chat, other}
    assert envelope["data"][0]["id"] == max(chat, other)


def test_reading_in_one_place_tells_the_other_sockets(world: World) -> None:
    """The asker is answered once; his other sockets and the other member's get the same as a push."""
    ann, bob, chat = world.friends()
    sender, asking, idle = ann.socket(), bob.socket(), bob.socket()
    message = sender.ask("send-message", chatId=chat, message={"text": "x"})["data"]["message"]["id"]
    for wire in (asking, idle):
        assert [frame["action"] for frame in wire.pushed()] == ["new-message"]
    mark = {message: {"status": "read"}, "unknown": {"status": "read"}}
    answer = asking.ask("update-messages", chatId=chat, messagesMap=mark)
    assert list(answer["data"]["messagesMap"]) == [message]
    assert asking.pushed() == []
    assert idle.pushed() == [answer]
    (push,) = sender.pushed()
    assert push["data"]["viewer"]["id"] == ann.id


def test_coming_online_tells_each_sender_once_for_all_his_chats(world: World) -> None:
    """One update-chats a sender, and none to senders who are away."""
    me = world.member()
    senders = []
    for _ in range(3):
        other = world.member()
        other.call("POST", f"/user/{me.id}/connection")
        chat = me.call("POST", f"/user/{other.id}/connection/accept")["data"]["chat"]["id"]
        wire = other.socket()
        ids = [
            wire.ask("send-message", chatId=chat, message={"text": "x"})["data"]["message"]["id"]
            for _ in range(2)
        ]
        senders.append((wire, chat, ids))
    senders[2][0].close()
    for wire, _, _ in senders:
        wire.pushed()
    me.socket()
    for wire, chat, ids in senders[:2]:
        (push,) = wire.pushed()
        assert list(push["data"]["chatsMap"]) == [chat]
        assert sorted(push["data"]["chatsMap"][chat]["messagesMap"]) == sorted(ids)
    assert senders[2][0].pushed() == []


@pytest.mark.parametrize("key", [{}, {"id": 5}, {"id": "x", "dateCreated": "yesterday"}, [], "x"])
def test_a_key_that_is_not_ours_is_refused(world: World, key: Any) -> None:
    """400 over https and wss alike."""
    ann, _, chat = world.friends()
    ann.call("GET", "/chats", status=400, lastEvaluatedKey=json.dumps(key))
    ann.socket().ask("get-messages", status=400, chatId=chat, lastEvaluatedKey=key)


async def renew(member: Member) -> str:
    """Return a token that is valid now."""
    from talkamie.server import accounts

    db = member.world.service.store.session()
    return (await accounts.issue(db, member.id, member.world.now)).access
