"""The Talkamie API as data: the only place that knows a path, a method, an action name or a payload.

One row is one operation (https) or one action (wss). The reference server makes its routes and its
validation from these rows, the load client its calls, and every table its names. To measure another
deployment of the API, change it here and nowhere else.

Rules of the wire, true for every row:

- An https answer is an `Envelope`; a wss frame is the same object with `action` on top (`Frame`).
- Every field of a shared object may be absent: `UNSET`. `None` is never sent.
- Ids are opaque strings or numbers. Instants are UTC, `YYYY-MM-DDTHH:MM:SS.mmmZ`.
- A page is asked for with `pageSize` and `lastEvaluatedKey`, the latter taken unmodified from the answer
  before: a JSON string in a query, an object in a frame. No key in the answer: it was the last page.
- An empty query parameter means an absent one: the web client sends `?keyword=&pageSize=25`.
- Nothing carries a request id. `docs/measuring.md` tells how answers find their requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Generic, Literal, TypeVar

from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from msgspec import field as wire_field

T = TypeVar("T")
Id = str | int
RequestStatus = Literal["pending", "accepted", "rejected", "canceled"]
DeliveryStatus = Literal["sent", "delivered", "read"]
UserType = Literal["senior", "volunteer"]
CallType = Literal["audio", "video"]
Recurrence = Literal["none", "daily", "weekly"]
Text = Annotated[str, Meta(min_length=1, max_length=4000)]
ShortText = Annotated[str, Meta(min_length=1, max_length=200)]
Email = Annotated[str, Meta(min_length=3, max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")]
Password = Annotated[str, Meta(min_length=8, max_length=200)]
Date = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]
Time = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?$")]  # of the day, UTC
Url = Annotated[str, Meta(min_length=1, max_length=2000)]
Rate = Annotated[float, Meta(ge=1, le=5)]
CallStatus = Literal["ringing", "missed", "accepted", "rejected", "ended"]
CheckStatus = Literal["pending", "in-progress", "failed", "complete"]
Instant = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z$")]


class Wire(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Anything that crosses the wire: camelCase there, snake_case here, absent unless set."""


# --- Shared objects ------------------------------------------------------------------------------


class UserRef(Wire):
    id: Id


class Interest(Wire):
    id: Id | UnsetType = UNSET
    name: str | UnsetType = UNSET
    emoji: str | UnsetType = UNSET


class Location(Wire):
    city: str | UnsetType = UNSET
    country: str | UnsetType = UNSET
    state: str | UnsetType = UNSET


class File(Wire):
    mime_type: ShortText | UnsetType = UNSET
    url: Url | UnsetType = UNSET


class Media(Wire):
    """A picture or a video: as it was uploaded, and small."""

    sm: File | UnsetType = UNSET
    org: File | UnsetType = UNSET


class Certificate(Wire):
    file: File | UnsetType = UNSET
    state: str | UnsetType = UNSET  # that issued it


class Licence(Wire):
    id: str | UnsetType = UNSET


class Specialization(Wire):
    id: Id | UnsetType = UNSET
    area: str | UnsetType = UNSET


class Slot(Wire):
    """When somebody is available on one day, UTC; it ends after it begins."""

    start: Time
    end: Time

    def __post_init__(self) -> None:
        # `10:00` and `10:00:00` are the same time: compare what both have.
        if f"{self.end}:00"[:8] <= f"{self.start}:00"[:8]:
            raise ValueError("a slot must end after it begins")


Slots = Annotated[list[Slot], Meta(max_length=96)]
CustomAvailability = Annotated[dict[Date, Slots], Meta(max_length=366)]
"""The days on which somebody is available otherwise than every week."""


class WeeklyAvailability(Wire):
    """The names of the days are the wire's: `thur` has four letters."""

    sun: Slots | UnsetType = UNSET
    mon: Slots | UnsetType = UNSET
    tue: Slots | UnsetType = UNSET
    wed: Slots | UnsetType = UNSET
    thur: Slots | UnsetType = UNSET
    fri: Slots | UnsetType = UNSET
    sat: Slots | UnsetType = UNSET


class WeeklyInput(WeeklyAvailability, forbid_unknown_fields=True):
    """The same, where a day that is misspelt must not be dropped in silence."""


