"""What became of every message, for every socket that it was for: the ledger, made after the run. Pure.

Words: a *message* is one (key, operation, recipient) of the sends; one sent again under its own key is still
one message, the earliest. A *socket* is one (worker, socket number), since numbers are unique within a worker
only. It is *due* when the recipient had authenticated it by the instant of the send, and not closed it, and
when the message does not leave it out (`besides`: what goes to all sockets of both parties goes to those of
whoever asked for it too, but for the one that has the answer).

Rules, in this order; each arrival gives exactly one row, and so does each due socket without one:

1. An arrival whose (key, operation) nobody sent: `unknown`, sent 0. Its sender was killed before it could
   write it down, or it is not of this run.
2. An arrival of a message that was not for this recipient, or that the target had refused: `misdelivered`,
   sent 0.
3. The first arrival of a message on a socket is its delivery: `on-time` when arrived - sent <= deadline, else
   `late`. Whether presence calls the socket due does not matter: we see it later than the target does.
4. Every further arrival of it on the same socket: `duplicate`. So is the first on a socket that is left out,
   once the target has confirmed the message, because the answer was its copy. Unconfirmed, it is the answer
   itself, too late, and rule 3 holds.
5. A due socket without arrival: nothing was due if the target had refused the message; `unknown` if nobody
   knows whether it did, if the socket or the run ended before sent + deadline, or if the recipient sent the
   sender the same (of two who hang up at once the target tells only the slower); else `lost`.
6. A message without a due socket and without an arrival: one row, `offline` (none if it was refused, or left
   a socket out: then somebody was there).

`reordered` is a mark on deliveries of chat messages: on the same socket a message of the same sender arrived
earlier that was sent after this one was `settled`. Sends that overlap have no order. Of equal arrival stamps,
which are those of one read, the one that was `seen` first came first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reports.sample import DELIVERIES, Accepted, Fate

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_FATES = list(Fate)
_ON_TIME, _LATE, _LOST, _DUPLICATE, _MISDELIVERED, _OFFLINE, _UNKNOWN = range(len(_FATES))
_EVER = np.iinfo(np.int64).max
_BLOCK = 4_000_000  # pairs held at once while looking for due sockets
ORDERED_OPERATION = "chat.delivered"


def reconcile(
    sends: pa.Table, arrivals: pa.Table, presence: pa.Table, *, deadline: int, ended: int
) -> pa.Table:
    """Return the ledger (schema `DELIVERIES`), sorted by sent, key, operation, recipient, worker, socket.

    The three tables hold the rows of all workers, in any order, as `reports.sample` describes them and each
    with a further column `worker`. deadline: ns after the send; ended: the instant (ns) when the run stopped
    listening. 1,000,000 arrivals take some seconds.
    """
    names = _Names(sends, arrivals, presence)
    messages = _messages(sends, names)
    sockets = _Sockets(sends, arrivals, presence, names)
    match = _matched(messages, names)
    left_out = _left_out(messages, sends, names, sockets)
    pieces = [
        _arrived(messages, arrivals, names, sockets, match, left_out, deadline=deadline),
        _missing(messages, names, sockets, match, left_out, deadline=deadline, ended=ended),
    ]
    rows = {column: np.concatenate([piece[column] for piece in pieces]) for column in pieces[0]}
    sort = (
        "seen",
        "arrived",
        "socket",
        "worker",
        "recipient",
        "operation",
        "key",
        "sent",
    )  # the last counts first
    order = np.lexsort([rows[column] for column in sort])
    rows = {column: values[order] for column, values in rows.items()}
    rows["reordered"] = _reordered(rows, names)
    return _table(rows, names)


def tally(deliveries: pa.Table) -> dict[str, dict[str, int]]:
    """Return by operation how many rows met each fate, 0 included, and under "reordered" how many were."""
    empty = {**{fate.value: 0 for fate in Fate}, "reordered": 0}
    counts: dict[str, dict[str, int]] = {}
    plain = pa.table({c: deliveries[c].cast(pa.string()) for c in ("operation", "fate")})
    plain = plain.append_column("reordered", deliveries["reordered"].cast(pa.int64()))
    grouped = plain.group_by(["operation", "fate"]).aggregate([([], "count_all"), ("reordered", "sum")])
    for row in sorted(grouped.to_pylist(), key=lambda row: str(row["operation"])):
        own = counts.setdefault(row["operation"], dict(empty))
        own[row["fate"]] += row["count_all"]
        own["reordered"] += row["reordered_sum"]
    return counts


class _Names:
    """Every string as a number that sorts as the string does, so that the input's order leaves no trace."""

    def __init__(self, sends: pa.Table, arrivals: pa.Table, presence: pa.Table) -> None:
        self.key, (self.sent_key, self.arrived_key) = _codes(sends["key"], arrivals["key"])
        self.operation, (self.sent_operation, self.arrived_operation) = _codes(
            sends["operation"], arrivals["operation"]
        )
        self.user, (self.sender, self.recipient, self.arrived_recipient, self.present) = _codes(
            sends["sender"], sends["recipient"], arrivals["recipient"], presence["user"], extra=""
        )
        self.worker, (self.sent_worker, self.arrived_worker, self.present_worker) = _codes(
            sends["worker"], arrivals["worker"], presence["worker"], extra=""
        )

    def code(self, names: pa.Array, name: str) -> int:
        return int(pc.index(names, pa.scalar(name, names.type)).as_py())


