"""The people at work: Senior, Volunteer and Lurker, the Locust users that `locustfile` runs.

A virtual user is one person at one screen: one greenlet that does one thing at a time, with the app beside
it that pings, takes pushes in and marks the messages of an open chat read. Everything it does is on record
before anybody hears of a failure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import gevent
from gevent.event import Event as Bell
from locust import task
from locust.contrib.fasthttp import FastHttpUser
from locust.exception import StopUser
from msgspec import UNSET

from loadtests import clock
from loadtests.api import Api
from loadtests.fanout import CHAT, RECEIPT
from loadtests.link import Link, LinkError, NoAnswer, Received
from reports.sample import Accepted, Kind, Outcome
from scenarios import journeys
from scenarios.actor import Answer, Event, Finished, Refused, Unanswered
from scenarios.people import PAUSES, dice, person
from talkamie.contract import (
    FIRST_PING_S,
    OPERATIONS,
    RECEIPT_DEBOUNCE_S,
    Action,
    Alert,
    AlertData,
    Authenticate,
    Chat,
    Id,
    Message,
    MessageData,
    MessageText,
    ReadMark,
    SendMessage,
    Session,
    UpdateMessages,
    User,
    UserType,
)

if TYPE_CHECKING:
    from loadtests.run import Run

_INBOX = 200  # what somebody has not looked at yet; older things are forgotten, and counted
_CLOSE_TIMEOUT_S = 2.0


class VirtualUser(FastHttpUser):
    """A person of the current run. Implements `scenarios.actor.Actor`."""

    abstract = True
    books: ClassVar[Run]  # of the current run, set when it starts
    insecure = False
    max_redirects = 0
    kind: UserType = "senior"
    habits: ClassVar[journeys.Habits]

    def __init__(self, environment: Any) -> None:
        run = self.books
        self.host = run.target.https
        self.network_timeout = self.connection_timeout = run.scenario.client.timeout_s
        self.ssl_context_factory = lambda: run.tls
        super().__init__(environment)
        self.api = Api(self.client, run.target.https, timeout=run.scenario.client.timeout_s)
        self.number = run.join(self)
        self._become_somebody()

    def _become_somebody(self) -> None:
        run = self.books
        self.person = person(run.seed, run.next_person(), type=self.kind, tag=run.tag)
        self.rng = dice(self.person)
        self.user = User()
        self.chats: dict[str, Chat] = {}
        self.chat_list_seen = False
        self._link: Link | None = None
        self._socket = 0
        self._bell = Bell()
        self._inbox: deque[Event] = deque(maxlen=_INBOX)
        self._open_chat = ""
        self._heard: deque[Message] = deque(maxlen=_INBOX)
        self._unread: list[Message] = []
        self._receipt_due = 0
        self._journey = ""
        self._intended = 0
        self._visit_ends = 0

    @task
    def live(self) -> None:
        """Live until the run is over."""
        try:
            journeys.live(self, self.habits)
        except Finished:
            raise StopUser from None

    # --- https ---

    def call(self, operation: str, body: Any = None, *, expect: int = 200, **fields: Any) -> Any:
        """See Actor."""
        self._leave_if_finished()
        row = OPERATIONS[operation]
        intended, journey = self._take_intended(), self._journey
        called = self.api.call(row, body, fields, expect=expect)
        self.books.recorder.sample(
            Kind.REQUEST,
            operation,
            journey=journey,
            user=self.number,
            intended=intended or called.sent,
            sent=called.sent,
            arrived=called.arrived,
            seen=called.seen,
            outcome=called.outcome,
            status=called.status,
            size=called.size,
            error=called.error,
        )
        if self.user.id is not UNSET:
            self.books.ledger.called(
                operation,
                fields,
                called.data,
                me=self.user.id,
                accepted=_accepted(called.outcome),
                intended=intended or called.sent,
                sent=called.sent,
                settled=called.arrived,
            )
        if called.outcome is Outcome.OK:
            return called.data
        if called.outcome is Outcome.FAILED:
            self.books.refused(operation, called.error, called.text)
            raise Refused(operation, called.status, called.text)
        raise Unanswered(f"{operation}: {called.error}")

    def together(self, *calls: Callable[[], Any]) -> None:
        """See Actor."""
        at_once = [gevent.spawn(_result_of, call) for call in calls]
        gevent.joinall(at_once)
        for each in at_once:
            if each.value is not None:
                raise each.value

    def sign(self, session: Session) -> None:
        """See Actor."""
        self.user = session.user
        self.api.token = session.tokens.access

    def signed_out(self) -> None:
        """See Actor."""
        self.close_socket()
        self.api.forget()
        self._become_somebody()

    # --- wss ---

    def open_socket(self) -> None:
        """See Actor. Opening the socket is opening the page: a visit begins."""
        self._leave_if_finished()
        self.close_socket()
        run, timeout = self.books, self.books.scenario.client.timeout_s
        link = Link(self._pushed, self._cut_off)
        began = clock.now()
        outcome, error = Outcome.OK, ""
        try:
            link.connect(run.target.wss, run.tls, timeout=timeout)
        except NoAnswer as failure:
            outcome, error = Outcome.TIMEOUT, str(failure)
        except LinkError as failure:
            outcome, error = Outcome.BROKEN, str(failure)
        now = clock.now()
        run.recorder.sample(
            Kind.CONNECT,
            "wss.connect",
            journey=self._journey,
            user=self.number,
            intended=began,
            sent=began,
            arrived=now,
            seen=now,
            outcome=outcome,
            error=error,
        )
        if outcome is not Outcome.OK:
            raise Unanswered(f"wss.connect: {error}")
        self._link, self._socket = link, run.next_socket()
        me = self.user.id
        answer = self._request(
            Authenticate(action="authenticate", token=self.api.token), where=lambda user: user.id == me
        )
        assert me is not UNSET
        run.ledger.online(me, self._socket, sent=answer.sent, at=answer.arrived)
        run.arrived_online(self.number)
        self._visit_ends = clock.now() + clock.ns(self._draw("visit"))
        gevent.spawn(self._keep_pinging, link)

    def close_socket(self) -> None:
        """See Actor."""
        if self._link is None:
            return
        link, self._link = self._link, None
        if not link.ended and self.user.id is not UNSET:
            self.books.ledger.offline(self.user.id, self._socket, at=clock.now())
        link.close(timeout=_CLOSE_TIMEOUT_S)
        self.books.strange += link.strange

    def ask(self, frame: Action) -> Answer:
        """See Actor."""
        received = self._request(frame, where=_same_chat(getattr(frame, "chat_id", None)))
        page = received.frame.pagination
        key = UNSET if page is UNSET else page.last_evaluated_key
        return Answer(received.data, key)

    def say(self, chat: Chat, text: str) -> None:
        """See Actor."""
        run, me = self.books, self.user.id
        assert chat.id is not UNSET
        assert chat.user is not UNSET
        assert chat.user.id is not UNSET
        assert me is not UNSET
        to: Id = chat.user.id
        key, marked = run.ledger.mark(text)
        frame = SendMessage(action="send-message", chat_id=chat.id, message=MessageText(text=marked))
        accepted, stamps = Accepted.UNKNOWN, [0]

        def sending(at: int) -> None:
            stamps[0] = at
            run.ledger.sending(key, to, sent=at)

        intended = self._intended
        try:
            answer = self._request(frame, where=lambda data: data.message.text == marked, on_send=sending)
            accepted = Accepted.YES
        except Refused:
            accepted = Accepted.NO
            raise
        finally:
            if stamps[0]:
                run.ledger.settle(
                    key,
                    CHAT,
                    sender=me,
                    recipient=to,
                    accepted=accepted,
                    intended=intended or stamps[0],
                    sent=stamps[0],
                    settled=clock.now(),
                )
        stored: Message = answer.data.message
        if stored.delivery is not UNSET and stored.delivery.status == "sent":
            run.ledger.waits_for(stored, sender=me, recipient=to)

    def mark_read(self, chat: Chat, messages: list[Message]) -> None:
        """See Actor."""
        me = self.user.id
        assert chat.id is not UNSET
        assert me is not UNSET
        marks = {str(each.id): ReadMark(status="read") for each in messages}
        intended = self._intended
        answer = self._request(
            UpdateMessages(action="update-messages", chat_id=chat.id, messages_map=marks),
            where=lambda data: not marks.keys().isdisjoint(data.messages_map),
        )
        for each in messages:
            # Only messages that the target says it changed: one marked before owes nobody anything.
            if str(each.id) in answer.data.messages_map and each.sender is not UNSET:
                assert each.sender.id is not UNSET
                self.books.ledger.settle(
                    f"read:{each.id}",
                    RECEIPT,
                    sender=me,
                    recipient=each.sender.id,
                    accepted=Accepted.YES,
                    intended=intended or answer.sent,
                    sent=answer.sent,
                    settled=answer.arrived,
                )

    def _request(
        self,
        frame: Action,
        *,
        where: Callable[[Any], bool] | None,
        on_send: Callable[[int], None] | None = None,
    ) -> Received:
        """Do one wss request and write it down. Raises Refused or Unanswered."""
        self._leave_if_finished()
        if self._link is None:
            raise Unanswered(f"wss.{frame.action}: no socket")
        timeout = self.books.scenario.client.timeout_s
        return self._recorded(
            Kind.SOCKET,
            frame.action,
            self._take_intended(),
            lambda link: link.request(frame, timeout=timeout, where=where, on_send=on_send),
            self._link,
        )

    def _recorded(
        self, kind: Kind, action: str, intended: int, request: Callable[[Link], Received], link: Link
    ) -> Received:
        began = clock.now()
        received: Received | None = None
        outcome, error, status = Outcome.OK, "", 0
        try:
            received = request(link)
            if received.frame.success is False:
                status = received.frame.status_code or 0
                outcome, error = Outcome.FAILED, f"status {status}"
        except NoAnswer:
            outcome, error = Outcome.TIMEOUT, "no answer in time"
        except LinkError as failure:
            outcome, error = Outcome.BROKEN, str(failure)
        now = clock.now()
        sent = received.sent if received else began
        self.books.recorder.sample(
            kind,
            f"wss.{action}",
            journey=self._journey,
            user=self.number,
            intended=intended or sent,
            sent=sent,
            arrived=received.arrived if received else now,
            seen=received.seen if received else now,
            outcome=outcome,
            status=status,
            size=received.size if received else 0,
            error=error,
        )
        if received is None:
            raise Unanswered(f"wss.{action}: {error}")
        if outcome is Outcome.FAILED:
            text = str(received.frame.error or received.frame.message or "")
            self.books.refused(f"wss.{action}", error, text)
            raise Refused(f"wss.{action}", status, text)
        return received

    def _keep_pinging(self, link: Link) -> None:
        """Ping as the app does: soon after coming online, then some time after each answer."""
        client = self.books.scenario.client
        due = clock.now() + clock.ns(FIRST_PING_S)
        while True:
            gevent.sleep(max(0, due - clock.now()) / clock.SECOND)
            if link.ended or link is not self._link or self.books.finishing:
                return
            try:
                self._recorded(Kind.PING, "ping", due, lambda to: to.ping(timeout=client.timeout_s), link)
            except (Refused, Unanswered):
                return  # a lost answer ends the chain, as it does in the app
            due = clock.now() + clock.ns(client.ping_interval_s)

    def _pushed(self, action: str, data: Any, arrived: int, seen: int) -> None:
        """Take in a push: on record first, then to the person or the app."""
        me = self.user.id
        assert me is not UNSET
        push = data.alert if isinstance(data, AlertData) else data
        self.books.ledger.pushed(push, me, self._socket, arrived=arrived, seen=seen)
        if isinstance(push, MessageData) and str(push.chat.id) == self._open_chat:
            self._heard.append(push.message)
            self._unread.append(push.message)
            self._receipt_due = self._receipt_due or arrived + clock.ns(RECEIPT_DEBOUNCE_S)
            self._bell.set()
        elif isinstance(push, MessageData | Alert):
            self.books.overlooked += len(self._inbox) == _INBOX
            self._inbox.append(push)
            self._bell.set()

    def _cut_off(self, code: int, reason: str) -> None:
        if self.user.id is not UNSET:
            self.books.ledger.offline(self.user.id, self._socket, at=clock.now())
        self.books.event("socket-lost", user=self.number, code=code, reason=reason)
        self._bell.set()

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
        self._rest(self._draw(pause), lambda: bool(self._heard))
        if not self._heard:
            return None
        last = self._heard[-1]
        self._heard.clear()
        return last

    def think(self, pause: str) -> None:
        """See Actor. What comes after it should begin when it ends: that instant is its `intended`."""
        self._intended = self._rest(self._draw(pause), lambda: False)

    def attend(self, pause: str) -> Event | None:
        """See Actor."""
        self._rest(self._draw(pause), lambda: bool(self._inbox))
        return self._inbox.popleft() if self._inbox else None

    def visit_is_over(self) -> bool:
        """See Actor."""
        return clock.now() >= self._visit_ends

    def _draw(self, pause: str) -> float:
        return PAUSES[pause].draw(self.rng, self.books.scenario.people.pace)

    def _rest(self, seconds: float, enough: Callable[[], bool]) -> int:
        """Rest for `seconds` or until there is `enough`, the app at work; return when it should end."""
        until = clock.now() + clock.ns(seconds)
        while not enough():
            self._leave_if_finished()
            if self._link is not None and self._link.ended:
                raise Unanswered(f"the socket is gone: {self._link.ended}")
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

    def finish(self) -> None:
        """Wake up: the run is over."""
        self._bell.set()

    def _leave_if_finished(self) -> None:
        if self.books.finishing:
            raise Finished

    def _take_intended(self) -> int:
        """Return when the next thing should begin: the end of the pause before it, else 0 for now."""
        intended, self._intended = self._intended, 0
        return intended

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """See Actor."""
        began = clock.now()
        intended = self._intended or began
        outcome, error = Outcome.OK, ""
        try:
            yield
        except Finished:
            outcome = Outcome.CANCELLED
            raise
        except BaseException as failure:
            outcome, error = Outcome.FAILED, type(failure).__name__
            raise
        finally:
            now = clock.now()
            self.books.recorder.sample(
                Kind.STEP,
                name,
                journey=self._journey,
                user=self.number,
                intended=intended,
                sent=began,
                arrived=now,
                seen=now,
                outcome=outcome,
                error=error,
            )

    @contextmanager
    def journey(self, name: str) -> Iterator[None]:
        """See Actor."""
        before, self._journey = self._journey, name
        try:
            yield
        finally:
            self._journey = before


def _result_of(call: Callable[[], Any]) -> Exception | None:
    try:
        call()
    except (Refused, Unanswered, Finished) as failure:
        return failure
    return None


def _accepted(outcome: Outcome) -> Accepted:
    if outcome is Outcome.OK:
        return Accepted.YES
    return Accepted.NO if outcome is Outcome.FAILED else Accepted.UNKNOWN


def _same_chat(chat_id: Id | None) -> Callable[[Any], bool] | None:
    return None if chat_id is None else lambda data: str(data.chat.id) == str(chat_id)


class Senior(VirtualUser):
    """Looks for company: asks volunteers for connections, talks."""

    kind = "senior"


class Volunteer(VirtualUser):
    """Offers company: writes to seniors, accepts, talks."""

    kind = "volunteer"


class Lurker(VirtualUser):
    """Is online and reads, and never writes: the noise floor of a run."""

    kind = "senior"
