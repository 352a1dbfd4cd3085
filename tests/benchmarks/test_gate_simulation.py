"""The gate keeps its error rates over simulated runs whose truth is known; `make bench` has the full size."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from analysis.gate import differing
from analysis.looks import Word
from benchmarks import gate_simulation as simulation


@pytest.fixture(scope="module")
def sampling() -> dict[str, NDArray[np.float64]]:
    """What sampling alone does to each quantile, over a hundred runs."""
    return simulation.pool(np.random.default_rng(41), 100)


@pytest.mark.parametrize(
    ("metric", "change", "least", "most", "pairs"),
    [
        ("p50", 0.0, 0.0, 0.025, 12),
        ("p99", 0.0, 0.0, 0.025, 12),
        ("p50", 0.10, 0.95, 1.0, 12),
        ("p99", 0.15, 0.95, 1.0, 12),
    ],
)
def test_a_gate_is_seldom_wrong_on_a_noisy_machine(
    sampling: dict[str, NDArray[np.float64]],
    metric: str,
    change: float,
    least: float,
    most: float,
    pairs: float,
) -> None:
    """CI noise, looks included: no alarm without a change, a change of 10 or 15 % found, in few pairs."""
    rng, tolerance = np.random.default_rng(43), simulation.TOLERANCES[metric]
    found = simulation.gates(rng, sampling[metric], "CI", tolerance=tolerance, change=change, count=600)
    assert least <= found.words[Word.REGRESSED] <= most
    assert found.pairs <= pairs
    assert sum(found.words.values()) == pytest.approx(1)


def test_more_metrics_do_not_make_more_false_alarms(sampling: dict[str, NDArray[np.float64]]) -> None:
    """With six independent gate metrics no more than 2.5 % of no-change gates have any that regressed."""
    rng = np.random.default_rng(47)
    assert simulation.false_gates(rng, sampling["p50"], "CI", metrics=6, count=250) <= 0.025


def test_undeclared_metrics_seldom_cry_wolf(sampling: dict[str, NDArray[np.float64]]) -> None:
    """Of 50 metrics over 10 pairs without a change, any differs in at most 3 % of comparisons."""
    rng = np.random.default_rng(53)
    found = simulation.false_differences(rng, sampling["p50"], "CI", metrics=50, pairs=10, count=150)
    assert found <= 0.03


def test_many_metrics_that_do_differ_are_found(sampling: dict[str, NDArray[np.float64]]) -> None:
    """The correction is no excuse for never finding anything: a fifth of 50 metrics, 30 % slower."""
    rng = np.random.default_rng(59)
    rows = {
        f"{n:02}": list(simulation.differences(rng, sampling["p50"], "CI", 0.3 * (n < 10), (10,)))
        for n in range(50)
    }
    found = {each.metric for each in differing(rows) if each.differs}
    assert {f"{n:02}" for n in range(10)} <= found
    assert len(found) <= 12
