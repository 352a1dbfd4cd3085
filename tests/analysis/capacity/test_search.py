"""The search for the capacity: what it may try, when it stops, and how good its answer is."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from analysis.capacity.search import ABOVE, Count, Outcome, Purpose, Search, SearchError, Settings, State

SETTINGS = Settings(lowest=50, highest=2_000, start=300, allowed={"p99": 0.01})


def respond(search: Search, capacity: float, rng: np.random.Generator, requests: int = 2_000) -> None:
    """Take the search's next step on a target of this capacity: log-odds with slope 18, 2 % step noise."""
    step = search.next_step()
    assert step is not None
    odds = np.log(0.01 / 0.99) + 18 * (np.log(step.load / capacity) + 0.02 * rng.standard_normal())
    search.observe(step.load, {"p99": Count(int(rng.binomial(requests, 1 / (1 + np.exp(-odds)))), requests)})


def run(capacity: float, seed: int = 1, settings: Settings = SETTINGS) -> Search:
    """Return a search that has come to its end."""
    search, rng = Search(State(settings)), np.random.default_rng(seed)
    while search.next_step():
        respond(search, capacity, rng)
    return search


def test_it_finds_the_capacity_and_confirms_it() -> None:
    """The last two steps are one at the answer, which held, and one 10 % above, which failed."""
    search = run(770)
    answer, seen = search.answer(), search.state.observations
    assert answer.outcome is Outcome.FOUND
    assert answer.high
    assert answer.broke == "p99"
    assert answer.low <= answer.capacity <= answer.high
    assert answer.capacity == pytest.approx(770, rel=0.06)
    assert answer.high / answer.low < 1.1
    holds, fails = seen[-2:]
    assert (holds.purpose, fails.purpose) == (Purpose.HOLDS, Purpose.FAILS)
    assert fails.load == pytest.approx(holds.load * ABOVE)
    assert fails.counts["p99"].exceeds(0.01)


@pytest.mark.parametrize("seed", range(6))
def test_no_step_jumps(seed: int) -> None:
    """None is more than 1.6 times as high as the highest before it, none outside of what is allowed."""
    loads = [each.load for each in run(1_500, seed).state.observations]
    assert loads[0] == 300
    highest = np.maximum.accumulate(loads)
    assert (np.array(loads[1:]) <= highest[:-1] * 1.6 + 1e-9).all()
    assert max(loads) <= 2_000
    assert min(loads) >= 50


def test_a_replicate_repeats_a_load_exactly() -> None:
    """Only so can noise be told from slope; no answer without one."""
    seen = run(770).state.observations
    at = next(n for n, each in enumerate(seen) if each.purpose is Purpose.REPLICATE)
    assert seen[at].load in [each.load for each in seen[:at]]


def test_an_interrupted_search_goes_on_to_the_same_answer() -> None:
    """After each step: written down, read back, the same next step; at the end the same answer."""
    whole = run(770)
    search, rng = Search(State(SETTINGS)), np.random.default_rng(1)
    while search.next_step():
        respond(search, 770, rng)
        text = msgspec.json.encode(search.state)
        resumed = Search(msgspec.json.decode(text, type=State))
        assert resumed.next_step() == search.next_step()
        search = resumed
    assert search.answer() == whole.answer()
    assert search.state == whole.state


def test_a_target_beyond_the_highest_load() -> None:
    """Nothing above the highest is tried; the answer is that it carries at least so much."""
    search = run(50_000)
    assert search.answer().outcome is Outcome.AT_LEAST
    assert max(each.load for each in search.state.observations) == 2_000


def test_a_target_below_the_lowest_load() -> None:
    """The search ends early where even the lowest load is too much."""
    search = run(8, settings=Settings(lowest=50, highest=400, start=100, allowed={"p99": 0.01}))
    assert search.answer().outcome is Outcome.BELOW
    assert search.answer().steps <= 8


def test_steps_are_counted() -> None:
    """A search that may take four steps takes four, and says that it does not know."""
    search = run(770, settings=msgspec.structs.replace(SETTINGS, max_steps=4))
    assert search.answer().outcome is Outcome.UNDECIDED
    assert search.answer().steps == 4
    with pytest.raises(SearchError, match="has ended"):
        search.observe(300, {"p99": Count(0, 10)})


