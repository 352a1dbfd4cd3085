"""The wss half: how an action is described, what a frame carries each way, and the table of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

from msgspec import UNSET, Meta, Raw, UnsetType
from msgspec import field as wire_field

from talkamie.contract.https import MessageData
from talkamie.contract.objects import (
    Alert,
    Call,
    CallType,
    Chat,
    Delivery,
    Id,
    Message,
    Pagination,
    Text,
    User,
    Viewer,
    Wire,
)

_Data = TypeVar("_Data")

CLOSE_TOKEN_REVOKED = 4401
CLOSE_NOT_AUTHENTICATED = 4408


class Frame(Wire, Generic[_Data]):
    """Every wss frame from the server. One without `action` is not ours: clients ignore it."""

    action: str | UnsetType = UNSET
    success: bool | UnsetType = UNSET
    status_code: int | UnsetType = UNSET
    message: str | UnsetType = UNSET
    error: str | UnsetType = UNSET
    data: _Data | UnsetType = UNSET
    pagination: Pagination | UnsetType = UNSET


RawFrame = Frame[Raw]
"""A frame whose `data` is decoded later, and only where somebody waits for it."""


# --- Inputs and answers ---


class Action(Wire):
    """A frame from a client: one JSON object with `action` and its fields on top."""

    action: str


class Authenticate(Action):
    token: Annotated[str, Meta(max_length=4096)]


class MessageText(Wire):
    text: Text


class SendMessage(Action):
    chat_id: Id
    message: MessageText


class GetMessages(Action):
    chat_id: Id
    page_size: Annotated[int, Meta(ge=1, le=100)] = 25
    last_evaluated_key: dict[str, Any] | UnsetType = UNSET


class ReadMark(Wire):
    status: Literal["read"]


class UpdateMessages(Action):
    chat_id: Id
    messages_map: Annotated[dict[str, ReadMark], Meta(min_length=1, max_length=1000)]


class UpdateAlerts(Action):
    alerts_map: Annotated[dict[str, ReadMark], Meta(min_length=1, max_length=1000)]


class CallUser(Action):
    chat_id: Id
    type: CallType


class CallStep(Action):
    call_id: Id


class CallReport(Action):
    """What a client saw of a call's media, at `timestamp`: milliseconds since 1970 by its own clock."""

    call_id: Id
    timestamp: Annotated[int, Meta(ge=0, le=2**53)]


class Candidate(Wire, omit_defaults=False):
    """An ICE candidate, in the words of WebRTC."""

    candidate: Annotated[str, Meta(max_length=4096)]
    sdp_mid: Annotated[str, Meta(max_length=256)] | None = None
    sdp_m_line_index: Annotated[int, Meta(ge=0, le=65_535)] | None = wire_field(
        default=None, name="sdpMLineIndex"
    )


class Signal(Wire):
    """Either a session description, `type` and `sdp`, or a `candidate`."""

    type: Literal["offer", "answer"] | UnsetType = UNSET
    sdp: str | UnsetType = UNSET
    candidate: Candidate | UnsetType = UNSET


class SendSignal(Action):
    chat_id: Id
    signal: Raw  # a `Signal`, relayed byte for byte


class MessagePage(Wire):
    chat: Chat
    messages: list[Message]


class MessagesUpdate(Wire):
    """Whole messages by id: a client replaces its copies with them."""

    chat: Chat
    messages_map: dict[str, Message]
    viewer: Viewer | UnsetType = UNSET


class AlertData(Wire):
    alert: Alert


class AlertsUpdate(Wire):
    alerts_map: dict[str, ReadMark]
    viewer: Viewer | UnsetType = UNSET


class MessageDelivery(Wire):
    id: Id
    delivery: Delivery


class ChatUpdate(Wire):
    chat: Chat
    messages_map: dict[str, MessageDelivery]


class ChatsUpdate(Wire):
    """What a sender learns when somebody with waiting messages comes online."""

    chats_map: dict[str, ChatUpdate]


class CallData(Wire):
    """A call in its chat: the answer to each step, and the push that tells the other party.

    `me` is the receiver, with what is left of his coins, once a call is over.
    """

    chat: Chat
    call: Call
    me: User | UnsetType = UNSET


class SignalData(Wire):
    chat: Chat
    signal: Raw  # as the other party sent it


# --- The table ---


@dataclass(frozen=True, slots=True)
class SocketAction:
    """One wss action: `request` is what a client sends, `answer` and `push` the `data` that come back.

    `answer` goes to the socket that asked, under the same name. `push` goes to other sockets, unasked.
    """

    name: str
    folder: str
    request: type[Action] | None = None
    answer: Any = None
    push: Any = None
    anonymous: bool = False  # allowed before authenticate
    silent: bool = False  # no answer but a failure
    alias_of: str = ""  # the row whose old name this is


ACTIONS: dict[str, SocketAction] = {
    row.name: row
    for row in (
        SocketAction("ping", "ping", request=Action, anonymous=True),
        SocketAction("authenticate", "auth", request=Authenticate, answer=User, anonymous=True),
        SocketAction("update-chats", "chats", push=ChatsUpdate),
        SocketAction("send-message", "messaging", request=SendMessage, answer=MessageData),
        SocketAction("new-message", "messaging", push=MessageData),
        SocketAction("get-messages", "messaging", request=GetMessages, answer=MessagePage),
        SocketAction(
            "update-messages", "messaging", request=UpdateMessages, answer=MessagesUpdate, push=MessagesUpdate
        ),
        SocketAction("alert", "alert", push=AlertData),
        SocketAction("update-alerts", "alert", request=UpdateAlerts, answer=AlertsUpdate),
        SocketAction("call-user", "call", request=CallUser, answer=CallData),
        SocketAction("user-calling", "call", push=CallData),
        SocketAction("accept-call", "call", request=CallStep, answer=CallData),
        SocketAction("reject-call", "call", request=CallStep, answer=CallData),
        SocketAction("call-accepted", "call", push=CallData),
        SocketAction("call-rejected", "call", push=CallData),
        SocketAction("call-connected", "call", request=CallReport, silent=True),
        SocketAction("call-disconnected", "call", request=CallReport, silent=True),
        SocketAction("end-call", "call", request=CallStep, answer=CallData),
        SocketAction("call-ended", "call", push=CallData),
        SocketAction("signal", "call-signal", request=SendSignal, push=SignalData, silent=True),
        # The old name: whoever uses it is answered, and his peer pushed to, under it.
        SocketAction(
            "call-signal", "call-signal", request=SendSignal, push=SignalData, silent=True, alias_of="signal"
        ),
    )
}

DIALECTS: dict[str, dict[str, str]] = {
    # The names of pushes that the documentation and the web client have called differently. Each is told
    # under the name of its row, except: row name → name on the wire.
    "2025": {},  # the web client's
    "2025-06": {"call-ended": "end-call"},  # the documentation's: both parties hear the same name
    "2026": {"update-chats": "chats.update"},
}
