"""Writes down what happened: a row in memory on the hot path, to disk once a second.

Nobody waits for the disk and nothing is aggregated away: every attempt is a row of `reports.sample`, and
what Locust's own table shows is fed from here, in bulk, with three significant digits. A row that can't be
written is counted and makes the run invalid; it is never silently dropped.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Any, NamedTuple, TypeVar

import numpy as np

from loadtests.statement import Window
from reports.parts import PartWriter
from reports.sample import PARTS, RESOURCES, Accepted, Kind, Outcome, Wait

WINDOW_S = 10
_ARRIVAL = len(PARTS["arrivals"])  # columns
_LOOKED_AT = 2_000  # rows of a second whose lags are looked at: enough for a p99, and never a pause of ours

Row = TypeVar("Row")
Group = str
GROUPS = {Kind.REQUEST: "https", Kind.SOCKET: "wss", Kind.PING: "ping", Kind.CONNECT: "connect"}
"""How the live view sums operations up; deliveries are a group of their own."""


class Second(NamedTuple):
    """What one second brought: rows of `reports.sample.SAMPLES`, and deliveries as (operation, ns)."""

    samples: list[tuple[Any, ...]]
    deliveries: list[tuple[str, int]]


class Recorder:
    """The one place through which a worker's rows pass. Not thread-safe: greenlets only."""

    def __init__(self, writer: PartWriter) -> None:
        self._writer = writer
        self._rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in PARTS}
        # One row after the other in one list, because a fan-out brings more of them than of anything else,
        # and each tuple that stays would be work for the garbage collector.
        self._arrivals: list[Any] = []
        self.counts: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self._window: deque[dict[Group, np.ndarray]] = deque(maxlen=WINDOW_S)
        self._delivered: list[tuple[str, int]] = []

    def sample(
        self,
        kind: Kind,
        operation: str,
        *,
        journey: str,
        user: int,
        intended: int,
        sent: int,
        arrived: int,
        seen: int,
        first: int = 0,
        outcome: Outcome = Outcome.OK,
        status: int = 0,
        size: int = 0,
        error: str = "",
    ) -> None:
        """Add one attempt. Instants in ns, `size` in bytes; see `reports.sample`."""
        instants = intended, sent, first, arrived, seen
        self._rows["samples"].append(
            (kind, operation, journey, outcome, user, *instants, status, size, error)
        )

    def send(
        self,
        key: str,
        operation: str,
        *,
        sender: str,
        recipient: str,
        accepted: Accepted,
        intended: int,
        sent: int,
        settled: int,
        besides: int,
    ) -> None:
        """Add one message and one recipient whom it is for."""
        row = (key, operation, sender, recipient, accepted, intended, sent, settled, besides)
        self._rows["sends"].append(row)

    def arrival(self, key: str, operation: str, recipient: str, socket: int, arrived: int, seen: int) -> None:
        """Add one pushed frame that carried something of ours."""
        self._arrivals += (key, operation, recipient, socket, arrived, seen)

    def delivered(self, operation: str, took: int) -> None:
        """Count a delivery whose sending we saw, for the live view: `took` ns from sent to arrived."""
        self._delivered.append((operation, took))

    def presence(self, user: str, socket: int, *, online: bool, at: int) -> None:
        """Add a socket's coming online or going offline."""
        self._rows["presence"].append((user, socket, online, at))

    def wait(
        self, what: Wait, *, user: str, message: str = "", sender: str = "", began: int, ended: int
    ) -> None:
        """Add a message that was stored for somebody who was away, or somebody's coming or going."""
        self._rows["waits"].append((what, message, sender, user, began, ended))

    def resources(self, **row: Any) -> None:
        """Add one row of `reports.sample.RESOURCES`; a column that is not given is 0."""
        self._rows["resources"].append(tuple(row.get(name, 0) for name in RESOURCES.names))

    def wakeup(self, due: int, woken: int) -> None:
        """Add one wake-up of the probe in our event loop."""
        self._rows["wakeups"].append((due, woken))

    def exchange(self, at: int, offset: int, round_trip: int) -> None:
        """Add an exchange with the run's clock."""
        self._rows["exchanges"].append((at, offset, round_trip))

    def lags(self) -> tuple[list[int], list[int], list[int]]:
        """Return loop, send and read lags, in ns, of what the next flush will write, or of a part of it.

        A send counts where it had a time of its own: else it was sent as soon as it was thought of.
        """
        samples, arrivals = _some(self._rows["samples"]), self._arrivals
        arrived, seen = _some(arrivals[4::_ARRIVAL]), _some(arrivals[5::_ARRIVAL])
        send = [row[6] - row[5] for row in samples if row[6] > row[5]]
        read = [row[9] - row[8] for row in samples] + list(map(int.__sub__, seen, arrived))
        return [woken - due for due, woken in self._rows["wakeups"]], send, read

    def flush(self) -> Second:
        """Write all rows to disk, fold the last second into the live figures, and return it."""
        second = Second(self._rows["samples"], self._delivered)
        self._delivered = []
        self._fold(second)
        for name, rows in self._rows.items():
            if rows:
                self._write(name, list(map(list, zip(*rows, strict=True))))
                self._rows[name] = []
        if arrivals := self._arrivals:
            self._write("arrivals", [arrivals[at::_ARRIVAL] for at in range(_ARRIVAL)])
            self._arrivals = []
        return second

    def _write(self, table: str, columns: list[list[Any]]) -> None:
        self._writer.append(table, dict(zip(PARTS[table].names, columns, strict=True)))
        self.counts[table] += len(columns[0])

    def _fold(self, second: Second) -> None:
        took: dict[Group, list[int]] = {group: [] for group in (*GROUPS.values(), "deliveries")}
        for kind, _, _, outcome, _, intended, _, _, arrived, *_ in second.samples:
            group = GROUPS.get(kind)
            if group is None:
                continue
            self.counts[group] += 1
            if outcome == Outcome.OK:
                took[group].append(arrived - intended)
            elif outcome != Outcome.CANCELLED:
                self.failures[group] += 1
        took["deliveries"] = [duration for _, duration in second.deliveries]
        self.counts["deliveries"] += len(self._rows["arrivals"])
        self._window.append({group: np.array(values, np.int64) for group, values in took.items()})

    def windows(self) -> dict[Group, Window]:
        """Return the response times of the last ten seconds by group.

        Of deliveries those whose sending this worker saw: of the others it knows no begin.
        """
        groups = (*GROUPS.values(), "deliveries")
        return {group: Window.of([each[group] for each in self._window]) for group in groups}

    @property
    def troubles(self) -> list[str]:
        """Return why rows could not be written, oldest first."""
        return self._writer.errors


def _some(rows: list[Row]) -> list[Row]:
    return rows[:: 1 + len(rows) // _LOOKED_AT]
