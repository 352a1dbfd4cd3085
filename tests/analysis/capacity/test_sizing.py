"""Instances by Monte Carlo, against answers that can be had without it."""

from __future__ import annotations

from math import ceil, log
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from analysis.capacity import sizing
from analysis.capacity.sizing import Capacity, Demand, Plan, Policy, Quantity
from scenarios.workload import WorkloadError

EXAMPLE = Path(__file__).parents[3] / "docs/examples/capacity.toml"


def plan(**changes: Any) -> Plan:
    """Return a plan of 100,000 accounts: exactly 6,000 users at once, 500 per instance."""
    values: dict[str, Any] = {
        "accounts": 100_000.0, "sessions_a_day": 2.0, "session_s": 864.0, "peak_to_mean": 3.0,
        "users_per_instance": 500.0, "headroom": 0.25, "failures_tolerated": 2, "price_per_instance": 10.0,
    }  # fmt: skip
    values |= changes

    def of(table: type[Any]) -> Any:
        return table(**{name: values[name] for name in table.__struct_fields__ if name in values})

    return Plan(demand=of(Demand), capacity=of(Capacity), policy=of(Policy), trials=4_000)


def test_exact_inputs_need_no_chance() -> None:
    """6,000 users on 375 each are 16, and 2 that may fail: 18 with certainty, 17 with none."""
    found = sizing.size(plan())
    assert (found.instances, found.probability, found.cost) == (18, 1.0, 180.0)
    assert (found.naive, found.naive_probability) == (12, 0.0)
    assert found.users == pytest.approx([6_000] * 3)
    assert all(each.share == 0 for each in found.inputs)


def test_one_uncertain_input_has_a_known_distribution() -> None:
    """Log-normal users: the probability of n instances is that of users below what n - 2 carry."""
    found = sizing.size(plan(accounts=Quantity(low=60_000, high=150_000)))
    median, sd = log(6_000 * np.sqrt(0.6 * 1.5)), log(2.5) / (2 * special.ndtri(0.95))
    for row in found.rows:
        expected = special.ndtr((log((row.instances - 2) * 375) - median) / sd)
        assert row.probability == pytest.approx(expected, abs=0.03)
    assert [each.name for each in found.inputs if each.share] == ["accounts"]
    assert found.inputs[0].correlation > 0.98
    quantile = np.exp(median + sd * special.ndtri(0.95))
    assert found.instances == pytest.approx(ceil(quantile / 375) + 2, abs=1)


@settings(max_examples=40, deadline=None)
@given(st.floats(1, 1e5), st.floats(10, 1e4), st.floats(0, 0.2), st.floats(0, 1e-3))
def test_the_answer_is_the_smallest_that_carries_the_users(
    users: float, one: float, a: float, b: float
) -> None:
    """By the scalability law n carries what is needed and n - 1 does not, or no number does."""

    def carried(n: int) -> float:
        return one * n / (1 + a * (n - 1) + b * n * (n - 1))

    drawn = {
        name: np.array([value])
        for name, value in {"users_per_instance": one, "contention": a, "coherency": b}.items()
    }
    policy = Policy(headroom=0, failures_tolerated=0)
    needed = sizing._instances(drawn, np.array([users]), policy)[0]
    if np.isinf(needed):
        assert all(carried(n) < users * (1 + 1e-9) for n in range(1, 3_000))
    else:
        n = int(needed)
        assert carried(n) >= users * (1 - 1e-6)
        assert n == 1 or carried(n - 1) < users * (1 + 1e-6)


def test_where_more_instances_carry_less_no_number_is_enough() -> None:
    """Coherency limits what any number carries: here 4 instances' worth, and 16 are needed."""
    found = sizing.size(plan(coherency=0.02))
    assert found.instances is None
    assert found.cost is None
    assert found.never == 1.0
    assert found.probability == 0.0


def test_failures_and_headroom_cost_instances() -> None:
    """Each failure that is tolerated is one more; headroom takes its share of each."""
    base = sizing.size(plan()).instances
    assert base is not None
    assert sizing.size(plan(failures_tolerated=5)).instances == base + 3
    assert sizing.size(plan(headroom=0.5)).instances == 24 + 2


def test_what_drives_the_spread_comes_first() -> None:
    """The wider range has the larger share; more capacity means fewer instances; shares add up."""
    found = sizing.size(
        plan(accounts=Quantity(low=90_000, high=110_000), users_per_instance=Quantity(low=250, high=1_000))
    )
    assert found.inputs[0].name == "users_per_instance"
    assert found.inputs[0].correlation < -0.9
    assert sum(each.share for each in found.inputs) == pytest.approx(1)


def test_what_nobody_measured_is_assumed() -> None:
    """An exact number is as assumed as a range, unless it says what measured it."""
    found = sizing.size(plan(users_per_instance=Quantity(value=500, measured="a run")))
    assert "users_per_instance" not in found.assumed
    assert "accounts" in found.assumed
    assert {each.origin for each in found.inputs} == {"a run", "assumed"}


def test_the_same_plan_has_the_same_answer() -> None:
    """Another seed has nearly the same."""
    example = sizing.read(EXAMPLE)
    once = sizing.size(example)
    assert once == sizing.size(example)
    other = sizing.size(msgspec.structs.replace(example, seed=2))
    assert once.instances is not None
    assert other.instances == pytest.approx(once.instances, abs=1)


FIRST = "[demand]\nsessions_a_day = 1\nsession_s = 1\npeak_to_mean = 1\n"
LAST = "\n[capacity]\nusers_per_instance = 1\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "capacity.toml: missing key demand"),
        ("x = [", "capacity.toml: this is not TOML"),
        (FIRST + LAST, "capacity.toml:1: demand: missing key demand.accounts"),
        (FIRST + "accounts = -3" + LAST, "capacity.toml:5: demand.accounts: .*> 0"),
        (FIRST + "accounts = nan" + LAST, "capacity.toml:5: demand.accounts"),
        (FIRST + "accounts = inf" + LAST, "capacity.toml:5: demand.accounts"),
        (FIRST + 'accounts = "many"' + LAST, "capacity.toml:5: demand.accounts: expected"),
        (
            FIRST + "accounts = { low = 3 }" + LAST,
            "capacity.toml:5: demand.accounts: expected a value, or low",
        ),
        (FIRST + "accounts = { low = 3, high = 2 }" + LAST, "capacity.toml:5: .*low 3 is above high 2"),
        (FIRST + "accounts = { low = 3, higth = 4 }" + LAST, r"capacity.toml:5: .*did you mean high\?"),
        (
            FIRST + "acounts = 3" + LAST,
            r"capacity.toml:5: demand.acounts: unknown key \(did you mean accounts",
        ),
        (FIRST + "accounts = 3" + LAST + "[policy]\nheadroom = 1", "capacity.toml:9: policy.headroom"),
        (
            FIRST + "accounts = 3" + LAST + "[policy]\nfailures_tolerated = 1.5",
            "capacity.toml:9: policy.fail",
        ),
    ],
)
def test_a_mistake_in_a_plan_is_named_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    """File, line, key, and what was expected."""
    path = tmp_path / "capacity.toml"
    path.write_text(text)
    with pytest.raises(WorkloadError, match=says):
        sizing.read(path)