class Availability(Wire):
    custom: CustomAvailability | UnsetType = UNSET
    weekly: WeeklyAvailability | UnsetType = UNSET


class CallPreferences(Wire):
    max_count: int | UnsetType = UNSET  # a day
    max_duration: int | UnsetType = UNSET  # s


class Switch(Wire):
    enabled: bool


class Notifications(Wire):
    push: Switch | UnsetType = UNSET


class Preferences(Wire):
    call: CallPreferences | UnsetType = UNSET
    notifications: Notifications | UnsetType = UNSET


class DailyInfo(Wire):
    total_calls: int | UnsetType = UNSET


class Coins(Wire):
    balance: int  # one is a US cent


class Paypal(Wire):
    email: Email


class Ledger(Wire):
    coins: Coins | UnsetType = UNSET
    paypal: Paypal | UnsetType = UNSET


class Check(Wire):
    status: CheckStatus


class Verification(Wire):
    verified: bool | UnsetType = UNSET
    basic: Check | UnsetType = UNSET
    admin: Check | UnsetType = UNSET
    background: Check | UnsetType = UNSET


class Review(Wire):
    id: Id | UnsetType = UNSET
    rate: float | UnsetType = UNSET
    text: str | UnsetType = UNSET
    rater: User | UnsetType = UNSET


class ConnectRequest(Wire):
    id: Id | UnsetType = UNSET
    status: RequestStatus | UnsetType = UNSET
    from_: UserRef | UnsetType = wire_field(default=UNSET, name="from")
    to: UserRef | UnsetType = UNSET
    user: User | UnsetType = UNSET  # the other party
    chat: Chat | UnsetType = UNSET  # when accepted


class Viewer(Wire):
    """The caller's relation to a user, or, in a push, the receiver's own counters."""

    id: Id | UnsetType = UNSET
    connect_request: ConnectRequest | UnsetType = UNSET
    chat: Chat | UnsetType = UNSET
    review: Review | UnsetType = UNSET  # mine of him
    total_unread_chats: int | UnsetType = UNSET
    total_unread_alerts: int | UnsetType = UNSET


class User(Wire):
    id: Id | UnsetType = UNSET
    name: str | UnsetType = UNSET
    email: str | UnsetType = UNSET
    type: UserType | UnsetType = UNSET
    gender: Literal["male", "female", "unspecified"] | UnsetType = UNSET
    age: int | UnsetType = UNSET
    dob: str | UnsetType = UNSET
    bio: str | UnsetType = UNSET
    language: str | UnsetType = UNSET
    picture: Media | UnsetType = UNSET
    video: Media | UnsetType = UNSET
    file_dir_path: str | UnsetType = UNSET
    interests: list[Interest] | UnsetType = UNSET
    location: Location | UnsetType = UNSET
    rating: float | UnsetType = UNSET
    total_reviews: int | UnsetType = UNSET
    total_connections: int | UnsetType = UNSET
    total_pending_requests: int | UnsetType = UNSET
    total_unread_alerts: int | UnsetType = UNSET
    total_unread_chats: int | UnsetType = UNSET
    timezone_offset: int | UnsetType = UNSET  # minutes
    visibility: Literal["public", "matches", "volunteers", "seniors"] | UnsetType = UNSET
    availability: Availability | UnsetType = UNSET
    preferences: Preferences | UnsetType = UNSET
    daily_info: DailyInfo | UnsetType = UNSET
    ledger: Ledger | UnsetType = UNSET
    verification: Verification | UnsetType = UNSET
    licence: Licence | UnsetType = UNSET
    certificate: Certificate | UnsetType = UNSET
    specialization: Specialization | UnsetType = UNSET
    viewer: Viewer | UnsetType = UNSET


class Delivery(Wire):
    status: DeliveryStatus
    at: str | UnsetType = UNSET


class TimeSlot(Wire):
    from_: str = wire_field(name="from")
    to: str


class Schedule(Wire):
    id: Id | UnsetType = UNSET
    type: CallType | UnsetType = UNSET
    title: str | UnsetType = UNSET
    attendee: User | UnsetType = UNSET
    timeslot: TimeSlot | UnsetType = UNSET
    status: Literal["past", "on-going", "upcoming"] | UnsetType = UNSET
    recurrence: Recurrence | UnsetType = UNSET