def _codes(*columns: pa.ChunkedArray, extra: str | None = None) -> tuple[pa.Array, list[Ints]]:
    """Return the distinct strings, ascending, and for each column the positions of its values in them."""
    chunks = [chunk for column in columns for chunk in column.cast(pa.large_string()).chunks]
    chunks += [pa.array([extra], pa.large_string())] if extra is not None else []
    coded = pa.chunked_array(chunks, pa.large_string()).combine_chunks().dictionary_encode()
    order = pc.sort_indices(coded.dictionary).to_numpy()
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    codes = rank[coded.indices.to_numpy()]
    cuts = np.cumsum([len(column) for column in columns])
    return coded.dictionary.take(pa.array(order)), np.split(codes, cuts)[: len(columns)]


def _numbers(table: pa.Table, column: str) -> Ints:
    return np.asarray(table[column].to_numpy(), dtype=np.int64)


def _groups(*columns: Ints) -> Ints:
    """Return for each row the number of its combination of values, from 0, ascending as they do."""
    if not len(columns[0]):
        return np.empty(0, dtype=np.int64)
    order = np.lexsort(columns[::-1])
    changed = np.zeros(len(order), dtype=bool)
    for column in columns:
        sorted_column = column[order]
        changed[1:] |= sorted_column[1:] != sorted_column[:-1]
    groups = np.empty(len(order), dtype=np.int64)
    groups[order] = np.cumsum(changed)
    return groups


def _distinct(values: Ints) -> Ints:
    """Return the distinct values, ascending. Sorting is 4 times as fast as the hashing of `np.unique`."""
    ordered = np.sort(values)
    distinct: Ints = ordered[np.diff(ordered, prepend=ordered[:1] - 1) != 0]
    return distinct


def _find(wanted: Ints, ascending: Ints) -> tuple[Ints, Bools]:
    """Return where each wanted value is in the ascending array, and whether it is there at all."""
    at = np.searchsorted(ascending, wanted)
    at[at == len(ascending)] = 0
    return at, (ascending[at] == wanted if len(ascending) else np.zeros(len(wanted), dtype=bool))


@dataclass(frozen=True, slots=True)
class _Messages:
    """One per (key, operation, recipient), ascending in that order."""

    key: Ints
    operation: Ints
    sender: Ints
    worker: Ints
    recipient: Ints
    accepted: Ints
    intended: Ints
    sent: Ints
    settled: Ints


