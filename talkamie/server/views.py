"""From rows to what crosses the wire. Pure: a row and now in, one shared object of the contract out."""

from __future__ import annotations

from datetime import UTC, date, datetime

import msgspec

from talkamie.contract import (
    Chat,
    ChatRequest,
    ConnectRequest,
    Delivery,
    Interest,
    Location,
    Message,
    Schedule,
    TimeSlot,
    User,
    UserRef,
)
from talkamie.server import timetable
from talkamie.server.service import iso, known
from talkamie.server.store import Row

_interests = msgspec.json.Decoder(list[Interest]).decode

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
        interests=msgspec.UNSET if row["interests"] is None else _interests(row["interests"]),
        visibility=row["visibility"],
        timezone_offset=known(row["timezone_offset"]),
    )


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


def chat_request(row: Row) -> ChatRequest:
    """Return how a chat came to be open, or why it is not. Its id is the chat's where nobody had to ask."""
    request = ChatRequest(id=row["request_id"] or row["id"], status=row["request_status"])
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
        request=chat_request(row),
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
