"""What people and messages met with in a run, as data: the operations, the deliveries and the totals.

Durations are ns, shares are fractions of 1, rates are per second. A quantile that has too few samples
is null. What is judged and what the tables show is the time after the warm-up; the fates of messages
and the totals are over the whole run. All of it stands in verdict.json, beside `analysis.instrument` and
`analysis.coverage`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from analysis import stats
from analysis.columns import Rows
from analysis.fanouts import SizeFigures, Times, by_size, completed, times
from analysis.frames import Frames, ended, measured_from, of_kind, succeeded, values
from analysis.stats import Share
from reports.sample import Fate, Kind, Outcome

if TYPE_CHECKING:
    pass

GROUPS = {
    Kind.REQUEST: "https",
    Kind.SOCKET: "wss",
    Kind.PING: "ping",
    Kind.CONNECT: "connect",
    Kind.PHASE: "phases",
    Kind.NOTICE: "notices",
    Kind.STEP: "steps",
}
ANSWERED = (Kind.REQUEST, Kind.SOCKET, Kind.PING, Kind.CONNECT)
"""What has an answer, and so a time."""

ATTEMPTS = (*ANSWERED, Kind.NOTICE)
"""What counts as an attempt. A step is made of these, a phase is a part of one: they would count twice."""

FAILURES = (Outcome.FAILED, Outcome.TIMEOUT, Outcome.BROKEN)
BAD = (Fate.LOST, Fate.DUPLICATE, Fate.MISDELIVERED, Fate.LATE)
BAD_SHOWN = 20


class OperationFigures(Struct, frozen=True):
    operation: str
    group: str
    attempts: int
    ok: int
    failed: int
    timeout: int
    broken: int
    cancelled: int
    rate: float  # successes per second
    errors: Share | None
    response: Times
    service: Times
    first: Times  # time to first byte, of https operations


class DeliveryFigures(Struct, frozen=True):
    """Fates over the whole run; times and fan-outs after the warm-up.

    `fanout` is arrived - sent, per recipient; `completion` is that of the last recipient, once for each
    fan-out (see `analysis.fanouts`). Where each fan-out is one delivery the two are the same.
    """

    operation: str
    rows: int
    due: int  # on time + late + lost: those that somebody was waiting for
    on_time: int
    late: int
    lost: int
    duplicate: int
    misdelivered: int
    reordered: int
    offline: int
    unknown: int
    fanout: Times
    response: Times  # arrived - intended: with our own lateness in sending
    fanouts: int
    incomplete: int  # fan-outs with a socket that never had it
    largest: int  # sockets that one fan-out was due on, 0 where there was none
    completion: Times


class BadDelivery(Struct, frozen=True):
    key: str
    operation: str
    fate: str
    sender: str
    recipient: str
    after: int | None  # ns from the origin to the send, or to the arrival of what nobody sent


class Totals(Struct, frozen=True):
    duration: int
    measured: int
    users: int
    attempts: int
    requests: int
    socket_requests: int
    pings: int
    connects: int
    successes: int
    failures: int
    cancelled: int
    request_rate: float  # https and wss successes per second, measured
    delivery_rate: float
    deliveries: int  # arrived once, on time or late
    due: int
    lost: int
    late: int
    duplicate: int
    misdelivered: int
    reordered: int
    offline: int
    unknown: int
    errors: Share | None  # measured
    errors_by_class: dict[str, int]


def operations(frames: Frames) -> list[OperationFigures]:
    """Return one row per operation that was tried after the warm-up, by kind and name."""
    span = measured(frames)
    # One column after the other, because all of them at once are too large.
    timed = succeeded(of_kind(frames.judged, *(kind for kind in GROUPS if kind is not Kind.NOTICE)))
    answered = timed.among("answered", True)
    response, service, first = (
        {(kind, name): times(values(rows, column)) for kind, name, rows in _by_operation(some)}
        for some, column in ((timed, "response"), (timed, "service"), (answered, "first_byte"))
    )
    found = []
    for kind, name, rows in _by_operation(frames.judged):
        ended_as, key = _outcomes(rows), (kind, name)
        found.append(
            OperationFigures(
                operation=name,
                group=GROUPS[kind],
                attempts=len(rows),
                ok=ended_as[Outcome.OK],
                failed=ended_as[Outcome.FAILED],
                timeout=ended_as[Outcome.TIMEOUT],
                broken=ended_as[Outcome.BROKEN],
                cancelled=ended_as[Outcome.CANCELLED],
                rate=stats.per_second(ended_as[Outcome.OK], span),
                errors=errors(rows),
                response=response.get(key, Times(0)),
                service=service.get(key, Times(0)),
                first=first.get(key, Times(0)),
            )
        )
    return found


def _by_operation(rows: Rows) -> Iterator[tuple[Kind, str, Rows]]:
    for kind in GROUPS:
        of_this = of_kind(rows, kind)
        for name in of_this.counts("operation"):
            yield kind, name, of_this.among("operation", name)


def _outcomes(rows: Rows) -> list[int]:
    """Return how many attempts ended so, by the number of the outcome."""
    return [int(n) for n in np.bincount(rows.values("outcome"), minlength=len(Outcome))]


def errors(rows: Rows) -> Share | None:
    """Return the share of attempts that did not succeed. Those that we gave up ourselves are neither."""
    ended_as = _outcomes(rows)
    failures = sum(ended_as[outcome] for outcome in FAILURES)
    return stats.share(failures, sum(ended_as) - ended_as[Outcome.CANCELLED])


def deliveries(frames: Frames) -> list[DeliveryFigures]:
    """Return one row per kind of delivery."""
    found, every = [], frames.fanouts
    for name in frames.ledger.counts("operation"):
        rows = frames.ledger.among("operation", name)
        fate = rows.counts("fate")
        count = {each: fate.get(each.value, 0) for each in Fate}
        arrived = frames.timely.among("operation", name)
        fanouts = every[every["operation"] == name]
        found.append(
            DeliveryFigures(
                operation=name,
                rows=len(rows),
                due=count[Fate.ON_TIME] + count[Fate.LATE] + count[Fate.LOST],
                on_time=count[Fate.ON_TIME],
                late=count[Fate.LATE],
                lost=count[Fate.LOST],
                duplicate=count[Fate.DUPLICATE],
                misdelivered=count[Fate.MISDELIVERED],
                reordered=int(rows.values("reordered").sum()),
                offline=count[Fate.OFFLINE],
                unknown=count[Fate.UNKNOWN],
                fanout=times(values(arrived, "service")),
                response=times(values(arrived, "response")),
                fanouts=len(fanouts),
                incomplete=int((fanouts["lost"] > 0).sum()),
                largest=int(fanouts["size"].max()) if len(fanouts) else 0,
                completion=times(completed(fanouts)),
            )
        )
    return sorted(found, key=lambda each: (-each.rows, each.operation))


def sizes(frames: Frames) -> list[SizeFigures]:
    """Return the latency per recipient and the completion by size, of each kind that had several sizes."""
    fanouts, found = frames.fanouts, []
    for name in sorted(frames.ledger.counts("operation")):
        own = fanouts[fanouts["operation"] == name]
        if own["size"].nunique() > 1:
            latencies = frames.timely.among("operation", name)
            found += by_size(own, latencies.frame("operation", "sender", "sent", "service"))
    return found


def bad_deliveries(frames: Frames) -> list[BadDelivery]:
    """Return the first of those that went wrong, the worst fates first, so that they can be looked up."""
    worst = {fate.value: number for number, fate in enumerate(BAD)}
    every = frames.ledger
    marked = every.among("fate", *worst).mask | every.among("reordered", True).mask
    rows_ = every.where(marked)
    bad = rows_.frame("operation", "fate", "sender", "sent", "arrived")
    bad = bad.assign(key=rows_.texts("key"), recipient=rows_.texts("recipient"))
    begun = bad["sent"].where(bad["sent"] > 0, bad["arrived"])
    bad = bad.assign(severity=bad["fate"].astype(object).map(worst).fillna(len(worst)), begun=begun)
    rows = bad.sort_values(["severity", "begun", "key"], kind="stable").head(BAD_SHOWN).to_dict("records")
    return [
        BadDelivery(
            key=str(row["key"]),
            operation=str(row["operation"]),
            fate=str(row["fate"]) if row["fate"] in worst else "out of order",
            sender=str(row["sender"]),
            recipient=str(row["recipient"]),
            after=int(row["begun"]) - frames.manifest.origin_ns if row["begun"] else None,
        )
        for row in rows
    ]


def totals(frames: Frames, ledger: list[DeliveryFigures]) -> Totals:
    """Return what the whole run amounted to."""
    everything = of_kind(frames.attempts, *ATTEMPTS)
    steady = of_kind(frames.judged, *ATTEMPTS)
    kinds = np.bincount(everything.values("kind"), minlength=len(Kind))
    ended_as = _outcomes(everything)
    failed = everything.among("outcome", *(int(outcome) for outcome in FAILURES))
    return Totals(
        duration=max(0, ended(frames) - frames.manifest.origin_ns),
        measured=measured(frames),
        users=frames.manifest.users,
        attempts=len(everything),
        requests=int(kinds[Kind.REQUEST]),
        socket_requests=int(kinds[Kind.SOCKET]),
        pings=int(kinds[Kind.PING]),
        connects=int(kinds[Kind.CONNECT]),
        successes=ended_as[Outcome.OK],
        failures=len(failed),
        cancelled=ended_as[Outcome.CANCELLED],
        request_rate=stats.per_second(
            len(succeeded(of_kind(steady, Kind.REQUEST, Kind.SOCKET))), measured(frames)
        ),
        delivery_rate=stats.per_second(len(frames.timely), measured(frames)),
        deliveries=sum(row.on_time + row.late for row in ledger),
        due=sum(row.due for row in ledger),
        **{name: sum(getattr(row, name) for row in ledger) for name in _FATES},
        errors=errors(steady),
        errors_by_class={name or "unnamed": count for name, count in failed.counts("error").items()},
    )


_FATES = ("lost", "late", "duplicate", "misdelivered", "reordered", "offline", "unknown")


def measured(frames: Frames) -> int:
    """Return how long was measured, in ns."""
    return max(0, ended(frames) - measured_from(frames.manifest))
