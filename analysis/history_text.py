"""A history for a terminal: a line a metric, the changes, and what can be said."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from analysis.formats import NONE, fmt_change, fmt_count, fmt_ms
from analysis.history import History, Series

BARS = "▁▂▃▄▅▆▇█"
WIDEST = 30


def tables(found: History) -> list[RenderableType]:
    """Return the whole history, to be printed one below the other."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, name in enumerate(("metric", "first", "newest", f"last {WIDEST}", "changed at")):
        table.add_column(name, justify="right" if number in (1, 2) else "left", no_wrap=True)
    for each in found.series:
        known = [value for value in each.values if value is not None]
        ends = (fmt_ms(known[0]), fmt_ms(known[-1])) if known else (NONE, NONE)
        changes = ", ".join(f"{change.commit[:12]} {fmt_change(change.change)}" for change in each.changes)
        worse = "red" if any(change.change > 0 for change in each.changes) else ""
        table.add_row(Text(each.metric), *map(Text, ends), Text(bars(each)), Text(changes, style=worse))
    runs = f"{found.scenario}: {fmt_count(len(found.commits))} commits, {fmt_count(sum(found.runs))} runs"
    return [Text(f"{runs}, on {found.machine}"), table, Text(""), *map(Text, found.sentences)]


def bars(series: Series) -> str:
    """Return the last values as bars from 0 to the largest; a gap where there is none."""
    values = series.values[-WIDEST:]
    top = max([value for value in values if value is not None], default=0) or 1
    return "".join(" " if value is None else BARS[min(7, value * 8 // (top + 1))] for value in values)
