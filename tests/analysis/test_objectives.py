"""SLOs with their uncertainty: met, missed, not shown, unknown."""

from __future__ import annotations

import pytest

from analysis.frames import Frames
from analysis.objectives import Objective, State
from analysis.verdict import judge_frames
from reports.sample import Fate
from tests.analysis.conftest import Build


def judged(build: Build, key: str, limit: str, **how: object) -> Objective:
    """Return the result of one objective."""
    return judge_frames(Frames(build(slo={key: limit}, **how))).objectives[0]


@pytest.mark.parametrize(
    ("key", "limit", "state"),
    [
        ("chat.delivered p99", "< 250 ms", State.MET),
        ("chat.delivered p99", "< 10 ms", State.MISSED),
        ("chat.delivered p99", "<= 24.7 ms", State.NOT_SHOWN),
        ("get-chats p50", "< 1 s", State.MET),
        ("https p95", "< 1 s", State.MET),
        ("wss p99.9", "< 1 s", State.NOT_SHOWN),
        ("chat.open p50", "< 20000 us", State.MISSED),
        ("errors", "< 1 %", State.MET),
        ("errors", "< 0.1 %", State.MISSED),
        ("errors", "<= 0.45 %", State.NOT_SHOWN),
        ("sign-in errors", "< 50 %", State.MET),
        ("ping errors", "= 0 %", State.MISSED),
        ("lost", "= 0", State.MISSED),
        ("late", "= 0", State.MET),
        ("lost", "< 10", State.MET),
        ("deliveries", ">= 1000", State.MET),
        ("requests", ">= 1000000", State.MISSED),
    ],
)
def test_an_objective_is_judged_by_its_whole_interval(
    build: Build, key: str, limit: str, state: State
) -> None:
    """Met with all of the interval within, missed with none of it, otherwise not shown; counts are exact."""
    n = 8_000 if "p99.9" in key else 20_000
    found = judged(build, key, limit, fates={Fate.LOST: 3}, n=n)
    assert found.state is state, found.sentence
    assert (
        found.low is None
        or found.figure is None
        or found.high is None
        or found.low <= found.figure <= found.high
    )


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("chat.deliverd p99", "chat.delivered"),
        ("get-chatss p95", "get-chats"),
        ("sign-inn errors", "sign-in"),
    ],
)
def test_an_unknown_metric_names_the_nearest(build: Build, key: str, nearest: str) -> None:
    """A misspelt objective is not silently never judged."""
    found = judged(build, key, "< 1 %" if "errors" in key else "< 1 ms", n=200, ledger=100)
    assert found.state is State.UNKNOWN
    assert repr(nearest) in found.reason


@pytest.mark.parametrize(
    ("key", "limit"), [("nonsense", "< 1 ms"), ("lost", "< 1 ms"), ("errors", "about 1 %")]
)
def test_what_is_not_an_objective_is_a_usage_error(build: Build, key: str, limit: str) -> None:
    """A line that can't be read is named, with its exit code 2."""
    verdict = judge_frames(Frames(build(slo={key: limit}, n=200, ledger=100)))
    assert verdict.objectives[0].state is State.UNKNOWN
    assert (verdict.verdict, verdict.exit_code) == ("usage", 2)


@pytest.mark.parametrize(
    ("key", "limit"), [("sign-up p99", "< 1 s"), ("sign-up errors", "< 1 %"), ("lost", "= 0")]
)
def test_a_known_metric_without_data_is_not_shown(build: Build, key: str, limit: str) -> None:
    """The contract knows it, the run never did it: neither met nor missed."""
    found = judged(build, key, limit, n=200, ledger=0)
    assert found.state is State.NOT_SHOWN
    assert found.figure is None


def test_an_objective_far_from_its_limit_needs_no_tail_to_be_shown(build: Build) -> None:
    """Half a thousand samples don't show a p99, but none of them beyond the limit shows that it is below."""
    found = judged(build, "get-chats p99", "< 1 s", n=3_000, ledger=0)
    assert 368 <= found.n < 1_000
    assert found.state is State.MET
    assert found.figure is None
    assert found.reason == f"0 of {found.n} are beyond it"


def test_too_few_samples_say_how_many_more(build: Build) -> None:
    """A p99 that none reaches needs 368 samples, ln 0.025 / ln 0.99; the message counts what is missing."""
    found = judged(build, "get-chats p99", "< 1 s", n=1_000, ledger=0)
    assert found.state is State.NOT_SHOWN
    assert found.more == 368 - found.n
    assert "368" in found.reason
