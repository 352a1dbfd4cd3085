"""How good the search for the capacity is, on a simulated target whose capacity is known.

`python -m benchmarks.capacity_simulation [--searches N] [--seconds 20]` prints one row per step noise. The
target is a queue whose exceedances grow with the utilisation as those of M/M/1 do, so the search's own model
(log-odds linear in the logarithm of the load) is close but not right. A step differs from the next by a noise
that the search is not told, and its requests resemble each other, so that few of them count.
"""

from __future__ import annotations

import argparse
from math import exp, log

import numpy as np
from msgspec import Struct

from analysis.capacity.search import Count, Outcome, Search, Settings, State

ALLOWED = 0.01
SERVICE_P99_S, LIMIT_S = 0.02, 0.1
ALIKE = 20
"""So many requests of a step tell as much as one independent request would."""

SETTINGS = Settings(lowest=50, highest=2_000, start=300, allowed={"p99": ALLOWED})
RATE = -log(ALLOWED) / SERVICE_P99_S


class Figures(Struct, frozen=True):
    """What a number of searches amounted to. Errors are fractions of the truth."""

    noise: float
    bias: float
    sd: float
    error_p95: float
    covered: float  # share of the 90 % intervals that hold the truth
    seconds: float  # of load, mean
    seconds_p95: float
    found: float  # share that ended with an answer
    step_noise: float  # as estimated, median


def share_above(load: float, saturation: float) -> float:
    """Return the share of requests over the limit at a load."""
    return exp(-RATE * LIMIT_S * (1 - min(load / saturation, 0.9995)))


def capacity_of(saturation: float) -> float:
    """Return the highest load at which that share is the allowed one."""
    return saturation * (1 + log(ALLOWED) / (RATE * LIMIT_S))


def one_search(
    rng: np.random.Generator, noise: float, seconds: float
) -> tuple[float, bool, int, bool, float]:
    """Return the error, whether the interval holds the truth, the steps, whether it ended well, the noise."""
    saturation = rng.uniform(400, 1_600)
    truth = capacity_of(saturation)
    search = Search(State(SETTINGS))
    while step := search.next_step():
        total = max(10, int(step.load * seconds / ALIKE))
        share = share_above(step.load * exp(noise * rng.standard_normal()), saturation)
        search.observe(step.load, {"p99": Count(int(rng.binomial(total, share)), total)})
    found = search.answer()
    covered = found.low <= truth and (found.high is None or truth <= found.high)
    return found.capacity / truth - 1, covered, found.steps, found.outcome is Outcome.FOUND, found.step_noise


def simulate(searches: int, noise: float, seconds: float, seed: int) -> Figures:
    """Return the figures of so many seeded searches."""
    rng = np.random.default_rng(seed)
    rows = [one_search(rng, noise, seconds) for _ in range(searches)]
    errors, covered, steps, found, noises = (np.array(column, float) for column in zip(*rows, strict=True))
    return Figures(
        noise=noise,
        bias=float(errors.mean()),
        sd=float(errors.std()),
        error_p95=float(np.quantile(abs(errors), 0.95)),
        covered=float(covered.mean()),
        seconds=float(steps.mean() * seconds),
        seconds_p95=float(np.quantile(steps, 0.95) * seconds),
        found=float(found.mean()),
        step_noise=float(np.median(noises)),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--searches", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=20, help="of load per step")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    print(f"{asked.searches} searches a row, {asked.seconds:g} s of load a step, seed {asked.seed}")
    print(" noise    bias      sd  95 % of errors  interval covers  load, mean  95 %  found  noise estimated")
    for noise in (0.0, 0.01, 0.03, 0.06):
        row = simulate(asked.searches, noise, asked.seconds, asked.seed)
        print(
            f"{row.noise:6.1%} {row.bias:+7.2%} {row.sd:7.2%} {row.error_p95:15.2%} {row.covered:16.1%}"
            f" {row.seconds:9.0f} s {row.seconds_p95:3.0f} s {row.found:6.1%} {row.step_noise:16.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