class Message(Wire):
    id: Id | UnsetType = UNSET
    type: Literal["text", "schedule"] | UnsetType = UNSET
    text: str | UnsetType = UNSET
    schedule: Schedule | UnsetType = UNSET
    timestamp: str | UnsetType = UNSET
    sender: User | UnsetType = UNSET
    delivery: Delivery | UnsetType = UNSET
    is_request: bool | UnsetType = UNSET


class ChatRequest(Wire):
    id: Id | UnsetType = UNSET
    text: str | UnsetType = UNSET
    timestamp: str | UnsetType = UNSET
    delivery: Delivery | UnsetType = UNSET
    status: RequestStatus | UnsetType = UNSET
    sender: UserRef | UnsetType = UNSET


class Chat(Wire):
    id: Id | UnsetType = UNSET
    user: User | UnsetType = UNSET  # the other party
    timestamp: str | UnsetType = UNSET
    last_message: Message | UnsetType = UNSET
    total_unread_messages: int | UnsetType = UNSET
    type: Literal["connect", "message"] | UnsetType = UNSET  # how it came about
    request: ChatRequest | UnsetType = UNSET


class Call(Wire):
    """A call as one of its two parties sees it."""

    id: Id | UnsetType = UNSET
    type: CallType | UnsetType = UNSET
    status: CallStatus | UnsetType = UNSET
    direction: Literal["outgoing", "incoming"] | UnsetType = UNSET
    duration: int | UnsetType = UNSET  # s, once it is over
    user: User | UnsetType = UNSET  # the other party
    timestamp: str | UnsetType = UNSET
    chat: Chat | UnsetType = UNSET


class Alert(Wire):
    id: Id | UnsetType = UNSET
    type: Literal["schedule", "connect-request", "message-request", "review"] | UnsetType = UNSET
    timestamp: str | UnsetType = UNSET
    status: Literal["read"] | UnsetType = UNSET
    schedule: Schedule | UnsetType = UNSET
    chat: Chat | UnsetType = UNSET
    message: Message | UnsetType = UNSET
    connect_request: ConnectRequest | UnsetType = UNSET
    review: Review | UnsetType = UNSET


# --- Envelopes -----------------------------------------------------------------------------------


class Pagination(Wire):
    last_evaluated_key: dict[str, Any] | UnsetType = UNSET
    total_items: int | UnsetType = UNSET


class Envelope(Wire, Generic[T]):
    """Every https answer. The text of an error is `error`, else `message`."""

    success: bool
    status_code: int
    message: str | UnsetType = UNSET
    error: str | UnsetType = UNSET
    data: T | UnsetType = UNSET
    pagination: Pagination | UnsetType = UNSET


class Frame(Wire, Generic[T]):
    """Every wss frame from the server. One without `action` is not ours: clients ignore it."""

    action: str | UnsetType = UNSET
    success: bool | UnsetType = UNSET
    status_code: int | UnsetType = UNSET
    message: str | UnsetType = UNSET
    error: str | UnsetType = UNSET
    data: T | UnsetType = UNSET
    pagination: Pagination | UnsetType = UNSET


# --- Inputs and answers of operations ------------------------------------------------------------


class Page(Wire):
    page_size: Annotated[int, Meta(ge=1, le=100)] = 25
    last_evaluated_key: str | UnsetType = UNSET  # JSON text of an object


class Search(Page):
    keyword: ShortText | UnsetType = UNSET


class UserSearch(Search):
    email: str | UnsetType = UNSET
    type: UserType | UnsetType = UNSET
    gender: Literal["male", "female", "unspecified"] | UnsetType = UNSET
    age: int | UnsetType = UNSET
    min_age: int | UnsetType = UNSET
    max_age: int | UnsetType = UNSET
    location: str | UnsetType = UNSET  # a country


class SignUp(Wire):
    email: Email
    password: Password
    name: ShortText
    type: UserType | UnsetType = UNSET


class SignIn(Wire):
    email: Email
    password: Annotated[str, Meta(min_length=1, max_length=200)]


class Tokens(Wire):
    access: str
    refresh: str


class Session(Wire):
    user: User
    tokens: Tokens


class UserData(Wire):
    user: User


class OtpRequest(Wire):
    email: Email


class Otp(Wire):
    otp: str | UnsetType = UNSET  # only where the stage is dev


