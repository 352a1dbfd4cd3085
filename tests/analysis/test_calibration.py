"""Cells of the kill matrix: when a claim is near enough to the truth, and how they are shown."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from analysis import merging
from analysis.calibration import cell, table
from scenarios.calibration import CASES


@pytest.mark.parametrize(
    ("claimed", "detected"), [(10, True), (12, True), (8, True), (13, False), (7, False), (None, False)]
)
def test_a_claim_is_held_to_its_tolerance(claimed: float | None, detected: bool) -> None:
    """Both ways; and what was not claimed was not detected."""
    assert cell("case", "fault", "metric", "", 10, claimed, 2).detected is detected


def test_a_count_has_no_tolerance() -> None:
    """One message too many is a miss."""
    assert not cell("case", "drop", "lost", "", 28, 29, 0).detected


def test_the_table_tells_a_miss_from_a_hit() -> None:
    """Times in milliseconds, counts plain, what is missing by its name."""
    cells = [cell("stall", "1 s", "p99", "ns", 2e6, 3e6, 5e5), cell("drop", "1 in 7", "lost", "", 5, None, 0)]
    head, *rows = (line.split() for line in table(cells))
    assert head[-1] == "detected"
    assert rows[0][-1] == rows[1][-1] == "NO"
    assert "3.000" in rows[0]
    assert "none" in rows[1]


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    """However many workers wrote them, in whatever order."""
    assert all(each.detected for each in merging.cells("merge", tmp_path))


def test_every_case_with_a_drill_starts_what_it_says() -> None:
    """The devices of a stream share its starts: each of them once, evenly spread."""
    for case in CASES.values():
        for stream in case.drill.streams if case.drill else ():
            assert case.drill
            each = [case.drill.starts(stream, device, 0.5) for device in range(stream.devices)]
            every = sorted(start for starts in each for start in starts)
            assert len(every) == case.drill.count(stream)
            steps = {round((b - a) * stream.per_s / 1e9, 6) for a, b in pairwise(every)}
            assert steps == {1.0}
