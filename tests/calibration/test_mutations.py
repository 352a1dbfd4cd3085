"""Each of twelve measuring bugs, planted into the suite, makes the calibration fail at the right metric."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.calibration.conftest import Calibrated, calibrate

# One worker has all of them: they are started together.
pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("mutations")]

# Bug: the case that must find it, and a part of the metric at which it must.
CAUGHT_BY = {
    "closed_loop": ("stall", "response p95"),
    "milliseconds": ("ping", "service p50"),
    "wall_clock": ("clock", "service"),
    "sent_early": ("ping", "sent to received"),
    "user_space_stamps": ("saturated", "service p50"),
    "samples_dropped": ("failures", "attempts, by the server"),
    "failures_timed": ("failures", "times of successes"),
    "duplicates_unseen": ("messages", "duplicate"),
    "losses_unseen": ("messages", "lost"),
    "order_unseen": ("messages", "out of order"),
    "next_bucket": ("merge", "another's bucket"),
    "worker_forgotten": ("merge", "samples counted"),
}


@pytest.fixture(scope="module")
def calibrations() -> Iterator[dict[str, Future[Calibrated]]]:
    """All of them, three at a time: a bug that is found is found on a busy machine too."""
    with ThreadPoolExecutor(3) as pool:
        yield {bug: pool.submit(calibrate, case, bug=bug, attempts=1) for bug, (case, _) in CAUGHT_BY.items()}


@pytest.mark.parametrize("bug", CAUGHT_BY)
def test_a_planted_bug_is_found(bug: str, calibrations: dict[str, Future[Calibrated]]) -> None:
    """With the bug the command fails, and the cell of the spoiled metric says so."""
    ended = calibrations[bug].result()
    _, metric = CAUGHT_BY[bug]
    missed = [cell["metric"] for cell in ended.cells if not cell["detected"]]
    assert ended.exit_code in (1, 4), ended.said  # 4 where the machine was too busy to blame the suite
    assert any(metric in each for each in missed), (missed, ended.said)