class OtpCheck(Wire):
    email: Email
    code: str | int


class UserUpdate(Wire):
    name: ShortText | UnsetType = UNSET
    type: UserType | UnsetType = UNSET
    gender: Literal["male", "female", "unspecified"] | UnsetType = UNSET
    bio: Annotated[str, Meta(max_length=4000)] | UnsetType = UNSET
    language: ShortText | UnsetType = UNSET
    dob: Date | UnsetType = UNSET
    visibility: Literal["public", "matches", "volunteers", "seniors"] | UnsetType = UNSET
    country: ShortText | UnsetType = UNSET
    state: ShortText | UnsetType = UNSET
    city: ShortText | UnsetType = UNSET
    interests: Annotated[list[Interest], Meta(max_length=50)] | UnsetType = UNSET
    picture: Media | Url | UnsetType = UNSET  # an address alone is the original's
    video: Media | Url | UnsetType = UNSET
    file_dir_path: ShortText | UnsetType = UNSET
    specialization: Specialization | ShortText | UnsetType = UNSET
    certificate: File | Url | UnsetType = UNSET
    certificate_state: ShortText | UnsetType = UNSET
    license_id: ShortText | UnsetType = UNSET
    max_call_duration: Annotated[int, Meta(ge=60, le=86_400)] | UnsetType = UNSET  # s
    max_call_count: Annotated[int, Meta(ge=0, le=1000)] | UnsetType = UNSET  # a day
    push_notification: Switch | UnsetType = UNSET


class PasswordChange(Wire):
    old_password: Annotated[str, Meta(min_length=1, max_length=200)]
    new_password: Password


class BackgroundCheck(Wire):
    dob: Date
    state: ShortText
    links: Annotated[list[Url], Meta(max_length=20)] | UnsetType = UNSET


class WeekQuery(Page):
    """The week to show; `month_index` counts from 0."""

    year: Annotated[int, Meta(ge=1, le=9999)] | UnsetType = UNSET
    month_index: Annotated[int, Meta(ge=0, le=11)] | UnsetType = UNSET
    month_day: Annotated[int, Meta(ge=1, le=31)] | UnsetType = UNSET


class ReviewInput(Wire):
    rate: Rate
    text: Annotated[str, Meta(max_length=4000)] | UnsetType = UNSET


class ReviewData(Wire):
    """A review, and what it made of the rating of whom it is about."""

    review: Review
    user: User


class MessageRequest(Wire):
    text: Text


class ScheduleInput(Wire):
    title: ShortText
    type: CallType
    start_date_time: Instant
    end_date_time: Instant
    recurrence: Recurrence = "none"


class ScheduleUpdate(Wire):
    title: ShortText | UnsetType = UNSET
    type: CallType | UnsetType = UNSET
    recurrence: Recurrence | UnsetType = UNSET
    start_date_time: Instant | UnsetType = UNSET
    end_date_time: Instant | UnsetType = UNSET


class ChatData(Wire):
    chat: Chat


class MessageData(Wire):
    """One message in its chat: the answer to sending it, and the push that delivers it."""

    chat: Chat
    message: Message
    viewer: Viewer | UnsetType = UNSET


class Scheduled(Wire):
    schedule: Schedule
    chat: Chat
    message: Message


# --- Inputs and answers of actions ---------------------------------------------------------------


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


# --- Beyond the first documentation ----------------------------------------------------------------


class PasswordReset(Wire):
    """Another password for an address whose one-time password was verified just before."""

    email: Email
    password: Password


class WorkLocation(Wire):
    country_code: ShortText
    state_code: ShortText | UnsetType = UNSET
    city: ShortText | UnsetType = UNSET


class BackgroundQuery(Wire):
    """What a background check of oneself needs to know."""

    first_name: ShortText
    last_name: ShortText
    zip_code: ShortText
    work_locations: Annotated[list[WorkLocation], Meta(min_length=1, max_length=20)]
    middle_name: ShortText | UnsetType = UNSET


class Faq(Wire):
    id: Id
    question: str
    answer: str


class Refresh(Wire):
    refresh: Annotated[str, Meta(min_length=1, max_length=4096)]


class TokensData(Wire):
    tokens: Tokens


class FileWish(Wire):
    name: ShortText
    mime_type: ShortText
    object_type: Literal["certificate", "picture", "video"]


