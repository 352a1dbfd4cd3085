"""The people, each kind a Locust user that `locustfile` runs: Senior, Volunteer, Lurker; Host and Writer.

A virtual user is one person at one screen: one greenlet that does one thing at a time, with the app beside
it. While the person rests the app goes on: it marks the messages of an open chat read, as the real one does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, ClassVar

from gevent.event import Event as Bell
from locust import constant, task
from locust.exception import StopUser
from msgspec import UNSET

from loadtests import clock
from loadtests.app import App
from loadtests.devices import Devices
from scenarios import journeys
from scenarios.actor import CallNews, Cut, Event, Finished
from scenarios.journeys import rooms
from scenarios.people import PAUSES, Habits, dice, person
from talkamie.contract import (
    ANONYMOUS_TOKEN,
    RECEIPT_DEBOUNCE_S,
    Alert,
    CallData,
    Chat,
    Message,
    MessageData,
    Signal,
    User,
    UserType,
)

_FOR_EVER_S = 1e6
_INBOX = 200  # what somebody has not looked at yet; older things are forgotten, and counted


class VirtualUser(App):
    """A person of the current run. Implements `scenarios.actor.Actor`."""

    abstract = True
    wait_time = constant(1)  # only between lives: if one breaks by our own mistake, the next must not spin
    kind: UserType = "senior"
    habits: ClassVar[Habits]

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._bell = Bell()
        self.tag = self.books.tag
        self._become_somebody()

    def _become_somebody(self) -> None:
        books = self.books
        self.person = books.known_person(self) or person(
            books.seed, books.next_person(self), type=self.kind, tag=self.tag
        )
        self.api.token = self.person.token or ANONYMOUS_TOKEN
        self.rng = dice(self.person)
        self.user = User()
        self.chats: dict[str, Chat] = {}
        self.seen: set[str] = {"signed-out"} if self.person.known and not self.person.token else set()
        self.withdrawn: set[str] = set()
        self._inbox: deque[Event] = deque(maxlen=_INBOX)
        self._open_chat = ""
        self._heard: deque[Message] = deque(maxlen=_INBOX)
        self._news: deque[CallNews] = deque(maxlen=_INBOX)
        self._unread: list[Message] = []
        self._receipt_due = 0
        self._visit_began = self._visit_lasts = 0
        self._due = 0  # of an arrival that was handed to us

    @task
    def live(self) -> None:
        """Live until the run is over."""
        try:
            self.lead(self.habits)
        except Finished:
            raise StopUser from None

    def lead(self, habits: Habits) -> None:
        """Lead one's life until the actor raises Finished."""
        journeys.live(self, habits)

    def now(self) -> datetime:
        """See Actor."""
        return clock.utc()

    def forget(self) -> None:
        """See Actor."""
        self.api.forget()

    def make_way(self) -> None:
        """See Actor."""
        self.close_socket()
        self.api.forget()
        self.api.close()  # somebody else comes with a browser of their own
        self._become_somebody()

    def open_socket(self) -> None:
        """See Actor. Opening the page begins a visit."""
        self._inbox = deque((e for e in self._inbox if not isinstance(e, CallData)), maxlen=_INBOX)
        self._news.clear()  # no phone rings on a page that was not there
        super().open_socket()
        self._visit_began, self._visit_lasts = clock.now(), clock.ns(self._draw("visit"))

    def wake(self) -> None:
        """See App."""
        self._bell.set()

    def pushed(self, action: str, push: Any, arrived: int) -> None:
        """See App: what belongs to the open chat is on the screen, the rest waits to be looked at."""
        match push:
            case MessageData() if str(push.chat.id) == self._open_chat:
                self._heard.append(push.message)
                self._unread.append(push.message)
                self._receipt_due = self._receipt_due or arrived + clock.ns(RECEIPT_DEBOUNCE_S)
            case CallData() if action == "user-calling":
                self._news.clear()  # whatever is left of an earlier call
                self._inbox.appendleft(push)  # a phone that rings comes before anything else
            case CallData() | Signal():
                if action == "call-ended" and isinstance(push, CallData):
                    self._stop_ringing(push)
                self._news.append(CallNews(action, push))
            case Alert() if _status(push) == "canceled":
                self.withdrawn.add(str(push.id))
                kept = (e for e in self._inbox if not (isinstance(e, Alert) and e.id == push.id))
                self._inbox = deque(kept, maxlen=_INBOX)
            case MessageData() | Alert():
                self.books.overlooked += len(self._inbox) == _INBOX
                self._inbox.append(push)
        self._bell.set()

    def _stop_ringing(self, over: CallData) -> None:
        """Take a call that is over off the screen, if it was still waiting to be answered."""
        for event in list(self._inbox):
            if isinstance(event, CallData) and event.call.id == over.call.id:
                self._inbox.remove(event)

    def _rings(self) -> bool:
        return bool(self._inbox) and isinstance(self._inbox[0], CallData)

    # --- A person's time ---

    @contextmanager
    def looking_at(self, chat: Chat) -> Iterator[None]:
        """See Actor."""
        mine = str(chat.id)
        self._open_chat = mine
        # What came in while the page was loading is on it now.
        self._heard.extend(
            each.message
            for each in self._inbox
            if isinstance(each, MessageData) and str(each.chat.id) == mine
        )
        kept = [e for e in self._inbox if not (isinstance(e, MessageData) and str(e.chat.id) == mine)]
        self._inbox = deque(kept, maxlen=_INBOX)
        try:
            yield
            self._send_receipts(chat)
        finally:
            self._open_chat, self._receipt_due = "", 0
            self._heard.clear()
            self._unread.clear()

    def hear(self, pause: str) -> Message | None:
        """See Actor."""
        self._rest(self._draw(pause), lambda: bool(self._heard) or self._rings())
        if not self._heard:
            return None
        last = self._heard[-1]
        self._heard.clear()
        return last

    def listen(self, pause: str, *actions: str) -> CallNews | None:
        """See Actor."""
        until = clock.now() + clock.ns(self._draw(pause))
        while (left := until - clock.now()) > 0:
            self._rest(left / clock.SECOND, lambda: bool(self._news))
            while self._news:
                news = self._news.popleft()
                # Candidates interleave with everything: only a description is worth waking up for.
                described = not isinstance(news.data, Signal) or news.data.type is not UNSET
                if news.action in actions and described:
                    return news
        return None

    def think(self, pause: str) -> None:
        """See Actor. What comes after it should begin when it ends: that instant is its `intended`."""
        self._intended = self._rest(self._draw(pause), lambda: False, began=self._intended)

    def attend(self, pause: str) -> Event | None:
        """See Actor."""
        self._rest(self._draw(pause), lambda: bool(self._inbox))
        return self._inbox.popleft() if self._inbox else None

    def await_turn(self) -> Event | None:
        """See Actor. The instant of one's turn is when the journey should have begun."""
        self._intended = self._due = 0  # the journey before this one may have begun nothing
        if self._inbox:
            return self._inbox.popleft()
        turns = self.books.turns
        turns.idle(self)
        try:
            left = (self._due - clock.now()) / clock.SECOND if self._due else _FOR_EVER_S
            self._rest(left, lambda: bool(self._inbox) or 0 < self._due <= clock.now())
        finally:
            turns.busy(self)
        if self._inbox and not 0 < self._due <= clock.now():
            return self._inbox.popleft()
        self._intended, self._due = self._due, 0
        return None

    def arrive(self, due: int) -> None:
        """See loadtests.dispatch.Taker."""
        self._due = due
        self._bell.set()

    def look_around(self) -> int:
        """See loadtests.dispatch.Taker."""
        return clock.now() + clock.ns(self._draw("look"))

    def visit_is_over(self) -> bool:
        """See Actor. Nobody leaves before everybody is there, and so nobody's visit counts from before.

        In an open model people stay, so that somebody is there when an arrival is due.
        """
        steady = self.books.steady_from
        ends = max(self._visit_began, steady) + self._visit_lasts
        return self.books.arrivals is None and steady > 0 and clock.now() >= ends

    def back_off(self, attempt: int) -> None:
        """See Actor. "backoff" waits for any time up to a bound that doubles with each attempt.

        That is the full jitter of M. Brooker, Exponential Backoff and Jitter (AWS Architecture Blog, 2015).
        """
        client = self.books.scenario.client
        if client.reconnect == "backoff":
            most = min(client.backoff_most_s, client.backoff_s * 2**attempt)
            self._rest(self.rng.uniform(0, most), lambda: False)

    def _draw(self, pause: str) -> float:
        return PAUSES[pause].draw(self.rng, self.books.scenario.people.pace)

    def _rest(self, seconds: float, enough: Callable[[], bool], *, began: int = 0) -> int:
        """Rest for `seconds` or until there is `enough`, the app at work; return when it should end.

        A pause that was due to begin earlier ends as much earlier: being late is caught up with.
        """
        until = (began or clock.now()) + clock.ns(seconds)
        self._intended = 0  # what comes after a wait for somebody else has no time of its own
        while not enough():
            self.leave_if_finished()
            if self._link is not None and self._link.ended:
                raise Cut(f"the socket is gone: {self._link.ended}")
            now = clock.now()
            if self._receipt_due and now >= self._receipt_due:
                self._send_receipts(self.chats[self._open_chat])
            if now >= until:
                break
            self._bell.clear()
            next_due = min(until, self._receipt_due or until)
            self._bell.wait(max(0, next_due - now) / clock.SECOND)
        return until

    def _send_receipts(self, chat: Chat) -> None:
        unread, self._unread, self._receipt_due = self._unread, [], 0
        if unread:
            self._intended = 0
            self.mark_read(chat, unread)


