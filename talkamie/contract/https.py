"""The https half: how an operation is described, what it takes and gives, and the table of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Generic, Literal, TypeVar

from msgspec import UNSET, Meta, Raw, UnsetType

from talkamie.contract.objects import (
    Alert,
    Call,
    CallType,
    Chat,
    ConnectRequest,
    CustomAvailability,
    Date,
    Email,
    File,
    Instant,
    Interest,
    Media,
    Message,
    Pagination,
    Password,
    Rate,
    Recurrence,
    Review,
    Schedule,
    ShortText,
    Specialization,
    Switch,
    Text,
    Url,
    User,
    UserType,
    Viewer,
    WeeklyAvailability,
    WeeklyInput,
    Wire,
)

_Data = TypeVar("_Data")

VERSION_PREFIX = "/v1"
ANONYMOUS_TOKEN = "undefined"  # noqa: S105 - what the web client sends as its bearer when signed out


class Envelope(Wire, Generic[_Data]):
    """Every https answer. The text of an error is `error`, else `message`."""

    success: bool
    status_code: int
    message: str | UnsetType = UNSET
    error: str | UnsetType = UNSET
    data: _Data | UnsetType = UNSET
    pagination: Pagination | UnsetType = UNSET


RawEnvelope = Envelope[Raw]
"""An envelope whose `data` is decoded later, by the row that knows its type."""


# --- Inputs and answers ---


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


# --- The table ---


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
