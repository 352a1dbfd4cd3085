"""The generator's side of the delivery ledger: what was sent to whom, and what came in where.

Rule: nobody asks the target whether it delivered. A sender writes down what it sent and for whom, a
recipient what came in, each socket when it was online; `reports.deliveries` joins the three after the run
and says for every message and recipient's socket what became of it. `loadtests.keys` says how a push finds
its send.

Whom a message is for, by the protocol:

    new-message         every socket of the other party of the chat
    update-messages     every socket of both parties, but the one that asked: that has the answer
    update-chats        every socket of each who wrote while somebody was away, once they authenticate
    alert               every socket of whoever the request, schedule or review is for
    user-calling        every socket of the callee, if the call rings
    call-accepted, …    every socket of the other party; of two who hang up at once, only the slower hears it
    signal              every socket of the other party, never the sender's own
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET

from loadtests.keys import (
    ALERT,
    CHAT,
    RECEIPT,
    call_key,
    call_owed,
    inside,
    keys_of,
    mark_signal,
    request_key,
    schedule_key,
)
from loadtests.recorder import Recorder
from reports.sample import Accepted, Wait
from talkamie.contract import (
    Alert,
    CallData,
    ConnectRequest,
    Id,
    Message,
    MessageData,
    Scheduled,
    SendSignal,
    UserRef,
)

_EARLY_LIMIT = 100_000  # pushes that beat the answer of their own request wait here for it
Entry = tuple[str, str]  # (key, recipient)


@dataclass(slots=True)
class _Open:
    """A message under way: when it was sent, and how many sockets have not had it."""

    sent: int
    left: int


class Ledger:
    """What one worker knows of messages under way. Instants in ns, users by their id at the target."""

    def __init__(self, recorder: Recorder, run: str, *, worker: int = 0, workers: int = 1) -> None:
        """`worker` of so many, counted from 0: none marks a message as another does."""
        self._recorder = recorder
        self._prefix = f"lt:{run}:"
        self._numbers = itertools.count(1 + worker, workers)
        self._online: defaultdict[str, set[int]] = defaultdict(set)
        self._open: dict[Entry, _Open] = {}
        self._early: dict[Entry, list[int]] = {}  # instants of arrival
        self._over: dict[Entry, int] = {}  # whoever was told that a call has ended -> arrived
        self._requests: dict[tuple[str, str], str] = {}  # (from, to) -> id of the connection request
        self._asked: dict[tuple[str, str], str] = {}  # (from, to) -> id of the message request's message
        self._last: tuple[str, Any, Any, list[tuple[str, str]] | None] = ("", None, None, [])
        self.foreign = 0  # pushes with something that is not from this run

    # --- Sending ---

    def mark_signal(self, frame: SendSignal) -> tuple[str, SendSignal]:
        """Return a fresh key, and the same signal with that key in its description or candidate."""
        key = f"{self._prefix}{next(self._numbers)}"
        return key, mark_signal(frame, key)

    def mark(self, text: str) -> tuple[str, str]:
        """Return a fresh key, and the text with that key in front of it."""
        key = f"{self._prefix}{next(self._numbers)}"
        return key, f"{key} {text}"

    def sending(self, key: str, recipient: Id, *, sent: int) -> None:
        """Open an entry right before the frame is written: the push may beat the answer."""
        to = str(recipient)
        self._open[key, to] = _Open(sent, max(1, len(self._online[to])))

    def settle(
        self,
        key: str,
        operation: str,
        *,
        sender: Id,
        recipient: Id,
        accepted: Accepted,
        intended: int,
        sent: int,
        settled: int,
        besides: int = -1,
    ) -> None:
        """Write down what was sent, once its answer is known or was given up.

        `besides` is the sender's socket that is left out, because it has the answer.
        """
        entry = (key, str(recipient))
        early = self._early.pop(entry, ())
        for arrived in early:
            self._recorder.delivered(operation, arrived - sent)
        if accepted == Accepted.NO:
            self._open.pop(entry, None)
        elif operation != CHAT:  # that was opened as it was sent
            due = len(self._online[entry[1]] - {besides})
            left = (due if besides >= 0 else max(1, due)) - len(early)
            if left > 0:
                self._open[entry] = _Open(sent, left)
        self._recorder.send(
            key,
            operation,
            sender=str(sender),
            recipient=entry[1],
            accepted=accepted,
            intended=intended,
            sent=sent,
            settled=settled,
            besides=besides,
        )

    def marked_read(self, messages: list[Message], *, reader: Id, socket: int, **how: Any) -> None:
        """Write down read receipts that `socket` asked for: both their writers and the reader hear of them.

        The reader does so on every other socket. `how` is what `settle` is told besides.
        """
        for message in messages:
            if message.sender is not UNSET and message.sender.id is not UNSET:
                key = f"read:{message.id}"
                self.settle(key, RECEIPT, sender=reader, recipient=message.sender.id, **how)
                self.settle(key, RECEIPT, sender=reader, recipient=reader, besides=socket, **how)

    def call_owed(self, action: str, data: CallData, me: Id) -> tuple[str, Id] | None:
        """Return what a step of a call, once answered, owes the other party: key and recipient.

        A call that I was told is over has nobody left to tell.
        """
        if action == "end-call" and (call_key(data.call.id, "call-ended"), str(me)) in self._over:
            return None
        return call_owed(action, data)

    def called(
        self,
        operation: str,
        fields: dict[str, Any],
        data: Any,
        *,
        me: Id,
        accepted: Accepted,
        intended: int,
        sent: int,
        settled: int,
    ) -> None:
        """Write down the alert that an https operation owes somebody, by the rules of the contract."""
        key = self._alert_owed(operation, fields, data, str(me)) if accepted == Accepted.YES else None
        if isinstance(data, MessageData | Scheduled):
            self.waits_for(data.message, sender=me, recipient=fields["id"], sent=sent, settled=settled)
        if operation == "cancel-message-request" and key:
            # Its message goes with it: nobody waits for that any more.
            gone = self._asked.get((str(me), str(fields["id"])), "")
            self._recorder.wait(
                Wait.WITHDRAWN,
                message=gone,
                sender=str(me),
                user=str(fields["id"]),
                began=sent,
                ended=settled,
            )
        if key:
            of_schedule = operation == "update-schedule"  # its path names the schedule, not whom it is with
            to = data.attendee.id if of_schedule else fields["id"]
            self.settle(
                key,
                ALERT,
                sender=me,
                recipient=to,
                accepted=accepted,
                intended=intended,
                sent=sent,
                settled=settled,
            )

    def _alert_owed(self, operation: str, fields: dict[str, Any], data: Any, me: str) -> str | None:
        match operation:
            case "send-connection-request":
                self._requests[me, str(fields["id"])] = str(data.id)
                return f"alert:{data.id}:pending"
            case "accept-connection":
                return f"alert:{data.id}:accepted"
            case "reject-connection":  # its answer has no data: the request is known from its own alert
                request = self._requests.get((str(fields["id"]), me))
                return f"alert:{request}:rejected" if request else None
            case "send-message-request":
                self._asked[me, str(fields["id"])] = str(data.message.id)
                return f"alert:{data.message.id}:pending"
            case "accept-message-request":
                return request_key(data.chat, "accepted")
            case "reject-message-request":
                return request_key(data.chat, "rejected")
            case "cancel-connection-request":
                request = self._requests.get((me, str(fields["id"])))
                return f"alert:{request}:canceled" if request else None
            case "cancel-message-request":
                return request_key(data.chat, "canceled")
            case "schedule-call":
                return schedule_key(data.schedule)
            case "update-schedule":
                return schedule_key(data)
            case "review-user":
                return f"alert:{data.review.id}:posted"
            case _:
                return None

    # --- Coming and going ---

    def waits_for(self, message: Message, *, sender: Id, recipient: Id, sent: int, settled: int) -> None:
        """Write down a message that its recipient was not there to get: the sender is told when they come."""
        if message.delivery is UNSET or message.delivery.status != "sent":
            return
        self._recorder.wait(
            Wait.STORED,
            message=str(message.id),
            sender=str(sender),
            user=str(recipient),
            began=sent,
            ended=settled,
        )

    def online(self, user: Id, socket: int, *, sent: int, at: int) -> None:
        """A socket is authenticated since `at`, on a request of `sent`: whoever wrote meanwhile learns it."""
        who = str(user)
        self._online[who].add(socket)
        self._recorder.presence(who, socket, online=True, at=at)
        self._recorder.wait(Wait.CAME, user=who, began=sent, ended=at)

    def perhaps_online(self, user: Id, *, sent: int, at: int) -> None:
        """An authenticate had no answer: nobody can say whether the senders of what waits are told now."""
        self._recorder.wait(Wait.PERHAPS, user=str(user), began=sent, ended=at)

    def offline(self, user: Id, socket: int, *, at: int) -> None:
        """A socket closes, or is found closed: nothing is due on it from here on."""
        who = str(user)
        self._online[who].discard(socket)
        self._recorder.presence(who, socket, online=False, at=at)
        if not self._online[who]:
            self._recorder.wait(Wait.WENT, user=who, began=at, ended=at)

    # --- Arriving ---

    def pushed(self, action: str, data: Any, me: Id, socket: int, *, arrived: int, seen: int) -> Any:
        """Write down what a pushed frame brought to this socket; return what it is about.

        Copies of one frame come as the same object to one socket after the other: only the first is read.
        """
        name, last, push, keys = self._last
        if data is not last or action != name:
            push = inside(data)
            keys = keys_of(action, push, self._prefix)
            self._last = action, data, push, keys
            self._note(push)
        if keys is None:
            self.foreign += 1
            return push
        who, recorder = str(me), self._recorder
        for operation, key in keys:
            entry = (key, who)
            if waiting := self._open.get(entry):
                recorder.delivered(operation, arrived - waiting.sent)
                waiting.left -= 1
                if not waiting.left:
                    del self._open[entry]
            elif len(self._early) < _EARLY_LIMIT:
                self._early.setdefault(entry, []).append(arrived)
            if action == "call-ended":
                self._over[entry] = arrived
            recorder.arrival(key, operation, who, socket, arrived, seen)
        return push

    def _note(self, push: Any) -> None:
        """Remember which request an alert is about: the answer to it will not say."""
        match push:
            case Alert(
                connect_request=ConnectRequest(from_=UserRef() as asker, to=UserRef() as asked) as request
            ):
                self._requests[str(asker.id), str(asked.id)] = str(request.id)

    # --- Ending ---

    def outstanding(self, now: int, deadline: int) -> int:
        """Return how many messages may still come to somebody online: sent less than a deadline ago."""
        return sum(
            now - each.sent < deadline and bool(self._online[recipient])
            for (_, recipient), each in self._open.items()
        )

    def owed_elsewhere(self, now: int, deadline: int) -> list[tuple[str, str, int]]:
        """Return what may still come to somebody who is not with this worker: key, recipient, ns left."""
        return [
            (key, recipient, deadline - now + each.sent)
            for (key, recipient), each in self._open.items()
            if now - each.sent < deadline and not self._online[recipient]
        ]

    def expect(self, owed: Iterable[tuple[str, str, int]], now: int, deadline: int) -> None:
        """Wait for what other workers sent to somebody who is here, but for what is here already."""
        for key, recipient, left in owed:
            entry = (key, recipient)
            due = len(self._online[recipient]) - len(self._early.get(entry, ()))
            if due > 0:
                self._open[entry] = _Open(now + left - deadline, due)

    def forget(self, before: int) -> None:
        """Drop what was sent, or came in, before an instant and never met: the rows on disk remember it."""
        self._open = {entry: each for entry, each in self._open.items() if each.sent >= before}
        self._early = {entry: times for entry, times in self._early.items() if times[-1] >= before}
        self._over = {entry: at for entry, at in self._over.items() if at >= before}

    @property
    def sockets(self) -> int:
        """Return how many sockets are online."""
        return sum(map(len, self._online.values()))

    @property
    def people(self) -> int:
        """Return how many people have a socket that is online."""
        return sum(map(bool, self._online.values()))