class FilesWish(Wire):
    """Which files a user means to upload, each under a key of his own."""

    type: Literal["user"]
    items: Annotated[dict[str, FileWish], Meta(min_length=1, max_length=10)]
    file_dir_path: ShortText | UnsetType = UNSET


class SignedUrl(Wire):
    file_url: str  # where it will be
    upload_url: str  # where to PUT it, raw, with its content-type


class SignedUrls(Wire):
    file_dir_path: str
    items: dict[str, SignedUrl]


class Funds(Wire):
    amount: int  # cents
    currency: str


class CoinAmount(Wire):
    amount: int


class Transaction(Wire):
    id: Id | UnsetType = UNSET
    type: Literal["purchase", "earning", "withdrawal"] | UnsetType = UNSET
    intent: str | UnsetType = UNSET
    status: str | UnsetType = UNSET  # here: pending, complete
    funds: Funds | UnsetType = UNSET
    coins: CoinAmount | UnsetType = UNSET
    timestamp: str | UnsetType = UNSET


class TransactionData(Wire):
    transaction: Transaction


class Plan(Wire):
    id: Id


class TopUp(Wire):
    coins: Annotated[int, Meta(ge=50, le=1_000_000)]
    transaction_id: Id | UnsetType = UNSET  # to go on with one that was not paid


class PaymentSession(Wire):
    id: Id
    url: str


class TopUpData(Wire):
    session: PaymentSession
    transaction: Transaction


class Withdrawal(Wire):
    coins: Annotated[int, Meta(ge=100, le=1_000_000)]
    paypal: Paypal
    transaction_id: Id | UnsetType = UNSET  # to ask again without being paid twice


class Ticket(Wire):
    id: Id
    user: User | UnsetType = UNSET
    status: Literal["open", "closed"] | UnsetType = UNSET


class SendSupportMessage(Action):
    message: MessageText
    ticket_id: Id | UnsetType = UNSET  # absent: the open ticket, or a new one


class GetSupportMessages(Action):
    ticket_id: Id
    page_size: Annotated[int, Meta(ge=1, le=100)] = 25
    last_evaluated_key: dict[str, Any] | UnsetType = UNSET


class UpdateSupportMessages(Action):
    ticket_id: Id
    messages_map: Annotated[dict[str, ReadMark], Meta(min_length=1, max_length=1000)]


class SupportMessageData(Wire):
    ticket: Ticket
    message: Message


class SupportMessagePage(Wire):
    ticket: Ticket
    messages: list[Message]


class SupportMessagesUpdate(Wire):
    ticket: Ticket
    messages_map: dict[str, Message]


# --- The tables ----------------------------------------------------------------------------------


class Auth(StrEnum):
    PUBLIC = "public"  # anybody; a good token is used, a bad one ignored
    TOKEN = "token"  # noqa: S105 - a valid access token, else 401
    SELF = "self"  # ... whose user is the {id} of the path, else 403


@dataclass(frozen=True, slots=True)
class Operation:
    """One https operation. `data` is the type of the envelope's `data`; `None` where there is none."""

    name: str
    method: str
    path: str  # {name} marks a part; below the version prefix
    auth: Auth = Auth.TOKEN
    query: type[Wire] | None = None
    body: Any = None
    data: Any = None

    @property
    def folder(self) -> str:
        return self.path.split("/")[1]


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


VERSION_PREFIX = "/v1"

