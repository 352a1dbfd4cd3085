"""Pages of a capacity, as a search and as runs with a plan lead to them; on simulated runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from analysis.capacity import page, report, sizing
from analysis.capacity.points import Point, of_frames
from analysis.frames import Frames
from analysis.objectives import State
from tests.analysis.capacity.test_find import a_run, a_search
from tests.analysis.capacity.test_sizing import EXAMPLE


def _run(root: Path, number: int, load: float) -> Any:
    """Return a run of a target that levels off."""
    name, many = f"20261122T2045{number:02}Z-typical-3f9a", int(12_000 * load / (load + 100))
    return a_run(root, load, id=name, users=round(load), n=many)


def searched(root: Path) -> Path:
    """Return the page of a search whose truth is 106 users, and of a plan with instances that carry them."""
    root.mkdir()
    finding, points = a_search(root), list[Point]()
    while (load := finding.step()) is not None:
        run = _run(root, len(finding.made), load)
        if finding.take(run, load, finding.asked.step_s).counted:
            points.append(of_frames(Frames(run), load))
    found = finding.found()
    plan = report.measured_by(sizing.read(EXAMPLE), found)
    plan = replace(plan, demand=replace(plan.demand, accounts=sizing.Quantity(low=8_000, high=12_000)))
    return page.build(report.of_search(points, found, sizing.size(plan)), root)


def fitted(root: Path) -> Path:
    """Return the page of runs of growing load, the last two of which miss an objective; one was left out."""
    points = []
    for number, users in enumerate((20, 40, 60, 90, 130)):
        points.append(of_frames(Frames(_run(root, number, users)), users))
        state = State.MET if users < 90 else State.MISSED
        points[-1].objectives.update({"get-chats p95": state, "lost": State.MET})
    left_out = ["left out: 20261122T204555Z-typical-3f9a is invalid: the generator was late"]
    return page.build(report.analyse(points, None, "users", left_out), root)
