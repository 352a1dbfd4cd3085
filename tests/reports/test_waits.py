"""Who was told that their message arrived, from the facts of all workers together."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from reports.parts import plain
from reports.sample import PARTS, Wait
from reports.waits import told

ANN, BOB = "ann", "bob"
SCHEMA = plain(PARTS["waits"]).append(pa.field("worker", pa.string()))


def fact(
    what: Wait, began: int, ended: int, *, message: str = "", sender: str = "", worker: str = "w1"
) -> Any:
    """Return one row about Bob."""
    row = {
        "what": int(what),
        "message": message,
        "sender": sender,
        "user": BOB,
        "began": began,
        "ended": ended,
    }
    return {**row, "worker": worker}


def stored(message: str, sent: int, answered: int, *, sender: str = ANN) -> Any:
    return fact(Wait.STORED, sent, answered, message=message, sender=sender, worker="w2")


def came(asked: int, answered: int) -> Any:
    return fact(Wait.CAME, asked, answered)


def owed(*rows: Any) -> list[tuple[str, str, int, int]]:
    """Return key, recipient, sent and settled of what the facts owe."""
    found = told(pa.Table.from_pylist(list(rows), schema=SCHEMA))
    assert {row["worker"] for row in found} <= {"w1"}  # of the one who came
    return [(row["key"], row["recipient"], row["sent"], row["settled"]) for row in found]


def test_all_who_wrote_are_told_of_one_coming() -> None:
    """One authenticate, many senders, whichever worker they are of: each is owed their own messages, once."""
    rows = [stored(f"m{number}", 6, 7, sender=f"u{number % 3}") for number in range(6)]
    found = owed(*rows, came(8, 9), came(10, 11))
    assert sorted(found) == sorted((f"delivered:m{n}", f"u{n % 3}", 8, 9) for n in range(6))


def test_who_came_while_a_message_was_being_stored_has_told_its_sender() -> None:
    """The answer `sent` may be read after the recipient's coming, and still the target wrote it before."""
    assert owed(stored("m", 6, 12), came(7, 9)) == [("delivered:m", ANN, 7, 9)]


def test_who_came_before_it_was_sent_tells_nobody_of_it() -> None:
    """The next coming does."""
    assert owed(came(1, 2), stored("m", 6, 7), came(8, 9)) == [("delivered:m", ANN, 8, 9)]
    assert owed(came(1, 2), stored("m", 6, 7)) == []


def test_what_nobody_can_tell_is_not_claimed() -> None:
    """Came and went while it was stored, or authenticated without an answer: nothing is due for certain."""
    assert owed(stored("m", 6, 12), came(7, 9), fact(Wait.WENT, 10, 10), came(20, 21)) == []
    assert owed(stored("m", 6, 7), fact(Wait.PERHAPS, 8, 9), came(20, 21)) == []
    assert len(owed(stored("m", 6, 12), came(7, 9), fact(Wait.WENT, 13, 13))) == 1


def test_what_was_taken_back_is_waited_for_by_nobody() -> None:
    """Unless it was told of before."""
    gone = fact(Wait.WITHDRAWN, 8, 9, message="m", sender=ANN)
    assert owed(stored("m", 6, 7), gone, came(10, 11)) == []
    assert len(owed(stored("m", 6, 7), came(7, 8), gone)) == 1


@given(st.data())
def test_the_order_in_which_workers_wrote_leaves_no_trace(data: st.DataObject) -> None:
    """Facts in any order, same debts; nothing is owed twice, and never to a coming before the message."""
    instants = st.integers(0, 40)
    rows = []
    for number in range(data.draw(st.integers(0, 6))):
        began = data.draw(instants)
        rows.append(stored(f"m{number}", began, began + data.draw(st.integers(1, 5))))
    for _ in range(data.draw(st.integers(0, 6))):
        began = data.draw(instants)
        what = data.draw(st.sampled_from([Wait.CAME, Wait.PERHAPS, Wait.WENT]))
        rows.append(fact(what, began, began + data.draw(st.integers(1, 3))))
    shuffled = list(rows)
    random.Random(data.draw(st.integers(0, 99))).shuffle(shuffled)
    found = owed(*rows)
    assert sorted(found) == sorted(owed(*shuffled))
    assert len({key for key, *_ in found}) == len(found)
    sent = {f"delivered:{row['message']}": row["began"] for row in rows if row["message"]}
    assert all(settled > sent[key] for key, _, _, settled in found)
