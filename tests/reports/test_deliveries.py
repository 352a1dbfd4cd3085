"""reports.deliveries: each rule by an example, and all of them against a ledger kept by hand."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.deliveries import reconcile, tally
from reports.parts import plain
from reports.sample import ARRIVALS, DELIVERIES, PRESENCE, SENDS, Accepted, Fate

DEADLINE = 100
ENDED = 10_000
Row = dict[str, Any]


def send(key: str = "k", recipient: str = "bob", *, at: int = 1000, **more: Any) -> Row:
    return {
        "key": key,
        "operation": "chat.delivered",
        "sender": "ann",
        "recipient": recipient,
        "accepted": Accepted.YES,
        "intended": at - 1,
        "sent": at,
        "settled": at + 10,
        "besides": -1,
        "worker": "w1",
        **more,
    }


def arrival(key: str = "k", recipient: str = "bob", *, at: int = 1050, socket: int = 1, **more: Any) -> Row:
    own = {"key": key, "operation": "chat.delivered", "recipient": recipient, "socket": socket}
    return {**own, "arrived": at, "seen": at + 1, "worker": "w2", **more}


def online(user: str = "bob", *, at: int = 1, socket: int = 1, worker: str = "w2") -> Row:
    return {"user": user, "socket": socket, "online": True, "at": at, "worker": worker}


def offline(user: str = "bob", *, at: int, socket: int = 1, worker: str = "w2") -> Row:
    return {"user": user, "socket": socket, "online": False, "at": at, "worker": worker}


def table(schema: pa.Schema, rows: list[Row]) -> pa.Table:
    whole = plain(schema).append(pa.field("worker", pa.string()))
    return pa.Table.from_pylist(rows, schema=whole)


def ledger(sends: list[Row], arrivals: list[Row], presence: list[Row], *, ended: int = ENDED) -> list[Row]:
    tables = table(SENDS, sends), table(ARRIVALS, arrivals), table(PRESENCE, presence)
    made = reconcile(*tables, deadline=DEADLINE, ended=ended)
    assert made.schema == DELIVERIES
    rows: list[Row] = made.to_pylist()
    return rows


def fates(*args: Any, **more: Any) -> list[str]:
    return [row["fate"] for row in ledger(*args, **more)]


def own(**more: Any) -> Row:
    """Bob's news to himself: for all of his sockets but the first of worker w1, on which he asked."""
    return send(**{"sender": "bob", "besides": 1, **more})


HERE = [online(worker="w1"), online(worker="w1", socket=2), online(socket=2)]

