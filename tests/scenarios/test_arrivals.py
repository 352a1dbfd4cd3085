"""Shapes of the arrival rate: how many people they bring, and recorded schedules that can't be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenarios.arrivals import (
    Constant,
    Ramp,
    Segment,
    Sine,
    Soak,
    Spike,
    Stairs,
    expected,
    phases,
    read_recorded,
)


@pytest.mark.parametrize(
    ("segment", "arrivals"),
    [
        (Constant(for_s=60, rate=2), 120),
        (Ramp(for_s=60, from_rate=0, to_rate=4), 120),
        (Stairs(for_s=60, from_rate=1, to_rate=3, steps=3), 120),
        (Spike(for_s=60, rate=1, peak=11, hold_s=4, rise_s=2), 120),
        (Soak(for_s=60, rate=2.5, rise_s=12), 120),
        (Sine(for_s=60, low=0, high=4, period_s=20), 120),
    ],
)
def test_a_shape_brings_the_area_below_its_rate(segment: Segment, arrivals: float) -> None:
    """Worked out by hand; its pieces take its time, no more and no less."""
    assert expected([segment]) == pytest.approx(arrivals)
    assert sum(piece.seconds for piece in segment.pieces()) == pytest.approx(60)
    assert segment.misfit() == ""


def test_phases_are_named_by_shape_and_follow_each_other() -> None:
    """By shape or by a name of its own; a spike is three of them; what comes again has a number."""
    segments = [
        Ramp(for_s=10, from_rate=0, to_rate=4),
        Spike(for_s=30, rate=1, peak=11, hold_s=6, rise_s=2),
        Constant(for_s=5, rate=1, name="rest"),
        Ramp(for_s=5, from_rate=4, to_rate=0),
        Spike(for_s=4, rate=1, peak=2, hold_s=4, name="wall"),
    ]
    assert phases(segments) == [
        ("ramp", 0, 10),
        ("before-spike", 10, 20),
        ("spike", 20, 30),
        ("after-spike", 30, 40),
        ("rest", 40, 45),
        ("ramp-2", 45, 50),
        ("wall", 50, 54),
    ]


@pytest.mark.parametrize(
    "segment",
    [
        Spike(for_s=10, rate=1, peak=2, hold_s=8, rise_s=2),
        Soak(for_s=10, rate=1, rise_s=6),
        Sine(for_s=10, low=2, high=1, period_s=5),
        Sine(for_s=10, low=1, high=2, period_s=0.001),
    ],
)
def test_what_does_not_fit_says_so(segment: Segment) -> None:
    """Parts longer than the whole, a low above the high, a period nobody could follow."""
    assert segment.misfit()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", r"day\.csv:1: no column at_s"),
        ("when\n1\n", r"day\.csv:1: no column at_s"),
        ("at_s\n", r"day\.csv: no arrival in it"),
        ("at_s\n1\nsoon\n", r"day\.csv:3: at_s: expected seconds, none before 1, found 'soon'"),
        ("at_s\n2\n1\n", r"day\.csv:3: at_s: expected seconds, none before 2, found '1'"),
        ("at_s\n-1\n", r"day\.csv:2: at_s"),
        ("at_s\nnan\n", r"day\.csv:2: at_s"),
        ("a,at_s\n1\n", r"day\.csv:2: at_s: .* found None"),
        ("at_s\n\xff\n", r"day\.csv: can't be read"),
    ],
)
def test_a_recorded_schedule_that_is_wrong_is_refused(tmp_path: Path, content: str, complaint: str) -> None:
    """With the file, the line and what was expected there."""
    file = tmp_path / "day.csv"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=complaint):
        read_recorded(file)
