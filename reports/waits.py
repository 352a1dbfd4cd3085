"""Who was told that a message has reached somebody who was away: made after the run, from all workers. Pure.

A message that its recipient was not there to get is stored; once they authenticate, the target tells its
sender. The two may be in different workers, so that each writes down what it saw (`WAITS`), and the rules
are applied here to what all of them saw:

1. What tells the sender is the first coming of the recipient that was answered after the message was sent.
2. Nothing is due where nobody can say: when that coming had no answer, or was over again before the
   message's own answer came, because the message may have been stored before or after.
3. Nothing is due for a message that was withdrawn before that coming was answered.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from reports.sample import Accepted, Wait

OPERATION = "presence.delivered"


def told(waits: pa.Table) -> list[dict[str, Any]]:
    """Return rows of `SENDS`, each with its `worker`: what each coming owed the senders.

    `waits` holds the rows of all workers, in any order, each with a further column `worker`.
    """
    comings: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    goings: defaultdict[str, list[int]] = defaultdict(list)
    withdrawn: dict[str, int] = {}
    stored: list[Mapping[str, Any]] = []
    for row in sorted(waits.to_pylist(), key=lambda row: (row["ended"], row["began"], row["what"])):
        match row["what"]:
            case Wait.STORED:
                stored.append(row)
            case Wait.CAME | Wait.PERHAPS:
                comings[row["user"]].append(row)
            case Wait.WENT:
                goings[row["user"]].append(row["ended"])
            case Wait.WITHDRAWN:
                withdrawn.setdefault(row["message"], row["ended"])
    sends = []
    for message in stored:
        coming = _next(comings[message["user"]], message["began"])
        if coming is None or coming["what"] == Wait.PERHAPS:
            continue
        gone = _after(goings[message["user"]], coming["ended"])
        if gone is not None and gone <= message["ended"]:
            continue
        if withdrawn.get(message["message"], coming["ended"] + 1) <= coming["ended"]:
            continue
        sends.append(
            {
                "key": f"delivered:{message['message']}",
                "operation": OPERATION,
                "sender": message["user"],
                "recipient": message["sender"],
                "accepted": int(Accepted.YES),
                "intended": coming["began"],
                "sent": coming["began"],
                "settled": coming["ended"],
                "besides": -1,
                "worker": coming["worker"],
            }
        )
    return sends


def _next(comings: list[Mapping[str, Any]], after: int) -> Mapping[str, Any] | None:
    at = bisect_right(comings, after, key=lambda row: int(row["ended"]))
    return comings[at] if at < len(comings) else None


def _after(instants: list[int], at: int) -> int | None:
    found = bisect_right(instants, at)
    return instants[found] if found < len(instants) else None