RULES: list[tuple[str, list[Row], list[Row], list[Row], list[str]]] = [
    ("in time", [send()], [arrival()], [online()], ["on-time"]),
    ("at the deadline", [send()], [arrival(at=1100)], [online()], ["on-time"]),
    ("after the deadline", [send()], [arrival(at=1101)], [online()], ["late"]),
    ("before its send, by a clock error", [send()], [arrival(at=999)], [online()], ["on-time"]),
    ("not at all", [send()], [], [online()], ["lost"]),
    ("twice", [send()], [arrival(), arrival(at=1060)], [online()], ["on-time", "duplicate"]),
    (
        "three times, the first one late",
        [send()],
        [arrival(at=2000), arrival(at=1500), arrival(at=1900)],
        [online()],
        ["late", "duplicate", "duplicate"],
    ),
    (
        "on each of two sockets",
        [send()],
        [arrival(), arrival(socket=2)],
        [online(), online(socket=2)],
        ["on-time", "on-time"],
    ),
    ("on one of two sockets", [send()], [arrival()], [online(), online(socket=2)], ["on-time", "lost"]),
    (
        "on sockets of one number in two workers",
        [send()],
        [arrival(worker="w1"), arrival(worker="w2")],
        [online(worker="w1"), online(worker="w2")],
        ["on-time", "on-time"],
    ),
    ("though presence says offline", [send()], [arrival()], [online(at=1001)], ["on-time"]),
    ("though presence says nothing", [send()], [arrival()], [], ["on-time"]),
    ("at a recipient without socket", [send()], [], [], ["offline"]),
    ("at a recipient who came later", [send()], [], [online(at=1001)], ["offline"]),
    ("at a recipient who came just then", [send()], [], [online(at=1000)], ["lost"]),
    ("at a recipient who had left", [send()], [], [online(), offline(at=1000)], ["offline"]),
    ("at a recipient who left meanwhile", [send()], [], [online(), offline(at=1099)], ["unknown"]),
    ("at a recipient who left thereafter", [send()], [], [online(), offline(at=1100)], ["lost"]),
    (
        "at a recipient who left and came back on another socket",
        [send()],
        [],
        [online(), offline(at=1050), online(at=1050, socket=2)],
        ["unknown"],
    ),
    ("came and left at one instant", [send()], [], [offline(at=5), online(at=5)], ["offline"]),
    ("online told twice", [send()], [], [online(), online(at=3), offline(at=5)], ["offline"]),
    ("refused", [send(accepted=Accepted.NO)], [], [online()], []),
    ("refused, at nobody", [send(accepted=Accepted.NO)], [], [], []),
    ("refused, yet there", [send(accepted=Accepted.NO)], [arrival()], [online()], ["misdelivered"]),
    ("unconfirmed, not there", [send(accepted=Accepted.UNKNOWN)], [], [online()], ["unknown"]),
    ("unconfirmed, there", [send(accepted=Accepted.UNKNOWN)], [arrival()], [online()], ["on-time"]),
    ("unconfirmed, at nobody", [send(accepted=Accepted.UNKNOWN)], [], [], ["offline"]),
    ("at another", [send()], [arrival(), arrival(recipient="eve")], [online()], ["misdelivered", "on-time"]),
    ("sent by nobody", [], [arrival()], [online()], ["unknown"]),
    (
        "sent under another operation",
        [send()],
        [arrival(operation="alert.delivered"), arrival()],
        [online()],
        ["unknown", "on-time"],
    ),
    (
        "sent twice under one key, confirmed the second time",
        [send(accepted=Accepted.NO), send(at=1010)],
        [arrival()],
        [online()],
        ["on-time"],
    ),
    ("to two people", [send(), send(recipient="eve")], [arrival()], [online(), online("eve", socket=2)],
     ["on-time", "lost"]),
    ("at the sender's other sockets", [own()], [arrival(socket=2)], HERE, ["lost", "on-time"]),
    ("at the asking socket alone", [own()], [], [online(worker="w1")], []),
    ("at a sender who left", [own()], [], [online(worker="w1"), offline(at=1000, worker="w1")], []),
    ("pushed to the socket that was answered", [own()], [arrival(worker="w1")], [online(worker="w1")],
     ["duplicate"]),
    ("pushed twice to the socket that was answered", [own()], [arrival(worker="w1"), arrival(worker="w1")],
     [online(worker="w1")], ["duplicate", "duplicate"]),
    ("the answer came after it was given up", [own(accepted=Accepted.UNKNOWN)], [arrival(worker="w1")],
     [online(worker="w1")], ["on-time"]),
    ("another worker's socket of that number is due", [own()], [], [online()], ["lost"]),
    ("asked for again on another socket", [own(accepted=Accepted.UNKNOWN), own(at=1010, besides=2)], [],
     HERE, ["lost"]),
    ("both told each other, one was told",
     [send(), send(sender="bob", recipient="ann", at=1001)], [arrival()],
     [online(), online("ann", socket=5)], ["on-time", "unknown"]),
    ("both told each other, one was refused",
     [send(), send(sender="bob", recipient="ann", accepted=Accepted.NO)], [],
     [online(), online("ann", socket=5)], ["lost"]),
    ("a copy at a third person of the run", [send(), own()], [arrival(), arrival(recipient="eve", socket=9)],
     [online(), online("eve", socket=9)], ["misdelivered", "on-time"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sends", "arrivals", "presence", "expected"), [r[1:] for r in RULES], ids=[r[0] for r in RULES]
)
def test_rule(sends: list[Row], arrivals: list[Row], presence: list[Row], expected: list[str]) -> None:
    """A message that arrived like this has met this fate."""
    assert expected == fates(sends, arrivals, presence)


def test_run_that_ended_too_early_says_unknown() -> None:
    """Nothing is called lost whose deadline the run did not live to see."""
    assert fates([send()], [], [online()], ended=1099) == ["unknown"]
    assert fates([send()], [], [online()], ended=1100) == ["lost"]


def test_row_tells_who_and_when() -> None:
    """A delivery carries the instants of its send and of its arrival, and the socket."""
    (row,) = ledger([send()], [arrival()], [online()])
    expected = {
        "key": "k",
        "operation": "chat.delivered",
        "sender": "ann",
        "recipient": "bob",
        "sent_by": "w1",
        "worker": "w2",
        "socket": 1,
        "intended": 999,
        "sent": 1000,
        "arrived": 1050,
        "seen": 1051,
        "fate": "on-time",
        "reordered": False,
    }
    assert expected == row


def test_lost_row_names_the_socket_that_got_nothing() -> None:
    """A lost message names the socket that was due; one for an offline recipient names none."""
    lost, off = ledger([send(), send("z", "eve")], [], [online()])
    assert (lost["worker"], lost["socket"], lost["arrived"], lost["seen"]) == ("w2", 1, 0, 0)
    assert (off["worker"], off["socket"], off["arrived"], off["seen"]) == ("", -1, 0, 0)


def test_stray_rows_claim_no_send() -> None:
    """A misdelivered message names its sender but no instant of sending; a foreign one not even that."""
    stray, foreign = ledger([send(accepted=Accepted.NO)], [arrival(), arrival("x")], [])
    assert tuple(stray[c] for c in ("sender", "intended", "sent", "arrived")) == ("ann", 0, 0, 1050)
    assert tuple(foreign[c] for c in ("sender", "intended", "sent", "arrived")) == ("", 0, 0, 1050)


def test_later_message_that_overtakes_marks_the_overtaken() -> None:
    """The message that was overtaken is marked, not the one that overtook it."""
    rows = ledger([send("a"), send("b", at=1020)], [arrival("a", at=1090), arrival("b", at=1080)], [online()])
    assert {row["key"]: row["reordered"] for row in rows} == {"a": True, "b": False}


def test_what_one_read_brought_came_in_the_order_in_which_it_was_seen() -> None:
    """A read has one stamp; still the message that was written first is seen first."""
    read = [arrival("b", at=1090, seen=1095), arrival("a", at=1090, seen=1096)]
    rows = ledger([send("a"), send("b", at=1020)], read, [online()])
    assert {row["key"]: row["reordered"] for row in rows} == {"a": True, "b": False}


@pytest.mark.parametrize(
    ("second", "arrivals"),
    [
        (send("b", at=1010), [arrival("a", at=1090), arrival("b", at=1080)]),
        (send("b", at=1020), [arrival("a", at=1090), arrival("b", at=1090)]),
        (send("b", at=1020), [arrival("a", at=1090, seen=1095), arrival("b", at=1090, seen=1096)]),
        (send("b", at=1020, sender="cat"), [arrival("a", at=1090), arrival("b", at=1080)]),
        (send("b", at=1020), [arrival("a", at=1090), arrival("b", at=1080, socket=2)]),
        (send("b", at=1020), [arrival("a", at=1040), arrival("a", at=1090), arrival("b", at=1080)]),
    ],
    ids=[
        "sends overlap",
        "one instant",
        "one read",
        "other sender",
        "other socket",
        "a copy came late",
    ],
)
def test_no_order_where_none_was_promised(second: Row, arrivals: list[Row]) -> None:
    """Overlapping sends, one read in order, others' messages and sockets, surplus copies: not reordered."""
    assert not any(row["reordered"] for row in ledger([send("a"), second], arrivals, [online()]))


def test_only_chat_messages_have_an_order() -> None:
    """Receipts may overtake each other."""
    other: Row = {"operation": "receipt.delivered"}
    rows = ledger(
        [send("a", **other), send("b", at=1020, **other)],
        [arrival("a", at=1090, **other), arrival("b", at=1080, **other)],
        [online()],
    )
    assert not any(row["reordered"] for row in rows)


def test_nothing_gives_nothing() -> None:
    """A run without messages has an empty ledger, and tallies nothing."""
    empty = reconcile(table(SENDS, []), table(ARRIVALS, []), table(PRESENCE, []), deadline=1, ended=1)
    assert (len(empty), tally(empty)) == (0, {})


def test_tally_counts_each_fate() -> None:
    """Every fate has a count, 0 included, by operation."""
    sends = [send("a"), send("b", at=1020), send("c", at=5000)]
    arrivals = [arrival("a", at=1095), arrival("a", at=1096), arrival("b", at=1080)]
    tables = table(SENDS, sends), table(ARRIVALS, arrivals), table(PRESENCE, [online()])
    counts = tally(reconcile(*tables, deadline=DEADLINE, ended=ENDED))
    expected = {fate.value: 0 for fate in Fate} | {"on-time": 2, "duplicate": 1, "lost": 1, "reordered": 1}
    assert {"chat.delivered": expected} == counts


# --- against a ledger kept by hand -----------------------------------------------------------------------

_users = st.sampled_from(["ann", "bob", "cat"])
_keys = st.sampled_from(["k1", "k2", "k3"])
_workers = st.sampled_from(["w1", "w2"])
_operations = st.sampled_from(["chat.delivered", "alert.delivered"])
_times = st.integers(1, 60).map(lambda t: t * 10)
_sockets = st.integers(1, 2)
_sends = st.lists(
    st.fixed_dictionaries(
        {
            "key": _keys,
            "operation": _operations,
            "sender": _users,
            "recipient": _users,
            "accepted": st.sampled_from(list(Accepted)).map(int),
            "intended": _times,
            "sent": _times,
            "settled": _times,
            "besides": st.just(-1) | _sockets,
            "worker": _workers,
        }
    ),
    max_size=12,
)
_arrivals = st.lists(
    st.fixed_dictionaries(
        {
            "key": _keys | st.just("foreign"),
            "operation": _operations,
            "recipient": _users,
            "socket": _sockets,
            "arrived": _times,
            "seen": _times,
            "worker": _workers,
        }
    ),
    max_size=15,
)
_presence = st.lists(
    st.fixed_dictionaries(
        {"user": _users, "socket": _sockets, "online": st.booleans(), "at": _times, "worker": _workers}
    ),
    max_size=15,
)


def stretches(presence: list[Row]) -> list[tuple[str, tuple[str, int], int, int]]:
    """(user, socket, online from, to) of each stretch."""
    found = []
    for user, socket in {(p["user"], (p["worker"], p["socket"])) for p in presence}:
        own = [p for p in presence if (p["user"], (p["worker"], p["socket"])) == (user, socket)]
        since = None
        for p in sorted(own, key=lambda p: (p["at"], not p["online"])):
            if p["online"] and since is None:
                since = p["at"]
            elif not p["online"] and since is not None:
                found.append((user, socket, since, p["at"]))
                since = None
        if since is not None:
            found.append((user, socket, since, 10**9))
    return found


def messages_of(sends: list[Row]) -> dict[tuple[str, str, str], Row]:
    """The earliest send of each message, with the best that is known of its acceptance."""
    found: dict[tuple[str, str, str], Row] = {}
    for s in sorted(sends, key=lambda s: (s["sent"], s["settled"], s["intended"], s["sender"])):
        own = found.setdefault((s["key"], s["operation"], s["recipient"]), dict(s))
        own["accepted"] = min(own["accepted"], s["accepted"], key=[0, 2, 1].index)
    return found


def left_out_of(sends: list[Row]) -> set[Any]:
    """((key, operation, recipient), (worker, socket)) of each socket that a message leaves out."""
    return {
        ((s["key"], s["operation"], s["recipient"]), (s["worker"], s["besides"]))
        for s in sends
        if s["besides"] >= 0
    }


def by_hand(
    sends: list[Row], arrivals: list[Row], presence: list[Row], ended: int
) -> Counter[tuple[Any, ...]]:
    """(key, operation, recipient, worker, socket, sent, arrived, fate) of each row, with one loop a rule."""
    messages, lines = messages_of(sends), []
    known = {(s["key"], s["operation"]) for s in sends}
    left_out, had = left_out_of(sends), set[Any]()
    for a in sorted(arrivals, key=lambda a: (a["arrived"], a["seen"])):
        name = (a["key"], a["operation"], a["recipient"])
        message, socket, sent = messages.get(name), (a["worker"], a["socket"]), 0
        if name[:2] not in known:
            fate = "unknown"
        elif message is None or message["accepted"] == Accepted.NO:
            fate = "misdelivered"
        else:
            sent = message["sent"]
            in_time = a["arrived"] - sent <= DEADLINE
            answered = (name, socket) in left_out and message["accepted"] == Accepted.YES
            surplus = answered or (name, socket) in had
            fate = "duplicate" if surplus else "on-time" if in_time else "late"
        had.add((name, socket))
        lines.append((*name, *socket, sent, a["arrived"], fate))
    for name, m in messages.items():
        due = [s for s in stretches(presence) if s[0] == name[2] and s[2] <= m["sent"] < s[3]]
        back = messages.get((name[0], name[1], m["sender"]))
        mutual = back is not None and back["sender"] == name[2] != m["sender"]
        mutual = mutual and back is not None and back["accepted"] != Accepted.NO
        if m["accepted"] == Accepted.NO:
            continue
        for _, socket, _, until in due:
            by = m["sent"] + DEADLINE
            unsure = m["accepted"] == Accepted.UNKNOWN or mutual or until < by or ended < by
            if (name, socket) not in had | left_out:
                lines.append((*name, *socket, m["sent"], 0, "unknown" if unsure else "lost"))
        if not due and not any(n == name for n, _ in had | left_out):
            lines.append((*name, "", -1, m["sent"], 0, "offline"))
    return Counter(lines)


COLUMNS = ("key", "operation", "recipient", "worker", "socket", "sent", "arrived", "fate")


@given(_sends, _arrivals, _presence, st.integers(0, 800))
@settings(max_examples=300, deadline=None)
def test_agrees_with_a_ledger_kept_by_hand(
    sends: list[Row], arrivals: list[Row], presence: list[Row], ended: int
) -> None:
    """For any sends, arrivals and presence, however mad, the ledger is the one that slow loops find."""
    made = ledger(sends, arrivals, presence, ended=ended)
    assert by_hand(sends, arrivals, presence, ended) == Counter(
        tuple(row[c] for c in COLUMNS) for row in made
    )


@given(_sends, _arrivals, _presence)
@settings(max_examples=100, deadline=None)
def test_every_arrival_and_every_due_socket_has_one_row(
    sends: list[Row], arrivals: list[Row], presence: list[Row]
) -> None:
    """Conservation: the arrivals are the rows that arrived, and no due socket is missing or told twice."""
    made = ledger(sends, arrivals, presence)
    names = ("key", "operation", "recipient", "worker", "socket")
    came = Counter(tuple(a[c] for c in (*names, "arrived")) for a in arrivals)
    assert came == Counter(tuple(row[c] for c in (*names, "arrived")) for row in made if row["arrived"])
    due = {
        (*name, *socket)
        for name, m in messages_of(sends).items()
        for user, socket, since, until in stretches(presence)
        if m["accepted"] != Accepted.NO and user == name[2] and since <= m["sent"] < until
        if (name, socket) not in left_out_of(sends)
    }
    first = Counter(tuple(row[c] for c in names) for row in made if row["fate"] != "duplicate")
    assert all(first[socket] == 1 for socket in due)


@given(_sends, _arrivals, _presence, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_order_of_the_input_leaves_no_trace(
    sends: list[Row], arrivals: list[Row], presence: list[Row], chance: random.Random
) -> None:
    """Shuffled input gives the same ledger, row for row."""
    mixed = [chance.sample(rows, len(rows)) for rows in (sends, arrivals, presence)]
    assert ledger(sends, arrivals, presence) == ledger(*mixed)


@given(_sends, _arrivals, _presence, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_split_over_workers_changes_nothing(
    sends: list[Row], arrivals: list[Row], presence: list[Row], chance: random.Random
) -> None:
    """Sockets moved to any other workers, and sends to any, give every message the same fates."""
    moved = {
        (w, s): (chance.choice(["w7", "w8", "w9"]), 10 * s + n)
        for n, w in enumerate(("w1", "w2"))
        for s in (1, 2)
    }

    def elsewhere(row: Row) -> Row:
        worker, socket = moved[row["worker"], row["socket"]]
        return {**row, "worker": worker, "socket": socket}

    def sent_elsewhere(row: Row) -> Row:
        if row["besides"] < 0:
            return {**row, "worker": chance.choice(["w7", "w8"])}
        worker, besides = moved[row["worker"], row["besides"]]
        return {**row, "worker": worker, "besides": besides}

    sends_moved = [sent_elsewhere(s) for s in sends]
    split = ledger(sends_moved, [elsewhere(a) for a in arrivals], [elsewhere(p) for p in presence])
    kept = ("key", "operation", "sender", "recipient", "intended", "sent", "arrived", "fate", "reordered")
    before = Counter(tuple(row[c] for c in kept) for row in ledger(sends, arrivals, presence))
    assert before == Counter(tuple(row[c] for c in kept) for row in split)


@given(_sends, _arrivals, _presence)
@settings(max_examples=200, deadline=None)
def test_reordered_is_what_its_definition_says(
    sends: list[Row], arrivals: list[Row], presence: list[Row]
) -> None:
    """A delivery is reordered exactly when one sent after it was settled arrived on its socket before it."""
    settled = {name: m["settled"] for name, m in messages_of(sends).items()}
    made = ledger(sends, arrivals, presence)
    chats = [r for r in made if r["operation"] == "chat.delivered" and r["fate"] in ("on-time", "late")]
    line = ("sender", "recipient", "worker", "socket")
    for row in made:
        until = settled.get((row["key"], row["operation"], row["recipient"]), 0)
        overtaken = any(
            other["sent"] > until and (other["arrived"], other["seen"]) < (row["arrived"], row["seen"])
            for other in chats
            if all(other[c] == row[c] for c in line)
        )
        assert (row in chats and overtaken) == row["reordered"]
