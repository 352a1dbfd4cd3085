"""The live view shows a snapshot as it is; without a terminal it is plain lines, now and then."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from commands.common import in_place
from loadtests.live import LiveView

NOW: dict[str, Any] = {
    "elapsed_s": 12.0,
    "phase": "steady",
    "users": 40,
    "online": 39,
    "groups": {"https": {"rate": 12.5, "p50": 3.2, "p99": 140.0}},
    "counts": {"https": 1234},
    "failures": {"https": 2},
    "health": {"generator_cpu": 0.25, "loop_lag_ms": 61.0},
    "troubles": ["the disk is full"],
}


def shown(*snapshots: dict[str, Any], terminal: bool) -> str:
    """Return what a console would have got."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120, height=40)
    with in_place(console) as live:
        view = LiveView(console, live, 60.0)
        for snapshot in snapshots:
            view.show(snapshot)
        view.stopping()
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_terminal_gets_one_table_with_every_figure() -> None:
    """Rates, quantiles, failures, people, our own lag, and whatever is wrong with us."""
    text = shown(NOW, terminal=True)
    for piece in ("1,234", "12.5", "3.2 ms", "140 ms", "39 of 40 people", "61.0 ms", "the disk is full"):
        assert piece in text


def test_without_a_terminal_there_is_a_line_every_ten_seconds() -> None:
    """A log file gets no control codes, and not sixty lines a minute."""
    text = shown(*({**NOW, "elapsed_s": second} for second in range(1, 31)), terminal=False)
    assert "\x1b" not in text
    assert len([line for line in text.splitlines() if "online" in line]) == 3
    assert "Ctrl-C" in text


def test_nothing_has_happened_yet() -> None:
    """The first second has no figures at all, and that is fine."""
    empty = {**NOW, "groups": {}, "counts": {}, "failures": {}, "health": {}, "troubles": []}
    assert "–" in shown(empty, terminal=True)
