"""The grammar of objectives: what is accepted means what it says, the rest is refused with a reason."""

from __future__ import annotations

import pytest

from scenarios.slo import SloError, Tolerance, parse_slo, parse_tolerance


@pytest.mark.parametrize(
    ("name", "text", "operation", "statistic", "relation", "limit"),
    [
        ("chat.delivered p99", "< 250 ms", "chat.delivered", "p99", "<", 250e6),
        ("get-chats p95", "<= 1.5 s", "get-chats", "p95", "<=", 1.5e9),
        ("wss.ping p50", "< 900 us", "wss.ping", "p50", "<", 900e3),
        ("chat.delivered p99.9", "<2s", "chat.delivered", "p99.9", "<", 2e9),
        ("errors", "< 1 %", "", "errors", "<", 0.01),
        ("sign-in errors", "<= 0.1 %", "sign-in", "errors", "<=", 0.001),
        ("lost", "= 0", "lost", "count", "=", 0),
        ("deliveries", ">= 1000", "deliveries", "count", ">=", 1000),
        ("chat.completed p90", "< 1 s", "chat.completed", "p90", "<", 1e9),
        ("wss.connect p99", "< 500 ms", "wss.connect", "p99", "<", 500e6),
        ("coverage", ">= 90 %", "", "coverage", ">=", 0.9),
    ],
)
def test_an_objective_means_what_it_says(
    name: str, text: str, operation: str, statistic: str, relation: str, limit: float
) -> None:
    """Name and limit are taken apart; times become ns, shares a fraction."""
    slo = parse_slo(name, text)
    assert (slo.operation, slo.statistic, slo.relation) == (operation, statistic, relation)
    assert slo.limit == pytest.approx(limit)


@pytest.mark.parametrize("name", ["https p99", "errors", "sign-in errors", "lost", "requests"])
def test_an_objective_may_be_of_one_phase(name: str) -> None:
    """Whatever is counted or timed can be asked of one phase, and means the same there."""
    text = {"https p99": "< 1 s", "errors": "< 1 %", "sign-in errors": "< 1 %"}.get(name, "= 0")
    whole, part = parse_slo(name, text), parse_slo(f"{name} @spike", text)
    assert (whole.phase, part.phase) == ("", "spike")
    assert (part.operation, part.statistic, part.limit) == (whole.operation, whole.statistic, whole.limit)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("chat.delivered p97", "< 1 ms", "not an objective"),
        ("chat.delivered p99", "250 ms", "not understood"),
        ("chat.delivered p99", "< 250", "needs ms or s or us"),
        ("chat.delivered p99", "< 1 %", "needs ms"),
        ("lost", "= 0 ms", "needs no unit"),
        ("errors", "< 1", "needs %"),
        ("Bad Name p99", "< 1 ms", "not an objective"),
        ("<script> p99", "< 1 ms", "not the name of a metric"),
        ("", "= 0", "not an objective"),
        ("@spike", "= 0", "not an objective"),
        ("lost spike", "= 0", "not an objective"),
        ("lost @a @b", "= 0", "not an objective"),
        ("coverage @spike", ">= 1 %", "not an objective"),
        ("coverage", ">= 1", "needs %"),
        ("lost", "= ١", "not understood"),
        ("lost", "= -1", "not understood"),
        ("lost", "= nan", "not understood"),
    ],
)
def test_what_is_not_an_objective_is_refused_with_a_reason(name: str, text: str, complaint: str) -> None:
    """A mistake is told apart: the name, the limit or its unit."""
    with pytest.raises(SloError, match=complaint):
        parse_slo(name, text)


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [("< 5", 5, False), ("<= 5", 5, True), ("= 5", 5, True), (">= 5", 4, False), ("> 5", 6, True)],
)
def test_a_relation_holds_or_not(text: str, value: float, holds: bool) -> None:
    """The limit itself is inside for <=, >= and =, outside for < and >."""
    assert parse_slo("lost", text).holds(value) is holds


def test_a_tolerance_is_a_share() -> None:
    """The metric is taken apart, per cent become a fraction."""
    assert parse_tolerance("wss.ping p99", "10 %") == Tolerance("wss.ping p99", "wss.ping", "p99", 0.1)


@pytest.mark.parametrize(
    ("name", "text"),
    [("wss.ping", "5 %"), ("wss.ping p97", "5 %"), ("lost", "5 %"), ("Ping p50", "5 %")]
    + [("wss.ping p50", text) for text in ("5", "0 %", "-5 %", "101 %", "٥ %", "5 ms", "")],
)
def test_what_is_no_tolerance_is_refused(name: str, text: str) -> None:
    """No quantile, no per cent, nothing, more than all of it."""
    with pytest.raises(SloError):
        parse_tolerance(name, text)
