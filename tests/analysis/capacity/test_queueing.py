"""Little's law and Erlang's C, against published values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.capacity import usl
from analysis.capacity.points import Point
from analysis.capacity.queueing import erlang_c, little, waiting

MS = 1_000_000


@pytest.mark.parametrize(
    ("servers", "offered", "expected"), [(1, 0.7, 0.7), (2, 1.0, 1 / 3), (3, 2.0, 4 / 9), (10, 8.0, 0.4092)]
)
def test_erlang_c_is_the_published_one(servers: int, offered: float, expected: float) -> None:
    """One server waits with its utilisation; 2, 3 and 10 servers as in the tables."""
    assert erlang_c(servers, offered) == pytest.approx(expected, abs=5e-5)


@given(st.integers(1, 2_000), st.floats(0.01, 0.98))
def test_the_probability_of_waiting_grows_with_the_load(servers: int, used: float) -> None:
    """It is a probability, and more load makes more wait; thousands of servers do not overflow."""
    less, more = erlang_c(servers, servers * used), erlang_c(servers, servers * (used + 0.01))
    assert 0 <= less <= more <= 1


def test_a_full_queue_has_no_steady_state() -> None:
    """At the servers' number of erlangs the wait has no end."""
    with pytest.raises(ValueError, match="no steady state"):
        erlang_c(2, 2.0)


@pytest.mark.parametrize(("response_ms", "holds"), [(100, True), (104, True), (106, False), (90, False)])
def test_littles_law_is_held_to_five_per_cent(response_ms: int, holds: bool) -> None:
    """100 per second that stay for 100 ms are 10 under way."""
    point = Point("x", load=10, throughput=100, response=response_ms * MS, in_system=10, rate=100)
    assert [each.holds for each in little([point])] == [holds]


def test_littles_law_needs_a_response_time() -> None:
    """Nothing is checked where nobody measured it."""
    assert little([Point("x", load=10, throughput=100)]) == []


def test_the_queue_of_a_fit_has_its_capacity() -> None:
    """Servers x 1 / service is the capacity, as near as whole servers can be."""
    fit = usl.fit([1, 18, 36, 72, 108, 144, 216], [64.9, 995.9, 1652.4, 1853.2, 1828.9, 1775.0, 1702.2])
    found = waiting(fit)
    assert found.servers * 1e9 / found.service == pytest.approx(fit.capacity, rel=0.03)
    assert found.waits == erlang_c(found.servers, 0.8 * found.servers)
