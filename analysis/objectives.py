"""Judges the objectives of a scenario with their uncertainty: met, missed, or not shown.

Met when the whole interval of the figure is within the limit, missed when none of it is, and otherwise
not shown: the run was too short to tell. Counts are known exactly. Without data nothing is ever met.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from enum import StrEnum
from math import ceil, log
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from msgspec import Struct

from analysis import coverage, figures, stats
from analysis.columns import Rows
from analysis.coverage import PUSHES, contract_actions
from analysis.fanouts import complete
from analysis.figures import ATTEMPTS, GROUPS, Totals
from analysis.formats import fmt_count, fmt_ms, fmt_share, fmt_span
from analysis.frames import Frames, of_kind, succeeded, values
from reports.sample import Outcome
from scenarios.slo import COUNTS, COVERAGE, QUANTILES, RELATIONS, SUCCESS, TOTALS, Slo, SloError, parse_slo
from talkamie.contract import OPERATIONS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reports.manifest import Manifest

WINDOWS = 10
"""Long enough, in a run of a minute, to be independent of each other."""

DELIVERED = (*PUSHES, "call.delivered")
COMPLETED = {name.replace(".delivered", ".completed"): name for name in DELIVERED}
"""What an objective calls the completion of a fan-out: when its last recipient had it."""


CONNECTS = ("https.connect", "wss.connect")


class State(StrEnum):
    MET = "met"
    MISSED = "missed"
    NOT_SHOWN = "not shown"
    UNKNOWN = "unknown metric"


class Objective(Struct, frozen=True):
    """One SLO with its figure, in ns, a fraction or a number as `unit` says (ms, share, count)."""

    slo: str
    limit: str
    state: State
    unit: str
    figure: float | None
    low: float | None
    high: float | None
    n: int
    more: int | None  # how many more samples would decide it
    reason: str  # why it is not shown, or what is wrong with it

    @property
    def sentence(self) -> str:
        """What was found, with its limit."""
        if self.state is State.UNKNOWN:
            return f"{self.slo}: {self.reason}"
        write = {"ms": fmt_ms, "share": fmt_share, "count": fmt_count}[self.unit]
        exact = self.low is None or self.low == self.high
        interval = "" if exact else f" (95 % interval {write(self.low)} to {write(self.high)})"
        found = f"{self.slo} is {write(self.figure)}{interval}" if self.figure is not None else self.slo
        reason = f", {self.reason}" if self.reason else ""
        return f"{found}; the objective is {self.limit}: {self.state.value}{reason}"


def judge(frames: Frames, totals: Totals) -> list[Objective]:
    """Return one result per line of the scenario's `[slo]` table."""
    config = frames.manifest.scenario.config
    table = dict(config.get("slo") or {})
    known = known_metrics(frames)
    lines = [_judge_line(str(key), str(limit), frames, totals, known) for key, limit in table.items()]
    least = float(dict(config.get("abort") or {}).get("success_below", 0))
    return [_judge_success(least, frames.manifest), *lines] if least else lines


def _judge_success(least: float, manifest: Manifest) -> Objective:
    """Judge that the run was not ended early, because fewer attempts than `least` succeeded for too long."""
    limit = f">= {fmt_share(least)}"
    if (found := manifest.aborted) is None:
        return Objective(SUCCESS, limit, State.MET, "share", None, None, None, 0, None, "never less for long")
    share, lasted = found.succeeded / found.attempts, fmt_span(found.at_ns - found.since_ns)
    reason = (
        f"{fmt_count(found.succeeded)} of {fmt_count(found.attempts)} attempts succeeded in the last"
        f" {lasted}, and the run was ended {fmt_span(found.at_ns - manifest.origin_ns)} after its begin"
    )
    return Objective(SUCCESS, limit, State.MISSED, "share", share, share, share, found.attempts, None, reason)


