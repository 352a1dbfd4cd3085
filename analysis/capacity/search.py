"""Searches for the highest load that keeps an objective. Pure: it says what to try, and is told.

The objective allows a share of exceedances (p99 < 250 ms allows 1 %). The log-odds of the share that a step
saw are taken to be linear in the logarithm of the load; where that line crosses the allowed share is the
capacity. Nobody knows its slope, nor by how much a step differs from one to the next on the same load (the
step noise), so all three have a grid, and Bayes' rule weighs it. The next load is the posterior median of
the capacity (Waeber, Frazier and Henderson, SIAM J. Control Optim. 51, 2013, for bisection by the median).

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
    allowed: float  # share of exceedances that the objective allows
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
        if not 0 < self.allowed < 1:
            raise SearchError(
                f"the allowed share of exceedances lies between 0 and 1, not at {self.allowed:g}"
            )
        if self.jump <= 1 or self.within <= 0 or self.max_steps < 1:
            raise SearchError("a search needs jump > 1, within > 0 and at least one step")


class Step(Struct, frozen=True):
    load: float
    purpose: Purpose


class Observation(Struct, frozen=True):
    """What a step saw: `exceeded` of `total` requests were worse than the objective's limit."""

    load: float
    exceeded: int
    total: int
    purpose: Purpose
    as_wanted: bool  # what had to hold held, what had to fail failed; nothing is wanted of other steps


class State(Struct, frozen=True):
    """What has to be kept to go on later."""

    settings: Settings
    observations: tuple[Observation, ...] = ()


class Answer(Struct, frozen=True):
    """Where the search stands. `low` to `high` holds the capacity with 90 % probability."""

    outcome: Outcome | None  # None while it goes on
    capacity: float
    low: float
    high: float
    step_noise: float  # standard deviation from step to step, as a fraction of the load
    steps: int


