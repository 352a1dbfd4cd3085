"""The verdict in a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from analysis import summary, verdict
from reports.sample import Fate, Kind
from tests.analysis.conftest import OPERATIONS, Build


def test_the_summary_has_each_group_and_the_verdict(build: Build) -> None:
    """A row per operation, under https, wss and deliveries, then the word with its exit code."""
    found = verdict.judge(build(fates={Fate.LOST: 3}))
    lines = summary.summary_lines(found)
    text = "\n".join(lines)
    assert [line for line in lines if line in ("https", "wss")] == ["https", "wss"]
    for kind, name, *_ in OPERATIONS:
        row = next((at for at, line in enumerate(lines) if line.split()[:1] == [name]), None)
        if kind in (Kind.STEP, Kind.PHASE):
            assert row is None
        else:
            assert row is not None
            assert (row < lines.index("wss")) is not name.startswith("wss.")
    assert "FAILED (exit code 1)" in lines
    assert "lost is 3" in text


def test_plain_and_coloured_say_the_same(build: Build) -> None:
    """The renderable, printed without colours, has all the figures of the plain lines."""
    found = verdict.judge(build())
    out = io.StringIO()
    Console(file=out, width=200, color_system=None).print(summary.summary(found))
    words = out.getvalue().split()
    assert all(word in words for line in summary.summary_lines(found) for word in line.split())


def test_a_run_without_data_has_a_summary(build: Build) -> None:
    """No table, but the totals and the verdict."""
    lines = summary.summary_lines(verdict.judge(build(n=0, ledger=0)))
    assert "INCONCLUSIVE (exit code 3)" in lines
    assert lines[0].startswith("120 users, 60 s")


def test_names_can_not_move_the_cursor(build: Build) -> None:
    """Control characters and markup in what a target or a worker said are shown as text."""
    found = verdict.judge(build(status="partial", reason="\x1b[2J [red]gone[/red]"))
    text = "\n".join(summary.summary_lines(found))
    assert "\x1b" not in text
    out = io.StringIO()
    Console(file=out, width=200, color_system=None).print(summary.summary(found))
    assert "[red]gone[/red]" in out.getvalue()
