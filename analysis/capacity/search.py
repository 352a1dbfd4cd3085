"""Searches for the highest load that keeps every objective. Pure: it says what to try, and is told.

An objective allows a share of exceedances (p99 < 250 ms allows 1 %). The log-odds of the share that a step
saw are taken to be linear in the logarithm of the load; where that line crosses the allowed share is the
capacity by that objective. Nobody knows its slope, nor by how much a step differs from one to the next on the
same load (the step noise), so all three have a grid, and Bayes' rule weighs it. The capacity is the lowest of
those of the objectives that some step has broken. The next load is its posterior median (Waeber, Frazier and
Henderson, SIAM J. Control Optim. 51, 2013, for bisection by the median), and until a step has broken
something, a bounded jump upwards.

A load close to an earlier one repeats that one, once: only such replicates tell noise from slope. When the
interval is narrow enough, the answer has to hold once more, and a load 10 % above it has to fail. Both are
observations as well; when they come out otherwise, the search goes on with what they taught.

The state is the settings and what was observed. Everything else follows, so an interrupted search that is
read back takes the same next step.
"""

from __future__ import annotations

from enum import StrEnum
from math import inf, isfinite, log
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from scipy import special

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONFIDENCE = 0.90
ABOVE = 1.10
"""The load above the answer that has to fail."""

SURPRISE = 0.05
"""The answer does not hold if at most this share of such steps would see as many exceedances."""

_SLOPES = np.geomspace(3, 96, 8)  # of the log-odds over the logarithm of the load
_NOISES = np.array([0.01, 0.02, 0.03, 0.045, 0.07, 0.11])  # standard deviation, in log load
_HERMITE = np.polynomial.hermite_e.hermegauss(9)
_CELL = 0.002  # of the grid of capacities, in log load
_PAD = 250  # cells at each end, more than four times the largest noise: a Fourier transform is periodic
_FAR = 2.0
"""How far above the limit, in log-odds, a share still tells how far: a queue that only grows in a step has no
straight line any more, and what is beyond says no more than that it is beyond."""

_ENOUGH = 400
"""More exceedances than so many at the limit say nothing that the step noise would not drown."""


class SearchError(ValueError):
    """Settings or an observation that make no sense; the message says which."""


class Purpose(StrEnum):
    APPROACH = "approach"
    REPLICATE = "replicate"
    HOLDS = "holds"  # the answer has to
    FAILS = "fails"  # 10 % above it has to


class Outcome(StrEnum):
    FOUND = "found"
    AT_LEAST = "at least"  # the highest load that was allowed is within the capacity
    BELOW = "below"  # the lowest load that makes sense is beyond it
    UNDECIDED = "undecided"  # the steps were used up


class Settings(Struct, frozen=True):
    """Loads are in whatever the caller counts: users, or arrivals per second."""

    lowest: float
    highest: float  # never exceeded
    start: float
    allowed: dict[str, float]  # by objective: the share of exceedances that it allows
    within: float = 0.04
    jump: float = 1.6  # a step is at most so many times as high as the highest before it
    replicate_within: float = 0.03
    max_steps: int = 24

    def __post_init__(self) -> None:
        if not 0 < self.lowest <= self.start <= self.highest < inf:
            raise SearchError(
                f"a search needs 0 < lowest <= start <= highest, not {self.lowest:g}, {self.start:g}"
                f" and {self.highest:g}"
            )
        for name, share in self.allowed.items():
            if not 0 < share < 1:
                raise SearchError(
                    f"the share of exceedances that {name} allows lies between 0 and 1, not at {share:g}"
                )
        if not self.allowed:
            raise SearchError("a search needs an objective")
        if self.jump <= 1 or self.within <= 0 or self.max_steps < 1:
            raise SearchError("a search needs jump > 1, within > 0 and at least one step")


class Step(Struct, frozen=True):
    load: float
    purpose: Purpose


class Count(Struct, frozen=True):
    """`exceeded` of `total` were worse than an objective's limit."""

    exceeded: int
    total: int

    def exceeds(self, allowed: float) -> bool:
        """Return whether the share is above the allowed one."""
        return self.exceeded > allowed * self.total

    def breaks(self, allowed: float) -> bool:
        """Return whether so many would be a surprise, were the share the allowed one."""
        return bool(self.exceeded and special.bdtrc(self.exceeded - 1, self.total, allowed) < SURPRISE)


class Observation(Struct, frozen=True):
    """What a step saw, by objective; one that it has no data for is missing."""

    load: float
    counts: dict[str, Count]
    purpose: Purpose
    as_wanted: bool  # what had to hold held, what had to fail failed; nothing is wanted of other steps


class State(Struct, frozen=True):
    """What has to be kept to go on later."""

    settings: Settings
    observations: tuple[Observation, ...] = ()


