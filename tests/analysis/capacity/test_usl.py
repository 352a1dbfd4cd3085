"""The scalability law, against published fits and against curves whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from analysis.capacity import usl

RAYTRACER = ([1, 4, 8, 12, 16, 20, 24, 28, 32, 48, 64], [20, 78, 130, 170, 190, 200, 210, 230, 260, 280, 310])
SPECSDM91 = ([1, 18, 36, 72, 108, 144, 216], [64.9, 995.9, 1652.4, 1853.2, 1828.9, 1775.0, 1702.2])
TRUTH = (50.0, 0.03, 2e-4)
LOADS = np.array([5, 10, 20, 30, 40, 60, 80, 100, 140] * 2, float)


def first_six() -> usl.Fit:
    """Return the fit of the first six points of raytracer."""
    return usl.fit(RAYTRACER[0][:6], RAYTRACER[1][:6])


def test_specsdm91_is_the_published_fit() -> None:
    """Gunther's SPEC SDM91 data, as fitted by R's package usl: to the printed digits."""
    found = usl.fit(*SPECSDM91)
    assert (f"{found.contention.value:.5f}", f"{found.coherency.value:.4e}") == ("0.02773", "1.0437e-04")
    assert found.single.value == pytest.approx(89.995, abs=5e-4)
    assert found.peak_load is not None
    assert f"{found.peak_load.value:.4f}" in ("96.5195", "96.5194", "96.5196")
    assert found.peak_observed
    assert found.method == "t"


def test_the_first_points_of_raytracer_are_the_published_fit() -> None:
    """Six points; the peak lies beyond them, so it was not observed."""
    found = first_six()
    figures = [f"{each.value:.{digits}f}" for each, digits in
               ((found.contention, 5), (found.coherency, 7), (found.single, 4))]  # fmt: skip
    assert figures == ["0.02444", "0.0016268", "20.8560"]
    assert not found.peak_observed
    assert (found.best_throughput, found.capacity_load) == (200, 20)


def test_all_of_raytracer_has_no_coherency() -> None:
    """b lies on its bound: profile likelihood, no peak, and what was measured is all that may be said."""
    found = usl.fit(*RAYTRACER)
    assert f"{found.contention.value:.5f}" == "0.05777"
    assert f"{found.single.value:.3f}" == "21.849"
    assert found.coherency.value == 0
    assert found.coherency.low == 0
    assert 0 < (found.coherency.high or 0) < 1e-3
    assert found.method == "profile likelihood"
    assert found.peak_load is None
    assert found.capacity == 310


def test_intervals_differ_from_those_of_r_and_why() -> None:
    """R's confint of a usl object takes the 95 % quantile of t with n - 1 degrees of freedom.

    Three parameters were fitted, and an interval of 95 % leaves 2.5 % on either side: t(0.975, 3) = 3.18 is
    right where R has t(0.95, 5) = 2.02. With three degrees of freedom, R's interval covers 86 %.
    """
    published = [(0.00754, 0.04135), (0.00110, 0.00215), (19.267, 22.445)]
    found = first_six()
    ours, theirs = special.stdtrit(3, 0.975), special.stdtrit(5, 0.95)
    for each, (low, high) in zip((found.contention, found.coherency, found.single), published, strict=True):
        assert each.high is not None
        half = (each.high - each.low) / 2
        assert half * theirs / ours == pytest.approx((high - low) / 2, rel=0.01)
        assert each.low < low < high < each.high
    assert special.stdtr(3, theirs) * 2 - 1 == pytest.approx(0.863, abs=0.001)


@pytest.mark.parametrize(("truth", "sets"), [(TRUTH, 200), ((50.0, 0.03, 0.0), 60)], ids=["peak", "no peak"])
def test_intervals_cover_the_truth(truth: tuple[float, float, float], sets: int) -> None:
    """Of seeded sets, at least 90 % of the 95 % intervals hold each parameter, on its bound as well."""
    rng = np.random.default_rng(3)
    curve = usl.throughput(LOADS, *truth)
    covered = np.zeros(3)
    for _ in range(sets):
        found = usl.fit(LOADS.tolist(), (curve + 20 * rng.standard_normal(len(LOADS))).tolist())
        ends = (found.single, found.contention, found.coherency)
        covered += [
            each.low <= value and (each.high is None or value <= each.high)
            for each, value in zip(ends, truth, strict=True)
        ]
    assert (covered >= 0.9 * sets).all(), covered


def test_the_band_and_the_peak_cover_the_truth() -> None:
    """Of 100 seeded sets, at least 90 hold the true curve at a load, and the true peak in both directions."""
    rng = np.random.default_rng(4)
    at = np.sqrt((1 - TRUTH[1]) / TRUTH[2])
    height, elsewhere = usl.throughput(np.array([at, 25.0]), *TRUTH)
    covered = np.zeros(3)
    for _ in range(100):
        noisy = usl.throughput(LOADS, *TRUTH) + 15 * rng.standard_normal(len(LOADS))
        found = usl.fit(LOADS.tolist(), noisy.tolist())
        low, high = usl.band(found, np.array([25.0]))
        assert found.peak_load is not None
        assert found.peak_throughput is not None
        covered += [
            low[0] <= elsewhere <= high[0],
            found.peak_load.low <= at <= (found.peak_load.high or np.inf),
            found.peak_throughput.low <= height <= (found.peak_throughput.high or np.inf),
        ]
    assert (covered >= 90).all(), covered


@settings(max_examples=30, deadline=None)
@given(st.floats(0.1, 1e4), st.floats(1e-3, 0.2), st.floats(1e-6, 1e-2), st.floats(0.1, 1e3), st.randoms())
def test_an_exact_curve_is_found_again(g: float, a: float, b: float, scale: float, order: object) -> None:
    """Whatever the parameters, the unit of throughput and the order of the points."""
    loads = np.array([1, 3, 8, 20, 50, 120, 300], float)
    shuffled = loads.copy()
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    found = usl.fit(shuffled.tolist(), (scale * usl.throughput(shuffled, g, a, b)).tolist())
    assert found.parameters == pytest.approx((scale * g, a, b), rel=1e-3, abs=1e-7)


def test_a_load_is_found_for_a_throughput() -> None:
    """On the rising branch; the load of the peak for more than the peak."""
    found = usl.fit(*SPECSDM91)
    load = usl.load_for(found, 1_000)
    assert usl.throughput(load, *found.parameters) == pytest.approx(1_000)
    assert load < found.capacity_load
    assert usl.load_for(found, 1e9) == found.capacity_load


@pytest.mark.parametrize(
    ("loads", "throughputs", "why"),
    [
        ([1, 2, 3], [1, 2, 3], "3 points"),
        ([1, 1, 2, 2], [1, 2, 3, 4], "2 different loads"),
        ([1, 2, 3, -4], [1, 2, 3, 4], "above 0"),
        ([1, 2, 3, 4], [1, 2, 3, float("nan")], "above 0"),
    ],
)
def test_no_curve_through_too_little(loads: list[float], throughputs: list[float], why: str) -> None:
    """Three parameters and their uncertainty need four points at three loads."""
    with pytest.raises(usl.FitError, match=why):
        usl.fit(loads, throughputs)


@pytest.mark.parametrize("throughputs", [[5.0] * 6, [10.0, 20, 30, 40, 50, 60], [60.0, 50, 40, 30, 20, 10]])
def test_extreme_shapes_have_a_fit(throughputs: list[float]) -> None:
    """Flat, exactly linear, falling from the start: finite parameters and ordered intervals."""
    found = usl.fit([1, 2, 3, 4, 5, 6], throughputs)
    assert np.isfinite(found.parameters).all()
    for each in (found.single, found.contention, found.coherency):
        assert each.low <= each.value <= (each.high if each.high is not None else np.inf)