def _messages(sends: pa.Table, names: _Names) -> _Messages:
    columns = {
        "key": names.sent_key,
        "operation": names.sent_operation,
        "recipient": names.recipient,
        "sent": _numbers(sends, "sent"),
        "settled": _numbers(sends, "settled"),
        "intended": _numbers(sends, "intended"),
        "sender": names.sender,
        "worker": names.sent_worker,
        # Of a message sent again, the best that is known counts: once confirmed, it is confirmed.
        "accepted": np.array([0, 2, 1])[np.clip(_numbers(sends, "accepted"), 0, 2)],
    }
    order = np.lexsort(list(columns.values())[::-1])
    columns = {column: values[order] for column, values in columns.items()}
    group = _groups(columns["key"], columns["operation"], columns["recipient"])
    first = np.flatnonzero(np.diff(group, prepend=-1))
    if len(first):
        best = np.minimum.reduceat(columns["accepted"], first)
        columns["accepted"][first] = np.array([Accepted.YES, Accepted.UNKNOWN, Accepted.NO])[best]
    return _Messages(**{column: values[first] for column, values in columns.items()})


class _Sockets:
    """Which (worker, socket) each arrival came in on and each send leaves out, and when each was online."""

    def __init__(self, sends: pa.Table, arrivals: pa.Table, presence: pa.Table, names: _Names) -> None:
        worker = np.concatenate([names.arrived_worker, names.present_worker, names.sent_worker])
        columns = (arrivals, "socket"), (presence, "socket"), (sends, "besides")
        number = np.concatenate([_numbers(*each) for each in columns])
        every = _groups(worker, number)
        self.count = int(every.max()) + 1 if len(every) else 0
        self.worker = np.zeros(self.count, dtype=np.int64)
        self.number = np.zeros(self.count, dtype=np.int64)
        self.worker[every], self.number[every] = worker, number
        self.of_arrivals, present, self.besides = np.split(every, np.cumsum([len(arrivals), len(presence)]))
        at, online = _numbers(presence, "at"), np.asarray(presence["online"].to_numpy(), dtype=bool)
        # At one instant online comes before offline, because then nothing can be called lost by mistake.
        order = np.lexsort([~online, at, present, names.present])
        user, socket, at, online = names.present[order], present[order], at[order], online[order]
        same = np.zeros(len(order), dtype=bool)  # as the row before: of one user and socket
        same[1:] = (user[1:] == user[:-1]) & (socket[1:] == socket[:-1])
        began = online & ~(same & np.concatenate([[False], online[:-1]]))
        # The end of a stretch is the first offline at or after its begin, of the same user and socket.
        place = np.where(online, len(order), np.arange(len(order)))
        following = np.minimum.accumulate(place[::-1])[::-1][began] if len(order) else place
        own = _groups(user, socket)
        known = following < len(order)
        ends = np.full(len(following), _EVER, dtype=np.int64)
        match = known.copy()
        match[known] = own[following[known]] == own[began][known]
        ends[match] = at[following[match]]
        by_user = np.lexsort([at[began], user[began]])
        self.user, self.socket = user[began][by_user], socket[began][by_user]
        self.since, self.until = at[began][by_user], ends[by_user]

    def due(self, recipient: Ints, sent: Ints) -> tuple[Ints, Ints, Ints]:
        """Return (row of the message, its due socket, until when that was online), one per pair."""
        first = np.searchsorted(self.user, recipient, side="left")
        number = np.searchsorted(self.user, recipient, side="right") - first
        found: list[tuple[Ints, Ints, Ints]] = []
        totals, begin = np.cumsum(number), 0
        while begin < len(recipient):
            done = int(totals[begin - 1]) if begin else 0
            end = max(begin + 1, int(np.searchsorted(totals, done + _BLOCK, side="right")))
            counts = number[begin:end]
            row = np.repeat(np.arange(begin, end), counts)
            within = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
            stretch = first[row] + within
            online = (self.since[stretch] <= sent[row]) & (sent[row] < self.until[stretch])
            found.append((row[online], self.socket[stretch[online]], self.until[stretch[online]]))
            begin = end
        none = np.empty(0, dtype=np.int64)
        pairs = [np.concatenate(pieces) for pieces in zip((none, none, none), *found, strict=True)]
        return pairs[0], pairs[1], pairs[2]


@dataclass(frozen=True, slots=True)
class _Match:
    """What each arrival belongs to: rows of the messages, meaningful only where the mark beside it is set."""

    message: Ints
    is_for: Bools
    near: Ints  # any message of its key and operation
    is_sent: Bools


