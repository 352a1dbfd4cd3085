"""How many instances are enough, by Monte Carlo: what is not known exactly is drawn from what is believed.

    users at once at the peak = accounts x sessions a day x length of a session / 86,400 s x peak-to-mean

which is Little's law for people. n instances of which k may have failed carry what the Universal Scalability
Law says of n - k, less the headroom. An input is a number, or a range whose ends hold 90 % of what is
believed, drawn log-normally, because such quantities are wrong by a factor rather than by a sum. Whatever
nobody says was measured is called assumed.
"""

from __future__ import annotations

from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
from msgspec import Meta, Struct
from scipy import special

from scenarios.workload import WorkloadError, parse_as, place, read_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

DAY_S = 86_400
TRIALS = 20_000
MOST = 100_000
"""More instances than this are no answer."""

_Z = float(special.ndtri(0.95))
_Above = Annotated[float, Meta(gt=0, le=1e12)]
_Share = Annotated[float, Meta(ge=0, lt=1)]


class _Table(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    pass


class Quantity(_Table, frozen=True, kw_only=True):
    """`value`, or `low` to `high`; `measured` says where it comes from."""

    value: _Above | None = None
    low: _Above | None = None
    high: _Above | None = None
    measured: str = ""


Input = _Above | Quantity


class Demand(_Table, frozen=True, kw_only=True):
    accounts: Input
    sessions_a_day: Input  # of one account
    session_s: Input  # how long one lasts
    peak_to_mean: Input  # busiest hour over the mean of a day


class Capacity(_Table, frozen=True, kw_only=True):
    users_per_instance: Input  # that one instance carries with every objective met
    contention: Input | None = (
        None  # a and b of the scalability law over instances; none: they scale linearly
    )
    coherency: Input | None = None


class Policy(_Table, frozen=True, kw_only=True):
    headroom: _Share = 0.3  # share of the capacity that stays free at the peak
    failures_tolerated: Annotated[int, Meta(ge=0, le=1_000)] = 1
    price_per_instance: Annotated[float, Meta(ge=0, le=1e12)] = 0.0
    currency: str = "EUR"
    period: str = "month"
    probability: Annotated[float, Meta(gt=0, lt=1)] = 0.95  # with which the answer has to be enough


class Plan(_Table, frozen=True, kw_only=True):
    """A capacity.toml."""

    description: str = ""
    demand: Demand
    capacity: Capacity
    policy: Policy = Policy()
    trials: Annotated[int, Meta(ge=1_000, le=1_000_000)] = TRIALS
    seed: Annotated[int, Meta(ge=0)] = 1


class Known(Struct, frozen=True):
    """An input as it was used, and how much of the spread of the answer it makes."""

    name: str
    low: float
    median: float
    high: float
    origin: str  # what measured it, or "assumed"
    correlation: float  # Spearman's, with the instances needed; 0 for what is exact
    share: float  # of the sum of the squared correlations


class Row(Struct, frozen=True):
    instances: int
    probability: float  # that so many are enough
    cost: float


class Sizing(Struct, frozen=True):
    """The answer: `instances` is the smallest number that is enough with the probability asked for."""

    instances: int | None  # None: no number is
    probability: float
    cost: float | None
    naive: int  # from the medians alone, without headroom, failures or loss by scaling out
    naive_probability: float
    users: list[float]  # at once at the peak: 5 %, median, 95 %
    never: float  # share of the trials in which no number of instances is enough
    rows: list[Row]
    inputs: list[Known]  # those that make the most of the spread first
    assumed: list[str]
    policy: Policy


def read(path: Path) -> Plan:
    """Return the plan in a file. Raises WorkloadError naming the file, the line and the key."""
    text = read_text(path, "a plan of capacity")
    plan = parse_as(Plan, text, str(path))
    for table, name, quantity in _inputs(plan):
        if isinstance(quantity, Quantity) and (complaint := _complaint(quantity)):
            raise WorkloadError(f"{place(str(path), text, [table, name])}: {complaint}")
    return plan


def _complaint(quantity: Quantity) -> str:
    ends = (quantity.low, quantity.high)
    if quantity.value is not None and ends == (None, None):
        return ""
    if quantity.value is not None or None in ends:
        return "expected a value, or low and high"
    assert quantity.low is not None
    assert quantity.high is not None
    return f"low {quantity.low:g} is above high {quantity.high:g}" if quantity.low > quantity.high else ""


def size(plan: Plan) -> Sizing:
    """Return how many instances are enough, and how sure that is. The same plan gets the same answer."""
    rng = np.random.default_rng(plan.seed)
    inputs = {name: (quantity, _draw(rng, quantity, plan.trials)) for _, name, quantity in _inputs(plan)}
    drawn = {name: draws for name, (_, draws) in inputs.items()}
    users = _users(drawn)
    needed = _instances(drawn, users, plan.policy)
    counts = np.sort(needed)
    medians = {name: np.array([_ends(quantity)[1]]) for name, (quantity, _) in inputs.items()}
    naive = int(np.ceil(_users(medians) / medians["users_per_instance"])[0])
    wanted = plan.policy.probability
    enough = float(counts[int(np.ceil(wanted * plan.trials)) - 1])
    answer = int(enough) if enough < np.inf else None
    price = plan.policy.price_per_instance
    known = _known(inputs, needed)
    return Sizing(
        instances=answer,
        probability=_probability(counts, answer) if answer else float(np.isfinite(counts).mean()),
        cost=answer * price if answer else None,
        naive=naive,
        naive_probability=_probability(counts, naive),
        users=[float(each) for each in np.quantile(users, (0.05, 0.5, 0.95))],
        never=float(np.isinf(counts).mean()),
        rows=[Row(n, _probability(counts, n), n * price) for n in _shown(counts, naive, answer)],
        inputs=known,
        assumed=[each.name for each in known if each.origin == "assumed"],
        policy=plan.policy,
    )


def _inputs(plan: Plan) -> list[tuple[str, str, Input]]:
    """Return table, name and quantity of each input that there is."""
    return [
        (table, name, quantity)
        for table, struct in (("demand", plan.demand), ("capacity", plan.capacity))
        for name, quantity in msgspec.structs.asdict(struct).items()
        if quantity is not None
    ]


def _ends(quantity: Input) -> tuple[float, float, float]:
    """Return the 5 % quantile, the median and the 95 % quantile."""
    if not isinstance(quantity, Quantity):
        return quantity, quantity, quantity
    if quantity.low is None or quantity.high is None:
        assert quantity.value is not None
        return quantity.value, quantity.value, quantity.value
    return quantity.low, float(np.sqrt(quantity.low * quantity.high)), quantity.high


def _draw(rng: np.random.Generator, quantity: Input, trials: int) -> Vector:
    low, median, high = _ends(quantity)
    # Drawn for an exact one too: what is known better must not change what is drawn for the others.
    return median * np.exp(log(high / low) / (2 * _Z) * rng.standard_normal(trials))


def _users(drawn: dict[str, Vector]) -> Vector:
    demand: Vector = drawn["accounts"] * drawn["sessions_a_day"] * drawn["session_s"] / DAY_S
    return demand * drawn["peak_to_mean"]


def _instances(drawn: dict[str, Vector], users: Vector, policy: Policy) -> Vector:
    """Return the instances needed in each trial; infinite where no number is enough.

    Solves C n / (1 + a (n - 1) + b n (n - 1)) = users for the smaller n, which is a quadratic equation.
    """
    one = drawn["users_per_instance"] * (1 - policy.headroom)
    none = np.zeros_like(users)
    a, b = np.minimum(drawn.get("contention", none), 1), drawn.get("coherency", none)
    square, linear, constant = b * users, (a - b) * users - one, (1 - a) * users
    root = linear**2 - 4 * square * constant
    with np.errstate(divide="ignore", invalid="ignore"):
        # The form that keeps its digits, and is right for square = 0 as well.
        working = np.where((root >= 0) & (linear < 0), 2 * constant / (-linear + np.sqrt(root)), np.inf)
    working = np.maximum(np.ceil(working - 1e-9), 1)
    with np.errstate(invalid="ignore"):
        carried = one * working / (1 + a * (working - 1) + b * working * (working - 1))
    # A whole number may lie beyond the peak of the curve where the exact one did not.
    fits = (working <= MOST) & (carried >= users * (1 - 1e-9))
    return np.where(fits, working + policy.failures_tolerated, np.inf)


def _known(inputs: dict[str, tuple[Input, Vector]], needed: Vector) -> list[Known]:
    ranks = _ranks(needed)
    found = []
    for name, (quantity, draws) in inputs.items():
        low, median, high = _ends(quantity)
        spread = low < high and ranks.std() > 0
        correlation = float(np.corrcoef(_ranks(draws), ranks)[0, 1]) if spread else 0.0
        origin = (quantity.measured if isinstance(quantity, Quantity) else "") or "assumed"
        found.append(Known(name, low, median, high, origin, correlation, 0.0))
    total = sum(each.correlation**2 for each in found) or 1.0
    shares = [msgspec.structs.replace(each, share=each.correlation**2 / total) for each in found]
    return sorted(shares, key=lambda each: -each.share)


def _ranks(values: Vector) -> Vector:
    """Return ranks, the same for what is the same, as Spearman's correlation needs them."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    found: Vector = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return found


def _probability(counts: Vector, instances: int) -> float:
    return float(np.searchsorted(counts, instances, side="right")) / len(counts)


def _shown(counts: Vector, naive: int, answer: int | None) -> list[int]:
    """Return the numbers of instances that a table shows: from hardly ever to nearly always enough."""
    finite = counts[np.isfinite(counts)]
    if not len(finite):
        return [naive]
    first, last = (int(finite[int(q * (len(finite) - 1))]) for q in (0.05, 0.99))
    step = max(1, -(-(last - first) // 12))
    return sorted({naive, *range(first, last + 1, step), *([answer] if answer else [])})
