"""The delivery ledger: every push the server owed somebody, and what became of it.

One row per push and socket; a recipient without a socket has one row with the fate `offline`. The answer to
a request is no push and has no row. A row is (`ids`, `action`, `recipient`, `socket`, `accepted_ns`,
`written_ns`, `fate`, `crossed_ns`): `ids` are the messages or the alert in the frame, joined by commas;
`socket` counts connections from 1, 0 for none; both instants are monotonic; `crossed_ns` is how long the push
was on its way from another process of the server, 0 where it began in the one with the socket. Of a user who
had sockets in other processes a row with `offline` says that in one of them there was none left.

Rows are kept as JSON text, about 140 bytes each, because they are written often, read once, and 2,000,000
tuples would be 700 MB. When the ledger is full, rows are dropped and counted.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

import msgspec

COLUMNS = ("ids", "action", "recipient", "socket", "accepted_ns", "written_ns", "fate", "crossed_ns")
CAPACITY = 2_000_000
PAGE = 100_000
_CHUNK = 10_000


class Fate(StrEnum):
    SENT = "sent"
    OFFLINE = "offline"
    EVICTED = "evicted"
    LOST = "lost"  # not written: the bus to another process was full
    # What only a fault plan brings about.
    DROPPED = "dropped"  # never written
    DUPLICATED = "duplicated"  # written twice
    REORDERED = "reordered"  # written after one that was pushed later
    MISDELIVERED = "misdelivered"  # written to `socket`, which is another user's


class Ledger:
    """An append-only, bounded list of deliveries."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self._encode = msgspec.json.Encoder().encode
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.total = 0
        self.dropped = 0
        self.crossed = 0  # rows of pushes that came from another process
        self._chunks: list[bytearray] = []
        self._counts: Counter[tuple[str, Fate]] = Counter()

    def add(
        self,
        ids: str,
        action: str,
        recipient: str,
        *,
        socket: int,
        accepted: int,
        written: int,
        fate: Fate,
        crossed: int = 0,
    ) -> None:
        """Append one row, or count it as dropped when there is no room. The summary counts both."""
        self._counts[action, fate] += 1
        self.crossed += crossed > 0
        if self.total >= self.capacity:
            self.dropped += 1
            return
        if self.total % _CHUNK == 0:
            self._chunks.append(bytearray())
        chunk = self._chunks[-1]
        if chunk:
            chunk += b"\n"
        chunk += self._encode((ids, action, recipient, socket, accepted, written, fate, crossed))
        self.total += 1

    def rows(self, since: int, limit: int = PAGE) -> bytes:
        """Return rows `since` … `since + limit` as JSON: {columns, since, rows, total, dropped}."""
        since = min(max(since, 0), self.total)
        until = min(since + limit, self.total)
        lines: list[bytes] = []
        for number in range(since // _CHUNK, -(-until // _CHUNK)):
            chunk = bytes(self._chunks[number]).split(b"\n")
            lines += chunk[max(since - number * _CHUNK, 0) : until - number * _CHUNK]
        head = self._encode(
            {"columns": COLUMNS, "since": since, "total": self.total, "dropped": self.dropped}
        )
        return head[:-1] + b',"rows":[' + b",".join(lines) + b"]}"

    def summary(self) -> dict[str, dict[str, int]]:
        """Return how many pushes of each action met each fate, dropped rows included."""
        table: dict[str, dict[str, int]] = {}
        for (action, fate), count in sorted(self._counts.items()):
            table.setdefault(action, {})[fate.value] = count
        return table
