"""One word for a change, from pairs of runs: what counts, what is refused, what it says."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
import pytest

from analysis import gate, looks
from analysis.gate import Gate, Pair, Side
from analysis.looks import Word
from analysis.objectives import State
from scenarios.slo import Tolerance

MS = 1_000_000
CHAT = Tolerance("chat.delivered p50", "chat.delivered", "p50", 0.05)
PING = Tolerance("wss.ping p99", "wss.ping", "p99", 0.10)


def side(rng: np.random.Generator, slower: float = 1.0, **changes: Any) -> Side:
    """Return a run with a little noise."""
    quantiles = {
        "chat.delivered p50": int(8 * MS * slower * rng.lognormal(0, 0.01)),
        "wss.ping p99": int(20 * MS * rng.lognormal(0, 0.01)),
        "get-chats p50": int(5 * MS * rng.lognormal(0, 0.01)),
    }
    base: dict[str, Any] = {
        "run": "20261122T204500Z-typical-3f9a",
        "started": "2026-11-22T20:45:00Z",
        "counts": {"chat.delivered": 2000, "wss.ping": 12_000, "get-chats": 900},
        "quantiles": quantiles,
        "objectives": {"lost": State.MET, "errors": State.MET},
    }
    return Side(**{**base, **changes})


def pairs(n: int, slower: float = 1.0, **changes: Any) -> list[Pair]:
    """Return n pairs; the candidate is so much slower, and changed."""
    rng = np.random.default_rng(n)
    return [Pair(side(rng), side(rng, slower, **changes)) for _ in range(n)]


def judged(found: list[Pair], *tolerances: Tolerance, planned: int = 20) -> Gate:
    """Return the verdict on these pairs."""
    return gate.judge(found, tolerances or (CHAT, PING), scenario="typical", planned=planned)


@pytest.mark.parametrize(
    ("slower", "n", "word", "code"),
    [
        (1.0, 6, Word.PASS, 0),
        (1.2, 8, Word.REGRESSED, 1),
        (0.8, 6, Word.IMPROVED, 0),
        (1.2, 5, Word.INCONCLUSIVE, 3),
    ],
)
def test_a_change_gets_its_word_and_exit_code(slower: float, n: int, word: Word, code: int) -> None:
    """Pass, regressed, improved; inconclusive where there are too few pairs."""
    found = judged(pairs(n, slower))
    assert (found.verdict, found.exit_code) == (word, code)
    assert found.settled == (word is not Word.INCONCLUSIVE)


def test_the_figures_are_those_of_the_pairs() -> None:
    """The change is about what was put in, within its interval; the other metric stays as it was."""
    chat, ping = judged(pairs(8, 1.2)).metrics
    assert chat.low is not None
    assert chat.high is not None
    assert chat.change == pytest.approx(0.2, abs=0.02)
    assert chat.low < 0.2 < chat.high
    assert chat.candidate == pytest.approx(1.2 * 8 * MS, rel=0.02)
    assert ping.verdict is Word.PASS
    assert "chat.delivered p50 +" in chat.sentence


def test_no_pair_is_no_pass() -> None:
    """Nothing counted: inconclusive, and it goes on."""
    found = judged([])
    assert (found.verdict, found.settled) == (Word.INCONCLUSIVE, False)
    assert "no pair counted" in found.sentences[0]


def test_too_few_samples_are_refused_with_the_number_that_it_takes() -> None:
    """A p99 takes 10,000 samples of each run; without them it is inconclusive, and more pairs won't do."""
    found = judged(pairs(6, counts={"chat.delivered": 2000, "wss.ping": 9_999}))
    assert found.verdict is Word.INCONCLUSIVE
    assert found.settled
    assert "9,999 samples, it takes 10,000" in found.metrics[1].reason
    assert gate.least_samples("p50") == 200


def test_a_quantile_of_zero_can_not_be_compared() -> None:
    """Nothing is divided by it."""
    found = judged(pairs(6, quantiles={"chat.delivered p50": 0, "wss.ping p99": 5}))
    assert "quantile of 0" in found.metrics[0].reason
    assert found.verdict is Word.INCONCLUSIVE


def test_an_invalid_run_outranks_everything() -> None:
    """Figures of an instrument that failed are no figures: exit code 4, the run named."""
    found = judged([*pairs(7, 1.5), *pairs(1, 1.5, invalid="Loop lag: 80 ms.")])
    assert (found.verdict, found.exit_code, found.settled) == (Word.INVALID, 4, True)
    assert "3f9a can't be trusted: Loop lag" in found.sentences[0]


