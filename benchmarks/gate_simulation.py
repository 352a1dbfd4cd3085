"""How often the gate is right: gates over simulated runs whose truth is known, its looks included.

    python -m benchmarks.gate_simulation [--gates 5000]

A run has 12,000 response times of two minutes: lognormal with a heavy tail, a load that wanders
(autoregressive, time constant 2 s), stalls of up to 60 ms that hit whatever is under way. On top of its
quantiles come a factor of its own (neighbours, memory layout) and the drift of the machine, a random walk
from run to run. How large those are is the environment. A real change multiplies the candidate's quantile.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct
from scipy.signal import lfilter

from analysis.gate import differing
from analysis.looks import LOOKS, Word, decide

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENVIRONMENTS = {"quiet": (0.01, 0.005), "CI": (0.03, 0.02), "cloud": (0.06, 0.04)}
"""Standard deviation, in logarithms, of a run's own factor and of a step of the drift."""

TOLERANCES = {"p50": 0.05, "p99": 0.10}
_QUANTILES = {"p50": 0.5, "p99": 0.99}
_RUN_S, _STEPS, _SAMPLES = 120, 1200, 12_000


class Rates(Struct, frozen=True):
    """Shares of the gates that ended in each word, and how many pairs they took on average."""

    words: dict[Word, float]
    pairs: float


def pool(rng: np.random.Generator, runs: int) -> dict[str, NDArray[np.float64]]:
    """Return the logarithms of each quantile of so many runs, less their mean: what sampling alone does."""
    found = [_run(rng) for _ in range(runs)]
    logs = {name: np.log([np.quantile(each, q) for each in found]) for name, q in _QUANTILES.items()}
    return {name: values - values.mean() for name, values in logs.items()}


def differences(
    rng: np.random.Generator,
    sampling: NDArray[np.float64],
    environment: str,
    change: float,
    shape: tuple[int, ...],
) -> NDArray[np.float64]:
    """Return log ratios of pairs in random order; shape: (..., pairs)."""
    own, drift = ENVIRONMENTS[environment]
    runs = (*shape[:-1], 2 * shape[-1])
    logs = rng.choice(sampling, runs) + own * rng.standard_normal(runs)
    logs += np.cumsum(drift * rng.standard_normal(runs), axis=-1)
    candidate_first = rng.random(shape) < 0.5
    pairs: NDArray[np.float64] = np.log1p(change) + np.where(candidate_first, 1, -1) * (
        logs[..., 0::2] - logs[..., 1::2]
    )
    return pairs


def gates(
    rng: np.random.Generator,
    sampling: NDArray[np.float64],
    environment: str,
    *,
    tolerance: float,
    change: float,
    count: int,
) -> Rates:
    """Judge so many gates of one metric that truly changed by so much."""
    rows = differences(rng, sampling, environment, change, (count, LOOKS[-1]))
    ended = [decide(list(row), tolerance, LOOKS) for row in rows]
    words = {word: sum(each is word for each, _ in ended) / count for word in Word}
    return Rates(words, float(np.mean([seen.n for _, seen in ended])))


def false_gates(
    rng: np.random.Generator, sampling: NDArray[np.float64], environment: str, *, metrics: int, count: int
) -> float:
    """Return the share of no-change gates of so many independent metrics (5 %) in which any regressed."""
    rows = differences(rng, sampling, environment, 0, (count, metrics, LOOKS[-1]))
    alarms = [
        any(decide(list(row), 0.05, LOOKS, metrics)[0] is Word.REGRESSED for row in gate) for gate in rows
    ]
    return float(np.mean(alarms))


def false_differences(
    rng: np.random.Generator,
    sampling: NDArray[np.float64],
    environment: str,
    *,
    metrics: int,
    pairs: int,
    count: int,
) -> float:
    """Return the share of no-change comparisons in which any of so many undeclared metrics differs."""
    rows = differences(rng, sampling, environment, 0, (count, metrics, pairs))
    alarms = [
        any(each.differs for each in differing({str(n): list(row) for n, row in enumerate(gate)}))
        for gate in rows
    ]
    return float(np.mean(alarms))


def _run(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the response times (ms) of one run, before what differs from run to run."""
    at = np.sort(rng.random(_SAMPLES) * _RUN_S)
    rho = 0.95
    load: NDArray[np.float64] = lfilter(
        [1], [1, -rho], rng.standard_normal(_STEPS) * 0.10 * np.sqrt(1 - rho**2)
    )
    times = np.exp(np.log(12) + 0.45 * rng.standard_normal(_SAMPLES))
    heavy = rng.random(_SAMPLES) < 0.01
    times[heavy] *= rng.pareto(2.2, heavy.sum()) + 2
    times *= np.exp(load[(at / _RUN_S * _STEPS).astype(int)])
    for begin in rng.random(rng.poisson(0.1 * _RUN_S)) * _RUN_S:
        end = begin + rng.random() * 0.06
        hit = slice(*np.searchsorted(at, [begin, end]))
        times[hit] += (end - at[hit]) * 1000
    result: NDArray[np.float64] = times
    return result


def report(seed: int, count: int) -> Iterator[str]:
    """Yield the table of docs/gates.md, and the figures beside it."""
    rng = np.random.default_rng(seed)
    sampling = pool(rng, 400)
    yield "noise  metric  change  regressed      pass  improved  inconclusive  mean pairs"
    for environment in ENVIRONMENTS:
        for metric, tolerance in TOLERANCES.items():
            for change in (0.0, 0.05, 0.10, 0.15, 0.20):
                found = gates(
                    rng, sampling[metric], environment, tolerance=tolerance, change=change, count=count
                )
                words = (Word.REGRESSED, Word.PASS, Word.IMPROVED, Word.INCONCLUSIVE)
                shares = "  ".join(f"{found.words[word] * 100:7.1f} %" for word in words)
                yield f"{environment:5}  {metric:6}  {change:+6.0%}  {shares}  {found.pairs:10.1f}"
    for metrics in (1, 4, 6):
        share = false_gates(rng, sampling["p50"], "CI", metrics=metrics, count=count // metrics)
        yield f"CI, no change, {metrics} independent gate metrics: any regressed in {share:.1%} of gates"
    share = false_differences(rng, sampling["p50"], "CI", metrics=50, pairs=10, count=count // 10)
    yield f"CI, no change, 50 other metrics, 10 pairs: any differs in {share:.1%} of gates"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--gates", type=int, default=5000, help="simulated gates a row (default 5000)")
    parser.add_argument("--seed", type=int, default=3)
    given = parser.parse_args()
    for line in report(given.seed, given.gates):
        print(line, flush=True)


if __name__ == "__main__":
    main()
