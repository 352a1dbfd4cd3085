"""Two runs beside each other: the shift function, its band, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest

from analysis import compare, compare_text, shifts, stats
from analysis.compare import CompareError
from analysis.frames import Frames
from analysis.stats import Quantile
from tests.analysis.conftest import Build

OTHER = "20261122T200000Z-typical-0000"


@pytest.fixture
def two(build: Build) -> Callable[..., compare.Comparison]:
    """Compare a run with another that differs by what is told."""

    def made(**how: Any) -> compare.Comparison:
        there = build(n=6_000, ledger=6_000, id=OTHER, seed=1)
        return compare.of_frames(
            Frames(there), Frames(build(**{"n": 6_000, "ledger": 6_000, "seed": 2, **how}))
        )

    return made


def test_a_slower_run_is_above_at_every_quantile(two: Callable[..., compare.Comparison]) -> None:
    """Twice as slow is +100 % everywhere, within a band that does not reach 0; called descriptive."""
    found = two(slow=2.0)
    (chat,) = (each for each in found.shifts if each.metric == "chat.delivered")
    assert [point.q for point in chat.points] == [q for q in compare.QS if q <= 0.99]
    assert all(point.low < point.change < point.high for point in chat.points)
    assert all(point.low > 0.5 for point in chat.points)
    assert 0.85 < (chat.at(0.5) or chat.points[0]).change < 1.15
    assert found.sentences[0].startswith("Descriptive, one pair of runs: of ")
    assert "0 lower" in found.sentences[0]
    assert (found.exit_code, found.pairs) == (0, 1)


def test_the_band_holds_the_true_change() -> None:
    """Of independent samples it holds the true ratio of the medians in 95 of 100 cases, or more."""
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(400):
        one, other = (
            stats.quantiles((rng.lognormal(0, 0.5, 200) * factor * 1e6).astype(np.int64), [0.5])[0]
            for factor in (1.0, 1.1)
        )
        assert one
        assert other
        point = compare.band(one, other, 0.5)
        held += bool(point and point.low <= 0.1 <= point.high)
    assert held >= 375  # 380 expected; 375 is less likely than one in a hundred below a true 95 %


def test_the_band_of_a_quantile_of_nothing_is_none() -> None:
    """What took 0 ns has no ratio."""
    assert compare.band(Quantile(0, 0, 5, 100), Quantile(5, 4, 6, 100), 0.5) is None


def test_counts_are_of_the_whole_runs(two: Callable[..., compare.Comparison]) -> None:
    """What both verdicts say."""
    counts = {each.what: each.here for each in two().counts}
    assert counts["deliveries"] == 6_000
    assert counts["lost"] == 0


def test_too_few_samples_are_no_comparison(two: Callable[..., compare.Comparison]) -> None:
    """Exit code 3, a sentence, and a chart that says so."""
    found = two(n=0, ledger=0)
    assert found.exit_code == 3
    assert "No metric has enough samples" in found.sentences[0]
    assert "No metric has enough samples" in shifts.shifts(found).svg


def test_an_invalid_run_is_compared_and_called_invalid(two: Callable[..., compare.Comparison]) -> None:
    """Exit code 4, and which of them."""
    found = two(workers=[])
    assert found.exit_code == 4
    assert "is invalid" in found.sentences[0]


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("seed", {"seed": 43}),
        ("users", {"users": 121}),
        ("status", {"status": "partial"}),
        ("machine.cores", {}),
        ("id", {"id": OTHER}),
    ],
)
def test_unlike_runs_are_refused_by_their_field(build: Build, field: str, changes: dict[str, Any]) -> None:
    """The message begins with the field of the manifest."""
    there = build(n=10, ledger=10, id=OTHER).manifest
    here = msgspec.structs.replace(build(n=10, ledger=10).manifest, **changes)
    if field == "machine.cores":
        here.machine = msgspec.structs.replace(here.machine, cores=8)
    with pytest.raises(CompareError, match=f"^{field}: "):
        compare.refuse_unlike(there, here)


def test_the_chart_is_one_image_and_the_same_every_time(two: Callable[..., compare.Comparison]) -> None:
    """Six panels at most, a label, named metrics."""
    found = two(slow=1.2)
    chart = shifts.shifts(found)
    assert ElementTree.fromstring(chart.svg).get("aria-label") == chart.alt
    assert "chat.delivered" in chart.svg
    assert chart == shifts.shifts(found)
    assert len(shifts.chosen(found.shifts)) == 6


def test_the_table_has_both_and_the_change(two: Callable[..., compare.Comparison]) -> None:
    """Three cells a quantile; a dash each where there are too few samples."""
    chat = next(each for each in two(slow=2.0).shifts if each.metric == "chat.delivered")
    there, here, change = compare_text.cells(chat.at(0.5))
    assert there.endswith("ms")
    assert here.endswith("ms")
    assert change.startswith("+")
    assert compare_text.cells(None) == ("–", "–", "–")
