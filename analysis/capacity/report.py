"""What is said about the capacity of a target: one structure, which terminal, page and capacity.json show."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from analysis.capacity import usl
from analysis.capacity.find import UNITS, USERS, Find
from analysis.capacity.points import Point, PointsError
from analysis.capacity.queueing import Little, Waiting, little, waiting
from analysis.capacity.resources import Resources
from analysis.capacity.search import Outcome
from analysis.capacity.sizing import Plan, Quantity, Sizing
from analysis.capacity.usl import Fit
from analysis.formats import fmt_ms, fmt_number, fmt_rate, fmt_share
from analysis.objectives import State

if TYPE_CHECKING:
    from analysis.capacity.sizing import Known

SCHEMA = 3
FILE = "capacity.json"
UTILISATIONS = (0.6, 0.7, 0.8, 0.9)


class Headroom(Struct, frozen=True):
    """A share of the capacity that stays free, and the load that is there.

    Of a capacity that was searched for with its 90 % interval; of a curve with what would wait in M/M/c.
    """

    free: float
    load: float
    low: float | None = None
    high: float | None = None
    throughput: float | None = None
    waiting: Waiting | None = None


class Held(Struct, frozen=True):
    """An objective of the scenario over the runs; null where there is no such load."""

    objective: str
    held: float | None  # highest load of the runs that met it, below the first that did not
    missed: float | None  # lowest load of a run that missed it


class Capacity(Struct, frozen=True):
    """capacity.json. Rates are per second, durations ns, shares fractions of 1."""

    schema: int
    points: list[Point]
    unit: str  # of the load
    fit: Fit | None  # None where the points are too few for one, or the load is no number of users
    fitted: list[float]  # the curve at each point, if there is one
    little: list[Little]
    headroom: list[Headroom]
    knee: float | None  # load, by Kneedle: an annotation, which moves with the range that was measured
    held: list[Held]  # of runs that were made one by one; what breaks first comes first
    sentences: list[str]
    sizing: Sizing | None = None
    search: Find | None = None
    resources: Resources | None = None


def analyse(
    points: Sequence[Point], sizing: Sizing | None = None, unit: str = "", left_out: Sequence[str] = ()
) -> Capacity:
    """Return what the points say. Raises PointsError where no curve can be fitted to them.

    unit: of the load, where it is known. left_out: what is said of runs that are no points.
    """
    ordered = _ordered(points)
    try:
        fit = usl.fit([point.load for point in ordered], [point.throughput for point in ordered])
    except usl.FitError as error:
        raise PointsError("; ".join([str(error), *left_out])) from None
    found = _capacity(ordered, fit, sizing, None)
    return msgspec.structs.replace(found, unit=unit, sentences=[*found.sentences, *left_out])


def of_search(
    points: Sequence[Point],
    search: Find,
    sizing: Sizing | None = None,
    resources: Resources | None = None,
) -> Capacity:
    """Return what the steps of a search say; with a curve where its loads are users, and enough of them."""
    ordered, fit = _ordered(points), None
    if search.asked.by == USERS:
        with suppress(usl.FitError):
            fit = usl.fit([point.load for point in ordered], [point.throughput for point in ordered])
    return msgspec.structs.replace(_capacity(ordered, fit, sizing, search), resources=resources)


def measured_by(plan: Plan, search: Find) -> Plan:
    """Return a plan in which an instance carries what a search over users has found, with its interval."""
    answer = search.answer
    if search.asked.by != USERS or answer.outcome is not Outcome.FOUND or answer.high is None:
        return plan
    found = Quantity(low=answer.low, high=answer.high, measured="capacity find")
    return msgspec.structs.replace(
        plan, capacity=msgspec.structs.replace(plan.capacity, users_per_instance=found)
    )


def _ordered(points: Sequence[Point]) -> list[Point]:
    return sorted(points, key=lambda point: (point.load, point.throughput))


def _capacity(ordered: list[Point], fit: Fit | None, sizing: Sizing | None, search: Find | None) -> Capacity:
    checks, held = little(ordered), holding(ordered)
    return Capacity(
        schema=SCHEMA,
        points=ordered,
        unit=UNITS[search.asked.by] if search else "",
        fit=fit,
        fitted=[float(usl.throughput(point.load, *fit.parameters)) for point in ordered] if fit else [],
        little=checks,
        headroom=_headroom(fit, search),
        knee=knee(ordered),
        held=held,
        sentences=[
            *(_peak(fit) if fit else []),
            *_first(held),
            *_little(checks),
            *([_erlang(waiting(fit))] if fit else []),
        ],
        sizing=sizing,
        search=search,
    )


def _headroom(fit: Fit | None, search: Find | None) -> list[Headroom]:
    """Return what leaves how much free of the load that holds every objective, or else of the throughput."""
    if search and (high := search.answer.high) is not None:
        answer = search.answer
        return [
            Headroom(1 - used, used * answer.capacity, used * answer.low, used * high)
            for used in UTILISATIONS
        ]
    if search or not fit:
        return []
    return [
        Headroom(
            1 - used,
            usl.load_for(fit, used * fit.capacity),
            throughput=used * fit.capacity,
            waiting=waiting(fit, used),
        )
        for used in UTILISATIONS
    ]


def holding(points: Sequence[Point]) -> list[Held]:
    """Return of each objective of the runs how far it held; points in the order of their loads."""
    found = []
    for name in dict.fromkeys(name for point in points for name in point.objectives):
        states = [(point.load, point.objectives.get(name)) for point in points]
        missed = min((load for load, state in states if state is State.MISSED), default=None)
        met = [load for load, state in states if state is State.MET and (missed is None or load < missed)]
        found.append(Held(name, max(met, default=None), missed))
    return sorted(found, key=lambda each: inf if each.missed is None else each.missed)


def encode(found: Capacity | Sizing | Resources) -> bytes:
    """Return the bytes of capacity.json, or of a part of it alone."""
    return msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n"


def knee(points: Sequence[Point]) -> float | None:
    """Return the load of the knee by Kneedle (Satopää et al., 2011); None where it sees none."""
    from kneed import KneeLocator  # it brings pyplot, whose import costs a second

    highest = {point.load: point.throughput for point in points}
    if len(highest) < 3 or len(set(highest.values())) == 1:
        return None
    found = KneeLocator(list(highest), list(highest.values()), curve="concave", direction="increasing").knee
    return None if found is None else float(found)


def _peak(fit: Fit) -> list[str]:
    peak, height = fit.peak_load, fit.peak_throughput
    if fit.peak_observed and peak and height:
        most = "no upper limit" if peak.high is None else fmt_number(peak.high)
        return [
            f"the peak is {fmt_rate(height.value)} [{fmt_rate(height.low)}, {fmt_rate(height.high)}]"
            f" at a load of {fmt_number(peak.value)} [{fmt_number(peak.low)}, {most}]"
        ]
    where = "throughput shows no sign of falling, b is 0"
    if peak:
        beyond = peak.value >= fit.highest_load
        end, name = (fit.highest_load, "highest") if beyond else (fit.lowest_load, "lowest")
        where = (
            f"the curve puts it at a load of {fmt_number(peak.value)},"
            f" and {fmt_number(end)} was the {name} measured"
        )
    return [
        f"peak not observed ({where}); at least {fmt_rate(fit.best_throughput)},"
        f" measured at a load of {fmt_number(fit.best_load)}"
    ]


def _first(held: Sequence[Held]) -> list[str]:
    if not held:
        return []
    missed = held[0].missed
    if missed is None:
        return [f"none of {len(held)} objectives was missed at any load"]
    names = ", ".join(each.objective for each in held if each.missed == missed)
    return [f"what breaks first is {names}: missed at a load of {fmt_number(missed)}"]


def _little(checks: Sequence[Little]) -> list[str]:
    broken = [check for check in checks if not check.holds]
    if not checks:
        return ["Little's law: not checked, no response time was given"]
    if not broken:
        return [f"Little's law holds within 5 % at all {len(checks)} points that have a response time"]
    return [
        f"Little's law does not hold at a load of {fmt_number(check.load)} ({check.source}): throughput x"
        f" response time is {fmt_number(check.expected)}, {fmt_number(check.measured)} were under way"
        for check in broken
    ]


def _erlang(found: Waiting) -> str:
    return (
        f"sanity, by Erlang's C: M/M/{found.servers} with {fmt_ms(found.service)} a unit, which has"
        f" this capacity, would at {fmt_share(found.utilisation)} of it let {fmt_share(found.waits)} wait,"
        f" {fmt_ms(found.wait)} on average"
    )


def sizing_sentences(sizing: Sizing) -> list[str]:
    """Return the answer, what it costs, what drives its spread, and what of it is assumed."""
    policy = sizing.policy
    if sizing.instances is None or sizing.cost is None:
        found = [
            f"no number of instances is enough with {fmt_share(policy.probability)} probability: in"
            f" {fmt_share(sizing.never)} of the trials more instances carry no more"
        ]
    else:
        price = f", {sizing.cost:,.0f} {policy.currency} a {policy.period}" if sizing.cost else ""
        found = [
            f"{sizing.instances} instances are enough with {fmt_share(sizing.probability)} probability{price}"
        ]
    found.append(
        f"medians alone, without headroom or failures, say {sizing.naive}:"
        f" enough with {fmt_share(sizing.naive_probability)} probability"
    )
    drivers = [each for each in sizing.inputs if each.share > 0]
    if drivers:
        found.append(f"the spread comes from {', '.join(map(_driver, drivers[:3]))}")
    if sizing.assumed:
        found.append(f"assumed, not measured: {', '.join(sizing.assumed)}")
    return found


def _driver(known: Known) -> str:
    assumed = ", assumed" if known.origin == "assumed" else ""
    return f"{known.name} ({fmt_share(known.share)}{assumed})"
