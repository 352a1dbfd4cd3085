"""From rows to what crosses the wire. Pure: a row and now in, one shared object of the contract out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any, TypeVar

import msgspec

from talkamie.contract import (
    Availability,
    CallPreferences,
    Certificate,
    Chat,
    ChatRequest,
    Check,
    Coins,
    ConnectRequest,
    CustomAvailability,
    Delivery,
    File,
    Interest,
    Ledger,
    Licence,
    Location,
    Media,
    Message,
    Notifications,
    Paypal,
    Preferences,
    Review,
    Schedule,
    Slot,
    Specialization,
    Switch,
    TimeSlot,
    User,
    UserRef,
    Verification,
    WeeklyAvailability,
)
from talkamie.contract import Call as WireCall
from talkamie.server import timetable
from talkamie.server.service import iso, known
from talkamie.server.store import Row

T = TypeVar("T")

_interests = msgspec.json.Decoder(list[Interest]).decode
_media = msgspec.json.Decoder(Media).decode
_file = msgspec.json.Decoder(File).decode
_weekly = msgspec.json.Decoder(WeeklyAvailability).decode
_custom: Callable[[str], dict[str, list[Slot]]] = msgspec.json.Decoder(CustomAvailability).decode

# A user inside something else: enough to show a name.
CARD = "o.id as o_id, o.name as o_name, o.type as o_type"
MESSAGE = """l.id as l_id, l.type as l_type, l.text as l_text, l.schedule_id as l_schedule_id,
    l.sender_id as l_sender_id, l.is_request as l_is_request, l.status as l_status,
    l.status_at as l_status_at, l.created as l_created"""


def card(row: Row) -> User:
    """Return the user of a row that has the columns CARD."""
    return User(id=row["o_id"], name=row["o_name"], type=known(row["o_type"]))


def user(row: Row, now: int) -> User:
    """Return what anybody may see of a user: no e-mail, no counters of his own."""
    places = {name: row[name] for name in ("city", "country", "state") if row[name] is not None}
    return User(
        id=row["id"],
        name=row["name"],
        type=known(row["type"]),
        gender=known(row["gender"]),
        dob=known(row["dob"]),
        age=msgspec.UNSET if row["dob"] is None else age(row["dob"], now),
        bio=known(row["bio"]),
        language=known(row["language"]),
        location=Location(**places) if places else msgspec.UNSET,
        interests=_decoded(row["interests"], _interests),
        picture=_decoded(row["picture"], _media),
        video=_decoded(row["video"], _media),
        file_dir_path=known(row["file_dir_path"]),
        rating=row["rating"],
        total_reviews=row["total_reviews"],
        specialization=_wrapped(row["specialization"], lambda area: Specialization(area=area)),
        licence=_wrapped(row["licence_id"], lambda identity: Licence(id=identity)),
        certificate=_certificate(row),
        verification=_verification(row),
        visibility=row["visibility"],
        timezone_offset=known(row["timezone_offset"]),
    )


def availability(row: Row) -> Availability:
    """Return when a user is available; with neither map where he never said."""
    return Availability(
        weekly=_decoded(row["availability_weekly"], _weekly),
        custom=_decoded(row["availability_custom"], _custom),
    )


def preferences(row: Row) -> Preferences:
    """Return what a user chose for himself; nobody else sees it."""
    limits = CallPreferences(
        max_count=known(row["max_call_count"]), max_duration=known(row["max_call_duration"])
    )
    push = _wrapped(row["push_enabled"], lambda on: Notifications(push=Switch(enabled=bool(on))))
    return Preferences(call=limits, notifications=push)


def ledger(row: Row) -> Ledger:
    """Return a user's coins, and where they are paid out."""
    return Ledger(
        coins=Coins(balance=row["coins"]), paypal=_wrapped(row["paypal"], lambda email: Paypal(email=email))
    )


