"""The Universal Scalability Law, fitted to throughput at several loads. Pure: numbers in, numbers out.

    X(N) = g N / (1 + a (N - 1) + b N (N - 1))

g is the throughput of one, a the contention (what has to be done one after the other), b the coherency (what
each has to agree on with each other one), from Gunther, Guerrilla Capacity Planning, 2007, chapter 4.
Throughput rises to a peak at N = sqrt((1 - a) / b), if b > 0, and falls beyond it. The fit is least squares,
with 0 <= a <= 1 and b >= 0. Intervals are 95 %: by Student's t with n - 3 degrees of freedom; by profile
likelihood where a parameter lies on its bound, because there the t-interval means nothing (Bates and Watts,
Nonlinear Regression Analysis, 1988, chapter 6).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, inf, log, sqrt
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from scipy import special
from scipy.optimize import brentq, least_squares, nnls

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

CONFIDENCE = 0.95
PARAMETERS = 3
_NOTHING = 1e-6
"""A parameter whose effect on the highest load's throughput is smaller, relatively, lies on its bound."""


class FitError(ValueError):
    """Points that no such curve can be fitted to; the message says why."""


class Estimate(Struct, frozen=True):
    """A figure and its 95 % interval; `high` is null where nothing limits it."""

    value: float
    low: float
    high: float | None


class Fit(Struct, frozen=True):
    """The curve, how sure it is, and what may be said of its peak."""

    n: int
    single: Estimate  # g
    contention: Estimate  # a
    coherency: Estimate  # b
    method: str  # of the intervals of the three: "t" or "profile likelihood"
    residual: float  # standard error of the residuals, in units of throughput
    peak_load: Estimate | None  # None where b is 0
    peak_throughput: Estimate | None
    peak_observed: bool  # points lie on both sides of the peak
    best_load: float  # where the highest throughput was measured
    best_throughput: float
    lowest_load: float
    highest_load: float
    covariance: list[list[float]]  # of g, a and b; 0 for one on its bound

    @property
    def parameters(self) -> tuple[float, float, float]:
        """Return g, a and b."""
        return self.single.value, self.contention.value, self.coherency.value

    @property
    def capacity(self) -> float:
        """Return the peak's throughput; what was measured at most where no peak was seen."""
        seen = self.peak_throughput if self.peak_observed else None
        return seen.value if seen else self.best_throughput

    @property
    def capacity_load(self) -> float:
        """Return the load of that throughput."""
        return self.peak_load.value if self.peak_load and self.peak_observed else self.best_load


def throughput(load: Vector | float, g: float, a: float, b: float) -> Vector:
    """Return X(N) in the unit of g."""
    n = np.asarray(load, float)
    found: Vector = g * n / (1 + a * (n - 1) + b * n * (n - 1))
    return found


def fit(loads: Sequence[float], throughputs: Sequence[float]) -> Fit:
    """Return the curve through these points. Raises FitError for fewer than four, or three loads."""
    load, x = np.asarray(loads, float), np.asarray(throughputs, float)
    if len(load) != len(x) or not (np.isfinite([load, x]).all() and (load > 0).all() and (x > 0).all()):
        raise FitError("loads and throughputs come in pairs of numbers above 0")
    if len(load) < PARAMETERS + 1:
        raise FitError(f"{len(load)} points; three parameters and their uncertainty need at least 4")
    if len(set(loads)) < PARAMETERS:
        raise FitError(f"{len(set(loads))} different loads; a curve with three parameters needs at least 3")
    return _Fitter(load, x).fit()


def band(fit: Fit, loads: Vector) -> tuple[Vector, Vector]:
    """Return the ends of the 95 % interval of the curve at each load, by the delta method."""
    slopes = _slopes(loads, *fit.parameters)
    spread = _t(fit.n) * np.sqrt(np.einsum("ij,jk,ik->i", slopes, np.array(fit.covariance), slopes))
    curve = throughput(loads, *fit.parameters)
    return np.maximum(curve - spread, 0), curve + spread


def load_for(fit: Fit, wanted: float) -> float:
    """Return the load at which the curve first reaches a throughput; that of the peak if it never does."""
    top = fit.capacity_load

    def short(load: float) -> float:
        return float(throughput(load, *fit.parameters)) - wanted

    return float(brentq(short, 0, top)) if short(top) > 0 else top


