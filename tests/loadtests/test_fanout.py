"""The generator's side of the ledger: keys that both sides can tell, and books that lose nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from msgspec import UNSET, UnsetType

from loadtests import fanout
from loadtests.fanout import Ledger
from loadtests.keys import ALERT, CALL, CHAT, PRESENCE, RECEIPT, SIGNAL, keys_of
from loadtests.recorder import Recorder
from reports.parts import PartWriter
from reports.sample import Accepted, Wait
from talkamie.contract import (
    Alert,
    Call,
    CallData,
    Chat,
    ChatData,
    ChatRequest,
    ChatsUpdate,
    ChatUpdate,
    ConnectRequest,
    Delivery,
    DeliveryStatus,
    Message,
    MessageData,
    MessageDelivery,
    MessagesUpdate,
    SendSignal,
    Signal,
    SignalData,
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
        self.waits: list[tuple[Any, ...]] = []

    def send(self, key: str, operation: str, **row: Any) -> None:
        super().send(key, operation, **row)
        self.sent.append({"key": key, "operation": operation, **row})

    def arrival(self, key: str, operation: str, recipient: str, *row: Any) -> None:
        super().arrival(key, operation, recipient, *row)
        self.came.append((key, operation, recipient))

    def wait(
        self, what: Wait, *, user: str, message: str = "", sender: str = "", began: int, ended: int
    ) -> None:
        super().wait(what, user=user, message=message, sender=sender, began=began, ended=ended)
        self.waits.append((what, user, message, sender, began, ended))

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


def message(identity: str, writer: str, status: DeliveryStatus) -> Message:
    return Message(id=identity, sender=User(id=writer), delivery=Delivery(status=status))


def test_a_receipt_is_owed_to_the_writer_and_to_the_readers_other_sockets(
    ledger: Ledger, books: Books
) -> None:
    """Everybody in the chat hears of it, but for the socket that asked: it has the answer."""
    ledger.online(B, 3, sent=1, at=2)
    ledger.online(B, 4, sent=1, at=2)
    how: dict[str, Any] = {"accepted": Accepted.YES, "intended": 3, "sent": 3, "settled": 4}
    ledger.marked_read([message("m1", A, "delivered")], reader=B, socket=2, **how)
    told = [(row["key"], row["recipient"], row["besides"]) for row in books.sent]
    assert told == [("read:m1", A, -1), ("read:m1", B, 2)]
    update = MessagesUpdate(
        chat=Chat(id="c"), messages_map={"m1": message("m1", A, "read"), "m3": message("m3", A, "delivered")}
    )
    for socket, who in ((1, A), (3, B), (4, B), (9, "eve")):
        ledger.pushed("update-messages", update, who, socket, arrived=5, seen=5)
    # Whoever it reaches writes it down: that it was not for Eve is found out after the run.
    assert books.came == [("read:m1", RECEIPT, who) for who in (A, B, B, "eve")]
    assert books.took == [(RECEIPT, 2)] * 3
    assert ledger.outstanding(6, 10 * MS) == 0


def test_a_reader_with_one_socket_waits_for_nothing_of_their_own(ledger: Ledger) -> None:
    """The answer is their copy."""
    how: dict[str, Any] = {"accepted": Accepted.YES, "intended": 3, "sent": 3, "settled": 4}
    ledger.marked_read([message("m1", A, "delivered")], reader=B, socket=2, **how)
    assert ledger.outstanding(5, 10 * MS) == 1


def test_a_message_is_under_way_until_its_last_socket_has_it(ledger: Ledger, books: Books) -> None:
    """With three sockets there are three deliveries, and the drain waits for all of them."""
    ledger.online(B, 3, sent=1, at=2)
    ledger.online(B, 4, sent=1, at=2)
    text = say(ledger, sent=10)
    for number, socket in enumerate((2, 3, 4), 1):
        assert ledger.outstanding(11, 10 * MS) == 1
        ledger.pushed("new-message", push(text), B, socket, arrived=10 + number, seen=20)
    assert books.took == [(CHAT, 1), (CHAT, 2), (CHAT, 3)]
    assert ledger.outstanding(21, 10 * MS) == 0


def test_copies_of_one_frame_are_read_once(
    ledger: Ledger, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same object on one socket after the other gives each a row, and one key for all of them."""
    read: list[Any] = []

    def counting(*told: Any) -> Any:
        read.append(told)
        return keys_of(*told)

    monkeypatch.setattr(fanout, "keys_of", counting)
    copy = push(say(ledger, sent=10))
    for socket in range(2, 7):
        ledger.pushed("new-message", copy, B, socket, arrived=11, seen=12)
    foreign = push("hello")
    for _ in range(3):
        ledger.pushed("new-message", foreign, B, 2, arrived=11, seen=12)
    assert len(read) == 2
    assert len(books.came) == 5
    assert len({id(key) for key, _, _ in books.came}) == 1
    assert ledger.foreign == 3