class Answer(Struct, frozen=True):
    """Where the search stands. `low` to `high` holds the capacity with 90 % probability.

    While nothing is broken, all that is known is the highest load that was tried: `capacity` and `low` are
    that, and `high` is None.
    """

    outcome: Outcome | None  # None while it goes on
    capacity: float
    low: float
    high: float | None
    broke: str  # the objective that limits it, "" while nothing is broken
    step_noise: float  # standard deviation from step to step, as a fraction of the load
    steps: int


class Search:
    """`next_step()` says what to try, or None at the end; `observe(...)` takes what came of it."""

    def __init__(self, state: State) -> None:
        settings = state.settings
        self.state = State(settings)
        self._loads = np.arange(
            log(settings.lowest / settings.jump), log(settings.highest * settings.jump), _CELL
        )
        self._beliefs = {name: _Belief(self._loads, share) for name, share in settings.allowed.items()}
        for each in state.observations:
            self.observe(each.load, each.counts)

    def next_step(self) -> Step | None:
        """Return the load to try next and why; None when the search has ended."""
        answer = self.answer()
        if answer.outcome is not None:
            return None
        settings, seen = self.state.settings, self.state.observations
        if not seen:
            return Step(settings.start, Purpose.APPROACH)
        last = seen[-1]
        if last.purpose is Purpose.HOLDS and last.as_wanted:
            return Step(last.load * ABOVE, Purpose.FAILS)
        reach = min(max(each.load for each in seen) * settings.jump, settings.highest)
        if answer.high is None:
            return Step(reach, Purpose.APPROACH)
        load = min(max(answer.capacity, settings.lowest), reach)
        if self._repeated() and answer.high / answer.low <= (1 + settings.within) / (1 - settings.within):
            return Step(load, Purpose.HOLDS)
        close = [each.load for each in seen if abs(log(each.load / load)) <= settings.replicate_within]
        if close and not self._repeated():
            return Step(close[-1], Purpose.REPLICATE)
        return Step(load, Purpose.APPROACH)

    def observe(self, load: float, counts: dict[str, Count]) -> None:
        """Take in a step: what it saw at `load`, by objective.

        `load` may differ a little from the one that was asked for, as when people come whole.
        """
        if not (isfinite(load) and load > 0):
            raise SearchError(f"the load of a step is above 0, not {load:g}")
        if unknown := counts.keys() - self._beliefs.keys():
            raise SearchError(f"there is no objective {min(unknown)!r} in this search")
        for name, count in counts.items():
            if not 0 <= count.exceeded <= count.total or count.total == 0:
                raise SearchError(f"{name}: {count.exceeded} exceedances of {count.total} are no observation")
        step = self.next_step()
        if step is None:
            raise SearchError("the search has ended; it takes no more steps")
        settings, wanted = self.state.settings, True
        if step.purpose is Purpose.HOLDS:
            wanted = all(self._expected(name, load, count) for name, count in counts.items())
        elif step.purpose is Purpose.FAILS:
            wanted = any(count.exceeds(settings.allowed[name]) for name, count in counts.items())
        for name, count in counts.items():
            self._beliefs[name].observe(load, count)
        seen = Observation(load, dict(counts), step.purpose, wanted)
        self.state = State(settings, (*self.state.observations, seen))

    def answer(self) -> Answer:
        """Return what is known so far, and whether that is the end."""
        seen = self.state.observations
        broken = {name: belief for name, belief in self._beliefs.items() if belief.broken}
        if not broken:
            highest = max((each.load for each in seen), default=0.0)
            found = Answer(None, highest, highest, None, "", 0.0, len(seen))
            return replace(found, outcome=self._outcome(found, np.zeros_like(self._loads)))
        marginals = {name: belief.by_load() for name, belief in broken.items()}
        # The lowest of several: above a load it is if each of them is.
        above = np.prod([1 - np.cumsum(each) for each in marginals.values()], axis=0)
        by_load = -np.diff(above, prepend=1.0)
        side = (1 - CONFIDENCE) / 2
        low, middle, high = (
            float(each) for each in np.exp(_quantiles(self._loads, by_load, (side, 0.5, 1 - side)))
        )
        broke = min(marginals, key=lambda name: float((marginals[name] * self._loads).sum()))
        found = Answer(None, middle, low, high, broke, broken[broke].step_noise(), len(seen))
        return replace(found, outcome=self._outcome(found, by_load))

    def posterior(self, name: str) -> NDArray[np.float64]:
        """Return the probability of each capacity by an objective, along `exp(loads)`."""
        return self._beliefs[name].by_load()

    def by_objective(self) -> dict[str, tuple[float, float, float]]:
        """Return capacity, low and high by each objective that was broken."""
        side = (1 - CONFIDENCE) / 2
        found = {}
        for name, belief in self._beliefs.items():
            if belief.broken:
                low, middle, high = np.exp(_quantiles(self._loads, belief.by_load(), (side, 0.5, 1 - side)))
                found[name] = float(middle), float(low), float(high)
        return found

    def _outcome(self, answer: Answer, by_load: NDArray[np.float64]) -> Outcome | None:
        settings, seen = self.state.settings, self.state.observations
        if not seen:
            return None
        last = seen[-1]
        topmost = last.load * ABOVE > settings.highest  # nothing may be tried 10 % above it
        if last.as_wanted and (last.purpose is Purpose.FAILS or (last.purpose is Purpose.HOLDS and topmost)):
            return Outcome.FOUND
        tried = max(each.load for each in seen) >= settings.highest * (1 - _CELL)
        beyond = float(by_load[self._loads > log(settings.highest)].sum())
        if tried and (answer.high is None or beyond >= CONFIDENCE):
            return Outcome.AT_LEAST
        if float(by_load[self._loads < log(settings.lowest)].sum()) >= CONFIDENCE:
            return Outcome.BELOW
        return Outcome.UNDECIDED if len(seen) >= settings.max_steps else None

    def _repeated(self) -> bool:
        return any(each.purpose is Purpose.REPLICATE for each in self.state.observations)

    def _expected(self, name: str, load: float, count: Count) -> bool:
        """Return whether so many exceedances are what a load that holds may well see."""
        belief = self._beliefs[name]
        if belief.broken:
            return belief.chance_of_more(load, count) > SURPRISE
        return not count.breaks(self.state.settings.allowed[name])


