"""Fan-outs: how large, and when the last recipient had it; by example, and against slow loops."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import figures, objectives
from analysis.fanouts import EDGES, by_size, completed, fanouts_frame
from analysis.frames import ARRIVED, Frames, deliveries_frame
from analysis.objectives import State
from reports.sample import DELIVERIES, Fate
from tests.analysis.conftest import MS, ORIGIN, SECOND, Build, manifest, rooms, table

SENT = ORIGIN + 10 * SECOND
Row = dict[str, Any]


def row(socket: int, after: int, **more: Any) -> Row:
    """Return a delivery on a socket, so many ms after it was sent."""
    found = {
        "key": "k",
        "operation": "chat.delivered",
        "sender": "ann",
        "recipient": "bob",
        "sent_by": "w",
        "worker": "w",
        "socket": socket,
        "sent": SENT,
        "fate": Fate.ON_TIME.value,
        **more,
    }
    arrived = 0 if found["fate"] in ("lost", "offline", "unknown") else found["sent"] + after * MS
    return {**found, "intended": found["sent"], "arrived": arrived, "seen": arrived}


def fanouts(*rows: Row) -> list[tuple[int, int | None]]:
    """Return (size, completion in ms; None where it has none) of each fan-out."""
    frame = fanouts_frame(deliveries(list(rows)))
    return [
        (each["size"], each["completion"] // MS if not each["lost"] and not each["unknown"] else None)
        for each in frame.to_dict("records")
    ]


def deliveries(rows: list[Row]) -> Any:
    columns = {name: [each.get(name) or 0 for each in rows] for name in DELIVERIES.names if rows}
    columns = {name: column for name, column in columns.items() if name != "reordered"}
    return deliveries_frame(table(DELIVERIES, columns), manifest())


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row(1, 3)], [(1, 3)]),
        ([row(1, 3), row(2, 9), row(3, 5)], [(3, 9)]),
        ([row(1, 3), row(2, 9, fate="late")], [(2, 9)]),
        ([row(1, 3), row(2, 0, fate="lost")], [(2, None)]),
        ([row(1, 3), row(2, 0, fate="unknown")], [(1, None)]),
        ([row(1, 3), row(1, 50, fate="duplicate")], [(1, 3)]),
        ([row(1, 3), row(7, 50, fate="misdelivered", sent=0)], [(1, 3)]),
        ([row(-1, 0, fate="offline")], []),
        ([row(1, 0, fate="unknown")], []),
        ([], []),
        ([row(1, 3), row(1, 3, key="l"), row(2, 4), row(2, 4, key="l")], [(2, 4)]),
        ([row(1, 3), row(2, 4, recipient="ann", key="k")], [(2, 4)]),
        ([row(1, 3, worker="v"), row(1, 4)], [(2, 4)]),
        ([row(1, 3), row(1, 4, sent=SENT + 1)], [(1, 3), (1, 4)]),
        ([row(1, 3), row(1, 4, sender="cat")], [(1, 3), (1, 4)]),
    ],
    ids=[
        "one socket",
        "the last of three counts",
        "late is there",
        "lost is never complete",
        "unknown is neither due nor complete",
        "a surplus copy comes after",
        "a stray copy is none of its",
        "nobody there",
        "nobody knows",
        "nothing",
        "two messages in one frame",
        "both parties",
        "same number in another worker",
        "two sends",
        "two senders",
    ],
)
def test_size_and_completion(rows: list[Row], expected: list[tuple[int, int | None]]) -> None:
    """A fan-out like this was due on so many sockets and complete by then."""
    assert fanouts(*rows) == expected


_rows = st.lists(
    st.builds(
        row,
        socket=st.integers(1, 4),
        after=st.integers(1, 9),
        key=st.sampled_from("kl"),
        operation=st.sampled_from(["chat.delivered", "receipt.delivered"]),
        sender=st.sampled_from(["ann", "cat"]),
        worker=st.sampled_from("vw"),
        sent=st.sampled_from([0, SENT, SENT + 1]),
        fate=st.sampled_from([fate.value for fate in Fate]),
    ),
    max_size=25,
)


@given(_rows)
@settings(max_examples=60, deadline=None)
def test_agrees_with_slow_loops(rows: list[Row]) -> None:
    """For any ledger, however mad, sizes, completions and their buckets are those that loops find."""
    expected = []
    for name in sorted({(r["operation"], r["sender"], r["sent"]) for r in rows if r["sent"]}):
        own = [r for r in rows if (r["operation"], r["sender"], r["sent"]) == name]
        size = len({(r["worker"], r["socket"]) for r in own if r["fate"] in ("on-time", "late", "lost")})
        whole = not any(r["fate"] in ("lost", "unknown") for r in own)
        last = max((r["arrived"] for r in own if r["fate"] in ARRIVED), default=0)
        if size:
            expected.append((*name, size, last - name[2] if whole else None))
    frame = fanouts_frame(deliveries(rows))
    found = [
        (
            *(each[name] for name in ("operation", "sender", "sent", "size")),
            each["completion"] if not each["lost"] and not each["unknown"] else None,
        )
        for each in frame.to_dict("records")
    ]
    assert sorted(found, key=str) == sorted(expected, key=str)
    assert sorted(completed(frame)) == sorted(each[4] for each in expected if each[4] is not None)
    ledger = deliveries(rows)
    table_ = by_size(frame, ledger[ledger["fate"].isin(ARRIVED) & (ledger["sent"] > 0)])
    assert sum(each.fanouts for each in table_) == len(expected)
    arrived = dict.fromkeys([each[:3] for each in expected], 0)
    for r in rows:
        name = (r["operation"], r["sender"], r["sent"])
        if name in arrived and r["fate"] in ARRIVED:
            arrived[name] += 1
    assert sum(each.fanout.n for each in table_) == sum(arrived.values())
    for each in table_:
        assert each.smallest <= each.size <= each.largest
        assert sum(above < each.smallest and each.largest <= upto for above, upto in pairwise(EDGES)) == 1


def test_the_curve_has_a_row_for_each_size_and_rises(build: Build) -> None:
    """Where sockets are served one after the other, the last of 100 has it later than the median of them."""
    frames = Frames(build(tables={"deliveries": rooms(np.random.default_rng(1), (1, 10, 100), 60)}))
    found = figures.sizes(frames)
    assert [(each.smallest, each.largest, each.fanouts) for each in found] == [
        (1, 1, 60),
        (10, 10, 60),
        (100, 100, 60),
    ]
    assert [each.fanout.n for each in found] == [60, 600, 6000]
    assert [each.completion.n for each in found] == [60, 60, 60]
    one, _, hundred = (each.completion.p50 for each in found)
    each = found[2].fanout.p50
    assert one
    assert hundred
    assert each
    assert one.value < each.value < hundred.value
    assert found[0].fanout == found[0].completion


def test_one_size_is_no_curve(build: Build) -> None:
    """Where every message had one socket there is nothing to compare, and completion is the latency."""
    frames = Frames(build(tables={"deliveries": rooms(np.random.default_rng(1), (1, 1), 60)}))
    assert figures.sizes(frames) == []
    (found,) = figures.deliveries(frames)
    assert (found.largest, found.fanouts, found.incomplete) == (1, 120, 0)
    assert found.fanout == found.completion


def test_an_incomplete_fan_out_has_no_completion(build: Build) -> None:
    """Lost on one socket of a hundred: counted, and not in the distribution."""
    ledger = rooms(np.random.default_rng(1), (100,), 60, fates={Fate.LOST: 1})
    (found,) = figures.deliveries(Frames(build(tables={"deliveries": ledger})))
    assert (found.fanouts, found.incomplete, found.completion.n, found.fanout.n) == (60, 1, 59, 5999)


def test_an_objective_may_be_about_the_last_recipient(build: Build) -> None:
    """`chat.completed` is judged by fan-outs, `chat.delivered` by recipients."""
    slo = {"chat.completed p50": "< 2 ms", "chat.delivered p50": "< 2.5 ms", "call.completed p50": "< 1 s"}
    run = build(slo=slo, tables={"deliveries": rooms(np.random.default_rng(1), (100,), 60)})
    frames = Frames(run)
    found = objectives.judge(frames, figures.totals(frames, figures.deliveries(frames)))
    assert [(each.state, each.n) for each in found] == [
        (State.MISSED, 60),
        (State.MET, 6000),
        (State.NOT_SHOWN, 0),
    ]
