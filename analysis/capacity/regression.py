"""What each kind of work costs, from windows of time with more of one and less of another. Pure.

Rule: cost = sum of (how much of a kind was done) x (what one takes), fitted by least squares with nothing
below 0 (Lawson and Hanson, Solving Least Squares Problems, 1974, ch. 23). Intervals are those of the fit
without that bound, around both fits, cut at 0: cutting takes away nothing that can be true. Busy windows are
noisier and neighbours are alike, so the variance is the mean over slow cosines (Lazarus, Lewis, Stock and
Watson, J. Bus. Econ. Stat. 36, 2018; half as many again, because windows are few), and the quantile Student's
with as many degrees of freedom, never across two runs. Residuals are blown up by their leverage, as in HC3
(MacKinnon and White, J. Econometrics 29, 1985). `tests/analysis/capacity/test_regression.py` counts how often
they hold the truth.

Kinds that came and went together can't be told apart. They are taken in the order given, and one that those
before it explain to 90 % or more (a variance inflation of 10: Marquardt, Technometrics 12, 1970) gets no
figure: what it costs is within theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct
from scipy import optimize, special

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

CONFIDENCE = 0.95
EXPLAINED = 0.9
LEAST_A_TERM = 2
"""So many windows for each kind, at least."""


class RegressionError(Exception):
    """Windows that are too few."""


class Estimate(Struct, frozen=True):
    """A cost and the interval that holds it. Where `low` is 0 it is not shown: then `high` is the most."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Model:
    """The kinds that have a cost of their own, and those that are within another's."""

    names: list[str]
    within: dict[str, str]
    value: Vector  # nothing below 0
    plain: Vector  # unbounded, whose covariance is known
    covariance: NDArray[np.float64]
    freedom: int

    def cost(self, of: Mapping[str, float], confidence: float = CONFIDENCE) -> Estimate:
        """Return what so much of each kind costs together; a kind that is within another's adds nothing."""
        weights = np.array([of.get(name, 0.0) for name in self.names])
        value, middle = float(weights @ self.value), float(weights @ self.plain)
        spread = float(np.sqrt(max(0.0, weights @ self.covariance @ weights)))
        half = float(special.stdtrit(self.freedom, (1 + confidence) / 2)) * spread
        return Estimate(value, max(0.0, min(middle, value) - half), max(middle, value) + half)


def fit(cost: Vector, kinds: Mapping[str, Vector], runs: Sequence[int], base: str = "") -> Model:
    """Fit the costs of windows to what was done in them.

    runs: how many windows each run has, in their order. base: the kind that is there all the time, if any;
    how others vary is seen beside it. A kind of which there was nothing is left out. Raises RegressionError.
    """
    names, within = _told_apart(kinds, base)
    if len(cost) < LEAST_A_TERM * len(names) or not names:
        raise RegressionError(
            f"{len(cost)} windows of time for {len(names)} kinds of work;"
            f" expected {LEAST_A_TERM * max(1, len(names))} at least"
        )
    scale = np.array([float(np.linalg.norm(kinds[name])) for name in names])
    x = np.column_stack([kinds[name] for name in names]) / scale
    bread = np.linalg.inv(x.T @ x)
    plain = bread @ (x.T @ cost)
    leverage = np.einsum("ij,jk,ik->i", x, bread, x)
    scores = x * ((cost - x @ plain) / np.maximum(1 - leverage, 0.05))[:, None]
    parts = [_long_run(part) for part in np.split(scores, np.cumsum(runs)[:-1]) if len(part)]
    covariance = bread @ sum(each for each, _ in parts) @ bread
    return Model(
        names=names,
        within=within,
        value=optimize.nnls(x, cost)[0] / scale,
        plain=plain / scale,
        covariance=covariance / np.outer(scale, scale),
        freedom=min(sum(count for _, count in parts), len(cost) - len(names)),
    )


def _told_apart(kinds: Mapping[str, Vector], base: str) -> tuple[list[str], dict[str, str]]:
    names: list[str] = []
    within: dict[str, str] = {}
    ground = kinds[base] if base else None
    for name, column in kinds.items():
        if not column.any():
            continue
        varies = column if ground is None or name == base else _residual(column, [ground])
        if names and name != base:
            left = _residual(column, [kinds[each] for each in names])
            if left @ left <= max((1 - EXPLAINED) * (varies @ varies), 1e-12 * (column @ column)):
                within[name] = (
                    _nearest(varies, [each for each in names if each != base], kinds, ground) or base
                )
                continue
        names.append(name)
    return names, within


def _residual(column: Vector, others: Sequence[Vector]) -> Vector:
    x = np.column_stack(others)
    found: Vector = column - x @ np.linalg.lstsq(x, column)[0]
    return found


def _nearest(varies: Vector, names: Sequence[str], kinds: Mapping[str, Vector], ground: Vector | None) -> str:
    """Return which of the kinds varies most like this one, "" if it does not vary."""
    best, found = 1e-6, ""
    for name in names:
        other = kinds[name] if ground is None else _residual(kinds[name], [ground])
        length = float(np.linalg.norm(other) * np.linalg.norm(varies))
        alike = abs(float(other @ varies)) / length if length else 0.0
        if alike > best:
            best, found = alike, name
    return found


def _long_run(scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Return the covariance of the sum of one run's scores, whose neighbours are alike, and of how many."""
    n = len(scores)
    count = max(1, int(0.6 * n ** (2 / 3)))
    waves = np.cos(np.pi * np.arange(1, count + 1)[:, None] * (np.arange(n) + 0.5) / n)
    sums = np.sqrt(2 / n) * waves @ scores
    return n / count * sums.T @ sums, count