def _matched(messages: _Messages, names: _Names) -> _Match:
    pairs = _groups(
        np.concatenate([messages.key, names.arrived_key]),
        np.concatenate([messages.operation, names.arrived_operation]),
    )
    sent_pair, pair = pairs[: len(messages.key)], pairs[len(messages.key) :]
    users = len(names.user)
    at, is_for = _find(pair * users + names.arrived_recipient, sent_pair * users + messages.recipient)
    near, is_sent = _find(pair, sent_pair)
    return _Match(at, is_for, near, is_sent)


def _left_out(m: _Messages, sends: pa.Table, names: _Names, sockets: _Sockets) -> Ints:
    """Return the pairs of a message and a socket that it leaves out, ascending, each as one number.

    Of a message sent again, the sockets of all its sends are left out.
    """
    some = np.flatnonzero(_numbers(sends, "besides") >= 0)
    given = zip(
        (m.key, m.operation, m.recipient),
        (names.sent_key[some], names.sent_operation[some], names.recipient[some]),
        strict=True,
    )
    groups = _groups(*(np.concatenate(pair) for pair in given))
    message, _ = _find(groups[len(m.key) :], groups[: len(m.key)])
    return _distinct(message * sockets.count + sockets.besides[some])


def _arrived(
    m: _Messages,
    arrivals: pa.Table,
    names: _Names,
    sockets: _Sockets,
    match: _Match,
    left_out: Ints,
    *,
    deadline: int,
) -> dict[str, Ints]:
    """Return one row per arrival: rules 1 to 4."""
    socket = sockets.of_arrivals
    n = len(socket)
    arrived, seen = _numbers(arrivals, "arrived"), _numbers(arrivals, "seen")
    at, is_for, near, is_sent = match.message, match.is_for, match.near, match.is_sent

    def of(column: Ints, where: Ints, given: Bools, otherwise: int) -> Ints:
        out = np.full(n, otherwise, dtype=np.int64)
        out[given] = column[where[given]]
        return out

    accepted = of(m.accepted, at, is_for, Accepted.NO)
    regular = accepted != Accepted.NO
    sent = of(m.sent, at, regular, 0)
    order = np.lexsort([seen, arrived, socket, at, ~regular])
    again = np.zeros(n, dtype=bool)
    again[order[1:]] = (at[order][1:] == at[order][:-1]) & (socket[order][1:] == socket[order][:-1])
    answered = _find(at * sockets.count + socket, left_out)[1] & (accepted == Accepted.YES)
    again |= answered
    fate = np.where(arrived - sent <= deadline, _ON_TIME, _LATE)
    fate = np.where(again, _DUPLICATE, fate)
    fate = np.where(regular, fate, np.where(is_sent, _MISDELIVERED, _UNKNOWN))
    return {
        "key": names.arrived_key,
        "operation": names.arrived_operation,
        "sender": of(m.sender, near, is_sent, names.code(names.user, "")),
        "recipient": names.arrived_recipient,
        "sent_by": of(m.worker, at, regular, names.code(names.worker, "")),
        "worker": names.arrived_worker,
        "socket": _numbers(arrivals, "socket"),
        "intended": of(m.intended, at, regular, 0),
        "sent": sent,
        "settled": of(m.settled, at, regular, 0),
        "arrived": arrived,
        "seen": seen,
        "fate": fate,
    }