@pytest.mark.parametrize(
    ("states", "word"),
    [
        ([{"lost": State.MISSED}] + [{"lost": State.MET}] * 7, Word.FAILED),
        ([{"errors": State.MISSED}] + [{"errors": State.MET}] * 7, Word.PASS),
        ([{"errors": State.MISSED}] * 5 + [{"errors": State.MET}] * 3, Word.FAILED),
        ([{"errors": State.NOT_SHOWN}] * 8, Word.PASS),
    ],
)
def test_objectives_of_the_candidate_are_judged_over_its_runs(
    states: list[dict[str, State]], word: Word
) -> None:
    """One lost message is one too many; what has an interval is missed when most runs miss it."""
    rng = np.random.default_rng(1)
    found = judged([Pair(side(rng), side(rng, objectives=each)) for each in states])
    assert found.verdict is word


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        ((0.10, 0.01, 2 * MS), ""),
        ((None, None, None), ""),
        ((0.5, 0.0, None), "CPU pressure 50.0 %"),
        ((0.1, 0.2, None), "CPU steal 20.0 %"),
        ((0.1, 0.0, 80 * MS), "loop lag p99 80.0 ms"),
    ],
)
def test_the_noise_guard_names_what_disturbed(
    figures: tuple[float | None, float | None, int | None], says: str
) -> None:
    """Pressure, steal and our own loop lag, each with its limit; what is unknown is no noise."""
    assert gate.noise(*figures).startswith(says)
    assert bool(gate.noise(*figures)) == bool(says)


def test_a_disturbed_pair_is_repeated_and_never_judged() -> None:
    """Five slow pairs that were disturbed change nothing; they are listed, with their reason."""
    found = judged([*pairs(5, 3.0, noise="CPU steal 20 %"), *pairs(6)])
    assert (found.verdict, found.counted) == (Word.PASS, 6)
    assert found.discarded[0] == "pair 1: candidate: CPU steal 20 %"


def test_a_machine_that_is_always_disturbed_ends_the_gate_without_a_pass() -> None:
    """After a quarter of the planned pairs it gives up, says why, and is inconclusive."""
    few, enough = (judged(pairs(n, noise="CPU pressure 90 %")) for n in (5, 6))
    assert (few.settled, enough.settled, enough.verdict) == (False, True, Word.INCONCLUSIVE)
    assert "quieter" in enough.sentences[-1]


def test_undeclared_metrics_are_told_for_information_only() -> None:
    """One that tripled is told, and the gate passes all the same."""
    rng = np.random.default_rng(8)
    found = judged([Pair(side(rng), side(rng, 3.0)) for _ in range(10)], PING)
    assert found.verdict is Word.PASS
    assert [(each.metric, each.differs) for each in found.others] == [
        ("chat.delivered p50", True),
        ("get-chats p50", False),
    ]
    assert found.others[0].change == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("metrics", range(1, 7))
def test_a_gate_that_is_too_short_for_its_metrics_says_so(metrics: int) -> None:
    """From so many pairs on a doubling is shown, with one pair less it is not, and that is told."""
    least = looks.least_pairs(metrics)
    doubled = [log(2)] * least
    assert looks.decide(doubled, 0.05, [least], metrics)[0] is Word.REGRESSED
    assert looks.decide(doubled[1:], 0.05, [least - 1], metrics)[0] is Word.INCONCLUSIVE
    tolerances = [CHAT, *(Tolerance(f"m{n} p50", f"m{n}", "p50", 0.05) for n in range(1, metrics))]
    for planned in (least - 1, least):
        said = gate.judge([], tolerances, scenario="typical", planned=planned).sentences
        assert any("can't show a regression" in each for each in said) is (planned < least)


def test_a_metric_that_is_decided_stays_decided_while_others_go_on() -> None:
    """The ping passed at six pairs; the two that the chats needed are not another look at it."""
    rng = np.random.default_rng(8)
    late = [Pair(side(rng), side(rng, 1.2, quantiles={"chat.delivered p50": 9, "wss.ping p99": 99 * MS}))] * 2
    before, after = judged(pairs(6, 1.2)), judged([*pairs(6, 1.2), *late])
    assert before.metrics[1].change == after.metrics[1].change
    assert after.metrics[1].verdict is Word.PASS
