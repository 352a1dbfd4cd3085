"""A search for the capacity on a terminal: its steps, and the posterior as it narrows."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from analysis.capacity.find import Find, Finding, Made
from analysis.formats import NONE, fmt_number, fmt_share

BARS = " ▁▂▃▄▅▆▇█"
_CELLS = 60


def lines(found: Find) -> list[str]:
    """Return the whole result as plain lines: steps, objectives, sentences."""
    broken = [limit for limit in found.limits if limit.capacity is not None]
    alone = [f"  {limit.objective:28} {_interval(limit.capacity, limit.low, limit.high)}" for limit in broken]
    return [*alone, *found.sentences]


def _interval(middle: float | None, low: float | None, high: float | None) -> str:
    return f"{fmt_number(middle)} [{fmt_number(low)}, {fmt_number(high)}]"


def step(finding: Finding, made: Made) -> str:
    """Return what a step came to, in one line."""
    if not made.counted:
        return f"step at {finding.load(made.load)} does not count: {made.reason}"
    seen = finding.search.state.observations[-1]
    allowed = finding.search.state.settings.allowed
    beyond = [
        f"{name} beyond its limit in {fmt_share(count.exceeded / count.total)}"
        for name, count in seen.counts.items()
        if count.exceeds(allowed[name])
    ]
    answer = finding.search.answer()
    where = f"at least {finding.load(answer.low)}"
    if answer.high is not None:
        where = f"{finding.load(answer.capacity)} [{fmt_number(answer.low)}, {fmt_number(answer.high)}]"
    return (
        f"step {len(finding.made)}, {seen.purpose.value}, {finding.load(made.load)}:"
        f" {'; '.join(beyond) or 'every objective held'}. Capacity: {where}"
    )


def posterior(finding: Finding) -> str:
    """Return the probability of each capacity as a row of bars, from the lowest load to the highest."""
    answer = finding.search.answer()
    if not answer.broke:
        return ""
    chance = finding.search.posterior(answer.broke)
    cells = np.array([part.sum() for part in np.array_split(chance, _CELLS)])
    heights = np.ceil(cells / cells.max() * (len(BARS) - 1)).astype(int)
    return "".join(BARS[height] for height in heights)


class View:
    """Shows a search while it runs: a table on a terminal, else a line a step. Use it in a with block."""

    def __init__(self, console: Console, finding: Finding) -> None:
        self._console, self._finding = console, finding
        self._live = (
            Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        )

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def second(self, load: float, now: dict[str, Any]) -> None:
        """Show that a run goes on."""
        at = self._finding.load(load)
        self._draw(f"{at}: {now['elapsed_s']:.0f} s, {now['phase']}, {now['online']} people online")

    def stopping(self) -> None:
        """Say that the end was asked for."""
        self.say("stopping: the step under way is finished and does not count")

    def made(self, made: Made) -> None:
        """Show what a step came to."""
        self._draw("")
        self.say(step(self._finding, made))

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _draw(self, doing: str) -> None:
        if self._live:
            self._live.update(self._picture(doing), refresh=True)

    def _picture(self, doing: str) -> RenderableType:
        settings, answer = self._finding.search.state.settings, self._finding.search.answer()
        table = Table.grid(padding=(0, 2))
        found = NONE if answer.high is None else self._finding.load(answer.capacity)
        table.add_row("capacity", found, Text(answer.broke and f"by {answer.broke}", style="dim"))
        table.add_row(fmt_number(settings.lowest), posterior(self._finding), fmt_number(settings.highest))
        return Group(table, Text(doing, style="dim"))
