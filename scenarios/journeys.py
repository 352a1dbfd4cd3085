"""What people do, in the order in which the web client does it.

One function is one journey: what one person does to reach a goal. Partners meet through the target: one
sends a request, the other gets an alert and reacts to it like a person, wherever in the fleet they are.
`live` strings journeys together into visits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from msgspec import UNSET, UnsetType

from scenarios.actor import Actor, Event, Refused, Unhappy
from scenarios.people import sentence
from talkamie.contract import (
    CONNECTIONS_PAGE,
    LIST_PAGE,
    MESSAGES_PAGE,
    Alert,
    Chat,
    GetMessages,
    Id,
    Interest,
    Message,
    MessageData,
    MessageRequest,
    OtpCheck,
    OtpRequest,
    ReadMark,
    SignUp,
    UpdateAlerts,
    User,
    UserUpdate,
)


@dataclass(frozen=True, slots=True)
class Habits:
    """What a kind of person starts of their own accord (as weights), and how sociable they are.

    Without a mix somebody is online and reads what comes, but never writes: the noise floor of a run.
    """

    mix: dict[str, float]
    newcomers: float = 0.0
    answers: float = 0.85  # chance of answering a message, assumed
    accepts: float = 0.95  # chance of accepting a request, assumed
    scrolls: float = 0.2  # chance of reading further back in a chat, assumed


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
    if actor.user.id is UNSET:
        sign_up(actor)
    app_start(actor)
    while not actor.visit_is_over():
        if habits.mix:
            _pass_the_time(actor, habits)
        else:
            _lurk(actor)
    if actor.rng.random() < habits.newcomers:
        sign_out(actor)


def _lurk(actor: Actor) -> None:
    """Look up when something comes in, and leave it at that."""
    if isinstance(event := actor.attend("idle"), Alert):
        with actor.journey("notifications"):
            actor.call("get-alerts", page_size=LIST_PAGE)
        _read_alert(actor, event)


def _pass_the_time(actor: Actor, habits: Habits) -> None:
    """Do one thing: react to what came in, else start something."""
    if event := actor.attend("look"):
        react(actor, habits, event)
        return
    what = actor.rng.choices(list(habits.mix), weights=list(habits.mix.values()))[0]
    match what:
        case "connect":
            connect(actor)
        case "message-request":
            message_request(actor)
        case "chat":
            chat(actor, habits)
        case _:
            if event := actor.attend("idle"):
                react(actor, habits, event)


# --- Coming in -----------------------------------------------------------------------------------


def sign_up(actor: Actor) -> None:
    """Make an account: e-mail, one-time password, profile."""
    person = actor.person
    with actor.journey("sign-up"):
        # The page asks who is there before it shows itself; nobody is, and 401 is the right answer.
        actor.call("get-user-by-token", expect=401)
        actor.think("form")
        if actor.call("get-users", email=person.email):
            raise Refused("sign-up", 409, "this e-mail is taken")
        otp = actor.call("generate-otp", OtpRequest(email=person.email)).otp
        if otp is UNSET:
            raise Refused("sign-up", 0, "the target does not tell the one-time password")
        actor.think("otp")
        with actor.step("sign-up.verified"):
            actor.call("verify-otp", OtpCheck(email=person.email, code=otp))
            session = actor.call(
                "sign-up", SignUp(email=person.email, password=person.password, name=person.name)
            )
        actor.sign(session)
        me = session.user.id
        actor.call("update-user", UserUpdate(type=person.type), id=me)
        interests: list[Interest] = actor.call("get-interests")
        actor.think("profile")
        chosen = actor.rng.sample(interests, min(3, len(interests)))
        actor.call("update-user", UserUpdate(bio=sentence(actor.rng), interests=chosen), id=me)


def app_start(actor: Actor) -> None:
    """Open the page: who am I, then everything that the first screen shows, and the socket beside it."""
    opposite = "volunteer" if actor.person.type == "senior" else "senior"
    with actor.journey("app-start"), actor.step("app-start.ready"):
        actor.chat_list_seen = False
        actor.user = actor.call("get-user-by-token").user
        actor.together(
            lambda: actor.call("get-upcoming-schedules", page_size=LIST_PAGE),
            lambda: actor.call("get-pending-requests", page_size=CONNECTIONS_PAGE),
            lambda: actor.call("get-users", type=opposite, page_size=LIST_PAGE),
            actor.open_socket,
        )


def sign_out(actor: Actor) -> None:
    """Sign out; whoever comes next is somebody new."""
    with actor.journey("sign-out"):
        actor.call("sign-out")
        actor.signed_out()
        actor.call("get-user-by-token", expect=401)  # the page that says goodbye asks once more


# --- Meeting people ------------------------------------------------------------------------------


def connect(actor: Actor) -> None:
    """Ask somebody for a connection (a senior does)."""
    with actor.journey("connect"):
        other = _find_somebody(actor)
        if other is None:
            return
        # Either side may have asked the other since the list was made: then there is nothing to ask.
        if _is_free(other := actor.call("get-user", id=other.id)):
            actor.think("profile-read")
            actor.call("send-connection-request", id=other.id)


def message_request(actor: Actor) -> None:
    """Write a first message to somebody with whom there is no connection (a volunteer does)."""
    with actor.journey("message-request"):
        other = _find_somebody(actor)
        if other is None:
            return
        if _is_free(other := actor.call("get-user", id=other.id)):
            actor.think("compose")
            sent: MessageData = actor.call(
                "send-message-request", MessageRequest(text=sentence(actor.rng)), id=other.id
            )
            actor.ask(_history(sent.chat))


def _find_somebody(actor: Actor) -> User | None:
    """Search for this run's people of the other kind, and pick one from the page."""
    opposite = "volunteer" if actor.person.type == "senior" else "senior"
    found: list[User] = actor.call("get-users", type=opposite, keyword=actor.person.tag, page_size=LIST_PAGE)
    actor.think("look")
    return actor.rng.choice(found) if found else None