class Search:
    """`next_step()` says what to try, or None at the end; `observe(...)` takes what came of it."""

    def __init__(self, state: State) -> None:
        settings = state.settings
        self.state = State(settings)
        low, high = log(settings.lowest / settings.jump), log(settings.highest * settings.jump)
        self._loads = np.arange(low, high, _CELL)
        self._axes = (self._loads, _SLOPES, _NOISES)
        # Logarithms. The prior leans to noise: to be too sure is worse than a step too many.
        self._posterior = np.zeros([len(axis) for axis in self._axes]) + 0.5 * np.log(_NOISES)
        for each in state.observations:
            self.observe(each.load, each.exceeded, each.total)

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
        reach = max(each.load for each in seen) * settings.jump
        load = min(max(answer.capacity, settings.lowest), settings.highest, reach)
        if self._repeated() and _narrow(answer, settings):
            return Step(load, Purpose.HOLDS)
        close = [each.load for each in seen if abs(log(each.load / load)) <= settings.replicate_within]
        if close and not self._repeated():
            return Step(close[-1], Purpose.REPLICATE)
        return Step(load, Purpose.APPROACH)

    def observe(self, load: float, exceeded: int, total: int) -> None:
        """Take in a step: at `load`, `exceeded` of `total` requests were worse than the limit.

        `load` may differ a little from the one that was asked for, as when people come whole.
        """
        if not (isfinite(load) and load > 0):
            raise SearchError(f"the load of a step is above 0, not {load:g}")
        if not 0 <= exceeded <= total or total == 0:
            raise SearchError(f"{exceeded} exceedances of {total} requests are no observation")
        step = self.next_step()
        if step is None:
            raise SearchError("the search has ended; it takes no more steps")
        wanted = True
        if step.purpose is Purpose.HOLDS:
            wanted = self._chance_of_more(load, exceeded, total) > SURPRISE
        elif step.purpose is Purpose.FAILS:
            wanted = exceeded > self.state.settings.allowed * total
        seen = Observation(load, exceeded, total, step.purpose, bool(wanted))
        self._posterior += self._likelihood(load, exceeded, total)
        self._posterior -= self._posterior.max()
        self.state = State(self.state.settings, (*self.state.observations, seen))

    def answer(self) -> Answer:
        """Return what is known so far, and whether that is the end."""
        weights = np.exp(self._posterior)
        weights /= weights.sum()
        by_load = weights.sum(axis=(1, 2))
        side = (1 - CONFIDENCE) / 2
        low, middle, high = np.exp(_quantiles(self._loads, by_load, (side, 0.5, 1 - side)))
        noise = float(np.exp((np.log(_NOISES) * weights.sum(axis=(0, 1))).sum()))
        found = Answer(None, float(middle), float(low), float(high), noise, len(self.state.observations))
        return replace(found, outcome=self._outcome(found, by_load))

    def _outcome(self, answer: Answer, by_load: NDArray[np.float64]) -> Outcome | None:
        settings, seen = self.state.settings, self.state.observations
        if not seen:
            return None
        last = seen[-1]
        topmost = last.load * ABOVE > settings.highest  # nothing may be tried 10 % above it
        if last.as_wanted and (last.purpose is Purpose.FAILS or (last.purpose is Purpose.HOLDS and topmost)):
            return Outcome.FOUND
        beyond = float(by_load[self._loads > log(settings.highest)].sum())
        if beyond >= CONFIDENCE and max(each.load for each in seen) >= settings.highest * (1 - _CELL):
            return Outcome.AT_LEAST
        if float(by_load[self._loads < log(settings.lowest)].sum()) >= CONFIDENCE:
            return Outcome.BELOW
        return Outcome.UNDECIDED if len(seen) >= settings.max_steps else None

    def _repeated(self) -> bool:
        return any(each.purpose is Purpose.REPLICATE for each in self.state.observations)

    def _likelihood(self, load: float, exceeded: int, total: int) -> NDArray[np.float64]:
        """Return the logarithm of the binomial likelihood, integrated over the step's noise.

        Noise shifts the load, so the integral is a convolution along the axis of loads, made by Fourier
        transform: nodes of a quadrature would lie further apart than the likelihood of many requests is wide.
        """
        allowed = self.state.settings.allowed
        scale = min(1.0, _ENOUGH / (allowed * total))
        grid = np.pad(self._loads, _PAD, mode="reflect", reflect_type="odd")
        odds = special.logit(allowed) + _SLOPES * (log(load) - grid)[:, None]
        exact = scale * (exceeded * special.log_expit(odds) + (total - exceeded) * special.log_expit(-odds))
        peaks = exact.max(axis=0)
        spectrum = np.fft.rfft(np.exp(exact - peaks), axis=0)[:, :, None]
        frequencies = np.fft.rfftfreq(len(grid), _CELL)[:, None, None]
        blurred = spectrum * np.exp(-2 * (np.pi * frequencies * _NOISES) ** 2)
        likelihood = np.fft.irfft(blurred, len(grid), axis=0)[_PAD:-_PAD]
        found: NDArray[np.float64] = np.log(np.maximum(likelihood, 1e-12)) + peaks[:, None]
        return found

    def _chance_of_more(self, load: float, exceeded: int, total: int) -> float:
        """Return the probability, by what is known, that such a step sees at least so many exceedances."""
        weights = np.exp(self._posterior)
        likely = weights > 1e-3
        chance = 0.0
        at, slope, noise = (axis[index] for axis, index in zip(self._axes, np.nonzero(likely), strict=True))
        for node, weight in zip(*_HERMITE, strict=True):
            odds = special.logit(self.state.settings.allowed) + slope * (log(load) + node * noise - at)
            tail = special.bdtrc(exceeded - 1, total, special.expit(odds)) if exceeded else 1.0
            chance += weight / _HERMITE[1].sum() * float((tail * weights[likely]).sum())
        return chance / float(weights[likely].sum())


def _narrow(answer: Answer, settings: Settings) -> bool:
    return answer.high / answer.low <= (1 + settings.within) / (1 - settings.within)


def _quantiles(
    grid: NDArray[np.float64], weights: NDArray[np.float64], qs: tuple[float, ...]
) -> NDArray[np.float64]:
    """Return quantiles of a distribution on a grid, between its points as well."""
    return np.interp(qs, np.cumsum(weights) - weights / 2, grid)
