"""The delays of faults: what is drawn agrees with what is told as the truth."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talkamie.server.faults.delays import (
    QUANTILES,
    Bimodal,
    Constant,
    Distribution,
    Lognormal,
    Uniform,
    stall_wait,
    told,
)

DISTRIBUTIONS: list[Distribution] = [
    Constant(ms=5),
    Uniform(min_ms=5, max_ms=25),
    Lognormal(median_ms=20, sigma=0.5),
    Lognormal(median_ms=20, sigma=1.5, max_ms=100),
    Bimodal(fast_ms=5, slow_ms=200, slow_share=0.07),
]


@pytest.mark.parametrize("delay", DISTRIBUTIONS, ids=lambda delay: type(delay).__name__)
def test_what_is_drawn_has_the_quantiles_that_are_told(delay: Distribution) -> None:
    """The share of draws below a told quantile is less than its share, and that up to it no less."""
    chance = random.Random(1)
    draws = sorted(delay.quantile(chance.random()) for _ in range(100_000))
    for share in QUANTILES.values():
        value = delay.quantile(share)
        below = sum(draw < value for draw in draws) / len(draws)
        upto = sum(draw <= value for draw in draws) / len(draws)
        assert below - 0.005 <= share <= upto + 0.005


def test_quantiles_that_are_known() -> None:
    """By hand: of a uniform 1 … 100, of a lognormal with median 100 and sigma 1, of a bimodal."""
    hundred = Uniform(min_ms=1, max_ms=100)
    assert [hundred.quantile(p) for p in (0.0, 0.001, 0.5, 0.9, 0.999, 1.0)] == [1, 1, 50, 90, 100, 100]
    wide = Lognormal(median_ms=100, sigma=1)
    assert [wide.quantile(p) for p in (0.5, 0.9, 0.99)] == [100, 360, 1024]  # 100 · exp(1.2816, 2.3263)
    two = Bimodal(fast_ms=5, slow_ms=200, slow_share=0.05)
    assert [two.quantile(p) for p in (0.9, 0.95, 0.951, 0.99)] == [5, 5, 200, 200]


@given(st.sampled_from(DISTRIBUTIONS), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_quantiles_never_fall(delay: Distribution, one: float, other: float) -> None:
    """A greater share never has a smaller quantile, and all are whole milliseconds from 1 on."""
    low, high = sorted((one, other))
    assert 1 <= delay.quantile(low) <= delay.quantile(high)
    assert isinstance(delay.quantile(low), int)


@given(st.integers(1, 5_000), st.integers(1, 5_000))
def test_the_truth_of_a_stall_is_what_arrivals_meet(stall: int, rest: int) -> None:
    """By brute force: arrivals spread evenly over the period, each waiting for the end of the stall."""
    period = stall + rest
    count = 20_000
    waits = sorted(max(0.0, stall - (n + 0.5) * period / count) for n in range(count))
    for name, value in told(
        lambda share: stall_wait(share, stall=stall * 1000, period=period * 1000)
    ).items():
        met = waits[min(count - 1, int(QUANTILES[name] * count))]
        assert abs(value / 1000 - met) <= period / count + 0.001