def _status(alert: Alert) -> str:
    """Return where the request that an alert is about stands."""
    if alert.connect_request is not UNSET:
        return str(alert.connect_request.status)
    request = alert.chat.request if alert.chat is not UNSET else UNSET
    return str(request.status) if request is not UNSET else ""


class Senior(VirtualUser):
    """Looks for company: asks volunteers for connections, talks."""

    kind = "senior"


class Volunteer(VirtualUser):
    """Offers company: writes to seniors, accepts, talks."""

    kind = "volunteer"


class Lurker(VirtualUser):
    """Is online and reads, and never writes: the noise floor of a run."""

    kind = "senior"


class Occupant(VirtualUser):
    """One of the two people of a room, whose names carry a tag of that room: so they find each other."""

    abstract = True

    def _become_somebody(self) -> None:
        self.room = self.books.room(self)
        self.tag = f"{self.books.tag}r{self.room:03d}"
        super()._become_somebody()

    def lead(self, habits: Habits) -> None:
        """See VirtualUser."""
        rooms.live(self, habits)


class Host(Occupant):
    """Has as many devices as the room is large, and reads on one of them: all the others only listen."""

    kind = "senior"

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        plan = self.books.scenario.rooms
        self._devices = Devices(self, plan.devices[self.room] - 1, plan.ping_interval_s)

    def open_socket(self) -> None:
        """See Actor. The room is full before its host is there."""
        self._devices.open()
        super().open_socket()

    def close_socket(self) -> None:
        """See Actor. The devices stay for as long as the run lasts."""
        super().close_socket()
        if self.books.finishing:
            self._devices.close()


class Writer(Occupant):
    """Writes to the host of a room, and waits for nobody."""

    kind = "volunteer"
