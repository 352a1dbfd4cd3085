"""Rooms: a host with many devices, and somebody who writes to them, so that a fan-out has a known size.

The two find each other as everybody does, by searching: the host asks for a connection and the writer accepts
it, having heard of it or found it in the list of those who wait. Then the one writes at a steady pace and the
other keeps the chat open, so that each message is pushed to every device, and each read receipt to every
device but the one that it was read on.
"""

from __future__ import annotations

from msgspec import UNSET

from scenarios.actor import OVERTAKEN, Actor, Unhappy
from scenarios.journeys import arriving, meeting, reacting, talking
from scenarios.people import Habits, sentence
from talkamie.contract import CONNECTIONS_PAGE, Chat, ConnectRequest


def live(actor: Actor, habits: Habits) -> None:
    """Be in one's room until the actor raises Finished; after a mishap, come back."""
    while True:
        try:
            _be_there(actor, habits)
        except Unhappy:
            actor.think("recover")


def _be_there(actor: Actor, habits: Habits) -> None:
    if actor.user.id is UNSET:
        arriving.landing(actor)
        arriving.sign_up(actor)
    arriving.app_start(actor)
    hosts = actor.person.type == "senior"
    while (chat := _open_chat(actor)) is None:
        if hosts:
            meeting.connect(actor)
        else:
            _accept(actor)
        if event := actor.attend("idle"):
            reacting.react(actor, habits, event)
    with actor.journey("room"), actor.looking_at(chat):
        while True:
            if hosts:
                actor.hear("patience")
            else:
                actor.think("compose")
                actor.say(chat, sentence(actor.rng))


def _accept(actor: Actor) -> None:
    """Accept whoever asked before the writer's page was open: no alert could tell of it."""
    asked: list[ConnectRequest] = actor.call("get-pending-requests", page_size=CONNECTIONS_PAGE)
    for request in asked:
        assert request.from_ is not UNSET
        actor.call("accept-connection", id=request.from_.id, expect=OVERTAKEN)


def _open_chat(actor: Actor) -> Chat | None:
    """Return the chat of this room, once both may write in it."""
    actor.seen.discard("get-chats")
    talking.look_up_chats(actor, "get-chats")
    return next((chat for chat in actor.chats.values() if talking.may_send(chat)), None)
