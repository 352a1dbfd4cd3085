"""Does `talkload capacity find` find a capacity that is known?

    python -m benchmarks.capacity_search [--seeds 10] [--quick] [--json]

The reference server lets so many looks at a person pass a second (its capacity fault); the others queue.
People come evenly and each looks at one person after two short pauses, so that the arrival rate at which 5 %
of the looks take more than 200 ms follows from the queue alone. It is simulated here, and each search is held
against it, with other people each time.

A search puts at most six minutes of load on the server, so that ten are done within an hour and a half;
--quick makes two. Exit codes: 0 the truth is within nine of ten intervals (of fewer, one may miss it), 1 not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from msgspec import Struct, to_builtins

from scenarios.people import PAUSES

PER_S, LIMIT_S, ALLOWED = 60, 0.2, 0.05
STEP_S, PACE = 8, 30
SCENARIO = f"""description = "Everybody who comes looks at one person"

[load]
users = 150
spawn_rate = 50
run_time_s = {STEP_S}
arrivals = 20
spacing = "even"

[people]
pace = {PACE}

[senior]
browse = 1

[volunteer]
browse = 1

[slo]
"get-user p95" = "< {LIMIT_S * 1000:g} ms"
errors = "< 1 %"
"""
FAULTS = f"""[[rule]]
fault = "capacity"
where = "get-user"
per_s = {PER_S}
"""


class Found(Struct, frozen=True):
    """One search."""

    seed: int
    capacity: float
    low: float
    high: float
    steps: int
    load_s: float
    outcome: str | None

    def holds(self, truth: float) -> bool:
        """Return whether the truth lies within the interval."""
        return self.low <= truth <= self.high


def share_beyond(rate: float, steps: int = 200) -> float:
    """Return the share of looks that wait longer than the limit, by Lindley's recursion for the queue.

    Steps are as long as those of the search, and each begins with nobody waiting.
    """
    rng, pause = np.random.default_rng(1), PAUSES["look"]
    beyond = total = 0
    for _ in range(steps):
        count = int(rate * STEP_S)
        looked = rng.lognormal(np.log(pause.median_s / PACE), pause.sigma, (2, count)).sum(axis=0)
        gaps = np.diff(np.sort(np.arange(count) / rate + looked))
        walk = np.concatenate([[0.0], np.cumsum(1 / PER_S - gaps)])
        waits = walk - np.minimum.accumulate(walk)
        beyond, total = beyond + int((waits > LIMIT_S).sum()), total + count
    return beyond / total


def truth() -> float:
    """Return the rate at which the allowed share waits longer than the limit."""
    low, high = PER_S * 0.5, PER_S * 1.5
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (low, middle) if share_beyond(middle) > ALLOWED else (middle, high)
    return low


def search(folder: Path, seed: int) -> Found:
    """Make one search."""
    serve = (
        f"{sys.executable} -m talkamie.server --port 0 --exit-with-parent --faults {folder / 'faults.toml'}"
    )
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "talkload", "capacity", "find", str(folder / "look.toml"), "--json"),
            *("--no-page", "--step-time", f"{STEP_S}s", "--target", serve, "--out", str(folder)),
            *("--seed", str(1000 * seed), "--max-time", "360s"),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    told = json.loads(ended.stdout)
    answer = told["answer"]
    return Found(
        seed,
        answer["capacity"],
        answer["low"],
        answer["high"] or np.inf,
        len(told["made"]),
        sum(each["load_s"] for each in told["made"]),
        answer["outcome"],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line a seed; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.capacity_search",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="two searches")
    parser.add_argument("--json", action="store_true", help="figures for a program")
    asked = parser.parse_args(arguments)
    seeds = 2 if asked.quick else asked.seeds
    tell = partial(print, file=sys.stderr if asked.json else sys.stdout, flush=True)
    with tempfile.TemporaryDirectory(prefix="talkload-") as name:
        folder = Path(name)
        (folder / "look.toml").write_text(SCENARIO)
        (folder / "faults.toml").write_text(FAULTS)
        exact = truth()
        tell(f"{PER_S} looks a second pass; 5 % wait {LIMIT_S * 1000:g} ms at {exact:.1f} arrivals/s (truth)")
        tell(" seed  capacity    90 % interval   holds   error  steps  load  outcome")
        done: list[Found] = []
        for seed in range(1, seeds + 1):
            found = search(folder, seed)
            done.append(found)
            interval = f"[{found.low:6.1f}, {found.high:6.1f}] {found.holds(exact)!s:>7}"
            tell(
                f"{seed:5} {found.capacity:9.1f} {interval} {found.capacity / exact - 1:+7.1%}"
                f" {found.steps:6} {found.load_s:4.0f}s  {found.outcome}"
            )
    held = sum(found.holds(exact) for found in done)
    tell(f"{held} of {seeds} intervals hold the truth")
    if asked.json:
        print(json.dumps({"truth": exact, "held": held, "searches": to_builtins(done)}))
    return 0 if held >= seeds - max(1, seeds // 10) else 1


if __name__ == "__main__":
    sys.exit(main())
