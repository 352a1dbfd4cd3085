"""What people do, in the order in which the web client does it.

One function is one journey: what one person does to reach a goal. Partners meet through the target: one
sends a request, the other gets an alert and reacts to it like a person, wherever in the fleet they are.

    arriving    landing, sign-up, sign-in, the first screen, reload, reconnect, sign-out
    meeting     searching people, connection requests, first messages
    talking     chats, messages, read receipts
    calling     placing a call, ringing, answering, the exchange of descriptions, hanging up
    planning    scheduled calls, availability, settings
    reviewing   reviews, one's own and others'
    reacting    what comes in: alerts, messages, a phone that rings
    rooms       one person with many devices, and somebody who writes to them

`JOURNEYS` names those that people start of their own accord, as a scenario's mix does; `live` strings them
together into visits.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import UNSET

from scenarios.actor import Actor, Cut, Unhappy
from scenarios.journeys import arriving, calling, meeting, planning, reacting, reviewing, talking
from scenarios.people import Habits
from talkamie.contract import Alert

JOURNEYS: dict[str, Callable[[Actor, Habits], None]] = {
    "browse": lambda actor, _: meeting.browse(actor),
    "connect": lambda actor, _: meeting.connect(actor),
    "message-request": lambda actor, _: meeting.message_request(actor),
    "chat": talking.chat,
    "read-back": lambda actor, _: talking.read_back(actor),
    "notifications": lambda actor, _: reacting.notifications(actor),
    "schedule": lambda actor, _: planning.schedule(actor),
    "reschedule": lambda actor, _: planning.reschedule(actor),
    "clear": lambda actor, _: planning.clear(actor),
    "call": lambda actor, _: calling.place(actor),
    "history": lambda actor, _: calling.look_back(actor),
    "settings": lambda actor, _: planning.settings(actor),
    "password": lambda actor, _: arriving.change_password(actor),
    "review": lambda actor, _: reviewing.review(actor),
    "sign-up": lambda actor, _: arriving.come_anew(actor),
    "reload": lambda actor, _: arriving.app_start(actor),
    "reconnect": lambda actor, _: arriving.reconnect(actor),
    "idle": lambda actor, habits: _idle(actor, habits),
}
"""Everything that can stand in a mix."""


def live(actor: Actor, habits: Habits) -> None:
    """Visit the service again and again, until the actor raises Finished."""
    while True:
        try:
            _visit(actor, habits)
            pause = "away"
        except Unhappy:
            pause = "recover"
        actor.close_socket()
        actor.think(pause)


def _visit(actor: Actor, habits: Habits) -> None:
    """Come in, stay as long as one likes, leave; now and then for good."""
    if actor.user.id is UNSET and not actor.person.known:
        arriving.landing(actor)
        arriving.sign_up(actor)
        arriving.app_start(actor)
    elif "signed-out" in actor.seen:
        arriving.sign_in(actor)
    else:
        arriving.app_start(actor)
    while not actor.visit_is_over():
        try:
            if habits.mix:
                _pass_the_time(actor, habits)
            else:
                _lurk(actor)
        except Cut:
            arriving.resume(actor)
    dice = actor.rng.random()
    if dice < habits.leavers:
        arriving.leave_for_good(actor)
    elif dice < habits.leavers + habits.newcomers:
        arriving.sign_out(actor)
        actor.make_way()
    elif dice < habits.leavers + habits.newcomers + habits.signs_out:
        arriving.sign_out(actor)
        actor.seen.add("signed-out")


def _lurk(actor: Actor) -> None:
    """Look up when something comes in, and leave it at that."""
    if isinstance(event := actor.attend("idle"), Alert):
        reacting.notifications(actor)
        reacting.read_alert(actor, event)


def _pass_the_time(actor: Actor, habits: Habits) -> None:
    """Do one thing: react to what came in, else start something."""
    if event := actor.await_turn():
        reacting.react(actor, habits, event)
        return
    what = actor.rng.choices(list(habits.mix), weights=list(habits.mix.values()))[0]
    JOURNEYS[what](actor, habits)


def _idle(actor: Actor, habits: Habits) -> None:
    if event := actor.attend("idle"):
        reacting.react(actor, habits, event)
