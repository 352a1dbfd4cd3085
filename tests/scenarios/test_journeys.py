"""Journeys do what the web client does, in its order. An actor with a script stands in for the network."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from scenarios import journeys
from scenarios.actor import Actor, Answer, CallNews, Cut, Event, Finished, Refused, Unanswered
from scenarios.journeys import arriving, calling, meeting, planning, reacting, reviewing, rooms, talking
from scenarios.people import Habits, person
from scenarios.workload import Mix
from talkamie.contract import (
    ACTIONS,
    ALL_OPERATIONS,
    Action,
    Alert,
    Call,
    CallData,
    Chat,
    ChatData,
    ChatRequest,
    ConnectRequest,
    Delivery,
    Interest,
    Message,
    MessageData,
    MessagePage,
    Otp,
    Review,
    Schedule,
    Session,
    Signal,
    Tokens,
    User,
    UserData,
    UserRef,
    UserType,
    Viewer,
)

OPEN_CHAT = Chat(id="c1", user=User(id="u2"), request=ChatRequest(status="accepted"))
HABITS = Habits(mix={"chat": 1.0}, answers=0.0, accepts=1.0, scrolls=0.0)


class Scripted:
    """An actor that notes what is done, answers from a script, and never waits."""

    def __init__(self, kind: UserType = "senior", events: tuple[Event, ...] = ()) -> None:
        self.person = person(1, 0, type=kind, tag="t")
        self.rng = random.Random(2)
        self.user = User()
        self.chats: dict[str, Chat] = {}
        self.seen: set[str] = set()
        self.withdrawn: set[str] = set()
        self.extras = False
        self.log: list[str] = []
        self.events = deque(events)
        self.heard: deque[Message] = deque()
        self.said: list[str] = []
        self.told: list[Action] = []
        self.news: deque[CallNews] = deque()
        self.socket_answers: dict[str, Any] = {}
        self.answers: dict[str, Any] = {
            "get-user-by-token": UserData(user=User(id="me")),
            "get-users": [],
            "generate-otp": Otp(otp="1234"),
            "sign-up": Session(user=User(id="me"), tokens=Tokens(access="a", refresh="r")),
            "get-interests": [Interest(id=str(n)) for n in range(5)],
            "get-user": User(id="u2", viewer=Viewer()),
            "get-chat": OPEN_CHAT,
            "get-chats": [OPEN_CHAT],
            "send-message-request": MessageData(chat=Chat(id="c1"), message=Message(id="m1")),
            "accept-connection": ConnectRequest(id="r1", chat=OPEN_CHAT),
            "accept-message-request": ChatData(chat=OPEN_CHAT),
        }
        self.history: list[Message] = []

    def now(self) -> datetime:
        return datetime(2026, 11, 23, 10, tzinfo=UTC)

    def call(self, operation: str, body: Any = None, *, expect: tuple[int, ...] = (), **fields: Any) -> Any:
        row = ALL_OPERATIONS[operation]
        if row.body is not None:
            msgspec.json.decode(msgspec.json.encode(body), type=row.body)
        if row.query is not None:
            row.query(**{name: value for name, value in fields.items() if f"{{{name}}}" not in row.path})
        self.log.append(operation)
        return None if expect == (401,) else self.answers.get(operation)

    def together(self, *calls: Callable[[], Any]) -> None:
        for each in calls:
            each()

    def sign(self, session: Session) -> None:
        self.user = session.user

    def forget(self) -> None:
        self.log.append("(forgotten)")

    def make_way(self) -> None:
        self.user = User()

    def drop_socket(self) -> None:
        self.log.append("dropped")

    def tell(self, frame: Action) -> None:
        self.log.append(f"wss.{frame.action}")
        self.told.append(frame)

    def listen(self, pause: str, *actions: str) -> CallNews | None:
        while self.news:
            if (news := self.news.popleft()).action in actions:
                return news
        return None

    def open_socket(self) -> None:
        self.log.append("wss.authenticate")

    def close_socket(self) -> None:
        self.log.append("close")

    def back_off(self, attempt: int) -> None:
        self.log.append(f"(attempt {attempt})")

    def ask(self, frame: Action, *, expect: tuple[int, ...] = ()) -> Answer:
        assert isinstance(frame, ACTIONS[frame.action].request or Action)
        self.log.append(f"wss.{frame.action}")
        page = MessagePage(chat=OPEN_CHAT, messages=self.history)
        return Answer(self.socket_answers.get(frame.action, page))

    def say(self, chat: Chat, text: str) -> None:
        self.log.append("wss.send-message")
        self.said.append(text)

    def mark_read(self, chat: Chat, messages: list[Message]) -> None:
        self.log.append("wss.update-messages")

    @contextmanager
    def looking_at(self, chat: Chat) -> Iterator[None]:
        yield

    def hear(self, pause: str) -> Message | None:
        return self.heard.popleft() if self.heard else None

    def think(self, pause: str) -> None:
        self.log.append(f"({pause})")

    def attend(self, pause: str) -> Event | None:
        return self.events.popleft() if self.events else None

    def await_turn(self) -> Event | None:
        return self.attend("look")

    def visit_is_over(self) -> bool:
        return True

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        yield

    @contextmanager
    def journey(self, name: str) -> Iterator[None]:
        yield

    @property
    def calls(self) -> list[str]:
        """What went over the network, without the pauses."""
        return [each for each in self.log if not each.startswith("(")]


def test_the_stand_in_is_an_actor() -> None:
    """The script follows the protocol that real users follow (checked by mypy)."""
    actor: Actor = Scripted()
    assert actor.person.tag == "t"


@pytest.mark.parametrize("extras", [False, True])
def test_a_stranger_sees_the_questions_of_others_where_they_are_served(*, extras: bool) -> None:
    """They are beyond the 48 operations: asked for only where the target has them."""
    actor = Scripted()
    actor.extras = extras
    arriving.landing(actor)
    assert actor.calls == ["get-user-by-token", *(["get-faqs"] if extras else [])]


def test_signing_up_keeps_the_order_of_the_web_client() -> None:
    """Who is there, is the e-mail free, password by mail, verify and at once sign up, then the profile."""
    actor = Scripted()
    arriving.sign_up(actor)
    assert actor.calls == [
        "get-user-by-token",
        "get-users",
        "generate-otp",
        "verify-otp",
        "sign-up",
        "update-user",
        "get-interests",
        "update-user",
    ]
    assert actor.log[actor.log.index("verify-otp") + 1] == "sign-up"


def test_a_taken_address_ends_the_sign_up() -> None:
    """Nobody asks for a one-time password for an account that exists."""
    actor = Scripted()
    actor.answers["get-users"] = [User(id="u9")]
    with pytest.raises(Refused):
        arriving.sign_up(actor)
    assert "generate-otp" not in actor.calls


def test_opening_the_page_asks_who_first_then_everything_at_once() -> None:
    """One request alone, then three lists and the socket."""
    actor = Scripted()
    arriving.app_start(actor)
    assert actor.calls[0] == "get-user-by-token"
    assert sorted(actor.calls[1:]) == sorted(
        ["get-upcoming-schedules", "get-pending-requests", "get-users", "wss.authenticate"]
    )


def test_somebody_is_looked_at_before_being_asked() -> None:
    """A connection request follows the profile; a message request is followed by the history."""
    actor = Scripted()
    actor.answers["get-users"] = [User(id="u2")]
    meeting.connect(actor)
    assert actor.calls == ["get-users", "get-user", "send-connection-request"]
    actor = Scripted("volunteer")
    actor.answers["get-users"] = [User(id="u2")]
    meeting.message_request(actor)
    assert actor.calls == ["get-users", "get-user", "send-message-request", "wss.get-messages"]


@pytest.mark.parametrize(
    "viewer",
    [
        Viewer(connect_request=ConnectRequest(status="pending")),
        Viewer(connect_request=ConnectRequest(status="accepted")),
        Viewer(chat=Chat(request=ChatRequest(status="pending"))),
        Viewer(chat=Chat(request=ChatRequest(status="rejected"))),
    ],
)
def test_nobody_asks_where_something_is_going_on(viewer: Viewer) -> None:
    """The app hides its buttons while a request is open, accepted, or was turned down."""
    actor = Scripted()
    actor.answers["get-users"] = [User(id="u2")]
    actor.answers["get-user"] = User(id="u2", viewer=viewer)
    meeting.connect(actor)
    assert "send-connection-request" not in actor.calls


def test_a_chat_is_opened_read_and_written_in_the_order_of_the_web_client() -> None:
    """The list once, the chat, its last messages, receipts for what was unread, then a message."""
    actor = Scripted()
    actor.user = User(id="me")
    actor.history = [
        Message(id="m2", sender=User(id="u2"), delivery=Delivery(status="delivered")),
        Message(id="m1", sender=User(id="me"), delivery=Delivery(status="sent")),
    ]
    talking.chat(actor, HABITS)
    expected = ["get-chats", "get-chat", "wss.get-messages", "wss.update-messages", "wss.send-message"]
    assert actor.calls == expected
    talking.chat(actor, HABITS)
    assert actor.calls.count("get-chats") == 1


def test_people_take_turns_until_one_falls_silent() -> None:
    """An answer is read before the next message is written; no answer ends the talk."""
    actor = Scripted()
    actor.chats, actor.seen = {"c1": OPEN_CHAT}, {"get-chats"}
    actor.heard.extend([Message(id="m3"), Message(id="m4")])
    talking.chat(actor, Habits(mix={}, answers=1.0, scrolls=0.0))
    assert len(actor.said) == 3


def test_nobody_writes_where_the_target_would_refuse() -> None:
    """In a chat whose request is open, messages are read and none is sent."""
    actor = Scripted()
    closed = Chat(id="c1", user=User(id="u2"), request=ChatRequest(status="pending"))
    actor.answers["get-chat"] = closed
    talking.talk(actor, HABITS, closed, starts=True)
    assert actor.said == []


def alert(kind: str, status: str = "pending") -> Alert:
    if kind == "connect-request":
        request = ConnectRequest(id="r1", status=status, from_=UserRef(id="u2"))  # type: ignore[arg-type]
        return Alert(id="a1", type="connect-request", connect_request=request)
    asked = ChatRequest(status=status, sender=UserRef(id="u2"))  # type: ignore[arg-type]
    return Alert(id="a1", type="message-request", chat=Chat(id="c1", request=asked))


@pytest.mark.parametrize(
    ("kind", "answer"),
    [("connect-request", "accept-connection"), ("message-request", "accept-message-request")],
)
def test_a_request_is_noticed_read_looked_at_and_answered(kind: str, answer: str) -> None:
    """Like a person: the alert is read first, then the one who asked, then comes the answer."""
    actor = Scripted("volunteer")
    pending = Viewer(
        connect_request=ConnectRequest(status="pending"), chat=Chat(request=ChatRequest(status="pending"))
    )
    actor.answers["get-user"] = User(id="u2", viewer=pending)
    reacting.react(actor, HABITS, alert(kind))
    assert actor.calls == ["wss.update-alerts", "get-user", answer]
    assert actor.log[0] == "(notice)"
    assert "c1" in actor.chats


@pytest.mark.parametrize("kind", ["connect-request", "message-request"])
def test_a_request_that_was_settled_meanwhile_is_left_alone(kind: str) -> None:
    """Both had asked each other: by the time the alert is looked at, the profile shows no buttons."""
    actor = Scripted("volunteer")
    accepted = Viewer(connect_request=ConnectRequest(status="accepted"), chat=OPEN_CHAT)
    actor.answers["get-user"] = User(id="u2", viewer=accepted)
    reacting.react(actor, HABITS, alert(kind))
    assert actor.calls == ["wss.update-alerts", "get-user"]


def test_an_alert_that_asks_for_nothing_is_only_read() -> None:
    """News of an accepted request brings its chat, and no answer goes out."""
    actor = Scripted()
    reacting.react(actor, HABITS, alert("message-request", "accepted"))
    assert actor.calls == ["wss.update-alerts"]
    assert "c1" in actor.chats


def test_a_message_makes_its_reader_open_the_chat() -> None:
    """A new message in a chat that is not open leads to that chat, and perhaps to an answer."""
    actor = Scripted()
    push = MessageData(chat=Chat(id="c1"), message=Message(id="m5"))
    reacting.react(actor, Habits(mix={}, answers=1.0, scrolls=0.0), push)
    assert actor.calls == ["get-chat", "wss.get-messages", "wss.send-message"]


def test_a_lurker_reads_and_never_writes() -> None:
    """Without a mix somebody signs up, is online, reads an alert, and answers nobody."""

    class Once(Scripted):
        visits = 0

        def visit_is_over(self) -> bool:
            self.visits += 1
            return self.visits > 1

        def close_socket(self) -> None:
            raise Finished

    actor = Once(events=(alert("connect-request"),))
    actor.answers["get-alerts"] = []
    with pytest.raises(Finished):
        journeys.live(actor, Habits(mix={}))
    assert actor.calls[-2:] == ["get-alerts", "wss.update-alerts"]
    assert not any(each.startswith(("accept", "reject", "send")) for each in actor.calls)


def test_a_failure_ends_the_visit_and_the_next_one_begins() -> None:
    """What the target does wrong is no reason to leave for good."""

    class Stubborn(Scripted):
        starts = 0

        def open_socket(self) -> None:
            self.starts += 1
            if self.starts == 3:
                raise Finished
            raise Refused("wss.authenticate", 500)

    actor = Stubborn()
    with pytest.raises(Finished):
        journeys.live(actor, HABITS)
    assert actor.starts == 3
    assert actor.calls.count("sign-up") == 1
    assert actor.user.id is not UNSET


def test_an_alert_that_was_taken_back_is_not_read() -> None:
    """The app removes it: there is nothing left to click on."""
    actor = Scripted("volunteer")
    actor.withdrawn.add("a1")
    actor.answers["get-user"] = None
    reacting.react(actor, HABITS, alert("connect-request"))
    assert "wss.update-alerts" not in actor.calls


def test_a_lost_connection_is_opened_again_at_once() -> None:
    """No pause and no back-off: the app is back before the person notices."""

    class Unlucky(Scripted):
        looks = 0

        def visit_is_over(self) -> bool:
            return self.looks > 1

        def attend(self, pause: str) -> Event | None:
            self.looks += 1
            raise Cut("gone")

    actor = Unlucky()
    actor.user = User(id="me")
    journeys._visit(actor, HABITS)
    assert actor.calls.count("wss.authenticate") == 3
    assert "(recover)" not in actor.log


def test_coming_back_is_tried_again_when_the_policy_says_so() -> None:
    """Each attempt after its own pause; after the last one it is given up."""

    class Refusing(Scripted):
        refusals = 2

        def open_socket(self) -> None:
            super().open_socket()
            self.refusals -= 1
            if self.refusals >= 0:
                raise Unanswered("connection refused")

    actor = Refusing()
    arriving.resume(actor)
    assert [each for each in actor.log if "attempt" in each] == ["(attempt 0)", "(attempt 1)", "(attempt 2)"]
    actor.refusals = 100
    with pytest.raises(Unanswered):
        arriving.resume(actor)
    assert actor.calls.count("wss.authenticate") == 3 + arriving.ATTEMPTS


def test_who_has_an_account_does_not_sign_up() -> None:
    """They sign in with their password; who is signed in already opens the page."""
    for seen, first in (({"signed-out"}, "sign-in"), (set(), "get-upcoming-schedules")):
        actor = Scripted()
        actor.person = replace(actor.person, known=True)
        actor.seen = set(seen)
        actor.answers["sign-in"] = actor.answers["sign-up"]
        actor.visit_is_over = lambda: True  # type: ignore[method-assign]
        journeys._visit(actor, HABITS)
        assert actor.calls[:2] == ["get-user-by-token", first]
        assert "sign-up" not in actor.calls


def test_somebody_new_comes_in_one_journey() -> None:
    """A sign-up of the mix: the one who was here makes way, the next one has the first screen at its end."""
    actor = Scripted()
    actor.user = User(id="me")
    before = actor.user
    journeys.JOURNEYS["sign-up"](actor, HABITS)
    assert actor.calls.count("sign-up") == actor.calls.count("wss.authenticate") == 1
    assert actor.user is not before


def test_somebody_who_signed_out_comes_back_with_a_password() -> None:
    """The first screen follows at once; nobody asks a second time who is there."""
    actor = Scripted()
    actor.user = User(id="me")
    actor.answers["sign-in"] = actor.answers["sign-up"]
    journeys._visit(actor, Habits(mix={"idle": 1.0}, signs_out=1.0))
    assert actor.calls[-3:] == ["close", "sign-out", "get-user-by-token"]
    actor.log.clear()
    journeys._visit(actor, Habits(mix={"idle": 1.0}))
    assert actor.calls[:2] == ["get-user-by-token", "sign-in"]
    assert actor.calls.count("get-user-by-token") == 1


RINGING = CallData(chat=Chat(id="c1"), call=Call(id="k1", type="audio", status="ringing", user=User(id="u2")))


def caller(*news: CallNews, status: str = "ringing") -> Scripted:
    """Return somebody with a chat open to both, whose call is answered with this status and news."""
    actor = Scripted()
    actor.user = User(id="me")
    actor.chats, actor.seen = {"c1": OPEN_CHAT}, {"get-chats"}
    call = Call(id="k1", status=status, user=User(id="u2"))  # type: ignore[arg-type]
    actor.socket_answers["call-user"] = CallData(chat=Chat(id="c1"), call=call)
    actor.news.extend(news)
    actor.rng = random.Random(0)
    return actor


def frames(actor: Scripted) -> list[str]:
    return [each.removeprefix("wss.") for each in actor.calls if each.startswith("wss.")]


ANSWER = CallNews("signal", Signal(type="answer", sdp="v=0"))
OFFER = CallNews("signal", Signal(type="offer", sdp="v=0"))
ACCEPTED = CallNews("call-accepted", RINGING)
ENDED = CallNews("call-ended", RINGING)


def test_a_call_that_nobody_can_take_ends_by_itself() -> None:
    """Missed at once: no frame more, and the history page follows."""
    actor = caller(status="missed")
    calling.place(actor)
    assert frames(actor) == ["call-user"]
    assert "get-call-histories" in actor.calls


def test_after_a_no_the_app_hangs_up_by_itself() -> None:
    """As the web client does; so does a caller who has waited long enough."""
    for news in ([CallNews("call-rejected", RINGING)], []):
        actor = caller(*news)
        calling.place(actor)
        assert frames(actor) == ["call-user", "end-call"]


def test_a_call_that_was_given_up_is_not_answered() -> None:
    """The phone stops ringing before anybody gets there."""
    actor = Scripted("volunteer")
    actor.news.append(ENDED)
    calling.pick_up(actor, Habits(mix={}, picks_up=1.0), RINGING)
    assert frames(actor) == []


@pytest.mark.parametrize(
    ("habits", "sent"),
    [
        (Habits(mix={}, picks_up=0, declines=1.0), ["reject-call"]),
        (Habits(mix={}, picks_up=0, declines=0), ["reject-call"]),
    ],
)
def test_a_phone_may_be_declined_at_once_or_after_long_ringing(habits: Habits, sent: list[str]) -> None:
    """Both happen to real people."""
    actor = Scripted("volunteer")
    calling.pick_up(actor, habits, RINGING)
    assert frames(actor) == sent


def test_an_appointment_is_made_with_somebody_known() -> None:
    """Connections, the profile with its availability, the appointment, then the schedules page."""
    actor = Scripted()
    actor.answers["get-connections"] = [User(id="u2")]
    planning.schedule(actor)
    assert actor.calls == ["get-connections", "get-user", "schedule-call", "get-schedules"]


def test_an_appointment_is_looked_at_before_it_is_moved() -> None:
    """GET, then PUT."""
    actor = Scripted()
    actor.answers["get-schedules"] = [Schedule(id="s1")]
    actor.answers["get-schedule"] = Schedule(id="s1", title="tea", type="audio")
    actor.rng = random.Random(1)
    planning.reschedule(actor)
    assert actor.calls[-2:] == ["get-schedule", "update-schedule"]


@pytest.mark.parametrize(
    ("viewer", "answer"),
    [(Viewer(), {"review-user"}), (Viewer(review=Review(id="w1")), {"update-review", "delete-review"})],
)
def test_a_review_is_written_once_and_then_mended(viewer: Viewer, answer: set[str]) -> None:
    """One per pair: whoever has written one changes or drops it."""
    actor = Scripted()
    actor.answers["get-connections"] = [User(id="u2")]
    actor.answers["get-user"] = User(id="u2", viewer=viewer)
    reviewing.review(actor)
    assert actor.calls[-1] in answer


@pytest.mark.parametrize("name", list(journeys.JOURNEYS))
def test_every_journey_bears_a_target_with_nothing_on_it(name: str) -> None:
    """No chats, no connections, no schedules, no alerts: there is little to do, and that is fine."""
    actor = Scripted("volunteer")
    actor.user = User(id="me")
    for operation, row in ALL_OPERATIONS.items():
        if str(row.data).startswith("list["):
            actor.answers[operation] = []
    journeys.JOURNEYS[name](actor, HABITS)


def test_a_mix_can_name_every_journey_and_nothing_else() -> None:
    """The keys of a scenario's mix are the names of the journeys."""
    assert {field.encode_name for field in msgspec.structs.fields(Mix)} == set(journeys.JOURNEYS)