class _Fitter:
    """One set of points: least squares over all parameters, or over all but one that is held."""

    def __init__(self, load: Vector, x: Vector) -> None:
        self.load, self.x = load, x
        top = float(load.max())
        # What a and b have to be to matter: their steps are measured in this.
        self.scale = np.array([float((x / load).max()), 1 / max(top, 2), 1 / max(top, 2) ** 2])

    def fit(self) -> Fit:
        n, load, x = len(self.load), self.load, self.x
        p = self._least()
        on_bound = np.array([False, *(p[1:] / self.scale[1:] < _NOTHING)])
        on_bound[1] |= p[1] > 1 - _NOTHING
        p[1:][p[1:] / self.scale[1:] < _NOTHING] = 0
        squares = self._squares(p)
        covariance = self._covariance(p, ~on_bound, squares / (n - PARAMETERS))
        method = "profile likelihood" if on_bound.any() else "t"
        limit = squares * (1 + _t(n) ** 2 / (n - PARAMETERS))
        if on_bound.any():
            ends = [self._profile(number, p, limit) for number in range(PARAMETERS)]
        else:
            half = _t(n) * np.sqrt(np.diag(covariance))
            ends = list(zip(p - half, p + half, strict=True))
        g, a, b = (
            Estimate(float(value), float(low), None if high == inf else float(high))
            for value, (low, high) in zip(p, ends, strict=True)
        )
        best = int(x.argmax())
        peak = max(1.0, sqrt((1 - p[1]) / p[2])) if p[2] > 0 else inf
        found = Fit(
            n=n,
            single=g,
            contention=a,
            coherency=b,
            method=method,
            residual=sqrt(squares / (n - PARAMETERS)),
            peak_load=None,
            peak_throughput=None,
            peak_observed=bool(load.min() <= peak < load.max()),
            best_load=float(load[best]),
            best_throughput=float(x[best]),
            lowest_load=float(load.min()),
            highest_load=float(load.max()),
            covariance=covariance.tolist(),
        )
        return replace(found, **self._peak(found, peak, limit)) if peak < inf else found

    def _least(self, held: tuple[int, float] | None = None, peak: float | None = None) -> Vector:
        """Return the best g, a and b; with one of them held, or b held to a peak at this load."""
        start = self._start()
        free = [n for n in range(PARAMETERS) if (held is None or n != held[0]) and (peak is None or n != 2)]

        def whole(scaled: Vector) -> Vector:
            p = np.zeros(PARAMETERS)
            p[free] = scaled * self.scale[free]
            if held:
                p[held[0]] = held[1]
            if peak:
                p[2] = max(0.0, 1 - p[1]) / peak**2
            return p

        top = (np.array([inf, 1.0, inf]) / self.scale)[free]
        size = float(self.x.max())

        def residuals(scaled: Vector) -> Vector:
            return (throughput(self.load, *whole(scaled)) - self.x) / size

        def jacobian(scaled: Vector) -> Vector:
            return self._jacobian(whole(scaled), free, peak) / size

        found = least_squares(
            residuals,
            np.minimum(start[free] / self.scale[free], top),
            jac=jacobian,
            bounds=(np.zeros(len(free)), top),
            xtol=1e-14,
            ftol=1e-14,
            gtol=1e-14,
            max_nfev=20_000,
        )
        return whole(found.x)

    def _jacobian(self, p: Vector, free: list[int], peak: float | None) -> Vector:
        slopes = _slopes(self.load, *p)
        if peak:
            slopes[:, 1] -= slopes[:, 2] / peak**2  # b follows a
        found: Vector = slopes[:, free] * self.scale[free]
        return found

    def _start(self) -> Vector:
        """Return a first guess: N / X is linear in 1/g, a/g and b/g."""
        load, x = self.load, self.x
        rows = np.column_stack([np.ones_like(load), load - 1, load * (load - 1)])
        weights = x**2 / load  # which turn residuals of N / X into those of X
        one, a, b = nnls(rows * weights[:, None], load / x * weights)[0]
        return np.array([1 / one, a / one, b / one]) if one > 0 else self.scale

    def _squares(self, p: Vector) -> float:
        return float(((self.x - throughput(self.load, *p)) ** 2).sum())

    def _covariance(self, p: Vector, free: NDArray[np.bool_], variance: float) -> Vector:
        slopes = _slopes(self.load, *p)[:, free] * self.scale[free]
        found = np.zeros((PARAMETERS, PARAMETERS))
        inverse = np.linalg.pinv(slopes.T @ slopes) * variance
        found[np.ix_(free, free)] = inverse * np.outer(self.scale[free], self.scale[free])
        return found

    def _profile(self, number: int, p: Vector, limit: float) -> tuple[float, float]:
        """Return the values of one parameter at which the best fit of the others is just good enough."""

        def excess(value: float) -> float:
            return self._squares(self._least(held=(number, value))) - limit

        step = max(float(p[number]), float(self.scale[number])) / 10
        top = 1.0 if number == 1 else inf
        floor = 1e-6 * float(p[0]) if number == 0 else 0.0
        return _crossing(excess, p[number], -step, floor), _crossing(excess, p[number], step, top)

    def _peak(self, found: Fit, peak: float, limit: float) -> dict[str, Estimate]:
        """Return where the peak is and how high, each with its interval."""

        def excess(logarithm: float) -> float:
            return self._squares(self._least(peak=exp(logarithm))) - limit

        furthest = log(max(peak, float(self.load.max())) * 1e3)  # beyond, the curve has no peak in sight
        low = _crossing(excess, log(peak), -0.1, log(peak) - 10)
        high = _crossing(excess, log(peak), 0.1, furthest)
        height = float(throughput(peak, *found.parameters))
        below, above = (float(end[0]) for end in band(found, np.array([peak])))
        return {
            "peak_load": Estimate(peak, exp(low), None if high >= furthest else exp(high)),
            "peak_throughput": Estimate(height, below, above),
        }


def _crossing(excess: Callable[[float], float], inside: float, step: float, end: float) -> float:
    """Return where `excess` turns positive, going from `inside` in growing steps; `end` if it does not."""
    last = inside
    while (last < end) if step > 0 else (last > end):
        then = min(last + step, end) if step > 0 else max(last + step, end)
        if excess(then) > 0:
            return float(brentq(excess, last, then, rtol=1e-6)) if excess(last) <= 0 else last
        last, step = then, step * 2
        if abs(step) > 1e12 * max(abs(inside), 1):
            return inf
    return end


def _slopes(load: Vector, g: float, a: float, b: float) -> Vector:
    """Return the derivatives of X by g, a and b, one row per load."""
    below = 1 + a * (load - 1) + b * load * (load - 1)
    x = g * load / below
    return np.column_stack([load / below, -x * (load - 1) / below, -x * load * (load - 1) / below])


def _t(n: int) -> float:
    """Return the 97.5 % quantile of Student's t for n points."""
    return float(special.stdtrit(n - PARAMETERS, (1 + CONFIDENCE) / 2))