def _judge_coverage(slo: Slo, frames: Frames) -> Objective:
    """Judge the share of the contract that the run exercised; an interrupted run can't miss it."""
    found = coverage.coverage(frames)
    state = State.MET if slo.holds(found.share) else State.MISSED
    if state is State.MISSED and frames.manifest.status != "complete":
        state = State.NOT_SHOWN
    left = [*found.failed, *found.never]
    reason = f"not exercised: {', '.join(left[:5])}{' …' if len(left) > 5 else ''}" if left else ""
    share = found.share
    return _objective(slo, "share", state, share, share, share, n=len(found.rows), reason=reason)


def known_metrics(frames: Frames) -> list[str]:
    """Return every name that an objective of this run may have: the contract's, and what was recorded."""
    recorded = {name for rows in (frames.attempts, frames.ledger) for name in rows.counts("operation")}
    return sorted(
        {*OPERATIONS, *contract_actions(), *CONNECTS, *GROUPS.values(), *DELIVERED, *COMPLETED, *recorded}
    )


def _judge_line(key: str, limit: str, frames: Frames, totals: Totals, known: Iterable[str]) -> Objective:
    try:
        slo = parse_slo(key, limit)
        if slo.statistic != "count" and slo.operation and slo.operation not in known:
            near = get_close_matches(slo.operation, list(known), n=1, cutoff=0.3)
            hint = f"; the nearest known one is {near[0]!r}" if near else ""
            raise SloError(f"no metric is named {slo.operation!r}{hint}")
    except SloError as error:
        return Objective(key, limit, State.UNKNOWN, "count", None, None, None, 0, None, str(error))
    if slo.statistic == COVERAGE:
        return _judge_coverage(slo, frames)
    if slo.phase:
        frames = frames.within(slo.phase)
        totals = figures.totals(frames, figures.deliveries(frames))
    if slo.statistic == "count":
        return _judge_count(slo, frames, totals)
    if slo.statistic == "errors":
        return _judge_errors(slo, frames)
    return _judge_quantile(slo, frames)


def _judge_quantile(slo: Slo, frames: Frames) -> Objective:
    """Judge a quantile by how many went beyond its limit: p99 < 250 ms says that at most 1 % took 250 ms.

    That share has an interval however few there are, so that an objective far from its limit needs a third
    of the samples that showing the quantile itself takes. What goes beyond comes in bursts: the interval is
    that of the spread between windows of time.
    """
    durations = timed(frames, slo.operation)
    q, n = QUANTILES[slo.statistic], len(durations)
    over = stats.exceedance(*exceeding(frames, slo))
    if over is None:
        return _objective(slo, "ms", State.NOT_SHOWN, reason="there is no data", more=_least(q))
    allowed = 1 - q
    state = State.MET if over.high <= allowed else State.MISSED if over.low > allowed else State.NOT_SHOWN
    found = stats.quantiles(durations, [q])[0]
    more, reason = None, "" if found else f"{fmt_count(over.count)} of {fmt_count(n)} are beyond it"
    if state is State.NOT_SHOWN and n < _least(q):
        more = _least(q) - n
        reason = f"it has {fmt_count(n)} of the {fmt_count(_least(q))} samples that it needs"
    elif state is State.NOT_SHOWN:
        more, reason = _undecided(n, over.value, allowed)
    figures_ = (found.value, found.low, found.high) if found else (None, None, None)
    return _objective(slo, "ms", state, *figures_, n=n, more=more, reason=reason)