def review(row: Row) -> Review:
    """Return a review; who wrote it is the row's CARD."""
    return Review(id=row["id"], rate=row["rate"], text=known(row["text"]), rater=card(row))


def call(row: Row, viewer: str) -> WireCall:
    """Return a call as `viewer`, one of its parties, sees it; the other is the row's CARD."""
    over = row["ended"] is not None
    return WireCall(
        id=row["id"],
        type=row["type"],
        status=row["status"],
        direction="outgoing" if row["caller_id"] == viewer else "incoming",
        duration=row["talked"] // 1000 if over else msgspec.UNSET,
        user=card(row),
        timestamp=iso(row["created"]),
        chat=Chat(id=row["chat_id"]),
    )


def _certificate(row: Row) -> Certificate | msgspec.UnsetType:
    if row["certificate"] is None and row["certificate_state"] is None:
        return msgspec.UNSET
    return Certificate(file=_decoded(row["certificate"], _file), state=known(row["certificate_state"]))


def _verification(row: Row) -> Verification:
    """Return what was checked: nobody waits for the first two here, the last is asked for."""
    done = Check(status="complete")
    background = _wrapped(row["background"], lambda status: Check(status=status))
    return Verification(verified=True, basic=done, admin=done, background=background)


def _decoded(text: str | None, decode: Callable[[str], T]) -> T | msgspec.UnsetType:
    return msgspec.UNSET if text is None else decode(text)


def _wrapped(value: Any, wrap: Callable[[Any], T]) -> T | msgspec.UnsetType:
    return msgspec.UNSET if value is None else wrap(value)


def age(dob: str, now: int) -> int:
    """Return the full years between a date of birth and `now`."""
    born, today = date.fromisoformat(dob), datetime.fromtimestamp(now / 1000, UTC).date()
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def connect_request(row: Row) -> ConnectRequest:
    """Return a connection request; its `user` is the row's CARD, the other party."""
    return ConnectRequest(
        id=row["id"],
        status=row["status"],
        from_=UserRef(id=row["from_id"]),
        to=UserRef(id=row["to_id"]),
        user=card(row),
    )


def message(row: Row, schedule: Schedule | None = None) -> Message:
    """Return the message of a row that has the columns MESSAGE."""
    return Message(
        id=row["l_id"],
        type=row["l_type"],
        text=known(row["l_text"]),
        schedule=known(schedule),
        timestamp=iso(row["l_created"]),
        sender=User(id=row["l_sender_id"]),
        delivery=Delivery(status=row["l_status"], at=iso(row["l_status_at"])),
        is_request=True if row["l_is_request"] else msgspec.UNSET,
    )


def chat_request(row: Row, chat_id: str) -> ChatRequest:
    """Return how a chat came to be open, or why it is not. Its id is the chat's where nobody had to ask."""
    request = ChatRequest(id=row["request_id"] or chat_id, status=row["request_status"])
    if row["request_sender"] is not None:
        request.sender = UserRef(id=row["request_sender"])
        request.text = row["request_text"]
        request.timestamp = iso(row["request_at"])
    return request


def chat(row: Row, last_message: Message | None) -> Chat:
    """Return a whole chat as one member sees it; the other member is the row's CARD."""
    return Chat(
        id=row["id"],
        user=card(row),
        timestamp=iso(row["last_at"]),
        last_message=known(last_message),
        total_unread_messages=row["unread"],
        type=row["type"],
        request=chat_request(row, row["id"]),
    )


def schedule(row: Row, now: int) -> Schedule:
    """Return a schedule as it stands now; the other party is the row's CARD."""
    start, end = timetable.occurrence(row["from_at"], row["to_at"], row["recurrence"], now)
    return Schedule(
        id=row["id"],
        type=row["type"],
        title=row["title"],
        attendee=card(row),
        timeslot=TimeSlot(from_=iso(start), to=iso(end)),
        status=timetable.status(start, end, now),
        recurrence=row["recurrence"],
    )