def test_what_happened_in_a_call_is_told_by_the_action(ledger: Ledger, books: Books) -> None:
    """One and the same data under two actions are two pieces of news."""
    data = CallData(chat=Chat(id="c"), call=Call(id="k"))
    ledger.pushed("user-calling", data, B, 2, arrived=1, seen=1)
    ledger.pushed("call-ended", data, B, 2, arrived=2, seen=2)
    assert [key for key, _, _ in books.came] == ["call:k:user-calling", "call:k:call-ended"]
    assert {operation for _, operation, _ in books.came} == {CALL}


def test_a_call_that_is_over_owes_nobody_its_end(ledger: Ledger) -> None:
    """Whoever was told that it ended, and hangs up all the same, tells nobody."""
    data = CallData(chat=Chat(id="c"), call=Call(id="k", status="accepted", user=User(id=A)))
    assert ledger.call_owed("end-call", data, B) == ("call:k:call-ended", A)
    ledger.pushed("call-ended", data, B, 2, arrived=2, seen=2)
    assert ledger.call_owed("end-call", data, B) is None
    ledger.forget(before=3)
    assert ledger.call_owed("end-call", data, B) == ("call:k:call-ended", A)


def test_a_signal_is_found_wherever_it_arrives(ledger: Ledger, books: Books) -> None:
    """Its marker is in the description or the candidate, and it is handed on decoded."""
    signals = (
        {"type": "offer", "sdp": "v=0\r\ns=-\r\n"},
        {"candidate": {"candidate": "candidate:1 1 udp 1 10.0.0.1 9 typ host ufrag " + "x" * 40}},
    )
    for signal in signals:
        raw = msgspec.Raw(msgspec.json.encode(signal))
        key, frame = ledger.mark_signal(SendSignal(action="signal", chat_id="c", signal=raw))
        data = SignalData(chat=Chat(id="c"), signal=frame.signal)
        assert isinstance(ledger.pushed("signal", data, B, 2, arrived=1, seen=1), Signal)
        assert books.came.pop() == (key, SIGNAL, B)


def test_what_waits_and_who_comes_are_facts_for_the_ledger(ledger: Ledger, books: Books) -> None:
    """A message stored as sent, a coming, a going: each is a row, none of them owes anybody anything yet."""
    ledger.offline(B, 2, at=5)
    for identity, status in (("m7", "sent"), ("m8", "delivered")):
        message = Message(id=identity, delivery=Delivery(status=cast(DeliveryStatus, status)))
        ledger.waits_for(message, sender=A, recipient=B, sent=6, settled=7)
    ledger.perhaps_online(B, sent=7, at=8)
    ledger.online(B, 3, sent=8, at=9)
    assert books.waits[2:] == [
        (Wait.WENT, B, "", "", 5, 5),
        (Wait.STORED, B, "m7", A, 6, 7),
        (Wait.PERHAPS, B, "", "", 7, 8),
        (Wait.CAME, B, "", "", 8, 9),
    ]
    update = ChatsUpdate(
        chats_map={
            "c": ChatUpdate(
                chat=Chat(id="c"),
                messages_map={"m7": MessageDelivery(id="m7", delivery=Delivery(status="delivered"))},
            )
        }
    )
    ledger.pushed("", update, A, 1, arrived=11, seen=11)
    assert books.came == [("delivered:m7", PRESENCE, A)]


def test_what_other_workers_sent_is_waited_for_unless_it_is_here(ledger: Ledger) -> None:
    """Of what is owed elsewhere, what has come already and what is for nobody here is not waited for."""
    ledger.pushed("", push("lt:r1:900 hello"), B, 2, arrived=3, seen=3)
    owed = [("lt:r1:900", B, 10 * MS), ("lt:r1:901", B, 10 * MS), ("lt:r1:902", "stranger", 10 * MS)]
    ledger.expect(owed, 4, 10 * MS)
    assert ledger.outstanding(4, 10 * MS) == 1
    ledger.pushed("", push("lt:r1:901 hello"), B, 2, arrived=5, seen=5)
    assert ledger.outstanding(5, 10 * MS) == 0


def test_what_is_for_people_of_other_workers_is_told(ledger: Ledger) -> None:
    """A young message to somebody who is not here may still come there: key, recipient, what is left."""
    key, _ = ledger.mark("hello")
    ledger.sending(key, "stranger", sent=2 * MS)
    say(ledger, sent=2 * MS)
    assert ledger.owed_elsewhere(5 * MS, 10 * MS) == [(key, "stranger", 7 * MS)]
    assert ledger.owed_elsewhere(12 * MS, 10 * MS) == []


def test_no_two_workers_mark_a_message_alike(books: Books) -> None:
    """Each takes its own numbers."""
    ledgers = [Ledger(books, "r1", worker=worker, workers=3) for worker in range(3)]
    keys = [each.mark("same")[0] for each in ledgers for _ in range(50)]
    assert len(set(keys)) == 150


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
    """Its message is gone with it."""
    asked = MessageData(chat=Chat(id="c"), message=Message(id="m9", delivery=Delivery(status="sent")))
    call(ledger, "send-message-request", asked, sent=3)
    call(ledger, "cancel-message-request", ChatData(chat=Chat(id="c")), sent=5)
    assert [row[:4] for row in books.waits[2:]] == [
        (Wait.STORED, B, "m9", A),
        (Wait.WITHDRAWN, B, "m9", A),
    ]