def exceeding(frames: Frames, slo: Slo) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many were beyond the limit of a quantile, or failed, and how many there were, by window."""
    if slo.statistic == "errors":
        attempts = _rows(frames, slo.operation) if slo.operation else of_kind(frames.judged, *ATTEMPTS)
        how, intended = values(attempts, "outcome"), values(attempts, "intended")
        ended = how != Outcome.CANCELLED
        return _windows(np.isin(how[ended], [int(each) for each in figures.FAILURES]), intended[ended])
    rows, column = _timed_rows(frames, slo.operation)
    beyond = ~RELATIONS[slo.relation](values(rows, column), slo.limit)
    return _windows(beyond, values(rows, "intended"))


def _least(q: float) -> int:
    """Return how many samples it takes to show a quantile below a limit that none of them reaches."""
    return ceil(log((1 - stats.CONFIDENCE) / 2) / log(q))


def timed(frames: Frames, operation: str) -> NDArray[np.int64]:
    """Return what is timed under a name: fan-out latency, fan-out completion, else the response time."""
    return values(*_timed_rows(frames, operation))


def _timed_rows(frames: Frames, operation: str) -> tuple[pd.DataFrame | Rows, str]:
    if operation in COMPLETED:
        fanouts = frames.fanouts
        done = complete(fanouts[fanouts["operation"] == COMPLETED[operation]])
        return done.assign(intended=done["sent"]), "completion"
    if operation in DELIVERED or operation in frames.ledger.counts("operation"):
        return frames.timely.among("operation", operation), "service"
    return succeeded(_rows(frames, operation)), "response"


def _windows(
    beyond: NDArray[np.bool_], intended: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many are beyond a limit, and how many there are, in each of ten stretches of time."""
    begin, span = (intended.min(), np.ptp(intended) + 1) if len(intended) else (0, 1)
    window = (intended - begin) * WINDOWS // span
    counts = np.bincount(window[beyond], minlength=WINDOWS)
    return counts, np.bincount(window, minlength=WINDOWS)


def _rows(frames: Frames, operation: str) -> Rows:
    for kind, group in GROUPS.items():
        if operation == group:
            return of_kind(frames.judged, kind)
    return frames.judged.among("operation", operation)


def _judge_errors(slo: Slo, frames: Frames) -> Objective:
    rows = _rows(frames, slo.operation) if slo.operation else of_kind(frames.judged, *ATTEMPTS)
    found = figures.errors(rows)
    if found is None:
        return _objective(slo, "share", State.NOT_SHOWN, reason="there is no data")
    exact = slo.relation == "="
    state = _state(slo, *(2 * [found.value] if exact else [found.low, found.high]))
    more, reason = None, ""
    if state is State.NOT_SHOWN:
        more, reason = _undecided(found.n, found.value, slo.limit)
    return _objective(
        slo, "share", state, found.value, found.low, found.high, n=found.n, more=more, reason=reason
    )


def _judge_count(slo: Slo, frames: Frames, totals: Totals) -> Objective:
    partial = frames.manifest.status != "complete"
    volume = slo.operation in TOTALS
    n = totals.due if slo.operation in (*COUNTS, "deliveries") else totals.attempts
    figure = totals.deliveries if slo.operation == "deliveries" else totals.requests + totals.socket_requests
    if not volume:
        figure = int(getattr(totals, slo.operation))
    holds = slo.holds(figure)
    if volume and not holds and (partial or totals.attempts == totals.cancelled):
        reason = "the run was interrupted" if partial else "there is no data"
        return _objective(
            slo, "count", State.NOT_SHOWN, figure, n=n, more=ceil(slo.limit) - figure, reason=reason
        )
    if not volume and n == 0 and holds:
        return _objective(slo, "count", State.NOT_SHOWN, n=0, reason="nothing was due to be delivered")
    return _objective(slo, "count", State.MET if holds else State.MISSED, figure, figure, figure, n=n)


def _state(slo: Slo, low: float, high: float) -> State:
    if slo.holds(low) and slo.holds(high):
        return State.MET
    return State.NOT_SHOWN if slo.holds(low) or slo.holds(high) else State.MISSED


def _undecided(n: int, observed: float, limit: float) -> tuple[int | None, str]:
    more = stats.samples_to_decide(n, observed, limit)
    if more is None:
        return None, "the figure is at the limit itself, more samples would hardly tell"
    return more, f"about {fmt_count(more)} more samples would decide it"


def _objective(
    slo: Slo,
    unit: str,
    state: State,
    figure: float | None = None,
    low: float | None = None,
    high: float | None = None,
    *,
    n: int = 0,
    more: int | None = None,
    reason: str = "",
) -> Objective:
    return Objective(slo.name, slo.text, state, unit, figure, low, high, n, more, reason)
