"""Can the instrument be trusted? Rules about ourselves, judged before anything is said of the target.

A broken rule makes the run invalid, whatever its figures; a warning stands beside them. Every rule has
its figure, its limit and what to do. docs/decisions/0009 has the measurements behind the limits.

A generator that is overrun, by its own work or by others on its cores, is late: the rule is about how
late. Its event loop is asked to wake a probe at random instants. What that lag spoils depends on who stamps
arrivals:

- the kernel: only what counts from the intended start, response times. Service times and fan-out latencies
  begin and end with stamps that no lag reaches;
- our own code: every time there is, because what arrived waits for us like everything else.

So the lag is compared with the fastest p99 among what it spoils. The run is invalid when it is *shown* (by
the low end of the 95 % interval of quarters of a second) that more than one wake-up in a hundred was later
than 20 ms and than 20 % of that figure; a p99 beyond 2 ms and 5 % is worth a warning. 2 ms, because timers of
the event loop have milliseconds; 20 ms, because a generator at rest on a busy machine comes near that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from msgspec import Struct

from analysis import stats
from analysis.figures import DeliveryFigures, OperationFigures
from analysis.formats import fmt_count, fmt_ms, fmt_share
from analysis.frames import values
from analysis.instrument import Resources, Stamping
from reports.manifest import clock_ids, imbalance

if TYPE_CHECKING:
    from reports.manifest import Manifest, Worker

LAG_FLOOR = 20_000_000
LAG_WARNING_FLOOR = 2_000_000
LATE = 0.01
BATCH = 250_000_000
"""Longer than the stalls of a machine that works: what happens in two batches is two pieces of evidence."""

LAG_INVALID = 0.20
LAG_WARNING = 0.05
UNSTAMPED = 0.01
"""Share of reads without a kernel stamp above which a p99 may be one of theirs."""

WAITED = 0.25
"""Share of the time for which a process may wait for a core before it is said that it shared them."""

BUSY = 0.5
"""Share of the time at work, or waiting for a core, from which on less work would help."""

BOUND = 0.02
"""Share of a delivery's deadline by which a clock may be wrong."""

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
    stamping: Stamping,
    resources: Resources,
    operations: list[OperationFigures],
    ledger: list[DeliveryFigures],
    wakeups: pd.DataFrame,
) -> list[Rule]:
    """Return every rule with its figure, in the order in which a reader should doubt.

    `wakeups` are those of the generator's probe under load, with `due` and `lag` in ns.
    """
    return [
        _closed(manifest),
        _balance(manifest),
        _dropped(manifest),
        _recorders(manifest),
        _stamps(stamping),
        _clock(stamping),
        _compared(manifest),
        _starts(manifest, resources),
        _lag(wakeups, resources, *_fastest(stamping, operations, ledger)),
        _cores(resources),
    ]


def _rule(rule: str, limit: str, remedy: str, *, holds: bool, figure: str, warning: bool = False) -> Rule:
    return Rule(rule, holds, warning, figure, limit, "" if holds and not warning else remedy)


def _closed(manifest: Manifest) -> Rule:
    workers = manifest.workers
    gone = [worker for worker in workers if not worker.closed or worker.left or worker.last_words_ns]
    interrupted = manifest.status != "complete" and len(gone) == len(workers)
    if interrupted:
        # Nobody could stay to its end: the run is partial, which is said elsewhere, and not unbalanced.
        figure = "interrupted: none could"
    elif not workers:
        figure = "there is no worker"
    else:
        figure = "; ".join(_fate(worker, manifest) for worker in gone) or f"all {len(workers)} did"
    return _rule(
        "every worker stayed to the end and closed its record",
        "all",
        "Its load is missing from then on, and nobody takes it over: see why it ended, then repeat the run.",
        holds=interrupted or (bool(workers) and not gone),
        figure=figure,
    )


def _fate(worker: Worker, manifest: Manifest) -> str:
    """Tell what became of a worker that did not stay, and how much of what it did is not on record."""
    told, found = sum(worker.rows.values()), sum(worker.found.values())
    parts = [f"{worker.name} did not"]
    if worker.left:
        parts = [f"{worker.name} ended early: {worker.left}"]
    elif worker.last_words_ns:
        seconds = (worker.last_words_ns - manifest.origin_ns) / 1e9
        parts = [f"{worker.name} was lost, last heard of {seconds:.1f} s into the run"]
        if not worker.closed and seconds > 0:
            parts.append(
                f"what it did later is not on record, about {fmt_count(told / seconds)} rows a second"
            )
    if not worker.closed and told:
        parts.append(
            f"of {fmt_count(told)} rows that it told of {fmt_count(max(0, told - found))} are missing"
        )
    return ", ".join(parts)


