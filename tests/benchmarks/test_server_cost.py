"""The benchmark runs from one end to the other. What it measures is the machine's affair: not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.server_cost import Figure, table

ROOT = Path(__file__).parents[2]
FIGURES = "read ping connect connects memory delivery_small delivery_large post".split()


@pytest.mark.end_to_end
def test_a_quick_run_has_every_figure() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.server_cost", "--quick", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    figures = {one["key"]: one for one in json.loads(done.stdout)["figures"]}
    assert set(figures) == {f"{name}_{kind}" for name in FIGURES for kind in ("plain", "tls")}
    assert all(one["value"] > 0 for one in figures.values())
    assert all(figures[key]["bare"] > 0 and figures[key]["ratio"] > 0 for key in ("read_plain", "read_tls"))


def test_a_goal_is_for_the_ratio_where_there_is_one() -> None:
    judged = [
        Figure("a", "a ratio", 900.0, "µs", bare=400.0, ratio=2.25, goal=2.5),
        Figure("b", "too much", 61.0, "KiB", goal=60.0),
        Figure("c", "no goal", 1.0, "µs"),
    ]
    assert [one.met for one in judged] == [True, False, None]
    assert "| 2.25× | ≤ 2.5×   | yes" in table(judged)
