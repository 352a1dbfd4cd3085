"""The objects that several rows share, and the words that they are made of.

Every field of one may be absent (`UNSET`), because each answer carries only what its reader needs.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec import field as wire_field

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


class Pagination(Wire):
    last_evaluated_key: dict[str, Any] | UnsetType = UNSET
    total_items: int | UnsetType = UNSET
