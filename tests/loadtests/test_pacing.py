"""A plan: as many arrivals as the rates add up to, in order, and one for any number of workers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.clock import SECOND
from loadtests.pacing import Plan, Spacing, plan
from scenarios.arrivals import Constant, Ramp, Replay, Segment, Sine, Soak, Spike, Stairs, expected

rates = st.floats(0, 50, allow_subnormal=False)
spans = st.floats(0.1, 60)
SEGMENTS = st.one_of(
    st.builds(Constant, for_s=spans, rate=rates),
    st.builds(Ramp, for_s=spans, from_rate=rates, to_rate=rates),
    st.builds(Stairs, for_s=spans, from_rate=rates, to_rate=rates, steps=st.integers(2, 9)),
    st.builds(
        Spike, for_s=st.floats(10, 60), rate=rates, peak=rates, hold_s=st.floats(0, 6), rise_s=st.floats(0, 2)
    ),
    st.builds(Soak, for_s=st.floats(10, 60), rate=rates, rise_s=st.floats(0, 5)),
    st.builds(Sine, for_s=spans, low=st.floats(0, 5), high=st.floats(5, 50), period_s=st.floats(1, 30)),
)
schedules = st.lists(SEGMENTS, max_size=5)
seeds = st.integers(0, 2**63)


def planned(segments: list[Segment], spacing: Spacing, seed: int = 1, seconds: float = 1e4) -> Plan:
    """Return the whole plan of some segments."""
    return plan(segments, {}, spacing=spacing, seed=seed, seconds=seconds)


@given(schedules)
def test_even_arrivals_are_as_many_as_the_rates_add_up_to(segments: list[Segment]) -> None:
    """To the nearest whole one."""
    count = len(planned(segments, "even").instants)
    assert abs(count - expected(segments)) <= 0.5 + 1e-6


@given(schedules, seeds)
def test_poisson_arrivals_are_about_as_many(segments: list[Segment], seed: int) -> None:
    """A Poisson count strays from its mean by its root: seven of those happen to nobody."""
    mean = expected(segments)
    assert abs(len(planned(segments, "poisson", seed).instants) - mean) <= 7 * mean**0.5 + 15


@given(schedules, seeds, st.sampled_from(("even", "poisson")))
def test_instants_are_in_order_and_within_the_schedule(
    segments: list[Segment], seed: int, spacing: Spacing
) -> None:
    """None before the one before it, none after the end."""
    instants = planned(segments, spacing, seed).instants
    assert (np.diff(instants) >= 0).all()
    if len(instants):
        assert instants[0] >= 0
        assert instants[-1] <= (sum(each.for_s for each in segments) + 1e-6) * SECOND


@given(schedules, seeds)
def test_workers_share_one_plan_exactly(segments: list[Segment], seed: int) -> None:
    """1, 2, 4 or 8 of them: together they have each arrival once, and their plan has the same hash."""
    one = planned(segments, "poisson", seed)
    for workers in (1, 2, 4, 8):
        again = planned(segments, "poisson", seed)
        shares = [again.share(worker, workers) for worker in range(workers)]
        together = Plan(np.sort(np.concatenate(shares)), again.length)
        assert together.hash == again.hash == one.hash
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(schedules, seeds, st.floats(0.1, 120))
def test_a_shorter_run_does_the_beginning_of_the_longer_one(
    segments: list[Segment], seed: int, seconds: float
) -> None:
    """Cutting a plan moves nothing."""
    whole, cut = (planned(segments, "poisson", seed, length).instants for length in (1e4, seconds))
    assert (cut == whole[: len(cut)]).all()
    assert (whole[len(cut) :] >= round(seconds * SECOND)).all()


def test_another_seed_is_another_plan() -> None:
    """Where chance has a say at all."""
    segments: list[Segment] = [Constant(for_s=60, rate=5)]
    assert planned(segments, "poisson", 1).hash != planned(segments, "poisson", 2).hash
    assert planned(segments, "even", 1).hash == planned(segments, "even", 2).hash


def test_even_arrivals_of_a_ramp_stand_where_its_area_says() -> None:
    """At a rate of t the k-th has t²/2 = k + ½ before it."""
    instants = planned([Ramp(for_s=10, from_rate=0, to_rate=10)], "even").instants / SECOND
    assert instants == pytest.approx(np.sqrt(2 * np.arange(50) + 1))


def test_the_gaps_of_poisson_arrivals_are_exponential() -> None:
    """Kolmogorov-Smirnov: 20,000 gaps stay within 2.5 / √n of 1 - exp(-rate · gap)."""
    gaps = np.sort(np.diff(planned([Constant(for_s=2000, rate=10)], "poisson", 3).instants) / SECOND)
    ranks = np.arange(1, len(gaps) + 1) / len(gaps)
    assert np.abs(ranks - (1 - np.exp(-10 * gaps))).max() < 2.5 / len(gaps) ** 0.5


def test_a_recorded_schedule_is_replayed_between_others() -> None:
    """From the end of the segment before it, so many times as fast, and no longer than it may."""
    segments = [
        Constant(for_s=2, rate=1),
        Replay(for_s=3, file="a.csv", speed=2),
        Constant(for_s=2, rate=1),
    ]
    recorded = {"a.csv": (0.0, 1.0, 5.0, 6.0, 99.0)}
    instants = plan(segments, recorded, spacing="even", seed=1, seconds=7).instants
    assert (instants / SECOND).tolist() == [0.5, 1.5, 2.0, 2.5, 4.5, 5.5, 6.5]