class Resident(Scripted):
    """Somebody in a room: says so many things, or reads so many times, and then the run is over."""

    def __init__(self, kind: UserType, chats: list[list[Chat]]) -> None:
        super().__init__(kind)
        self.lists = deque(chats)
        self.left = 3

    def call(self, operation: str, body: Any = None, *, expect: tuple[int, ...] = (), **fields: Any) -> Any:
        answer = super().call(operation, body, expect=expect, **fields)
        return self.lists.popleft() if operation == "get-chats" else answer

    def say(self, chat: Chat, text: str) -> None:
        super().say(chat, text)
        self._go_on()

    def hear(self, pause: str) -> Message | None:
        self.log.append("(heard)")
        self._go_on()
        return None

    def _go_on(self) -> None:
        self.left -= 1
        if not self.left:
            raise Finished


def test_the_host_of_a_room_asks_until_the_chat_is_open_and_then_reads() -> None:
    """Sign up, open the page, ask the writer for a connection, keep the chat open."""
    actor = Resident("senior", [[], [OPEN_CHAT]])
    actor.answers["get-users"] = []
    with pytest.raises(Finished):
        rooms.live(actor, HABITS)
    assert actor.calls.count("sign-up") == 1
    assert actor.calls[-3:] == ["get-chats", "get-users", "get-chats"]
    assert actor.log[-3:] == ["(heard)"] * 3


def test_the_writer_of_a_room_accepts_whoever_waits_and_then_writes() -> None:
    """A request that came before the page was open brings no alert: it is in the list."""
    actor = Resident("volunteer", [[], [OPEN_CHAT]])
    actor.answers["get-pending-requests"] = [ConnectRequest(id="r1", from_=UserRef(id="u2"))]
    with pytest.raises(Finished):
        rooms.live(actor, HABITS)
    asked = ["get-chats", "get-pending-requests", "accept-connection", "get-chats"]
    assert actor.calls[-7:] == [*asked, *["wss.send-message"] * 3]
    assert len(set(actor.said)) == 3


def test_a_mishap_in_a_room_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever loses their socket comes back to the page, without signing up again."""
    actor = Resident("volunteer", [[OPEN_CHAT], [OPEN_CHAT]])
    said = iter([Cut("gone")])

    def say(chat: Chat, text: str) -> None:
        if failure := next(said, None):
            raise failure
        Resident.say(actor, chat, text)

    monkeypatch.setattr(actor, "say", say)
    with pytest.raises(Finished):
        rooms.live(actor, HABITS)
    assert actor.calls.count("sign-up") == 1
    assert actor.calls.count("wss.authenticate") == 2
    assert "(recover)" in actor.log
