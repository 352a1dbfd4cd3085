"""Chats: the lists, one chat open, reading, writing and listening in turn."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType

from scenarios.actor import Actor
from scenarios.people import Habits, sentence
from talkamie.contract import LIST_PAGE, MESSAGES_PAGE, Chat, GetMessages, Message

_OTHER_TABS = 0.1  # share of visits to the chats page that open another tab, assumed


def chat(actor: Actor, habits: Habits) -> None:
    """Open a chat that is open to both and talk for a while."""
    with actor.journey("chat"):
        if known := pick(actor):
            talk(actor, habits, known, starts=True)


def pick(actor: Actor) -> Chat | None:
    """Choose a chat in which both may write; None if there is none yet."""
    look_up_chats(actor, "get-chats")
    if actor.rng.random() < _OTHER_TABS:
        look_up_chats(actor, actor.rng.choice(("get-frequent-chats", "get-unread-chats")))
    ready = [each for each in actor.chats.values() if may_send(each)]
    return actor.rng.choice(ready) if ready else None


def look_up_chats(actor: Actor, tab: str) -> None:
    """Open a tab of the chats page: it is fetched once after the page was opened."""
    if tab not in actor.seen:
        for each in actor.call(tab, page_size=LIST_PAGE):
            actor.chats[str(each.id)] = each
        actor.seen.add(tab)


def read_back(actor: Actor) -> None:
    """Read a chat's messages over https: the twin of get-messages, which the web client does not use."""
    with actor.journey("chat"):
        if known := pick(actor):
            actor.call("get-chat-messages", chatId=known.id, page_size=LIST_PAGE)


def talk(actor: Actor, habits: Habits, known: Chat, *, starts: bool) -> None:
    """Have one chat open: read it, then write and listen in turn, until somebody tires of it."""
    with actor.journey("chat"):
        with actor.step("chat.open"):
            now: Chat = actor.call("get-chat", chatId=known.id)
            actor.chats[str(now.id)] = now
            first = actor.ask(history(now))
        with actor.looking_at(now):
            _mark_read(actor, now, first.data.messages)
            if first.next_key is not UNSET and actor.rng.random() < habits.scrolls:
                actor.think("read")
                older = actor.ask(history(now, first.next_key))
                _mark_read(actor, now, older.data.messages)
            writes = may_send(now) and (starts or actor.rng.random() < habits.answers)
            while writes:
                actor.think("compose")
                actor.say(now, sentence(actor.rng))
                if actor.hear("patience") is None:
                    return
                actor.think("read")
                writes = actor.rng.random() < habits.answers


def history(chat: Chat, key: dict[str, Any] | UnsetType = UNSET) -> GetMessages:
    assert chat.id is not UNSET
    return GetMessages(
        action="get-messages", chat_id=chat.id, page_size=MESSAGES_PAGE, last_evaluated_key=key
    )


def _mark_read(actor: Actor, chat: Chat, messages: list[Message]) -> None:
    unread = [
        each
        for each in messages
        if each.sender is not UNSET
        and each.sender.id != actor.user.id
        and (each.delivery is UNSET or each.delivery.status != "read")
    ]
    if unread:
        actor.mark_read(chat, unread)


def may_send(chat: Chat) -> bool:
    """Return whether both may write: the target says so for connections and accepted requests alike."""
    return chat.request is not UNSET and chat.request.status == "accepted"
