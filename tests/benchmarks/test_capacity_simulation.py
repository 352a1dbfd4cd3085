"""The simulation of the search is itself sound, and a small one keeps what the full one shows."""

from __future__ import annotations

import pytest

from benchmarks import capacity_simulation as simulation


def test_the_capacity_is_where_the_share_is_the_allowed_one() -> None:
    """The truth that the search is measured by."""
    assert simulation.share_above(simulation.capacity_of(1_000), 1_000) == pytest.approx(0.01)


def test_the_search_is_unbiased_and_quick() -> None:
    """40 seeded searches with 3 % step noise that they are not told.

    The bounds are the goals, widened by what 40 searches leave uncertain.
    """
    found = simulation.simulate(40, noise=0.03, seconds=20, seed=5)
    assert abs(found.bias) <= 0.015
    assert found.error_p95 <= 0.06
    assert found.covered >= 0.8
    assert found.seconds <= 300
    assert found.found >= 0.9