def _is_free(user: User) -> bool:
    """Return whether nothing is going on between the caller and this user: the app shows its buttons."""
    viewer = user.viewer
    if viewer is UNSET:
        return True
    request = viewer.connect_request
    if request is not UNSET and request.status in ("pending", "accepted"):
        return False
    if viewer.chat is UNSET or viewer.chat.request is UNSET:
        return True
    return viewer.chat.request.status not in ("pending", "accepted", "rejected")


# --- Talking -------------------------------------------------------------------------------------


def chat(actor: Actor, habits: Habits) -> None:
    """Open a chat that is open to both and talk for a while."""
    with actor.journey("chat"):
        if not actor.chat_list_seen:
            for each in actor.call("get-chats", page_size=LIST_PAGE):
                actor.chats[str(each.id)] = each
            actor.chat_list_seen = True
        ready = [each for each in actor.chats.values() if _may_send(each)]
        if ready:
            talk(actor, habits, actor.rng.choice(ready), starts=True)


def talk(actor: Actor, habits: Habits, known: Chat, *, starts: bool) -> None:
    """Have one chat open: read it, then write and listen in turn, until somebody tires of it."""
    with actor.journey("chat"):
        with actor.step("chat.open"):
            now: Chat = actor.call("get-chat", chatId=known.id)
            actor.chats[str(now.id)] = now
            history = actor.ask(_history(now))
        with actor.looking_at(now):
            _mark_read(actor, now, history.data.messages)
            if history.next_key is not UNSET and actor.rng.random() < habits.scrolls:
                actor.think("read")
                older = actor.ask(_history(now, history.next_key))
                _mark_read(actor, now, older.data.messages)
            writes = _may_send(now) and (starts or actor.rng.random() < habits.answers)
            while writes:
                actor.think("compose")
                actor.say(now, sentence(actor.rng))
                if actor.hear("patience") is None:
                    return
                actor.think("read")
                writes = actor.rng.random() < habits.answers


def _history(chat: Chat, key: dict[str, Any] | UnsetType = UNSET) -> GetMessages:
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


def _may_send(chat: Chat) -> bool:
    """Return whether both may write: the target says so for connections and accepted requests alike."""
    return chat.request is not UNSET and chat.request.status == "accepted"


# --- Reacting ------------------------------------------------------------------------------------


def react(actor: Actor, habits: Habits, event: Event) -> None:
    """Do what a person does when something comes in."""
    match event:
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
    _read_alert(actor, alert)
    if (asked_by := _asked_by(alert)) is None:
        return
    kind = "connection" if alert.type == "connect-request" else "message-request"
    with actor.journey("connect" if kind == "connection" else kind):
        other = actor.call("get-user", id=asked_by)
        if not _is_waiting(other, kind):
            return  # it was settled or taken back before the alert was looked at: the app shows no buttons
        actor.think("profile-read")
        if actor.rng.random() < habits.accepts:
            chat = actor.call(f"accept-{kind}", id=asked_by).chat
            actor.chats[str(chat.id)] = chat
        else:
            actor.call(f"reject-{kind}", id=asked_by)


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


def _read_alert(actor: Actor, alert: Alert) -> None:
    with actor.journey("notifications"):
        actor.think("notice")
        assert alert.id is not UNSET
        actor.ask(UpdateAlerts(action="update-alerts", alerts_map={str(alert.id): ReadMark(status="read")}))
