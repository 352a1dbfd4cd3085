"""SLOs with their uncertainty: met, missed, not shown, unknown."""

from __future__ import annotations

import pytest

from analysis.frames import Frames
from analysis.objectives import Objective, State
from analysis.verdict import judge_frames
from reports.manifest import Phase
from reports.sample import Fate
from tests.analysis.conftest import ORIGIN, SECOND, Build


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


def test_an_objective_of_one_phase_is_judged_by_what_began_in_it(build: Build) -> None:
    """Of five seconds out of fifty-five there are a tenth of the samples; both halves make the whole."""
    at = [ORIGIN + second * SECOND for second in (5, 10, 60)]
    phases = [Phase(name="spike", from_ns=at[0], to_ns=at[1]), Phase(name="rest", from_ns=at[1], to_ns=at[2])]
    for key, limit in (("https p50", "< 1 s"), ("chat.delivered p50", "< 1 s"), ("errors", "< 2 %")):
        slo = {key: limit, f"{key} @spike": limit, f"{key} @rest": limit}
        whole, spike, rest = judge_frames(Frames(build(slo=slo, phases=phases))).objectives
        assert whole.n == spike.n + rest.n
        assert 0.05 * whole.n < spike.n < 0.15 * whole.n
        assert spike.state is State.MET


def test_a_message_that_was_lost_in_one_phase_was_not_in_another(build: Build) -> None:
    """Counts are of their phase too, the warm-up's among them."""
    middle = ORIGIN + 30 * SECOND
    phases = [
        Phase(name="one", from_ns=ORIGIN, to_ns=middle),
        Phase(name="two", from_ns=middle, to_ns=ORIGIN + 60 * SECOND),
    ]
    slo = {"lost @one": "= 0", "lost @two": "= 0", "deliveries @one": ">= 1"}
    run = build(slo=slo, phases=phases, fates={Fate.LOST: 40})
    one, two, some = judge_frames(Frames(run)).objectives
    assert one.figure is not None
    assert 0 < one.figure == 40 - (two.figure or 0)
    assert some.state is State.MET


def test_a_phase_that_never_came_is_not_shown(build: Build) -> None:
    """The run was shorter than its plan: neither met nor missed."""
    for key, limit in (("https p50 @after-spike", "< 1 s"), ("lost @after-spike", "= 0")):
        assert judged(build, key, limit).state is State.NOT_SHOWN


def test_coverage_is_an_objective(build: Build) -> None:
    """The share of the contract that worked; an interrupted run does not miss it."""
    assert judged(build, "coverage", ">= 1 %").state is State.MET
    missed = judged(build, "coverage", ">= 100 %")
    assert (missed.state, missed.unit) == (State.MISSED, "share")
    assert "not exercised" in missed.reason
    assert judged(build, "coverage", ">= 100 %", status="partial").state is State.NOT_SHOWN


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