class _Belief:
    """What is known of one objective: the logarithm of the posterior of capacity, slope and step noise."""

    def __init__(self, loads: NDArray[np.float64], allowed: float) -> None:
        self._loads, self._allowed = loads, allowed
        self._axes = (loads, _SLOPES, _NOISES)
        # The prior leans to noise: to be too sure is worse than a step too many.
        self._posterior = np.zeros([len(axis) for axis in self._axes]) + 0.5 * np.log(_NOISES)
        self.broken = False

    def observe(self, load: float, count: Count) -> None:
        """Take in what a step saw at a load."""
        self._posterior += self._likelihood(load, count)
        self._posterior -= self._posterior.max()
        self.broken = self.broken or count.breaks(self._allowed)

    def by_load(self) -> NDArray[np.float64]:
        """Return the probability of each capacity."""
        weights = np.exp(self._posterior)
        found: NDArray[np.float64] = weights.sum(axis=(1, 2)) / weights.sum()
        return found

    def step_noise(self) -> float:
        """Return the geometric mean of the step noise."""
        weights = np.exp(self._posterior)
        return float(np.exp((np.log(_NOISES) * weights.sum(axis=(0, 1))).sum() / weights.sum()))

    def _likelihood(self, load: float, count: Count) -> NDArray[np.float64]:
        """Return the logarithm of the binomial likelihood, integrated over the step's noise.

        Noise shifts the load, so the integral is a convolution along the axis of loads, made by Fourier
        transform: nodes of a quadrature would lie further apart than the likelihood of many requests is wide.
        """
        exceeded, total = count.exceeded, count.total
        scale = min(1.0, _ENOUGH / (self._allowed * total))
        far = special.expit(special.logit(self._allowed) + _FAR) * total
        grid = np.pad(self._loads, _PAD, mode="reflect", reflect_type="odd")
        odds = special.logit(self._allowed) + _SLOPES * (log(load) - grid)[:, None]
        if exceeded > far:
            chance = special.betainc(scale * far, scale * (total - far) + 1, special.expit(odds))
            exact = np.log(np.maximum(chance, 1e-300))
        else:
            exact = scale * (
                exceeded * special.log_expit(odds) + (total - exceeded) * special.log_expit(-odds)
            )
        peaks = exact.max(axis=0)
        spectrum = np.fft.rfft(np.exp(exact - peaks), axis=0)[:, :, None]
        frequencies = np.fft.rfftfreq(len(grid), _CELL)[:, None, None]
        blurred = spectrum * np.exp(-2 * (np.pi * frequencies * _NOISES) ** 2)
        likelihood = np.fft.irfft(blurred, len(grid), axis=0)[_PAD:-_PAD]
        found: NDArray[np.float64] = np.log(np.maximum(likelihood, 1e-12)) + peaks[:, None]
        return found

    def chance_of_more(self, load: float, count: Count) -> float:
        """Return the probability, by what is known, that such a step sees at least so many exceedances."""
        weights = np.exp(self._posterior)
        likely = weights > 1e-3
        chance = 0.0
        at, slope, noise = (axis[index] for axis, index in zip(self._axes, np.nonzero(likely), strict=True))
        for node, weight in zip(*_HERMITE, strict=True):
            odds = special.logit(self._allowed) + slope * (log(load) + node * noise - at)
            tail = (
                special.bdtrc(count.exceeded - 1, count.total, special.expit(odds)) if count.exceeded else 1.0
            )
            chance += weight / _HERMITE[1].sum() * float((tail * weights[likely]).sum())
        return chance / float(weights[likely].sum())


def _quantiles(
    grid: NDArray[np.float64], weights: NDArray[np.float64], qs: tuple[float, ...]
) -> NDArray[np.float64]:
    """Return quantiles of a distribution on a grid, between its points as well."""
    return np.interp(qs, np.cumsum(weights) - weights / 2, grid)
