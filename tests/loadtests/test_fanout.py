"""The generator's side of the ledger: keys that both sides can tell, and books that lose nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET, UnsetType

from loadtests.fanout import ALERT, CHAT, PRESENCE, RECEIPT, Ledger
from loadtests.recorder import Recorder
from reports.parts import PartWriter
from reports.sample import Accepted
from talkamie.contract import (
    Alert,
    Chat,
    ChatData,
    ChatRequest,
    ChatsUpdate,
    ChatUpdate,
    ConnectRequest,
    Delivery,
    Message,
    MessageData,
    MessageDelivery,
    MessagesUpdate,
    User,
    UserRef,
)

MS = 1_000_000
A, B = "ann", "bob"


class Books(Recorder):
    """A recorder that also remembers rows, for looking at."""

    def __init__(self, writer: PartWriter) -> None:
        super().__init__(writer)
        self.sent: list[dict[str, Any]] = []
        self.came: list[tuple[str, str, str]] = []
        self.took: list[tuple[str, int]] = []

    def send(self, key: str, operation: str, **row: Any) -> None:
        super().send(key, operation, **row)
        self.sent.append({"key": key, "operation": operation, **row})

    def arrival(self, key: str, operation: str, **row: Any) -> None:
        super().arrival(key, operation, **row)
        self.came.append((key, operation, row["recipient"]))

    def delivered(self, operation: str, took: int) -> None:
        super().delivered(operation, took)
        self.took.append((operation, took))


@pytest.fixture
def books(tmp_path: Path) -> Books:
    """Fresh books on disk."""
    (tmp_path / "parts").mkdir()
    return Books(PartWriter(tmp_path, "w"))


@pytest.fixture
def ledger(books: Books) -> Ledger:
    """A ledger of run `r1`, with both people online."""
    ledger = Ledger(books, "r1")
    ledger.online(A, 1, sent=0, at=1)
    ledger.online(B, 2, sent=0, at=1)
    return ledger


def say(ledger: Ledger, *, sent: int, accepted: Accepted = Accepted.YES) -> str:
    """Send one message from Ann to Bob, answered after one ms; return its text."""
    key, text = ledger.mark("hello")
    ledger.sending(key, B, sent=sent)
    settle(ledger, key, CHAT, sent=sent, accepted=accepted)
    return text


def settle(ledger: Ledger, key: str, operation: str, *, sent: int, accepted: Accepted = Accepted.YES) -> None:
    ledger.settle(
        key, operation, sender=A, recipient=B, accepted=accepted, intended=sent, sent=sent, settled=sent + MS
    )


def push(text: str) -> MessageData:
    return MessageData(chat=Chat(id="c"), message=Message(id="m", text=text, sender=User(id=A)))


def test_a_message_is_found_again_by_the_marker_in_its_text(ledger: Ledger, books: Books) -> None:
    """Marker on one side, marker on the other: one send, one arrival, one delivery of three ms."""
    text = say(ledger, sent=10 * MS)
    ledger.pushed("", push(text), B, 2, arrived=13 * MS, seen=14 * MS)
    assert [row["key"] for row in books.sent] == [key for key, _, _ in books.came]
    assert books.took == [(CHAT, 3 * MS)]
    assert ledger.outstanding(14 * MS, 1000 * MS) == 0


def test_every_marker_is_new(ledger: Ledger) -> None:
    """No two messages share a key, whatever their text."""
    keys = {ledger.mark("same")[0] for _ in range(1000)}
    assert len(keys) == 1000


def test_what_is_not_of_this_run_is_counted_and_left_alone(ledger: Ledger, books: Books) -> None:
    """A message without our marker, or with another run's, is foreign."""
    ledger.pushed("", push("hello"), B, 2, arrived=1, seen=1)
    ledger.pushed("", push("lt:r2:1 hello"), B, 2, arrived=1, seen=1)
    assert ledger.foreign == 2
    assert books.came == []


def test_a_push_may_beat_the_answer_of_its_own_request(ledger: Ledger, books: Books) -> None:
    """An alert that comes before its https answer waits for it, and is one delivery."""
    request = ConnectRequest(id="r9", status="pending", from_=UserRef(id=A), to=UserRef(id=B))
    alert = Alert(id="a", type="connect-request", connect_request=request)
    ledger.pushed("", alert, B, 2, arrived=5 * MS, seen=5 * MS)
    assert books.took == []
    call(ledger, "send-connection-request", request, sent=4 * MS)
    assert books.took == [(ALERT, MS)]
    assert books.sent[0]["key"] == books.came[0][0] == "alert:r9:pending"


def call(ledger: Ledger, operation: str, data: Any, *, sent: int, me: str = A, other: str = B) -> None:
    ledger.called(
        operation,
        {"id": other},
        data,
        me=me,
        accepted=Accepted.YES,
        intended=sent,
        sent=sent,
        settled=sent + MS,
    )


