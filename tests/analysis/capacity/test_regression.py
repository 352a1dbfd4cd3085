"""Costs by least squares: the truth is found, its interval holds it, and what can't be told is not told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.capacity.regression import RegressionError, fit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

TRUE = {"base": 4e6, "user": 5e4, "https": 6e5, "handshake": 1e6, "free": 0.0}
"""ns: about what the reference server takes."""


def world(rng: np.random.Generator, n: int = 40, users: int = 120) -> tuple[Vector, dict[str, Vector]]:
    """Return the CPU of n windows of 2 s in which people came, and what they did.

    Noise is by a factor, 7 %, alike in neighbours, and CPU is read in ticks of 10 ms.
    """
    ramp = np.clip(np.arange(n) - 2, 0, n // 4) / (n // 4)
    storms = rng.poisson(users * (np.arange(n) % 11 == 10)).astype(float)
    done = {
        "base": np.full(n, 2.0),
        "user": 2 * users * ramp,
        "https": rng.poisson(users * ramp * rng.uniform(0.1, 0.6, n)).astype(float),
        "handshake": rng.poisson(users * np.diff(ramp, prepend=0)) + storms,
        "free": rng.poisson(users * ramp * rng.uniform(0, 0.4, n)).astype(float),
    }
    noise = np.zeros(n)
    for at in range(1, n):
        noise[at] = 0.4 * noise[at - 1] + rng.normal(0, 0.07)
    spent = np.cumsum(sum(TRUE[kind] * counts for kind, counts in done.items()) * (1 + noise))
    before = rng.uniform(0, 1e7)
    return np.diff(np.floor((spent + before) / 1e7) * 1e7, prepend=0), done


def test_nine_of_ten_intervals_hold_the_truth() -> None:
    """Over 300 worlds of one run, and 300 of three: each kind, and all of them together."""
    for runs in (1, 3):
        held = dict.fromkeys([*TRUE, "all"], 0)
        for seed in range(300):
            rng = np.random.default_rng(seed)
            parts = [world(rng, users=60 * (run + 1)) for run in range(runs)]
            done = {kind: np.concatenate([part[1][kind] for part in parts]) for kind in TRUE}
            model = fit(np.concatenate([part[0] for part in parts]), done, [40] * runs, "base")
            assert model.names == list(TRUE)
            asked = {kind: {kind: 1.0} for kind in TRUE} | {"all": {kind: done[kind].sum() for kind in TRUE}}
            for name, weights in asked.items():
                found = model.cost(weights)
                assert 0 <= found.low <= found.value <= found.high
                held[name] += found.low <= sum(TRUE[kind] * n for kind, n in weights.items()) <= found.high
        assert min(held.values()) >= 0.9 * 300, (runs, held)


def test_without_noise_the_costs_are_exact() -> None:
    """And the interval is as narrow as the arithmetic."""
    _, done = world(np.random.default_rng(3))
    cpu = np.column_stack([*done.values()]) @ [*TRUE.values()]
    model = fit(cpu, done, [40], "base")
    for kind, true in TRUE.items():
        found = model.cost({kind: 1})
        assert found.value == pytest.approx(true, abs=1)
        assert found.high - found.low < 10


def test_what_comes_and_goes_with_another_is_within_it() -> None:
    """Its cost is added to that one's; what is there all the time is within the base."""
    cpu, done = world(np.random.default_rng(1))
    with_echo = done | {"echo": 3 * done["https"], "still": np.full(40, 7.0)}
    model = fit(cpu + 1e5 * with_echo["echo"], with_echo, [40], "base")
    assert model.within == {"echo": "https", "still": "base"}
    found = model.cost({"https": 1})
    assert found.low <= TRUE["https"] + 3e5 <= found.high


def test_what_never_happened_has_no_cost_and_no_place() -> None:
    """It is neither a kind of its own nor within another."""
    cpu, done = world(np.random.default_rng(1))
    model = fit(cpu, done | {"never": np.zeros(40)}, [40], "base")
    assert "never" not in model.names
    assert "never" not in model.within


def test_nothing_costs_less_than_nothing() -> None:
    """A kind in whose windows less was used is not shown to cost, and no other pays for it."""
    cpu, done = world(np.random.default_rng(2))
    found = fit(cpu - 2e5 * done["free"], done, [40], "base").cost({"free": 1})
    assert (found.value, found.low) == (0, 0)
    assert found.high > 0


def test_too_few_windows_are_refused() -> None:
    """One sentence with the number that is needed."""
    cpu, done = world(np.random.default_rng(1))
    with pytest.raises(RegressionError, match="9 windows of time for 5 kinds of work; expected 10 at least"):
        fit(cpu[:9], {kind: counts[:9] for kind, counts in done.items()}, [9], "base")
    with pytest.raises(RegressionError):
        fit(cpu, {}, [40])


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_units_do_not_matter(of_cost: float, of_kind: float) -> None:
    """Costs in another unit, kinds counted in dozens: the same figures in other units."""
    cpu, done = world(np.random.default_rng(5))
    one = fit(cpu, done, [40], "base").cost({"https": 1})
    scaled = done | {"https": of_kind * done["https"]}
    two = fit(of_cost * cpu, scaled, [40], "base").cost({"https": 1})
    ratio = of_cost / of_kind
    for before, after in zip((one.value, one.low, one.high), (two.value, two.low, two.high), strict=True):
        assert after == pytest.approx(before * ratio, rel=1e-6)
