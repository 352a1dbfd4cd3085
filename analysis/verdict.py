"""What a run says: one word, why, and every figure behind it. The only place where they are computed.

    pass          0   every objective is met
    failed        1   an objective is missed, or nothing succeeded
    usage         2   an objective names a metric that does not exist
    inconclusive  3   not enough evidence; it says how much more is needed
    invalid       4   the instrument can't be trusted; outranks failed, whose figures would be ours
    unusable      5   the target could not be reached at all

No data is never a pass, and neither is a run that was interrupted.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import msgspec
from msgspec import Struct

from analysis import clocks, coverage, figures, instrument, objectives, validity
from analysis.clocks import ApartFigures, PairFigures
from analysis.coverage import Coverage
from analysis.fanouts import SizeFigures
from analysis.figures import (
    BadDelivery,
    DeliveryFigures,
    OperationFigures,
    Totals,
)
from analysis.formats import fmt_count, fmt_share, fmt_span
from analysis.frames import Frames
from analysis.instrument import Resources, Stamping
from analysis.objectives import Objective, State
from analysis.outages import Outage, outages
from analysis.storms import Storm, planned, storms
from analysis.validity import Rule
from reports.manifest import Arrivals, OtherClock, write_json
from scenarios.slo import COUNTS

if TYPE_CHECKING:
    from reports.artefact import Run
    from reports.manifest import Manifest

SCHEMA = 4
FILE = "verdict.json"


class Word(StrEnum):
    PASS = "pass"  # noqa: S105
    FAILED = "failed"
    USAGE = "usage"
    INCONCLUSIVE = "inconclusive"
    INVALID = "invalid"
    UNUSABLE = "unusable"

    @property
    def exit_code(self) -> int:
        return list(Word).index(self)


class Verdict(Struct, frozen=True):
    """verdict.json. Durations in ns, shares of 1, rates per second; null where there is nothing to show."""

    schema: int
    run: str
    scenario: str
    verdict: Word
    exit_code: int
    partial: bool
    reason: str  # why it is partial
    sentences: list[str]
    warnings: list[str]
    validity: list[Rule]
    objectives: list[Objective]
    totals: Totals
    arrivals: Arrivals | None  # of an open run: what was planned, and what came of it
    operations: list[OperationFigures]
    deliveries: list[DeliveryFigures]
    fanout_sizes: list[SizeFigures]  # of those kinds of delivery that had several sizes
    clocks: list[OtherClock]  # that are not the run's
    clocks_apart: list[ApartFigures]  # deliveries on one clock and across; of a run with several
    worker_pairs: list[PairFigures]
    bad_deliveries: list[BadDelivery]
    outages: list[Outage]
    storms: list[Storm]  # that the scenario called for
    resources: Resources
    stamping: Stamping
    coverage: Coverage


def judge(run: Run) -> Verdict:
    """Return the verdict on a run. Reads it, writes nothing."""
    return judge_frames(Frames(run))


def judge_frames(frames: Frames) -> Verdict:
    """Return the verdict on frames that were read already."""
    manifest = frames.manifest
    operations = figures.operations(frames)
    ledger = figures.deliveries(frames)
    resources = instrument.resources(frames)
    totals = figures.totals(frames, ledger)
    stamping = instrument.stamping(manifest)
    rules = validity.rules(manifest, stamping, resources, operations, ledger, frames.wakeups)
    found = objectives.judge(frames, totals)
    partial = manifest.status != "complete"
    away, stormed = outages(frames), storms(frames)
    lacking = _lacking(manifest, planned(frames) - len(stormed))
    word = decide(
        totals, rules, found, unreachable=_unreachable(operations, totals), partial=partial or bool(lacking)
    )
    return Verdict(
        schema=SCHEMA,
        run=manifest.id,
        scenario=manifest.scenario.name,
        verdict=word,
        exit_code=word.exit_code,
        partial=partial,
        reason=manifest.reason or "",
        sentences=[
            *lacking,
            *sentences(word, totals, rules, found, partial=partial, reason=manifest.reason or ""),
        ],
        warnings=[each.sentence for each in away] + [rule.sentence for rule in rules if rule.warning],
        validity=rules,
        objectives=found,
        totals=totals,
        arrivals=manifest.arrivals,
        operations=operations,
        deliveries=ledger,
        fanout_sizes=figures.sizes(frames),
        clocks=manifest.clocks,
        clocks_apart=clocks.apart(frames),
        worker_pairs=clocks.pairs(frames),
        bad_deliveries=figures.bad_deliveries(frames),
        outages=away,
        storms=stormed,
        resources=resources,
        stamping=stamping,
        coverage=coverage.coverage(frames),
    )


def _lacking(manifest: Manifest, storms: int) -> list[str]:
    """Return what a run lacks that came to its end: nothing can be concluded without a steady state."""
    said = []
    if manifest.status == "complete" and not manifest.measured_from_ns:
        online, users = manifest.connected, manifest.users
        said.append(
            f"No steady state: at most {fmt_count(online)} of {fmt_count(users)} people"
            f" ({fmt_share(online / users if users else None)}) were online at the same time, so the warm-up"
            " never ended. Give it longer (--run-time, load.warm_up_s), or see why the others were not."
        )
    if manifest.status == "complete" and storms > 0:
        said.append(
            f"{fmt_count(storms)} of the scenario's storms did not come: give the run longer (--run-time), or"
            " see in events.jsonl why one failed."
        )
    return said


def decide(
    totals: Totals, rules: list[Rule], found: list[Objective], *, unreachable: bool, partial: bool
) -> Word:
    """Return the one word. The order of the questions is the order of their rank."""
    states = {objective.state for objective in found}
    if State.UNKNOWN in states:
        return Word.USAGE
    if unreachable:
        return Word.UNUSABLE
    if not all(rule.holds for rule in rules):
        return Word.INVALID
    if State.MISSED in states or (totals.failures and not totals.successes):
        return Word.FAILED
    if partial or not totals.successes or State.NOT_SHOWN in states:
        return Word.INCONCLUSIVE
    return Word.PASS


def sentences(
    word: Word, totals: Totals, rules: list[Rule], found: list[Objective], *, partial: bool, reason: str
) -> list[str]:
    """Return what happened, with its figure and what to do, the most important first."""
    by_state = {state: [each.sentence + "." for each in found if each.state is state] for state in State}
    said: list[str] = []
    match word:
        case Word.USAGE:
            said = by_state[State.UNKNOWN]
        case Word.UNUSABLE:
            said = [
                f"The target could not be reached: all {fmt_count(totals.failures)} attempts broke"
                f" ({_classes(totals)}). Check its address, its certificate and that it runs."
            ]
        case Word.INVALID:
            said = [rule.sentence for rule in rules if not rule.holds]
            said += ["Its figures are shown, but nothing can be concluded from them."]
        case Word.FAILED:
            said = by_state[State.MISSED]
            if any(each.slo in COUNTS and each.state is State.MISSED for each in found):
                said.append("The messages in question are listed by key, under deliveries.")
            if not totals.successes:
                said = [
                    f"Not one of {fmt_count(totals.failures)} attempts succeeded ({_classes(totals)}).",
                    *said,
                ]
        case Word.INCONCLUSIVE:
            said = by_state[State.NOT_SHOWN]
            if totals.attempts == totals.cancelled:
                said = [
                    "Nothing was attempted, so nothing is known. Run it longer, or with more users.",
                    *said,
                ]
        case Word.PASS:
            said = [_passed(found, totals)]
        case _:
            assert_never(word)
    if partial:
        said = [f"Interrupted after {fmt_span(totals.duration)}{f': {reason}' if reason else ''}.", *said]
    return said


def write(run: Run, verdict: Verdict) -> Path:
    """Write verdict.json beside the run; the same verdict gives the same bytes."""
    write_json(Path(run.path), FILE, verdict)
    return Path(run.path) / FILE


def read(folder: Path) -> Verdict:
    """Return the verdict that `write` left in a run's folder."""
    return msgspec.json.decode((folder / FILE).read_bytes(), type=Verdict)


def _passed(found: list[Objective], totals: Totals) -> str:
    did = (
        f"{fmt_count(totals.requests + totals.socket_requests)} requests and {fmt_count(totals.deliveries)}"
        f" deliveries in {fmt_span(totals.duration)}"
    )
    if not found:
        return f"The instrument held, {did}. The scenario states no objective, so none was judged."
    return f"{'The' if len(found) == 1 else f'All {len(found)}'} objectives met: {did}."


def _classes(totals: Totals) -> str:
    worst = sorted(totals.errors_by_class.items(), key=lambda each: -each[1])[:3]
    return ", ".join(f"{fmt_count(count)} {name}" for name, count in worst)


def _unreachable(operations: list[OperationFigures], totals: Totals) -> bool:
    broken = sum(row.broken for row in operations if row.group != "steps")
    return totals.successes == 0 and totals.failures > 0 and broken == totals.failures