def _missing(
    m: _Messages,
    names: _Names,
    sockets: _Sockets,
    match: _Match,
    left_out: Ints,
    *,
    deadline: int,
    ended: int,
) -> dict[str, Ints]:
    """Return one row per due socket without arrival, and per message that nobody could get: rules 5 and 6."""
    at, is_for = match.message, match.is_for
    row, socket, until = sockets.due(m.recipient, m.sent)
    had = _distinct(at[is_for] * sockets.count + sockets.of_arrivals[is_for])
    pair = row * sockets.count + socket
    settled = _find(pair, had)[1] | _find(pair, left_out)[1]
    nobody = np.ones(len(m.sent), dtype=bool)
    nobody[row] = False
    nobody[at[is_for]] = False
    nobody[left_out // max(1, sockets.count)] = False
    wanted = m.accepted != Accepted.NO
    open_ = ~settled & wanted[row]
    row, socket, until = row[open_], socket[open_], until[open_]
    by = m.sent[row] + deadline
    unsure = (m.accepted[row] == Accepted.UNKNOWN) | _mutual(m)[row] | (until < by) | (ended < by)
    alone = np.flatnonzero(nobody & wanted)
    every = np.concatenate([row, alone])
    zeros = np.zeros(len(every), dtype=np.int64)
    return {
        "key": m.key[every],
        "operation": m.operation[every],
        "sender": m.sender[every],
        "recipient": m.recipient[every],
        "sent_by": m.worker[every],
        "worker": np.concatenate([sockets.worker[socket], np.full(len(alone), names.code(names.worker, ""))]),
        "socket": np.concatenate([sockets.number[socket], np.full(len(alone), -1)]),
        "intended": m.intended[every],
        "sent": m.sent[every],
        "settled": m.settled[every],
        "arrived": zeros,
        "seen": zeros,
        "fate": np.concatenate([np.where(unsure, _UNKNOWN, _LOST), np.full(len(alone), _OFFLINE)]),
    }


def _mutual(m: _Messages) -> Bools:
    """Return for which messages the recipient sent the same to the sender, and was not refused."""
    both = (m.key, m.key), (m.operation, m.operation), (m.recipient, m.sender), (m.sender, m.recipient)
    groups = _groups(*map(np.concatenate, both))
    at, there = _find(groups[len(m.key) :], groups[: len(m.key)])
    wanted = m.accepted != Accepted.NO
    mutual: Bools = there & (m.sender != m.recipient)
    mutual[mutual] = wanted[at[mutual]]
    return mutual


def _reordered(rows: dict[str, Ints], names: _Names) -> Bools:
    """Return which deliveries were overtaken by a message that was sent only after they were settled."""
    marks = np.zeros(len(rows["fate"]), dtype=bool)
    chat = names.code(names.operation, ORDERED_OPERATION)
    (here,) = np.nonzero((rows["fate"] <= _LATE) & (rows["operation"] == chat))
    if not len(here):
        return marks
    group = _groups(*(rows[c][here] for c in ("sender", "recipient", "worker", "socket")))
    order = np.lexsort([rows["sent"][here], group])
    here, group = here[order], group[order]
    sent, settled, arrived = (rows[c][here] for c in ("sent", "settled", "arrived"))
    # One number for (group, instant), so that a single search finds for each row the first one sent after it
    # settled.
    ticks = _distinct(np.concatenate([sent, settled]))
    after = np.searchsorted(
        group * len(ticks) + np.searchsorted(ticks, sent),
        group * len(ticks) + np.searchsorted(ticks, settled),
        side="right",
    )
    # The earliest arrival from there on within the group: groups ascend, so the minimum from the back stays
    # in one.
    # What one read brought has one stamp, but came in the order in which it was seen.
    turn = _groups(arrived, rows["seen"][here])
    rank = group * len(here) + turn
    earliest = np.append(np.minimum.accumulate(rank[::-1])[::-1], _EVER)
    marks[here] = earliest[after] < rank
    return marks


def _table(rows: dict[str, NDArray[Any]], names: _Names) -> pa.Table:
    words = {
        "key": names.key,
        "operation": names.operation,
        "sender": names.user,
        "recipient": names.user,
        "sent_by": names.worker,
        "worker": names.worker,
        "fate": pa.array([fate.value for fate in _FATES]),
    }
    columns = []
    for f in DELIVERIES:
        values = rows[f.name]
        if f.name not in words:
            columns.append(pa.array(values, type=f.type))
        elif pa.types.is_dictionary(f.type):
            indices = pa.array(values, type=f.type.index_type)
            columns.append(pa.DictionaryArray.from_arrays(indices, words[f.name].cast(pa.string())))
        else:
            columns.append(words[f.name].take(pa.array(values)).cast(f.type))
    return pa.Table.from_arrays(columns, schema=DELIVERIES)
