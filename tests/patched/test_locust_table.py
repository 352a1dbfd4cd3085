"""Locust's own table shows what was measured: wss rows, exact counts, quantiles to three digits."""

from __future__ import annotations

import random

import pytest
from locust.stats import RequestStats

from loadtests.locust_table import feed
from loadtests.recorder import Second
from reports.sample import Kind, Outcome

MS = 1_000_000


def row(
    kind: Kind, operation: str, took: int, outcome: Outcome = Outcome.OK, error: str = ""
) -> tuple[object, ...]:
    return (kind, operation, "", outcome, 1, 0, 0, 0, took, took, 200, 7, error)


def test_rows_carry_method_and_name_of_the_contract() -> None:
    """https operations go by their method, everything on the socket by WSS."""
    stats = RequestStats()
    samples = [row(Kind.REQUEST, "sign-up", MS), row(Kind.SOCKET, "wss.send-message", MS)]
    feed(stats, Second(samples, [("chat.delivered", 2 * MS)]))
    assert set(stats.entries) == {
        ("sign-up", "POST"),
        ("wss.send-message", "WSS"),
        ("chat.delivered", "WSS"),
    }
    assert stats.total.num_requests == 3
    assert stats.total.total_content_length == 14


def test_quantiles_keep_three_digits_where_locust_would_keep_none() -> None:
    """Half a millisecond is half a millisecond, and 147 ms stays 147."""
    stats = RequestStats()
    rng = random.Random(1)
    times = sorted(round(rng.lognormvariate(13, 1)) for _ in range(999))
    feed(stats, Second([row(Kind.PING, "wss.ping", took) for took in times], []))
    entry = stats.get("wss.ping", "WSS")
    for q, index in ((0.5, 499), (0.99, 989)):
        assert entry.get_response_time_percentile(q) == pytest.approx(times[index] / MS, rel=0.006)
    assert entry.min_response_time == pytest.approx(times[0] / MS)
    assert entry.max_response_time == pytest.approx(times[-1] / MS)


def test_failures_are_counted_in_row_total_and_error_table() -> None:
    """One line an error class with its count; steps and cancelled calls are not requests."""
    stats = RequestStats()
    failed = [row(Kind.REQUEST, "sign-in", MS, Outcome.FAILED, "status 500")] * 3
    other = [row(Kind.STEP, "chat.open", MS), row(Kind.REQUEST, "sign-in", MS, Outcome.CANCELLED)]
    feed(stats, Second([*failed, *other], []))
    assert stats.get("sign-in", "POST").num_failures == stats.total.num_failures == 3
    assert stats.total.num_requests == 3
    assert [error.occurrences for error in stats.errors.values()] == [3]