def test_each_answer_to_a_request_owes_its_sender_an_alert(ledger: Ledger, books: Books) -> None:
    """Accepted, turned down, by connection or by message: sender and receiver agree on the key."""
    pending = ConnectRequest(id="r1", status="pending", from_=UserRef(id=B), to=UserRef(id=A))
    ledger.pushed("", Alert(type="connect-request", connect_request=pending), A, 1, arrived=1, seen=1)
    call(ledger, "reject-connection", None, sent=2)
    call(ledger, "accept-connection", ConnectRequest(id="r2"), sent=3)
    call(ledger, "accept-message-request", ChatData(chat=Chat(id="c3")), sent=4)
    call(ledger, "reject-message-request", ChatData(chat=Chat(id="c4")), sent=5)
    asked = MessageData(chat=Chat(id="c5"), message=Message(id="m5"))
    call(ledger, "send-message-request", asked, sent=6)
    expected = [
        "alert:r1:rejected",
        "alert:r2:accepted",
        "alert:c3:accepted",
        "alert:c4:rejected",
        "alert:m5:pending",
    ]
    assert [row["key"] for row in books.sent] == expected

    def of_chat(chat: str, status: str, message: Message | UnsetType = UNSET) -> Alert:
        whole = Chat(id=chat, request=ChatRequest(status=status))  # type: ignore[arg-type]
        return Alert(type="message-request", chat=whole, message=message)

    for alert in (
        Alert(type="connect-request", connect_request=ConnectRequest(id="r1", status="rejected")),
        Alert(type="connect-request", connect_request=ConnectRequest(id="r2", status="accepted")),
        of_chat("c3", "accepted"),
        of_chat("c4", "rejected"),
        of_chat("c5", "pending", Message(id="m5")),
    ):
        ledger.pushed("", alert, B, 2, arrived=9, seen=9)
    assert [key for key, _, recipient in books.came if recipient == B] == expected


def test_a_call_that_was_not_accepted_owes_nobody_anything(ledger: Ledger, books: Books) -> None:
    """Neither a refusal nor a call without an answer has an id to wait for."""
    for accepted in (Accepted.NO, Accepted.UNKNOWN):
        ledger.called(
            "send-connection-request",
            {"id": B},
            None,
            me=A,
            accepted=accepted,
            intended=1,
            sent=1,
            settled=2,
        )
    assert books.sent == []


def test_a_receipt_is_owed_to_the_writer_and_told_from_ones_own(ledger: Ledger, books: Books) -> None:
    """Both sides get the same action: only what the receiver had sent, and is read, is news to them."""
    mine = Message(id="m1", sender=User(id=B), delivery=Delivery(status="read"))
    others = Message(id="m2", sender=User(id=A), delivery=Delivery(status="read"))
    unread = Message(id="m3", sender=User(id=B), delivery=Delivery(status="delivered"))
    update = MessagesUpdate(chat=Chat(id="c"), messages_map={"m1": mine, "m2": others, "m3": unread})
    ledger.pushed("", update, B, 2, arrived=1, seen=1)
    assert books.came == [("read:m1", RECEIPT, B)]


def test_whoever_wrote_to_somebody_absent_is_told_when_they_come(ledger: Ledger, books: Books) -> None:
    """A message stored as sent is owed an update-chats once its recipient authenticates."""
    ledger.offline(B, 2, at=5)
    ledger.waits_for(Message(id="m7", delivery=Delivery(status="sent")), sender=A, recipient=B)
    ledger.waits_for(Message(id="m8", delivery=Delivery(status="delivered")), sender=A, recipient=B)
    ledger.online(B, 3, sent=8, at=9)
    update = ChatsUpdate(
        chats_map={
            "c": ChatUpdate(
                chat=Chat(id="c"),
                messages_map={"m7": MessageDelivery(id="m7", delivery=Delivery(status="delivered"))},
            )
        }
    )
    ledger.pushed("", update, A, 1, arrived=11, seen=11)
    assert [(row["key"], row["recipient"]) for row in books.sent] == [("delivered:m7", A)]
    assert books.came == [("delivered:m7", PRESENCE, A)]


def test_outstanding_counts_what_may_still_come(ledger: Ledger) -> None:
    """A refused message, one for somebody offline, and one past its deadline are not waited for."""
    say(ledger, sent=0)
    assert ledger.outstanding(1, 10 * MS) == 1
    assert ledger.outstanding(10 * MS, 10 * MS) == 0
    say(ledger, sent=0, accepted=Accepted.NO)
    assert ledger.outstanding(1, 10 * MS) == 1
    ledger.offline(B, 2, at=2)
    assert ledger.outstanding(1, 10 * MS) == 0


def test_what_never_met_is_forgotten_in_time(ledger: Ledger, books: Books) -> None:
    """Memory does not grow with losses: after a while only the rows on disk remember."""
    for number in range(50):
        say(ledger, sent=number)
    ledger.forget(before=1000)
    assert ledger.outstanding(1, 10 * MS) == 0
    assert len(books.sent) == 50


def test_a_second_copy_is_a_row_of_its_own(ledger: Ledger, books: Books) -> None:
    """Duplicates are written down as they come; the join after the run names them."""
    text = say(ledger, sent=1)
    for _ in range(2):
        ledger.pushed("", push(text), B, 2, arrived=2, seen=2)
    assert len(books.came) == 2
    assert len(books.took) == 1


def test_a_request_that_was_taken_back_is_waited_for_by_nobody(ledger: Ledger, books: Books) -> None:
    """Its message is gone with it: the recipient's coming online brings no news of it."""
    asked = MessageData(chat=Chat(id="c"), message=Message(id="m9", delivery=Delivery(status="sent")))
    ledger.offline(B, 2, at=2)
    call(ledger, "send-message-request", asked, sent=3)
    call(ledger, "cancel-message-request", ChatData(chat=Chat(id="c")), sent=5)
    ledger.online(B, 3, sent=8, at=9)
    assert PRESENCE not in {row["operation"] for row in books.sent}
