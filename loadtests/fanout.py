"""The generator's side of the delivery ledger: what was sent to whom, and what came in where.

Rule: nobody asks the target whether it delivered. A sender writes down what it sent and for whom, a
recipient what came in, each socket when it was online; `reports.deliveries` joins the three after the run
and says for every message and recipient what became of it.

Nothing on the wire carries a request id, so each kind of push has a key that both sides can tell:

    chat.delivered      new-message      a marker in front of the text: `lt:<run>:<number>`
    alert.delivered     alert            what it is about, and its status: `alert:<id>:<status>`
    receipt.delivered   update-messages  the message that was read: `read:<id>`
    presence.delivered  update-chats     the message that reached its waiting recipient: `delivered:<id>`
    call.delivered      user-calling …   the call, and what happened: `call:<id>:<action>`
    signal.delivered    signal           a marker in the description or the candidate
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import UNSET

from loadtests.recorder import Recorder
from reports.sample import Accepted
from talkamie.contract import (
    Alert,
    CallData,
    Chat,
    ChatRequest,
    ChatsUpdate,
    ConnectRequest,
    Id,
    Message,
    MessageData,
    MessagesUpdate,
    Review,
    Schedule,
    Scheduled,
    SendSignal,
    Signal,
)

CHAT, ALERT, RECEIPT = "chat.delivered", "alert.delivered", "receipt.delivered"
PRESENCE, CALL, SIGNAL = "presence.delivered", "call.delivered", "signal.delivered"

_TOLD = {
    "call-user": "user-calling",
    "accept-call": "call-accepted",
    "reject-call": "call-rejected",
    "end-call": "call-ended",
}
"""What the other party of a call hears of each step."""

_EARLY_LIMIT = 100_000  # pushes that beat the answer of their own request wait here for it


def call_owed(action: str, data: CallData) -> tuple[str, Id] | None:
    """Return what a step of a call, once answered, owes the other party: key and recipient."""
    call = data.call
    if call.user is UNSET or call.user.id is UNSET:
        return None
    if action == "call-user" and call.status != "ringing":
        return None  # nobody was there: nothing rings
    if action == "end-call" and call.status == "rejected":
        return None  # the app says so by itself after a no, and the other knows
    return f"call:{call.id}:{_TOLD[action]}", call.user.id


class Ledger:
    """What one worker knows of messages under way. Instants in ns, users by their id at the target."""

    def __init__(self, recorder: Recorder, run: str) -> None:
        self._recorder = recorder
        self._prefix = f"lt:{run}:"
        self._numbers = itertools.count(1)
        self._online: defaultdict[str, set[int]] = defaultdict(set)
        self._open: dict[tuple[str, str], int] = {}  # (key, recipient) -> sent
        self._early: dict[tuple[str, str], int] = {}  # (key, recipient) -> arrived
        self._waiting: defaultdict[str, list[tuple[str, str]]] = defaultdict(
            list
        )  # recipient -> (id, sender)
        self._requests: dict[tuple[str, str], str] = {}  # (from, to) -> id of the connection request
        self._asked: dict[tuple[str, str], str] = {}  # (from, to) -> id of the message request's message
        self.foreign = 0  # pushes with something that is not from this run

    # --- Sending ---

    def mark_signal(self, frame: SendSignal) -> tuple[str, SendSignal]:
        """Return a fresh key, and the same signal with that key in its description or candidate."""
        key = f"{self._prefix}{next(self._numbers)}"
        signal = msgspec.json.decode(frame.signal, type=Signal)
        if signal.candidate is not UNSET:
            # The padding after `ufrag` gives way, so that the frame keeps its size.
            text = signal.candidate.candidate
            signal.candidate.candidate = f"{text[: -len(key) - 1]} {key}"
        elif signal.sdp is not UNSET:
            signal.sdp = signal.sdp.replace("s=-", f"s={key}", 1)
        return key, SendSignal(
            action=frame.action, chat_id=frame.chat_id, signal=msgspec.Raw(msgspec.json.encode(signal))
        )

    def mark(self, text: str) -> tuple[str, str]:
        """Return a fresh key, and the text with that key in front of it."""
        key = f"{self._prefix}{next(self._numbers)}"
        return key, f"{key} {text}"

    def sending(self, key: str, recipient: Id, *, sent: int) -> None:
        """Open an entry right before the frame is written: the push may beat the answer."""
        self._open[key, str(recipient)] = sent

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
    ) -> None:
        """Write down what was sent, once its answer is known or was given up."""
        entry = (key, str(recipient))
        if (arrived := self._early.pop(entry, 0)) or accepted == Accepted.NO:
            self._open.pop(entry, None)
            if arrived:
                self._recorder.delivered(operation, arrived - sent)
        elif operation != CHAT:
            self._open[entry] = sent
        self._recorder.send(
            key,
            operation,
            sender=str(sender),
            recipient=str(recipient),
            accepted=accepted,
            intended=intended,
            sent=sent,
            settled=settled,
        )

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
            self.waits_for(data.message, sender=me, recipient=fields["id"])
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
                return _request_key(data.chat, "accepted")
            case "reject-message-request":
                return _request_key(data.chat, "rejected")
            case "cancel-connection-request":
                request = self._requests.get((me, str(fields["id"])))
                return f"alert:{request}:canceled" if request else None
            case "cancel-message-request":  # its message goes with it: nobody waits for that any more
                entry = (self._asked.get((me, str(fields["id"])), ""), me)
                waiting = self._waiting[str(fields["id"])]
                self._waiting[str(fields["id"])] = [each for each in waiting if each != entry]
                return _request_key(data.chat, "canceled")
            case "schedule-call":
                return _schedule_key(data.schedule)
            case "update-schedule":
                return _schedule_key(data)
            case "review-user":
                return f"alert:{data.review.id}:posted"
            case _:
                return None

    def waits_for(self, message: Message, *, sender: Id, recipient: Id) -> None:
        """Remember a message that its recipient was not there to get: the sender is told when they come."""
        if message.delivery is not UNSET and message.delivery.status == "sent":
            self._waiting[str(recipient)].append((str(message.id), str(sender)))

    # --- Coming and going ---

    def online(self, user: Id, socket: int, *, sent: int, at: int) -> None:
        """A socket is authenticated since `at`, on a request of `sent`: whoever wrote meanwhile learns it."""
        self._online[str(user)].add(socket)
        self._recorder.presence(str(user), socket, online=True, at=at)
        for message, sender in self._waiting.pop(str(user), ()):
            self.settle(
                f"delivered:{message}",
                PRESENCE,
                sender=user,
                recipient=sender,
                accepted=Accepted.YES,
                intended=sent,
                sent=sent,
                settled=at,
            )

    def offline(self, user: Id, socket: int, *, at: int) -> None:
        """A socket closes, or is found closed: nothing is due on it from here on."""
        self._online[str(user)].discard(socket)
        self._recorder.presence(str(user), socket, online=False, at=at)

    # --- Arriving ---

    def pushed(self, action: str, push: Any, me: Id, socket: int, *, arrived: int, seen: int) -> None:
        """Write down what a pushed frame brought to this socket."""
        for operation, key in self._keys(action, push, str(me)):
            entry = (key, str(me))
            if sent := self._open.pop(entry, 0):
                self._recorder.delivered(operation, arrived - sent)
            elif len(self._early) < _EARLY_LIMIT:
                self._early[entry] = arrived
            self._recorder.arrival(
                key, operation, recipient=str(me), socket=socket, arrived=arrived, seen=seen
            )

    def _keys(self, action: str, push: Any, me: str) -> Iterator[tuple[str, str]]:
        match push:
            case CallData():
                yield CALL, f"call:{push.call.id}:{action}"
            case Signal():
                text = (push.sdp or "") if push.candidate is UNSET else push.candidate.candidate
                if (at := text.find(self._prefix)) >= 0:
                    yield SIGNAL, text[at:].split(maxsplit=1)[0]
                else:
                    self.foreign += 1
            case MessageData(message=message):
                text = message.text or ""
                if text.startswith(self._prefix):
                    yield CHAT, text.split(" ", 1)[0]
                else:
                    self.foreign += 1
            case Alert():
                yield from self._alert_keys(push)
            case MessagesUpdate(messages_map=messages):
                for message in messages.values():
                    ours = message.sender is not UNSET and str(message.sender.id) == me
                    if ours and message.delivery is not UNSET and message.delivery.status == "read":
                        yield RECEIPT, f"read:{message.id}"
            case ChatsUpdate(chats_map=chats):
                for chat in chats.values():
                    for delivered in chat.messages_map.values():
                        yield PRESENCE, f"delivered:{delivered.id}"

    def _alert_keys(self, alert: Alert) -> Iterator[tuple[str, str]]:
        if isinstance(request := alert.connect_request, ConnectRequest):
            if request.from_ is not UNSET and request.to is not UNSET:
                self._requests[str(request.from_.id), str(request.to.id)] = str(request.id)
            yield ALERT, f"alert:{request.id}:{request.status}"
        elif isinstance(alert.schedule, Schedule):
            yield ALERT, _schedule_key(alert.schedule)
        elif isinstance(alert.review, Review):
            yield ALERT, f"alert:{alert.review.id}:posted"
        elif alert.type == "message-request" and alert.chat is not UNSET and alert.chat.request is not UNSET:
            status = alert.chat.request.status
            if status == "pending" and alert.message is not UNSET:
                yield ALERT, f"alert:{alert.message.id}:pending"
            else:
                yield ALERT, _request_key(alert.chat, str(status))

    # --- Ending ---

    def outstanding(self, now: int, deadline: int) -> int:
        """Return how many pushes may still come to somebody who is online: sent less than a deadline ago."""
        return sum(
            now - sent < deadline and bool(self._online[recipient])
            for (_, recipient), sent in self._open.items()
        )

    def forget(self, before: int) -> None:
        """Drop what was sent, or came in, before an instant and never met: the rows on disk remember it."""
        self._open = {entry: at for entry, at in self._open.items() if at >= before}
        self._early = {entry: at for entry, at in self._early.items() if at >= before}

    @property
    def sockets(self) -> int:
        """Return how many sockets are online."""
        return sum(map(len, self._online.values()))


def _request_key(chat: Chat, status: str) -> str:
    """Return the key of a message request's fate: by the request, since one chat may see several."""
    request = chat.request if chat.request is not UNSET else ChatRequest()
    return f"alert:{request.id or chat.id}:{status}"


def _schedule_key(schedule: Schedule) -> str:
    """Return the key of a schedule as it was told: moved, it is told again, under its new title and time."""
    begins = schedule.timeslot.from_ if schedule.timeslot is not UNSET else ""
    return f"alert:{schedule.id}:{begins}:{schedule.title or ''}"
