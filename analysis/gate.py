"""Judges a change by pairs of runs, and says why. Pure: figures in, a verdict out.

The unit of replication is the run, because requests of one run share its luck. One pair is a run of the
baseline and one of the candidate, next to each other in time and in random order, so that what drifts
hits both alike. `analysis.looks` decides each declared metric; every other one is told for information,
corrected for how many there are. A pair that the machine's other work disturbed does not count, which is
decided without looking at any latency.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from math import ceil, expm1, log
from statistics import median

from msgspec import Struct
from msgspec.structs import replace

from analysis import stats
from analysis.formats import fmt_change, fmt_count, fmt_ms, fmt_share
from analysis.looks import LOOKS, Word, decide, least_pairs, looks, more_pairs
from analysis.objectives import State
from scenarios.slo import COUNTS, QUANTILES, SUCCESS, Tolerance

TAIL = 100
"""A quantile is compared only where at least so many samples of each run are expected above it."""

FALSE_DISCOVERIES = 0.05
"""Among the metrics that are called different, at most this share is wrong on average."""

# Two quiet cores had a pressure of 13 % under the scenario `gate` itself, and of 68 % beside two busy loops.
PRESSURE_LIMIT = 0.30
STEAL_LIMIT = 0.05
LAG_LIMIT = 50_000_000


class Side(Struct, frozen=True):
    """One run, as far as a gate looks at it: quantiles in ns by metric, samples by operation."""

    run: str
    started: str
    counts: dict[str, int]
    quantiles: dict[str, int]
    objectives: dict[str, State]
    invalid: str = ""  # why the instrument can't be trusted, or ""
    noise: str = ""  # why the machine was too busy with other things, or ""


class Pair(Struct, frozen=True):
    baseline: Side
    candidate: Side

    @property
    def noise(self) -> str:
        """Why the pair does not count, decided without looking at any latency; "" where it does."""
        sides = (("baseline", self.baseline), ("candidate", self.candidate))
        return "; ".join(f"{name}: {side.noise}" for name, side in sides if side.noise)


class Metric(Struct, frozen=True):
    """One gate metric. Changes are fractions of the baseline: 0.06 is six per cent slower."""

    metric: str
    tolerance: float
    verdict: Word
    change: float | None
    low: float | None
    high: float | None
    pairs: int  # at which it was decided, or looked at last
    more: int | None  # pairs that would probably decide it
    reason: str
    baseline: float | None = None  # median over the runs, ns
    candidate: float | None = None

    @property
    def sentence(self) -> str:
        """What was found, and what follows."""
        interval = "" if self.low is None else f" [{fmt_change(self.low)}, {fmt_change(self.high)}]"
        found = (
            f" {fmt_change(self.change)}{interval} in {self.pairs} pairs" if self.change is not None else ""
        )
        limit = f", tolerance {fmt_share(self.tolerance)}" if found else ""
        reason = f", {self.reason}" if self.reason else ""
        return f"{self.metric}{found}{limit}: {self.verdict.value}{reason}"


class Other(Struct, frozen=True):
    """A metric that nobody declared: told for information, corrected for how many there are."""

    metric: str
    change: float
    low: float | None
    high: float | None
    p: float
    adjusted: float
    differs: bool


class Objective(Struct, frozen=True):
    """An objective of the scenario over all runs of the candidate."""

    slo: str
    state: State
    runs: int
    missed: int


class Gate(Struct, frozen=True):
    """gate.json: the verdict, and everything that it was made of."""

    schema: int
    scenario: str
    verdict: Word
    exit_code: int
    sentences: list[str]
    planned: int
    counted: int
    discarded: list[str]
    settled: bool  # more pairs would not change the verdict
    metrics: list[Metric]
    objectives: list[Objective]
    others: list[Other]
    pairs: list[Pair]


def noise(pressure: float | None, steal: float | None, loop_lag: int | None) -> str:
    """Return why a run was disturbed by its neighbours, or "": never by what it measured.

    pressure, steal: mean shares of the time; loop_lag: p99 of the generator's own wake-ups, ns; None where
    unknown.
    """
    found = [
        ((pressure or 0) > PRESSURE_LIMIT, "CPU pressure", fmt_share(pressure), fmt_share(PRESSURE_LIMIT)),
        ((steal or 0) > STEAL_LIMIT, "CPU steal", fmt_share(steal), fmt_share(STEAL_LIMIT)),
        ((loop_lag or 0) > LAG_LIMIT, "loop lag p99", fmt_ms(loop_lag), fmt_ms(LAG_LIMIT)),
    ]
    return ", ".join(f"{what} {figure} (at most {limit})" for bad, what, figure, limit in found if bad)


def repeats(planned: int) -> int:
    """Return how many disturbed pairs are repeated before the gate gives up."""
    return max(2, planned // 4)


def judge(pairs: Sequence[Pair], tolerances: Sequence[Tolerance], *, scenario: str, planned: int) -> Gate:
    """Return the verdict on the pairs so far, of `planned`. The same pairs always get the same verdict."""
    counted = [pair for pair in pairs if not pair.noise]
    discarded = [f"pair {number}: {pair.noise}" for number, pair in enumerate(pairs, 1) if pair.noise]
    metrics = [_metric(counted, each, planned, len(tolerances)) for each in tolerances]
    objectives = _objectives(counted)
    invalid = [side for pair in counted for side in (pair.baseline, pair.candidate) if side.invalid]
    word = _word(metrics, objectives, invalid=bool(invalid))
    open_ones = [each for each in metrics if each.verdict is Word.INCONCLUSIVE and each.change is not None]
    gave_up = len(discarded) > repeats(planned)
    return Gate(
        schema=1,
        scenario=scenario,
        verdict=word,
        exit_code=word.exit_code,
        sentences=[
            *_sentences(word, metrics, objectives, invalid, discarded, gave_up=gave_up),
            *_too_few(planned, len(tolerances)),
        ],
        planned=planned,
        counted=len(counted),
        discarded=discarded,
        settled=bool(counted and not open_ones)
        or word in (Word.REGRESSED, Word.INVALID)
        or any(each.slo == SUCCESS and each.state is State.MISSED for each in objectives)
        or gave_up
        or len(counted) >= planned,
        metrics=metrics,
        objectives=objectives,
        others=_others(counted, {each.name for each in tolerances}),
        pairs=list(pairs),
    )


def differing(ratios: Mapping[str, Sequence[float]]) -> list[Other]:
    """Return how each of many metrics differs, given its log ratios by pair, corrected for their number."""
    p = [stats.signed_rank_p(values) for values in ratios.values()]
    found = []
    for (name, values), raw, adjusted in zip(ratios.items(), p, stats.benjamini_hochberg(p), strict=True):
        seen = stats.hodges_lehmann(values)
        low, high = (None if each is None else expm1(each) for each in (seen.low, seen.high))
        found.append(
            Other(name, expm1(seen.value), low, high, raw, adjusted, differs=adjusted <= FALSE_DISCOVERIES)
        )
    return sorted(found, key=lambda each: (not each.differs, each.metric))


def least_samples(statistic: str) -> int:
    """Return how many samples of a run it takes to compare this quantile: n (1 - q) >= 100."""
    return ceil(TAIL / (1 - Fraction(repr(QUANTILES[statistic]))))


def _metric(pairs: Sequence[Pair], gated: Tolerance, planned: int, metrics: int) -> Metric:
    found = Metric(gated.name, gated.share, Word.INCONCLUSIVE, None, None, None, len(pairs), None, "")
    if not pairs:
        return replace(found, more=LOOKS[0], reason="no pair counted")
    sides = [side for pair in pairs for side in (pair.baseline, pair.candidate)]
    least, needed = min(side.counts.get(gated.operation, 0) for side in sides), least_samples(gated.statistic)
    if least < needed:
        return replace(
            found,
            reason=f"a run had {fmt_count(least)} samples, it takes {fmt_count(needed)}:"
            " make the runs longer (--run-time) or busier (--users)",
        )
    values = [(pair.baseline.quantiles[gated.name], pair.candidate.quantiles[gated.name]) for pair in pairs]
    if min(map(min, values)) <= 0:
        return replace(found, reason="a run has a quantile of 0, which nothing can be compared with")
    differences = [log(candidate / baseline) for baseline, candidate in values]
    word, seen = decide(differences, gated.share, looks(planned), metrics)
    more, reason = None, ""
    if word is Word.INCONCLUSIVE:
        more = more_pairs(seen, gated.share)
        reason = f"needs {more} more pairs" if more else "too close to the tolerance for any number of pairs"
    elif word is Word.PASS and (seen.low or 0) > 0:
        reason = "slower, though by less than the tolerance"
    return replace(
        found,
        verdict=word,
        change=expm1(seen.value),
        low=None if seen.low is None else expm1(seen.low),
        high=None if seen.high is None else expm1(seen.high),
        pairs=seen.n,
        more=more,
        reason=reason,
        baseline=median(each[0] for each in values),
        candidate=median(each[1] for each in values),
    )


def _objectives(pairs: Sequence[Pair]) -> list[Objective]:
    """Return what the candidate's runs say together: most decide.

    But one lost message is one too many, and so is one run that had to be ended early.
    """
    sides = [pair.candidate for pair in pairs]
    found = []
    for slo in dict.fromkeys(name for side in sides for name in side.objectives):
        states = [side.objectives.get(slo, State.NOT_SHOWN) for side in sides]
        missed, met = states.count(State.MISSED), states.count(State.MET)
        if 2 * missed > len(states) or (missed and slo in (*COUNTS, SUCCESS)):
            state = State.MISSED
        else:
            state = State.MET if 2 * met > len(states) else State.NOT_SHOWN
        found.append(Objective(slo, state, len(states), missed))
    return found


def _others(pairs: Sequence[Pair], gated: set[str]) -> list[Other]:
    """Return every other metric that each run has enough samples of, what differs first."""
    if len(pairs) < LOOKS[0]:
        return []
    sides = [side for pair in pairs for side in (pair.baseline, pair.candidate)]
    shared = set.intersection(*({name for name, ns in side.quantiles.items() if ns > 0} for side in sides))
    return differing(
        {
            name: [log(pair.candidate.quantiles[name] / pair.baseline.quantiles[name]) for pair in pairs]
            for name in sorted(shared - gated)
        }
    )


def _word(metrics: Sequence[Metric], objectives: Sequence[Objective], *, invalid: bool) -> Word:
    """Return the one word, the gravest first; without a single metric judged nothing passes."""
    words = {each.verdict for each in metrics}
    if invalid:
        return Word.INVALID
    if Word.REGRESSED in words:
        return Word.REGRESSED
    if any(each.state is State.MISSED for each in objectives):
        return Word.FAILED
    if not words or Word.INCONCLUSIVE in words:
        return Word.INCONCLUSIVE
    return Word.IMPROVED if Word.IMPROVED in words else Word.PASS


def _too_few(planned: int, metrics: int) -> Iterator[str]:
    """Yield what is to be said of a gate that was too short for its metrics from the start."""
    if metrics and planned < (least := least_pairs(metrics)):
        yield (
            f"{planned} pairs can't show a regression of any of {metrics} metrics, it takes {least}:"
            " plan more of them (--pairs) or judge fewer metrics."
        )


def _sentences(
    word: Word,
    metrics: Sequence[Metric],
    objectives: Sequence[Objective],
    invalid: Sequence[Side],
    discarded: Sequence[str],
    *,
    gave_up: bool,
) -> list[str]:
    """Return what happened, the most important first."""
    said = [f"{side.run} can't be trusted: {side.invalid}" for side in invalid]
    said += [f"{each.sentence}." for each in sorted(metrics, key=lambda each: each.verdict is not word)]
    said += [
        f"{each.slo}: missed by {each.missed} of {each.runs} runs of the candidate."
        for each in objectives
        if each.state is State.MISSED
    ]
    if discarded:
        said.append(f"{len(discarded)} pairs were disturbed by other work of the machine and not counted.")
    if gave_up and word is Word.INCONCLUSIVE:
        said.append("That is too often: repeat the gate when the machine is quieter.")
    return said
