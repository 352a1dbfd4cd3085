"""What of the contract a run exercised: each operation, and each action asked for or pushed."""

from __future__ import annotations

from collections import Counter

from msgspec import Struct

from analysis.frames import Frames, succeeded
from talkamie.contract import ACTIONS, OPERATIONS

PUSHES = {
    "chat.delivered": "new-message",
    "alert.delivered": "alert",
    "receipt.delivered": "update-messages",
    "presence.delivered": "update-chats",
    "signal.delivered": "signal",
}
"""The action that brings each kind of delivery; that of a call is the last part of its key."""


class Covered(Struct, frozen=True):
    """One operation or action of the contract: how often it was tried, and how often that worked.

    A push has no attempts; it worked each time that it arrived.
    """

    name: str
    tried: int
    worked: int


class Coverage(Struct, frozen=True):
    """What of the contract a run exercised, each row at least once with success."""

    rows: list[Covered]
    operations_done: int
    operations_total: int
    actions_done: int
    actions_total: int
    share: float

    @property
    def failed(self) -> list[str]:
        """What was tried, and never worked."""
        return [row.name for row in self.rows if row.tried and not row.worked]

    @property
    def never(self) -> list[str]:
        """What was not tried."""
        return [row.name for row in self.rows if not row.tried and not row.worked]

    @property
    def exercised(self) -> list[str]:
        """What worked."""
        return [row.name for row in self.rows if row.worked]


def coverage(frames: Frames) -> Coverage:
    """Return what of the contract the run exercised, warm-up included."""
    arrived = frames.ledger.among("came", True)
    of_calls = arrived.among("operation", "call.delivered").texts("key")
    pushes = Counter(f"wss.{key.rsplit(':', 1)[-1]}" for key in of_calls)
    for name, count in arrived.counts("operation").items():
        if name in PUSHES:
            pushes[f"wss.{PUSHES[name]}"] += count
    tried = Counter(frames.attempts.counts("operation"))
    worked = Counter(succeeded(frames.attempts).counts("operation"))
    worked += Counter({name: count for name, count in pushes.items() if name not in tried})
    rows = [Covered(name, tried[name], worked[name]) for name in (*OPERATIONS, *contract_actions())]
    done = [row for row in rows if row.worked]
    operations = sum(row.name in OPERATIONS for row in done)
    return Coverage(
        rows=rows,
        operations_done=operations,
        operations_total=len(OPERATIONS),
        actions_done=len(done) - operations,
        actions_total=len(rows) - len(OPERATIONS),
        share=len(done) / len(rows),
    )


def contract_actions() -> list[str]:
    """Return the names of all wss actions, asked for or pushed; an old name of another counts once."""
    return [f"wss.{row.name}" for row in ACTIONS.values() if not row.alias_of]