def test_a_confirmation_that_comes_out_otherwise_is_learnt_from() -> None:
    """Where the answer does not hold, the search goes on, lower."""
    search, rng = Search(State(SETTINGS)), np.random.default_rng(1)
    while (step := search.next_step()) and step.purpose is not Purpose.HOLDS:
        respond(search, 770, rng)
    before = search.answer().capacity
    assert step is not None
    search.observe(step.load, {"p99": Count(400, 2_000)})
    assert not search.state.observations[-1].as_wanted
    assert search.answer().outcome is None
    assert search.answer().capacity < before


def test_a_step_may_be_a_little_different_from_what_was_asked_for() -> None:
    """People come whole."""
    search = Search(State(SETTINGS))
    search.observe(301, {"p99": Count(0, 500)})
    assert search.state.observations[0].load == 301


@pytest.mark.parametrize(
    ("load", "exceeded", "total"),
    [(0, 0, 1), (-3, 0, 1), (float("nan"), 0, 1), (float("inf"), 0, 1), (9, 2, 1), (9, -1, 1), (9, 0, 0)],
)
def test_nonsense_is_refused(load: float, exceeded: int, total: int) -> None:
    """A step without a load or without requests is no observation, and changes nothing."""
    search = Search(State(SETTINGS))
    with pytest.raises(SearchError):
        search.observe(load, {"p99": Count(exceeded, total)})
    assert search.state.observations == ()


@pytest.mark.parametrize(
    "change",
    [
        {"lowest": 0},
        {"start": 5_000},
        {"highest": float("inf")},
        {"allowed": {"p99": 0}},
        {"allowed": {}},
        {"jump": 1},
    ],
)
def test_settings_make_sense(change: dict[str, Any]) -> None:
    """0 < lowest <= start <= highest, a share between 0 and 1, jumps upwards."""
    with pytest.raises(SearchError):
        Settings(**{**msgspec.structs.asdict(SETTINGS), **change})


def odds(load: float, capacity: float, allowed: float) -> float:
    """Return the share beyond a limit, of a target with this capacity and without step noise."""
    return float(1 / (1 + (1 - allowed) / allowed * (load / capacity) ** -18))


def test_of_several_objectives_the_one_that_breaks_first_decides() -> None:
    """What never breaks says nothing, however few it has; the answer names what broke first."""
    allowed = {"https p99": 0.01, "errors": 0.02, "ping p99": 0.01, "lost": 0.5}
    search, rng = Search(State(msgspec.structs.replace(SETTINGS, allowed=allowed))), np.random.default_rng(1)
    while step := search.next_step():
        search.observe(
            step.load,
            {
                "https p99": Count(int(rng.binomial(2_000, odds(step.load, 900, 0.01))), 2_000),
                "errors": Count(int(rng.binomial(2_000, odds(step.load, 700, 0.02))), 2_000),
                "ping p99": Count(0, 20),
                "lost": Count(10 if step.load > 1_000 else 0, 10),
            },
        )
    answer = search.answer()
    assert (answer.outcome, answer.broke) == (Outcome.FOUND, "errors")
    assert answer.capacity == pytest.approx(700, rel=0.06)
    alone = search.by_objective()
    assert "ping p99" not in alone
    assert alone["errors"][0] < alone.get("https p99", (1e9,))[0]


def test_until_something_breaks_nothing_but_the_load_is_known() -> None:
    """The answer is at least the highest load that was tried, and the next one is 1.6 times as high."""
    search = Search(State(SETTINGS))
    search.observe(300, {"p99": Count(0, 2_000)})
    answer = search.answer()
    assert (answer.capacity, answer.low, answer.high, answer.broke) == (300, 300, None, "")
    step = search.next_step()
    assert step is not None
    assert step.load == pytest.approx(480)


def test_an_objective_that_is_not_searched_for_is_refused() -> None:
    """Its counts would be lost."""
    with pytest.raises(SearchError, match="'p50'"):
        Search(State(SETTINGS)).observe(300, {"p50": Count(0, 10)})
