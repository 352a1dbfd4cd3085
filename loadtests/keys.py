"""What a push is about: the keys by which the ledger finds its send again. Pure.

Nothing on the wire carries a request id, so each kind of push has a key that both sides can tell:

    chat.delivered      new-message      a marker in front of the text: `lt:<run>:<number>`
    alert.delivered     alert            what it is about, and its status: `alert:<id>:<status>`
    receipt.delivered   update-messages  the message that was read: `read:<id>`
    presence.delivered  update-chats     the message that reached its waiting recipient: `delivered:<id>`
    call.delivered      user-calling …   the call, and what happened: `call:<id>:<action>`
    signal.delivered    signal           a marker in the description or the candidate

A key says nothing of whom it is for: whoever gets a push that was meant for somebody else gives it the same
key, and is found out after the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import UNSET

from talkamie.contract import (
    Alert,
    AlertData,
    CallData,
    Chat,
    ChatRequest,
    ChatsUpdate,
    ConnectRequest,
    Id,
    MessageData,
    MessagesUpdate,
    Review,
    Schedule,
    SendSignal,
    Signal,
    SignalData,
)

CHAT, ALERT, RECEIPT = "chat.delivered", "alert.delivered", "receipt.delivered"
PRESENCE, CALL, SIGNAL = "presence.delivered", "call.delivered", "signal.delivered"

TOLD = {
    "call-user": "user-calling",
    "accept-call": "call-accepted",
    "reject-call": "call-rejected",
    "end-call": "call-ended",
}
"""What the other party of a call hears of each step."""

_decode_signal = msgspec.json.Decoder(Signal).decode


def inside(data: Any) -> Any:
    """Return what a push is about: its alert, its signal, or all of it."""
    match data:
        case AlertData():
            return data.alert
        case SignalData():
            return _decode_signal(data.signal)
        case _:
            return data


def keys_of(action: str, push: Any, prefix: str) -> list[tuple[str, str]] | None:
    """Return (operation, key) of all that a push tells; None where it carries no marker of this run.

    `prefix` begins the markers of this run.
    """
    match push:
        case CallData():
            return [(CALL, call_key(push.call.id, action))]
        case Signal():
            text = (push.sdp or "") if push.candidate is UNSET else push.candidate.candidate
            at = text.find(prefix)
            return [(SIGNAL, text[at:].split(maxsplit=1)[0])] if at >= 0 else None
        case MessageData(message=message):
            text = message.text or ""
            return [(CHAT, text.split(" ", 1)[0])] if text.startswith(prefix) else None
        case Alert():
            return [(ALERT, key) for key in _alert_keys(push)]
        case MessagesUpdate(messages_map=messages):
            return [
                (RECEIPT, f"read:{message.id}")
                for message in messages.values()
                if message.delivery is not UNSET and message.delivery.status == "read"
            ]
        case ChatsUpdate(chats_map=chats):
            maps = (chat.messages_map for chat in chats.values())
            return [(PRESENCE, f"delivered:{message.id}") for each in maps for message in each.values()]
        case _:
            return []


def _alert_keys(alert: Alert) -> Iterator[str]:
    if isinstance(request := alert.connect_request, ConnectRequest):
        yield f"alert:{request.id}:{request.status}"
    elif isinstance(alert.schedule, Schedule):
        yield schedule_key(alert.schedule)
    elif isinstance(alert.review, Review):
        yield f"alert:{alert.review.id}:posted"
    elif alert.type == "message-request" and alert.chat is not UNSET and alert.chat.request is not UNSET:
        status = alert.chat.request.status
        if status == "pending" and alert.message is not UNSET:
            yield f"alert:{alert.message.id}:pending"
        else:
            yield request_key(alert.chat, str(status))


def call_key(call: Any, push: str) -> str:
    """Return the key of what happened in a call, by the action that tells of it."""
    return f"call:{call}:{push}"


def call_owed(action: str, data: CallData) -> tuple[str, Id] | None:
    """Return what a step of a call, once answered, owes the other party: key and recipient."""
    call = data.call
    if call.user is UNSET or call.user.id is UNSET:
        return None
    if action == "call-user" and call.status != "ringing":
        return None  # nobody was there: nothing rings
    if action == "end-call" and call.status == "rejected":
        return None  # the app says so by itself after a no, and the other knows
    return call_key(call.id, TOLD[action]), call.user.id


def mark_signal(frame: SendSignal, key: str) -> SendSignal:
    """Return the same signal with `key` in its description or candidate."""
    signal = _decode_signal(frame.signal)
    if signal.candidate is not UNSET:
        # The padding after `ufrag` gives way, so that the frame keeps its size.
        text = signal.candidate.candidate
        signal.candidate.candidate = f"{text[: -len(key) - 1]} {key}"
    elif signal.sdp is not UNSET:
        signal.sdp = signal.sdp.replace("s=-", f"s={key}", 1)
    return SendSignal(
        action=frame.action, chat_id=frame.chat_id, signal=msgspec.Raw(msgspec.json.encode(signal))
    )


def request_key(chat: Chat, status: str) -> str:
    """Return the key of a message request's fate: by the request, since one chat may see several."""
    request = chat.request if chat.request is not UNSET else ChatRequest()
    return f"alert:{request.id or chat.id}:{status}"


def schedule_key(schedule: Schedule) -> str:
    """Return the key of a schedule as it was told: moved, it is told again, under its new title and time."""
    begins = schedule.timeslot.from_ if schedule.timeslot is not UNSET else ""
    return f"alert:{schedule.id}:{begins}:{schedule.title or ''}"
