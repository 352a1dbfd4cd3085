"""Holds what the suite claims of a run against what is known to be true: cells of metric and fault.

A claim is a figure of the run's verdict, or of its tables where a verdict has none. The truth is the target's
own book. A cell is *detected* when the claim is no further from the truth than its tolerance: 0 for a
count, and for a time what the two ends can't agree on, which stand some ten microseconds of loopback and a
turn of an event loop apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np
from msgspec import Struct
from msgspec.structs import astuple

from analysis import stats, verdict
from analysis.fanouts import Times, times
from analysis.figures import OperationFigures
from analysis.frames import Frames, of_kind, succeeded, values
from reports.artefact import Run
from reports.sample import Kind
from scenarios.calibration import (
    CLOCK_STEP_S,
    CONSTANTS_MS,
    ERROR_OPERATION,
    HTTPS,
    OK_OPERATION,
    RESET_OPERATION,
    SLOW_OPERATION,
    SOCKET,
    Case,
    Truth,
)

US, MS, SECOND = 1_000, 1_000_000, 1_000_000_000
WAITED = 0.02
"""Share of the time without a core beyond which a p99 may be that of whoever had it."""

WRITE = 60 * US
"""By so much a write may take longer in one process than in another.

The client writes with what it needs out of the caches, and encrypts: 30 to 36 µs where the echo takes 5.
"""

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


class Cell(Struct, frozen=True):
    """One metric under one fault. `claimed` is null where the run has no such figure."""

    case: str
    fault: str
    metric: str
    unit: str  # "ns", or "" for a count
    true: float
    claimed: float | None
    error: float | None
    tolerance: float
    detected: bool


class Evidence:
    """What there is to judge one case by."""

    def __init__(self, case: Case, run: Run, truth: Truth) -> None:
        self.case, self.run, self.truth = case, run, truth
        self.frames = Frames(run)

    @cached_property
    def verdict(self) -> verdict.Verdict:
        """What the suite says of the run, as it stands in verdict.json."""
        verdict.write(self.run, verdict.judge_frames(self.frames))
        return verdict.read(self.run.path)

    def operation(self, name: str) -> OperationFigures | None:
        """Return the figures of an operation, if it was tried."""
        return next((row for row in self.verdict.operations if row.operation == name), None)

    def time(self, fault: str, metric: str, true: float, claimed: float | None, tolerance: float) -> Cell:
        """Return a cell of a duration, ns."""
        return cell(self.case.name, fault, metric, "ns", true, claimed, tolerance)

    def count(
        self, fault: str, metric: str, true: float, claimed: float | None, tolerance: float = 0
    ) -> Cell:
        """Return a cell of a number of things."""
        return cell(self.case.name, fault, metric, "", true, claimed, tolerance)


def cell(
    case: str, fault: str, metric: str, unit: str, true: float, claimed: float | None, tolerance: float
) -> Cell:
    """Return a cell; it is detected where the claim is within the tolerance of the truth."""
    error = None if claimed is None else claimed - true
    detected = error is not None and abs(error) <= tolerance
    return Cell(case, fault, metric, unit, true, claimed, error, tolerance, detected)


def judge(case: Case, run: Run, truth: Truth) -> list[Cell]:
    """Return the cells of a case."""
    return list(_JUDGES[case.name](Evidence(case, run, truth)))


def disturbed(case: Case, run: Run) -> bool:
    """Tell whether the run says of itself that something else used its machine, and so spoiled its times.

    Of a generator that was made busy that is to be said, and not to be believed.
    """
    judged = verdict.judge(run)
    shared = any(process.cpu_wait > WAITED for process in judged.resources.processes)
    busy = case.drill is not None and case.drill.busy_ms > 0
    return shared or (judged.verdict is verdict.Word.INVALID and not busy)


def _claimed(found: Times | None, name: str) -> int | None:
    quantile = getattr(found, name) if found else None
    return quantile.value if quantile else None


def _true(durations: Sequence[int], name: str) -> int:
    return stats.quantile(np.array(durations, np.int64), QUANTILES[name]) if len(durations) else 0


def _https_delays(evidence: Evidence) -> Iterator[Cell]:
    for name, ms in zip(HTTPS, CONSTANTS_MS, strict=True):
        yield from _service(evidence, name, f"{ms} ms", evidence.truth.took.get(name, []))
    invalid = evidence.verdict.verdict is verdict.Word.INVALID
    yield evidence.count("none", "called invalid", 0, int(invalid))


def _socket_delays(evidence: Evidence) -> Iterator[Cell]:
    for name, ms in zip(SOCKET, CONSTANTS_MS, strict=True):
        yield from _service(evidence, f"wss.{name}", f"{ms} ms", evidence.truth.took.get(f"wss.{name}", []))


def _service(evidence: Evidence, operation: str, fault: str, took: Sequence[int]) -> Iterator[Cell]:
    row = evidence.operation(operation)
    for name, floor, share in (("p50", MS, 0.02), ("p99", 3 * MS, 0.05)):
        true = _true(took, name)
        yield evidence.time(
            fault,
            f"{operation} service {name}",
            true,
            _claimed(row.service if row else None, name),
            floor + share * true,
        )


def _shapes(evidence: Evidence) -> Iterator[Cell]:
    for operation, kind in zip(HTTPS, ("bimodal", "lognormal"), strict=False):
        row = evidence.operation(operation)
        for name in ("p50", "p90", "p95"):
            true = _true(evidence.truth.took.get(operation, []), name)
            claimed = _claimed(row.service if row else None, name)
            yield evidence.time(kind, f"{operation} service {name}", true, claimed, MS + 0.05 * true)


def _stall(evidence: Evidence) -> Iterator[Cell]:
    known = evidence.truth.rule("stall").truth_ns or {}
    row = evidence.operation(OK_OPERATION)
    for name in ("p90", "p95", "p99"):
        yield evidence.time(
            "stall",
            f"{OK_OPERATION} response {name}",
            known[name],
            _claimed(row.response if row else None, name),
            0.05 * known[name],
        )
    yield evidence.count("stall", "starts", _starts(evidence), row.attempts if row else 0)


def _starts(evidence: Evidence) -> int:
    assert evidence.case.drill is not None
    return evidence.case.drill.count(evidence.case.drill.streams[0])


def _messages(evidence: Evidence) -> Iterator[Cell]:
    (row,) = (row for row in evidence.verdict.deliveries if row.operation == "chat.delivered")
    fates = Counter(fate for *_, fate in evidence.truth.pushes)
    lost = fates["dropped"] + fates["misdelivered"]
    yield evidence.count("drop", "messages", _starts(evidence), row.due)
    yield evidence.count("drop, misdeliver", "lost", lost, row.lost)
    yield evidence.count("duplicate", "duplicate", fates["duplicated"], row.duplicate)
    yield evidence.count("reorder", "out of order", fates["reordered"], row.reordered)
    yield evidence.count("misdeliver", "misdelivered", fates["misdelivered"], row.misdelivered)
    yield evidence.count("all of them", "on time", _starts(evidence) - lost, row.on_time)


def _fan_out(evidence: Evidence) -> Iterator[Cell]:
    (row,) = (row for row in evidence.verdict.deliveries if row.operation == "chat.delivered")
    pushes = evidence.truth.pushes
    took = [written - accepted for _, _, accepted, written, _ in pushes]
    last: dict[str, int] = {}
    for (message, *_), each in zip(pushes, took, strict=True):
        last[message] = max(each, last.get(message, 0))
    fault = evidence.case.name
    # What a server has written to its buffers leaves them up to a turn of its loop later.
    for name in ("p50", "p90", "p99"):
        true = _true(took, name)
        claimed = _claimed(row.fanout, name)
        yield evidence.time(fault, f"fan-out {name}", true, claimed, 2 * MS + 0.05 * true)
    true = _true(list(last.values()), "p50")
    claimed = _claimed(row.completion, "p50")
    yield evidence.time(fault, "completion p50", true, claimed, 2 * MS + 0.05 * true)
    yield evidence.count(fault, "deliveries", len(pushes), row.on_time)


def _ping(evidence: Evidence) -> Iterator[Cell]:
    """The k-th ping that was sent is the k-th that the echo took: it takes one after the other.

    From `sent` to the stamp of the answer: that holds `arrived` to the kernel at the other end, ping by ping.
    `sent` itself is held to the receive stamp there. Between the two lies a write, which takes what it takes
    the echo; but the client has just woken up, and the echo has not slept.
    """
    pings = succeeded(of_kind(evidence.frames.steady, Kind.PING)).sort_values("sent")
    known = sorted(evidence.truth.pings, key=lambda ping: ping.written_ns)
    yield evidence.count("all of them", "pings", len(known), len(pings))
    if len(known) != len(pings):
        return
    sent, service = values(pings, "sent"), values(pings, "service")
    delay, received, written, answered = np.array([astuple(ping) for ping in known], np.int64).T
    for us in evidence.case.echo_us:
        these = (delay == us) & (received > 0) & (answered > 0)
        fault, found = f"{us} µs", times(service[these])
        for name in ("p50", "p90"):
            true = _true((answered - sent)[these], name)
            yield evidence.time(fault, f"wss.ping service {name}", true, _claimed(found, name), 0.02 * true)
        true = _true((answered - written)[these], "p50")
        claimed = _true((received - sent)[these], "p50")
        yield evidence.time(fault, "wss.ping sent to received p50", true, claimed, WRITE)


def _failures(evidence: Evidence) -> Iterator[Cell]:
    rule, counted = evidence.truth.rule, evidence.truth.counted
    late = rule("latency").hits
    for operation, fault, kind, hits in (
        (OK_OPERATION, "none", "failed", 0),
        (ERROR_OPERATION, "error", "failed", rule("error").hits),
        (RESET_OPERATION, "reset", "broken", rule("reset").hits),
        (SLOW_OPERATION, "time-out", "timeout", late),
    ):
        row = evidence.operation(operation)
        if row is None:
            yield evidence.count(fault, operation, _starts(evidence), None)
            continue
        answers = counted.get(operation, {})
        ended = row.ok + row.failed + row.timeout + row.broken + row.cancelled
        yield evidence.count(fault, f"{kind}", hits, getattr(row, kind))
        yield evidence.count(fault, "attempts, by the server", sum(answers.values()), row.attempts)
        yield evidence.count(fault, "attempts, by their ends", ended, row.attempts)
        right = answers.get(200, 0) - (late if operation == SLOW_OPERATION else 0)
        yield evidence.count(fault, "times of successes", right, row.response.n)


def _outage(evidence: Evidence) -> Iterator[Cell]:
    drill = next(event for event in evidence.run.events() if event["kind"] == "drill")
    rule, found = evidence.truth.rule("outage"), evidence.verdict.outages
    faults = drill["faults_ns"] - evidence.run.manifest.origin_ns
    begun = found[0].begin if found else None
    began = faults + 1.5 * SECOND
    yield evidence.count("outage", "outages", rule.seen, len(found))
    yield evidence.time("outage", "begin", began, begun, 0.1 * SECOND)
    yield evidence.time(
        "outage",
        "length",
        sum(rule.achieved_ns),
        sum(each.end - each.begin for each in found),
        0.1 * SECOND,
    )
    row = evidence.operation(OK_OPERATION)
    right = evidence.truth.counted.get(OK_OPERATION, {}).get(200, 0)
    # An answer may be on its way when its connection is cut.
    yield evidence.count("outage", "times of successes", right, row.response.n if row else None, 1)
    yield evidence.time(
        "outage",
        "slowest success",
        max(evidence.truth.took[OK_OPERATION]),
        row.response.max if row else None,
        SECOND / 4,
    )


def _clock(evidence: Evidence) -> Iterator[Cell]:
    steps = evidence.run.manifest.clock.steps_ns
    for number, seconds in enumerate((CLOCK_STEP_S, -CLOCK_STEP_S)):
        step = steps[number] if number < len(steps) else None
        yield evidence.time(f"{seconds:+} s", "clock step", seconds * SECOND, step, MS)
    for operation in (OK_OPERATION, "wss.ping"):
        row, took = evidence.operation(operation), evidence.truth.took[operation]
        service = row.service if row else None
        for name in ("p50", "p90"):
            true = _true(took, name)
            yield evidence.time(
                "±120 s", f"{operation} service {name}", true, _claimed(service, name), 2 * MS + 0.05 * true
            )
        slowest = service.max if service else None
        yield evidence.time("±120 s", f"{operation} service max", max(took), slowest, SECOND / 4)


def _saturated(evidence: Evidence) -> Iterator[Cell]:
    invalid = evidence.verdict.verdict is verdict.Word.INVALID
    yield evidence.count("generator busy", "called invalid", 1, int(invalid))
    yield from _ping(evidence)  # service times are right all the same


def _killed(evidence: Evidence) -> Iterator[Cell]:
    manifest, judged = evidence.run.manifest, evidence.verdict
    stated = manifest.status == "partial" and judged.partial and "killed" in " ".join(judged.sentences)
    assert evidence.case.drill is not None
    rate = evidence.case.drill.streams[0].per_s
    yield evidence.count("generator killed", "said to be partial", 1, int(stated))
    kept = len(of_kind(evidence.frames.samples, Kind.REQUEST))
    answered = sum(evidence.truth.counted.get(OK_OPERATION, {}).values())
    # What was not on disk yet: the last second, and the time that writing it took.
    yield evidence.count("generator killed", "attempts kept", answered, kept, 1.2 * rate)
    yield evidence.count("generator killed", "passed", 0, int(judged.exit_code == 0))


_JUDGES: dict[str, Callable[[Evidence], Iterator[Cell]]] = {
    "https-delays": _https_delays,
    "socket-delays": _socket_delays,
    "shapes": _shapes,
    "stall": _stall,
    "messages": _messages,
    "fan-out": _fan_out,
    "burst": _fan_out,
    "ping": _ping,
    "failures": _failures,
    "outage": _outage,
    "clock": _clock,
    "saturated": _saturated,
    "killed": _killed,
}


def table(cells: Sequence[Cell]) -> list[str]:
    """Return the kill matrix as lines of text."""
    head = ("case", "fault", "metric", "true", "claimed", "error", "tolerance", "detected")
    rows = [
        (
            each.case,
            each.fault,
            each.metric,
            *(_shown(value, each.unit) for value in (each.true, each.claimed, each.error, each.tolerance)),
            "yes" if each.detected else "NO",
        )
        for each in cells
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    left = (True, True, True, False, False, False, False, True)
    return [
        "  ".join(
            word.ljust(width) if to_left else word.rjust(width)
            for word, width, to_left in zip(row, widths, left, strict=True)
        ).rstrip()
        for row in (head, *rows)
    ]


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return "none"
    return f"{value / MS:,.3f} ms" if unit == "ns" else f"{value:,.0f}"