def _balance(manifest: Manifest) -> Rule:
    off = [
        f"{worker.name} wrote {fmt_count(wrote)} {table}, {fmt_count(found)} are there"
        for worker in manifest.workers
        if worker.closed
        for table, (wrote, found) in imbalance(worker).items()
        if not worker.samples_at
    ]
    off += [
        f"{fmt_count(sum(worker.rows.values()))} rows of {worker.name} are at {worker.samples_at}"
        for worker in manifest.workers
        if worker.samples_at
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


def _stamps(stamping: Stamping) -> Rule:
    stamps, without = stamping.stamps, stamping.unstamped
    known = stamps in STAMPS
    bare = stamps == "wire" and without is not None and without > UNSTAMPED
    remedy = (
        "Without it nobody can say how exact the times are: repeat the run with this version of the suite."
    )
    if bare:
        remedy = "What came without a kernel stamp has the time at which we were told: a p99 may be ours."
    limit = ", ".join(STAMPS[:-1]) + " or " + STAMPS[-1]
    return _rule(
        "how arrivals were stamped is known",
        f"{limit}, at most {fmt_share(UNSTAMPED)} of reads without" if stamps == "wire" else limit,
        remedy,
        holds=known,
        warning=bare,
        figure=stamping_words(stamping),
    )


def stamping_words(stamping: Stamping) -> str:
    """Return who stamped arrivals, and what of it is less exact."""
    parts = [stamping.stamps or "unknown"]
    if stamping.unstamped is not None:
        parts.append(f"{fmt_share(stamping.unstamped)} of reads without a kernel stamp")
    if stamping.coalesced is not None:
        parts.append(f"{fmt_share(stamping.coalesced)} of frames coalesced")
    return ", ".join(parts)


def _clock(stamping: Stamping) -> Rule:
    steps = stamping.clock_steps
    return _rule(
        "the wall clock was not set",
        "0 steps",
        "Kernel stamps of the second before may be off: events.jsonl has the instants.",
        holds=True,
        warning=steps > 0,
        figure=f"{fmt_count(steps)} steps, the largest of {fmt_ms(abs(stamping.largest_step))}"
        if steps
        else "0 steps",
    )


def _compared(manifest: Manifest) -> Rule:
    """What is across clocks was on time by both of them: their error has to be small beside the deadline."""
    limit = round(BOUND * manifest.deadline_ns)
    bounds = {clock.id: clock.bound_ns for clock in manifest.clocks}
    found = {name: bounds[clock] for name, clock in clock_ids(manifest).items() if clock in bounds}
    unknown = [name for name, bound in found.items() if bound is None]
    worst = max((bound for bound in found.values() if bound is not None), default=0)
    figure = f"at most {fmt_ms(worst)} off" if found else "one clock"
    if unknown:
        figure = f"{', '.join(unknown)} never had an answer"
    return _rule(
        "clocks of all workers are known",
        f"each compared with the run's, at most {fmt_ms(limit)} off",
        "Times between workers can't be believed: let UDP through from the workers to the master.",
        holds=not unknown and worst <= limit,
        figure=figure,
    )


def _starts(manifest: Manifest, resources: Resources) -> Rule:
    """Of what was dropped the times are lacking; what still waited when time was up is told beside them."""
    came = manifest.arrivals
    dropped = max(resources.dropped, came.dropped if came else 0)
    figure = f"{fmt_count(dropped)} dropped"
    if came:
        figure += f", {fmt_count(came.waiting)} still waiting at the end, of {fmt_count(came.planned)}"
    remedy = "The target got less load than was asked for: use more users, more workers or a lower rate."
    if not dropped:
        remedy = (
            "Arrivals found nobody free: the target, or so few users, can't keep this rate, and the"
            " longest response times are not in the figures."
        )
    return _rule(
        "every start that was due was made",
        "0 dropped" + (", 0 waiting" if came else ""),
        remedy,
        holds=dropped == 0,
        warning=bool(came and came.waiting and not dropped),
        figure=figure,
    )


def _fastest(
    stamping: Stamping, operations: list[OperationFigures], ledger: list[DeliveryFigures]
) -> tuple[str, int | None]:
    """Return the figure that our lag spoils most: the fastest p99 of what has our lag in it."""
    found = [(f"{row.operation} response", row.response.p99) for row in operations]
    found += [(f"{row.operation} response", row.response.p99) for row in ledger]
    if stamping.stamps != "wire":
        found += [(f"{row.operation} service", row.service.p99) for row in operations]
        found += [(f"{row.operation} fan-out", row.fanout.p99) for row in ledger]
    shown = [(name, p99.value) for name, p99 in found if p99]
    return min(shown, key=lambda each: each[1]) if shown else ("", None)


def _lag(wakeups: pd.DataFrame, resources: Resources, name: str, reference: int | None) -> Rule:
    invalid, barely = (
        max(floor, round(share * (reference or 0)))
        for floor, share in ((LAG_FLOOR, LAG_INVALID), (LAG_WARNING_FLOOR, LAG_WARNING))
    )
    of = f", {fmt_share(LAG_INVALID)} of {name} p99" if invalid > LAG_FLOOR else ""
    limit = f"at most {fmt_share(LATE)} of wake-ups of its event loop later than {fmt_ms(invalid)}{of}"
    rule = "the generator was in time"
    if not len(wakeups):
        return _rule(rule, limit, "", holds=True, figure="no wake-up was noted")
    every = [_Lag.of(str(worker), rows, invalid) for worker, rows in wakeups.groupby("worker", observed=True)]
    worst = max(
        every, key=lambda each: (each.shown, each.p99)
    )  # each worker by itself: one that is late spoils
    holds = worst.shown <= LATE
    warning = holds and worst.p99 > barely
    blame = (
        "Response times have some of our own lag in them" if warning else "The generator was the bottleneck"
    )
    who = f"of {worst.worker}, the worst of {len(every)} workers: " if len(every) > 1 else ""
    return _rule(
        rule,
        limit,
        f"{blame}{_why(resources, worst.worker)}.",
        holds=holds,
        figure=f"{who}{fmt_share(worst.late)} of {fmt_count(worst.wakeups)} were, p99 {fmt_ms(worst.p99)}",
        warning=warning,
    )


class _Lag(NamedTuple):
    """How late one worker's event loop was."""

    worker: str
    wakeups: int
    late: float  # share of wake-ups beyond the limit
    shown: float  # by how much at least, with 95 % certainty
    p99: int

    @classmethod
    def of(cls, worker: str, wakeups: pd.DataFrame, limit: int) -> _Lag:
        lags = values(wakeups, "lag")
        late = lags > limit
        # Lateness comes in clusters: one stall makes many late wake-ups, and the evidence of one.
        batches = pd.Series(late).groupby(values(wakeups, "due") // BATCH).mean()
        shown = stats.mean_low(batches.to_numpy(dtype=np.float64))
        return cls(worker, len(lags), float(late.mean()), shown, stats.quantile(lags, 1 - LATE))


def _why(resources: Resources, worker: str) -> str:
    """Tell whether it was its own work or that of others, and what to do about it."""
    own = max(
        (each for each in resources.processes if each.process in ("generator", f"generator {worker}")),
        default=None,
        key=lambda each: each.cpu_mean + each.cpu_wait,
    )
    if own is None:
        return ""
    figures = (
        f": it ran {fmt_share(own.cpu_mean)} of the time and waited {fmt_share(own.cpu_wait)} for a core"
    )
    if own.cpu_wait > max(own.cpu_mean, WAITED):
        return figures + ", so others were on its cores: end them, or use another machine"
    if own.cpu_mean + own.cpu_wait > BUSY:
        return figures + ", so it had too much to do: use more workers (--processes 2) or fewer users"
    return figures + ": single pieces of work, its own or a neighbour's, kept the rest waiting"


def _cores(resources: Resources) -> Rule:
    waits = [(each.process, each.cpu_wait) for each in resources.processes]
    figure = ", ".join(f"{name} {fmt_share(wait)}" for name, wait in waits)
    if resources.pressure is not None and resources.steal is not None:
        figure += (
            f"; machine under pressure {fmt_share(resources.pressure)}, steal {fmt_share(resources.steal)}"
        )
    return _rule(
        "processes of this run had a core when they wanted one",
        f"at most {fmt_share(WAITED)} of the time without",
        "Something else used this machine: what it slowed down here, the target too, is in the times.",
        holds=True,
        warning=any(wait > WAITED for _, wait in waits),
        figure=figure or "not recorded",
    )