OPERATIONS: dict[str, Operation] = {
    row.name: row
    for row in (
        Operation("get-alerts", "GET", "/alerts", query=Page, data=list[Alert]),
        Operation("get-user-by-token", "GET", "/auth", data=UserData),
        Operation("sign-up", "POST", "/auth/sign-up", Auth.PUBLIC, body=SignUp, data=Session),
        Operation("sign-in", "POST", "/auth/sign-in", Auth.PUBLIC, body=SignIn, data=Session),
        Operation("sign-out", "DELETE", "/auth/sign-out"),
        Operation(
            "get-custom-availability", "GET", "/availability/custom", query=Page, data=CustomAvailability
        ),
        Operation(
            "get-weekly-availability", "GET", "/availability/weekly", query=WeekQuery, data=WeeklyAvailability
        ),
        Operation(
            "set-custom-availability",
            "POST",
            "/availability/custom",
            body=CustomAvailability,
            data=CustomAvailability,
        ),
        Operation(
            "set-weekly-availability",
            "POST",
            "/availability/weekly",
            body=WeeklyInput,
            data=WeeklyAvailability,
        ),
        Operation("get-call", "GET", "/call/{callId}", data=Call),
        Operation("get-call-histories", "GET", "/calls/histories", query=Search, data=list[Call]),
        Operation("get-chat", "GET", "/chat/{chatId}", data=Chat),
        Operation("get-chat-messages", "GET", "/chat/{chatId}/messages", query=Page, data=list[Message]),
        Operation("get-chats", "GET", "/chats", query=Search, data=list[Chat]),
        Operation("get-frequent-chats", "GET", "/chats/frequent", query=Search, data=list[Chat]),
        Operation("get-unread-chats", "GET", "/chats/unread", query=Search, data=list[Chat]),
        Operation(
            "get-pending-requests", "GET", "/connections/pending", query=Page, data=list[ConnectRequest]
        ),
        Operation("get-connections", "GET", "/connections/users", query=Search, data=list[User]),
        Operation("get-interests", "GET", "/interests", Auth.PUBLIC, query=Search, data=list[Interest]),
        Operation("generate-otp", "POST", "/otp", Auth.PUBLIC, body=OtpRequest, data=Otp),
        Operation("verify-otp", "POST", "/otp/verify", Auth.PUBLIC, body=OtpCheck, data=dict[str, Any]),
        Operation("get-reviews", "GET", "/reviews", query=Page, data=list[Review]),
        Operation("get-schedule", "GET", "/schedule/{id}", data=Schedule),
        Operation("update-schedule", "PUT", "/schedule/{id}", body=ScheduleUpdate, data=Schedule),
        Operation("delete-schedule", "DELETE", "/schedule/{id}"),
        Operation("get-schedules", "GET", "/schedules", query=Search, data=list[Schedule]),
        Operation("get-past-schedules", "GET", "/schedules/past", query=Search, data=list[Schedule]),
        Operation("get-upcoming-schedules", "GET", "/schedules/upcoming", query=Search, data=list[Schedule]),
        Operation("update-user", "PUT", "/user/{id}", Auth.SELF, body=UserUpdate, data=User),
        Operation("change-password", "PUT", "/user/{id}/password", Auth.SELF, body=PasswordChange),
        Operation("get-user", "GET", "/user/{id}", data=User),
        Operation("background-check", "POST", "/user/{id}/background-check", Auth.SELF, body=BackgroundCheck),
        Operation("delete-user", "DELETE", "/user/{id}", Auth.SELF),
        Operation("schedule-call", "POST", "/user/{id}/schedule", body=ScheduleInput, data=Scheduled),
        Operation("clear-schedules", "DELETE", "/user/{id}/schedules"),
        Operation("send-connection-request", "POST", "/user/{id}/connection", data=ConnectRequest),
        Operation("cancel-connection-request", "DELETE", "/user/{id}/connection"),
        Operation("accept-connection", "POST", "/user/{id}/connection/accept", data=ConnectRequest),
        Operation("reject-connection", "DELETE", "/user/{id}/connection/reject"),
        Operation(
            "send-message-request",
            "POST",
            "/user/{id}/message/request",
            body=MessageRequest,
            data=MessageData,
        ),
        Operation("cancel-message-request", "DELETE", "/user/{id}/message/request", data=ChatData),
        Operation("accept-message-request", "POST", "/user/{id}/message/request/accept", data=ChatData),
        Operation("reject-message-request", "DELETE", "/user/{id}/message/request/reject", data=ChatData),
        Operation("get-user-reviews", "GET", "/user/{id}/reviews", query=Page, data=list[Review]),
        Operation("review-user", "POST", "/user/{id}/review", body=ReviewInput, data=ReviewData),
        Operation("update-review", "PUT", "/user/{id}/review", body=ReviewInput, data=ReviewData),
        Operation("delete-review", "DELETE", "/user/{id}/review", data=UserData),
        # Public only for the sign-up check `?email=`; every other search needs a token.
        Operation("get-users", "GET", "/users", Auth.PUBLIC, query=UserSearch, data=list[User]),
    )
}

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

