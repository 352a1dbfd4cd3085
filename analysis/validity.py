"""Can the instrument be trusted? Rules about ourselves, judged before anything is said of the target.

A broken rule makes the run invalid, whatever its figures; a warning stands beside them. Every rule has
its figure, its limit and what to do.

Our own lag is judged coarsely on purpose: kernel stamps keep most of it out of the figures, so only a
generator that is plainly overrun spoils a run. It is overrun when its lag is above 20 ms and above 20 %
of what it measures; above 5 ms and 5 % it is worth a warning. Read lag is taken per message, at p99.
Loop lag is one figure a second, the worst of that second, so that its p95 means 19 of 20 seconds: at
p99 a single garbage collection would condemn a run of a minute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from analysis.figures import DeliveryFigures, OperationFigures, Resources
from analysis.formats import fmt_count, fmt_ms, fmt_share
from reports.manifest import imbalance

if TYPE_CHECKING:
    from reports.manifest import Manifest

LAG_FLOOR = 20_000_000
LAG_WARNING_FLOOR = 5_000_000
LAG_INVALID = 0.20
LAG_WARNING = 0.05
STAMPS = ("wire", "epoll", "callback")
"""How arrivals may have been stamped, the most exact first."""


class Rule(Struct, frozen=True):
    rule: str
    holds: bool
    warning: bool
    figure: str
    limit: str
    remedy: str  # "" where nothing needs to be done

    @property
    def sentence(self) -> str:
        """What happened, the figure, what to do."""
        return f"{self.rule[0].upper()}{self.rule[1:]}: {self.figure}, expected {self.limit}. {self.remedy}"


def rules(
    manifest: Manifest,
    resources: Resources,
    operations: list[OperationFigures],
    ledger: list[DeliveryFigures],
) -> list[Rule]:
    """Return every rule with its figure, in the order in which a reader should doubt."""
    name, reference = _reference(operations, ledger)
    read = resources.read_lag.p99
    return [
        _closed(manifest),
        _balance(manifest),
        _dropped(manifest),
        _recorders(manifest),
        _stamps(manifest),
        _lag("read lag p99", read.value if read else None, name, reference),
        _lag("loop lag p95", resources.loop_lag, name, reference),
    ]


def _rule(rule: str, limit: str, remedy: str, *, holds: bool, figure: str, warning: bool = False) -> Rule:
    return Rule(rule, holds, warning, figure, limit, "" if holds and not warning else remedy)


def _closed(manifest: Manifest) -> Rule:
    open_ones = [worker.name for worker in manifest.workers if not worker.closed]
    interrupted = manifest.status != "complete" and len(open_ones) == len(manifest.workers)
    if interrupted:
        # Nobody could close its record: the run is partial, which is said elsewhere, and not unbalanced.
        figure = "interrupted: none could"
    elif not manifest.workers:
        figure = "there is no worker"
    else:
        figure = f"{', '.join(open_ones)} did not" if open_ones else f"all {len(manifest.workers)} did"
    return _rule(
        "every worker closed its record",
        "all",
        "A worker died or was killed and its users with it: look at its log, then repeat the run.",
        holds=interrupted or (bool(manifest.workers) and not open_ones),
        figure=figure,
    )


def _balance(manifest: Manifest) -> Rule:
    off = [
        f"{worker.name} wrote {fmt_count(wrote)} {table}, {fmt_count(found)} are there"
        for worker in manifest.workers
        if worker.closed
        for table, (wrote, found) in imbalance(worker).items()
    ]
    return _rule(
        "samples balance",
        "as many rows found as were written",
        "Part of the record is missing: check disk space and that nothing else writes to the run's folder.",
        holds=not off,
        figure="; ".join(off) or f"{fmt_count(sum(sum(w.rows.values()) for w in manifest.workers))} rows",
    )


def _dropped(manifest: Manifest) -> Rule:
    dropped = sum(worker.dropped for worker in manifest.workers)
    return _rule(
        "nothing was dropped",
        "0 samples",
        "The recorder could not keep up: use more workers (--processes 2) or fewer users.",
        holds=dropped == 0,
        figure=f"{fmt_count(dropped)} samples",
    )


def _recorders(manifest: Manifest) -> Rule:
    errors = [f"{worker.name}: {error}" for worker in manifest.workers for error in worker.errors]
    more = f" and {len(errors) - 3} more" if len(errors) > 3 else ""
    return _rule(
        "the recorder did not fail",
        "0 errors",
        "The record can't be complete: mend what it says, then repeat the run.",
        holds=not errors,
        figure="; ".join(errors[:3]) + more or "0 errors",
    )


def _stamps(manifest: Manifest) -> Rule:
    stamps = manifest.clock.stamps
    return _rule(
        "how arrivals were stamped is known",
        ", ".join(STAMPS[:-1]) + " or " + STAMPS[-1],
        "Without it nobody can say how exact the times are: repeat the run with this version of the suite.",
        holds=stamps in STAMPS,
        figure=stamps or "unknown",
    )


def _reference(operations: list[OperationFigures], ledger: list[DeliveryFigures]) -> tuple[str, int | None]:
    """Return what our lag is compared with: the fan-out latency of chats, else the fastest p99 there is."""
    fanout = [(row.operation, row.fanout.p99.value) for row in ledger if row.fanout.p99]
    found = [each for each in fanout if each[0] == "chat.delivered"] or fanout
    found = found or [(row.operation, row.response.p99.value) for row in operations if row.response.p99]
    return min(found, key=lambda each: each[1]) if found else ("", None)


def _lag(rule: str, lag: int | None, name: str, reference: int | None) -> Rule:
    remedy = "The generator was the bottleneck: use more workers (--processes 2) or fewer users."
    limit = f"≤ {fmt_ms(LAG_FLOOR)}"
    if reference:
        limit += f" or {LAG_INVALID * 100:.0f} % of {name} p99 ({fmt_ms(reference)})"
    if lag is None:
        return _rule(f"generator {rule}", limit, "", holds=True, figure="too few samples to tell")
    part = lag / reference if reference else None
    holds = lag <= LAG_FLOOR or part is None or part <= LAG_INVALID
    figure = fmt_ms(lag) + (f", {fmt_share(part)} of {name} p99" if part is not None else "")
    warning = holds and part is not None and part > LAG_WARNING and lag > LAG_WARNING_FLOOR
    if warning:
        remedy = "The run stands, but the generator was busy: try more workers (--processes 2)."
    return _rule(f"generator {rule}", limit, remedy, holds=holds, figure=figure, warning=warning)
