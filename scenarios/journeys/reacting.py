"""What people do when something comes in: an alert, a message, a phone that rings."""

from __future__ import annotations

from msgspec import UNSET

from scenarios.actor import GONE, OVERTAKEN, Actor, Event
from scenarios.journeys.calling import pick_up
from scenarios.journeys.meeting import look_at
from scenarios.journeys.talking import talk
from scenarios.people import Habits
from talkamie.contract import LIST_PAGE, Alert, CallData, Id, MessageData, ReadMark, UpdateAlerts, User


def react(actor: Actor, habits: Habits, event: Event) -> None:
    """Do what a person does when something comes in."""
    match event:
        case CallData():
            pick_up(actor, habits, event)
        case MessageData(chat=chat):
            actor.think("notice")
            known = actor.chats.get(str(chat.id), chat)
            talk(actor, habits, known, starts=False)
        case Alert():
            _react_to_alert(actor, habits, event)


def _react_to_alert(actor: Actor, habits: Habits, alert: Alert) -> None:
    """Read it; if it brings somebody's request, look at them and answer."""
    if alert.chat is not UNSET:
        actor.chats[str(alert.chat.id)] = alert.chat  # an alert brings the whole chat
    read_alert(actor, alert)
    if alert.schedule is not UNSET:
        with actor.journey("schedule"):
            actor.call("get-schedule", id=alert.schedule.id, expect=GONE)  # it may be dropped by now
    if (asked_by := _asked_by(alert)) is None:
        return
    kind = "connection" if alert.type == "connect-request" else "message-request"
    with actor.journey("connect" if kind == "connection" else kind):
        other = look_at(actor, asked_by)
        if other is None or not _is_waiting(other, kind):
            return  # it was settled or taken back before the alert was looked at: the app shows no buttons
        actor.think("profile-read")
        if actor.rng.random() < habits.accepts:
            answer = actor.call(f"accept-{kind}", id=asked_by, expect=OVERTAKEN)
            if answer is not None:
                actor.chats[str(answer.chat.id)] = answer.chat
        else:
            actor.call(f"reject-{kind}", id=asked_by, expect=OVERTAKEN)


def _asked_by(alert: Alert) -> Id | None:
    """Return who waits for an answer to this alert's request, or None."""
    if alert.connect_request is not UNSET:
        asked, by = alert.connect_request, alert.connect_request.from_
        return by.id if asked.status == "pending" and by is not UNSET else None
    if alert.chat is not UNSET and alert.chat.request is not UNSET:
        request, by = alert.chat.request, alert.chat.request.sender
        waits = alert.type == "message-request" and request.status == "pending"
        return by.id if waits and by is not UNSET else None
    return None


def _is_waiting(user: User, kind: str) -> bool:
    """Return whether this user's request still waits for the caller's answer."""
    if user.viewer is UNSET:
        return True
    chat = user.viewer.chat
    asked = chat.request if chat is not UNSET else UNSET
    request = asked if kind == "message-request" else user.viewer.connect_request
    return request is not UNSET and request.status == "pending"


def read_alert(actor: Actor, alert: Alert) -> None:
    with actor.journey("notifications"):
        actor.think("notice")
        assert alert.id is not UNSET
        if str(alert.id) in actor.withdrawn:
            return
        mark = {str(alert.id): ReadMark(status="read")}
        actor.ask(UpdateAlerts(action="update-alerts", alerts_map=mark), expect=GONE)


def notifications(actor: Actor) -> None:
    """Open the list of alerts, once a page, and read the newest that is unread."""
    with actor.journey("notifications"):
        if "get-alerts" in actor.seen:
            return
        actor.seen.add("get-alerts")
        found: list[Alert] = actor.call("get-alerts", page_size=LIST_PAGE)
    unread = [each for each in found if each.status is UNSET]
    if unread:
        read_alert(actor, unread[0])