# What later documentation and the web client add. A deployment may have none of it.
EXTRA_OPERATIONS: dict[str, Operation] = {
    row.name: row
    for row in (
        Operation("refresh-token", "POST", "/auth/refresh", Auth.PUBLIC, body=Refresh, data=TokensData),
        Operation("reset-password", "POST", "/auth/reset-password", Auth.PUBLIC, body=PasswordReset),
        Operation("post-message", "POST", "/chat/{chatId}/message", body=MessageText, data=MessageData),
        Operation("get-pending-chats", "GET", "/chats/pending", query=Search, data=list[Chat]),
        Operation("get-faqs", "GET", "/faqs", Auth.PUBLIC, query=Search, data=list[Faq]),
        Operation(
            "get-subscriptions", "GET", "/finance/subscriptions", Auth.PUBLIC, query=Page, data=list[Plan]
        ),
        Operation("get-transaction", "GET", "/finance/transaction/{id}", data=TransactionData),
        Operation("get-transactions", "GET", "/finance/transactions", query=Page, data=list[Transaction]),
        Operation(
            "get-purchases", "GET", "/finance/transactions/purchases", query=Page, data=list[Transaction]
        ),
        Operation(
            "get-earnings", "GET", "/finance/transactions/earnings", query=Page, data=list[Transaction]
        ),
        Operation(
            "get-withdrawals", "GET", "/finance/transactions/withdrawals", query=Page, data=list[Transaction]
        ),
        Operation("withdraw-coins", "POST", "/finance/withdraw", body=Withdrawal, data=TransactionData),
        Operation("get-signed-urls", "POST", "/signed/urls", body=FilesWish, data=SignedUrls),
        Operation(
            "get-specializations",
            "GET",
            "/specializations",
            Auth.PUBLIC,
            query=Search,
            data=list[Specialization],
        ),
        Operation("get-open-ticket", "GET", "/support/open/ticket", data=Ticket),
        Operation(
            "get-ticket-messages", "GET", "/support/ticket/{id}/messages", query=Page, data=list[Message]
        ),
        Operation("disconnect-user", "DELETE", "/user/{id}/connection/disconnect"),
        Operation("open-top-up-session", "POST", "/web/finance/top-up/session", body=TopUp, data=TopUpData),
        Operation("initiate-background-check", "POST", "/verification/background", body=BackgroundQuery),
    )
}

ALL_OPERATIONS = OPERATIONS | EXTRA_OPERATIONS

EXTRA_ACTIONS: dict[str, SocketAction] = {
    row.name: row
    for row in (
        SocketAction("update-user", "user", push=UserData),
        SocketAction(
            "send-support-message", "support", request=SendSupportMessage, answer=SupportMessageData
        ),
        SocketAction("new-support-message", "support", push=SupportMessageData),
        SocketAction(
            "get-support-messages", "support", request=GetSupportMessages, answer=SupportMessagePage
        ),
        SocketAction(
            "update-support-messages",
            "support",
            request=UpdateSupportMessages,
            answer=SupportMessagesUpdate,
            push=SupportMessagesUpdate,
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

# Limits of the deployment that the API runs on (API Gateway's published quotas).
MAX_FRAME_BYTES = 32 * 1024
MAX_MESSAGE_BYTES = 128 * 1024
MAX_SIGNAL_BYTES = 30 * 1024  # so that the push that relays it is one frame too
IDLE_TIMEOUT_S = 600
MAX_CONNECTION_S = 7200

# What the web client was seen to do; a person's own pauses are in scenarios/people.py.
FIRST_PING_S = 2.0
PING_INTERVAL_S = 480.0
RECEIPT_DEBOUNCE_S = 0.1
LIST_PAGE = 25
CONNECTIONS_PAGE = 20
MESSAGES_PAGE = 4
FAQS_PAGE = 5
CALL_END_PAUSE_S = 2.0

ANONYMOUS_TOKEN = "undefined"  # noqa: S105 - what the web client sends as its bearer when signed out

CLOSE_TOKEN_REVOKED = 4401
CLOSE_NOT_AUTHENTICATED = 4408

RawEnvelope = Envelope[Raw]
"""An envelope whose `data` is decoded later, by the row that knows its type."""

RawFrame = Frame[Raw]
"""A frame whose `data` is decoded later, and only where somebody waits for it."""
