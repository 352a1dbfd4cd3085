"""The web client's half of a virtual user: what the app does, on record before anybody hears of it.

It calls operations, keeps one socket with its pings, takes pushes in and tells the ledger what it sent and
what came. What a person wants and how long they take is the other half, `loadtests.users`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import gevent
from locust import User as LocustUser
from msgspec import UNSET

from loadtests import clock
from loadtests.api import Api
from loadtests.keys import CALL, CHAT, SIGNAL
from loadtests.link import Connected, Link, LinkError, NoAnswer, Received
from loadtests.stream import Opened
from reports.sample import Accepted, Kind, Outcome
from scenarios.actor import Answer, Cut, Finished, Refused, Unanswered
from talkamie.contract import (
    ALL_OPERATIONS,
    FIRST_PING_S,
    Action,
    Authenticate,
    CallData,
    Chat,
    Frame,
    Id,
    Message,
    MessageText,
    ReadMark,
    SendMessage,
    SendSignal,
    Session,
    UpdateMessages,
    User,
)

if TYPE_CHECKING:
    from loadtests.run import Run

CLOSE_TIMEOUT_S = 2.0


class App(LocustUser):
    """One open page of the service. Implements the network half of `scenarios.actor.Actor`."""

    abstract = True
    books: ClassVar[Run]  # of the current run, set when it starts
    chats: dict[str, Chat]

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        books = self.books
        self.api = Api(
            books.target.https,
            books.tls,
            timeout=books.scenario.client.timeout_s,
            on_open=self._on_https_open,
        )
        self.number = books.join(self)
        self._link: Link | None = None
        self._socket = 0
        self._journey = ""
        self._intended = 0
        self._marked: set[str] = set()  # messages that this app has marked read
        self.user = User()
        self.extras = books.target.extras

    def on_stop(self) -> None:
        """See Locust's User: the page is closed. At the end of a run its socket stays, for what is due."""
        if not self.books.finishing:
            self.close_socket()
            self.books.leave(self)
        self.api.close()
        self.books.strange += self.api.unasked

    def pushed(self, action: str, push: Any, arrived: int) -> None:
        """Take in a push that is on record; for the person's half."""
        raise NotImplementedError

    def wake(self) -> None:
        """Something happened that ends a rest; for the person's half."""
        raise NotImplementedError

    # --- https ---

    def call(self, operation: str, body: Any = None, *, expect: tuple[int, ...] = (), **fields: Any) -> Any:
        """See Actor."""
        self.leave_if_finished()
        row = ALL_OPERATIONS[operation]
        # Connecting is part of what the person waits for, so it begins here and not when it was sent.
        intended, journey = self._take_intended() or clock.now(), self._journey
        called = self.api.call(row, body, fields, expect=expect)
        self.books.recorder.sample(
            Kind.REQUEST,
            operation,
            journey=journey,
            user=self.number,
            intended=intended,
            sent=called.sent,
            first=called.first,
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
                accepted=_accepted(called.outcome, called.status),
                intended=intended,
                sent=called.sent,
                settled=called.arrived,
            )
        if called.outcome is Outcome.OK:
            return called.data
        if called.outcome is Outcome.FAILED:
            self.books.refused(operation, called.error, called.text)
            raise Refused(operation, called.status, called.text)
        raise Unanswered(f"{operation}: {called.error}")

    def _on_https_open(self, opened: Opened) -> None:
        """Write down that a call opened a connection. One that could not be opened is that call's failure."""
        self._phase(Kind.CONNECT, "https.connect", opened.began, opened.secured)
        self._phases("https.connect", opened)

    def _phases(self, connect: str, opened: Opened | Connected) -> None:
        """Write down what a connect was made of. A plain connection has no TLS."""
        self._phase(Kind.PHASE, f"{connect}.tcp", opened.began, opened.connected)
        if opened.secured > opened.connected:
            self._phase(Kind.PHASE, f"{connect}.tls", opened.connected, opened.secured)

    def _phase(self, kind: Kind, operation: str, began: int, ended: int) -> None:
        self.books.recorder.sample(
            kind,
            operation,
            journey=self._journey,
            user=self.number,
            intended=began,
            sent=began,
            arrived=ended,
            seen=ended,
        )

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

    # --- wss ---

    def open_socket(self) -> None:
        """See Actor."""
        self.leave_if_finished()
        self.close_socket()
        link = Link(self._on_push, self._on_cut)
        self.connect(link)
        self._link, self._socket = link, self.books.next_socket()
        self.authenticate(link, self._socket)
        self.books.arrived_online(self.number)
        interval_s = self.books.scenario.client.ping_interval_s
        gevent.spawn(self.keep_pinging, link, interval_s, lambda: link is self._link)

    def connect(self, link: Link) -> None:
        """Do the handshakes of a socket of this person. Raises Unanswered."""
        books, timeout = self.books, self.books.scenario.client.timeout_s

        def connect() -> None:
            self._phases("wss.connect", link.connect(books.target.wss, books.tls, timeout=timeout))

        self.attempt(Kind.CONNECT, "wss.connect", 0, connect)

    def authenticate(self, link: Link, socket: int) -> None:
        """Sign in on a socket, which is online from then on. Raises Refused or Unanswered."""
        self.leave_if_finished()
        ledger, me, timeout = self.books.ledger, self.user.id, self.books.scenario.client.timeout_s
        assert me is not UNSET
        frame, asked = Authenticate(action="authenticate", token=self.api.token), clock.now()
        try:
            answer = self.attempt(
                Kind.SOCKET,
                "wss.authenticate",
                0,
                lambda: link.request(frame, timeout=timeout, where=lambda user: user.id == me),
            )
        except Unanswered:
            ledger.perhaps_online(me, sent=asked, at=clock.now())
            raise
        assert answer is not None
        ledger.online(me, socket, sent=answer.sent, at=answer.arrived)

    def close_socket(self) -> None:
        """See Actor."""
        if link := self._let_go():
            link.close(timeout=CLOSE_TIMEOUT_S)
            self.books.strange += link.strange

    def drop_socket(self) -> None:
        """See Actor."""
        if link := self._let_go():
            link.drop()
            self.books.strange += link.strange

    def _let_go(self) -> Link | None:
        """Take the socket off the page: from here on nothing is due on it. None where there is none."""
        link, self._link = self._link, None
        if link is not None and not link.ended and self.user.id is not UNSET:
            self.books.went_offline(self.number)
            self.books.ledger.offline(self.user.id, self._socket, at=clock.now())
        return link

    def tell(self, frame: Action) -> None:
        """See Actor. Silence means yes: a refusal comes as a frame of its own, and is written down then."""
        self.leave_if_finished()
        operation, intended = f"wss.{frame.action}", self._take_intended()
        key = ""
        if isinstance(frame, SendSignal):
            key, frame = self.books.ledger.mark_signal(frame)
        if self._link is None:
            raise Unanswered(f"{operation}: no socket")
        outcome, error, sent = Outcome.OK, "", clock.now()
        try:
            sent = self._link.send(frame)
        except LinkError as failure:
            outcome, error = Outcome.BROKEN, str(failure)
        self.books.recorder.sample(
            Kind.NOTICE,
            operation,
            journey=self._journey,
            user=self.number,
            intended=intended or sent,
            sent=sent,
            arrived=sent,
            seen=sent,
            outcome=outcome,
            error=error,
        )
        if outcome is not Outcome.OK:
            raise Cut(f"{operation}: {error}")
        if isinstance(frame, SendSignal):
            self._owes(key, SIGNAL, self._partner(frame.chat_id), intended or sent, sent, sent)

    def _partner(self, chat: Id) -> Id:
        """Return the other party of a chat that this person has seen."""
        user = self.chats[str(chat)].user
        assert user is not UNSET
        assert user.id is not UNSET
        return user.id

    def _owes(self, key: str, operation: str, to: Id, intended: int, sent: int, settled: int) -> None:
        """Write down that something which the target has taken on is due at somebody."""
        assert self.user.id is not UNSET
        self.books.ledger.settle(
            key,
            operation,
            sender=self.user.id,
            recipient=to,
            accepted=Accepted.YES,
            intended=intended,
            sent=sent,
            settled=settled,
        )

    def ask(self, frame: Action, *, expect: tuple[int, ...] = ()) -> Answer:
        """See Actor."""
        intended = self._intended
        received = self._request(frame, where=_same_chat(getattr(frame, "chat_id", None)), expect=expect)
        if isinstance(received.data, CallData):
            assert self.user.id is not UNSET
            if owed := self.books.ledger.call_owed(frame.action, received.data, self.user.id):
                marker, to = owed
                self._owes(marker, CALL, to, intended or received.sent, received.sent, received.arrived)
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
        answer = self._request_that_owes(
            frame,
            lambda _, **how: run.ledger.settle(key, CHAT, sender=me, recipient=to, **how),
            where=lambda data: data.message.text == marked,
            on_send=lambda at: run.ledger.sending(key, to, sent=at),
        )
        run.ledger.waits_for(
            answer.data.message, sender=me, recipient=to, sent=answer.sent, settled=answer.arrived
        )

    def mark_read(self, chat: Chat, messages: list[Message]) -> None:
        """See Actor. Each message once: a list may bring one whose push is still to come."""
        ledger, me, socket = self.books.ledger, self.user.id, self._socket
        assert chat.id is not UNSET
        assert me is not UNSET
        unread = [each for each in messages if str(each.id) not in self._marked]
        marks = {str(each.id): ReadMark(status="read") for each in unread}
        if not marks:
            return

        def owe(answer: Received | None, **how: Any) -> None:
            # What the target does not name it did not change: that owes nobody anything.
            changed = [each for each in unread if answer is None or str(each.id) in answer.data.messages_map]
            ledger.marked_read(changed, reader=me, socket=socket, **how)

        self._request_that_owes(
            UpdateMessages(action="update-messages", chat_id=chat.id, messages_map=marks),
            owe,
            where=lambda data: not marks.keys().isdisjoint(data.messages_map),
        )
        self._marked |= marks.keys()

    def _request_that_owes(
        self,
        frame: Action,
        owe: Callable[..., None],
        *,
        where: Callable[[Any], bool],
        on_send: Callable[[int], None] = lambda _: None,
    ) -> Received:
        """Do a request that others hear of; `owe(answer, **how)` writes that down, whatever came of it.

        `how` is what `Ledger.settle` is told of the request. Raises Refused or Unanswered.
        """
        intended, sent = self._intended, 0
        answer, accepted = None, Accepted.UNKNOWN

        def sending(at: int) -> None:
            nonlocal sent
            sent = at
            on_send(at)

        try:
            answer = self._request(frame, where=where, on_send=sending)
            accepted = Accepted.YES
        except Refused as refusal:
            accepted = _accepted(Outcome.FAILED, refusal.status)
            raise
        finally:
            if sent:
                how = {"intended": intended or sent, "sent": sent, "settled": clock.now()}
                owe(answer, accepted=accepted, **how)
        return answer

    def _request(
        self,
        frame: Action,
        *,
        where: Callable[[Any], bool] | None,
        on_send: Callable[[int], None] | None = None,
        expect: tuple[int, ...] = (),
    ) -> Received:
        """Do one wss request. Raises Refused or Unanswered, Cut if the socket broke."""
        self.leave_if_finished()
        link, operation = self._link, f"wss.{frame.action}"
        if link is None:
            raise Unanswered(f"{operation}: no socket")
        timeout = self.books.scenario.client.timeout_s
        try:
            received = self.attempt(
                Kind.SOCKET,
                operation,
                self._take_intended(),
                lambda: link.request(frame, timeout=timeout, where=where, on_send=on_send),
                expect=expect,
            )
        except Unanswered as failure:
            raise Cut(str(failure)) if link.ended else failure from None
        assert received is not None
        return received

    def attempt(
        self,
        kind: Kind,
        operation: str,
        intended: int,
        do: Callable[[], Received | None],
        *,
        expect: tuple[int, ...] = (),
        wanted: Callable[[], bool] = lambda: True,
    ) -> Received | None:
        """Do one thing on the socket, write it down, then say how it went. Raises Refused or Unanswered.

        What breaks when it is not `wanted` any more, we have given up ourselves.
        """
        began = clock.now()
        received, outcome, error, status = None, Outcome.OK, "", 0
        try:
            received = do()
            if received and received.frame.success is False:
                status = received.frame.status_code or 0
                if status not in expect:
                    outcome, error = Outcome.FAILED, f"status {status}"
        except NoAnswer:
            outcome, error = Outcome.TIMEOUT, "no answer in time"
        except LinkError as failure:
            outcome, error = Outcome.BROKEN if wanted() else Outcome.CANCELLED, str(failure)
        now = clock.now()
        sent = received.sent if received else began
        self.books.recorder.sample(
            kind,
            operation,
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
        if received and outcome is Outcome.FAILED:
            text = str(received.frame.error or received.frame.message or "")
            self.books.refused(operation, error, text)
            raise Refused(operation, status, text)
        if outcome is not Outcome.OK:
            raise Unanswered(f"{operation}: {error}")
        return received

    def keep_pinging(self, link: Link, interval_s: float, in_use: Callable[[], bool]) -> None:
        """Ping as the app does: soon after coming online, then some time after each answer."""
        timeout = self.books.scenario.client.timeout_s
        due = clock.now() + clock.ns(FIRST_PING_S)
        while True:
            gevent.sleep(max(0, due - clock.now()) / clock.SECOND)
            if link.ended or not in_use() or self.books.finishing:
                return
            try:
                self.attempt(Kind.PING, "wss.ping", due, lambda: link.ping(timeout=timeout), wanted=in_use)
            except (Refused, Unanswered):
                return  # a lost answer ends the chain, as it does in the app
            due = clock.now() + clock.ns(interval_s)

    def _on_push(self, action: str, data: Any, arrived: int, seen: int) -> None:
        self.take_in(self._socket, action, data, arrived, seen, hear=self.pushed)

    def take_in(
        self,
        socket: int,
        action: str,
        data: Any,
        arrived: int,
        seen: int,
        *,
        hear: Callable[[str, Any, int], None] | None = None,
    ) -> None:
        """Take in a push on a socket of this person: on record first, then to the person, who may `hear`."""
        me = self.user.id
        try:
            assert me is not UNSET
            if isinstance(data, Frame):
                self._told_no(action, data, arrived, seen)
                return
            push = self.books.ledger.pushed(action, data, me, socket, arrived=arrived, seen=seen)
            if hear:
                hear(action, push, arrived)
        except Exception as error:
            # The reader must go on, but what was lost here is lost from the books.
            self.books.trouble(f"a push ({action}) could not be taken in: {type(error).__name__}: {error}")

    def _told_no(self, action: str, frame: Frame[Any], arrived: int, seen: int) -> None:
        """Write down that something which has no answer was refused after all."""
        status = frame.status_code or 0
        self.books.recorder.sample(
            Kind.NOTICE,
            f"wss.{action}",
            journey=self._journey,
            user=self.number,
            intended=arrived,
            sent=arrived,
            arrived=arrived,
            seen=seen,
            outcome=Outcome.FAILED,
            status=status,
            error=f"status {status}",
        )
        self.books.refused(f"wss.{action}", f"status {status}", str(frame.error or frame.message or ""))

    def _on_cut(self, code: int, reason: str) -> None:
        self.books.went_offline(self.number)
        if self.user.id is not UNSET:
            self.books.ledger.offline(self.user.id, self._socket, at=clock.now())
        self.books.event("socket-lost", user=self.number, code=code, reason=reason)
        self.wake()

    # --- Time ---

    def leave_if_finished(self) -> None:
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


def _accepted(outcome: Outcome, status: int) -> Accepted:
    """Return whether the target has taken something on: only a plain no (4xx) means that it has not."""
    if 400 <= status < 500:
        return Accepted.NO
    return Accepted.YES if outcome is Outcome.OK else Accepted.UNKNOWN


def _same_chat(chat_id: Id | None) -> Callable[[Any], bool] | None:
    return None if chat_id is None else lambda data: str(data.chat.id) == str(chat_id)
