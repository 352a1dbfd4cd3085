"""A comparison for a terminal: a table of both runs, and what can be said of it."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from analysis.compare import Comparison, Point
from analysis.formats import NONE, fmt_change, fmt_count, fmt_ms

SHOWN = (0.5, 0.99)


def cells(point: Point | None) -> tuple[str, str, str]:
    """Return a quantile there, here, and how it changed, with its band."""
    if point is None:
        return NONE, NONE, NONE
    change = f"{fmt_change(point.change)} [{fmt_change(point.low)}, {fmt_change(point.high)}]"
    return fmt_ms(point.there), fmt_ms(point.here), change


def tables(found: Comparison) -> list[RenderableType]:
    """Return the whole comparison, to be printed one below the other."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, name in enumerate(("metric", "samples", "p50", "→", "change", "p99", "→", "change")):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    group = ""
    for each in found.shifts:
        if each.group != group:
            group = each.group
            table.add_row(Text(group, style="bold"))
        row = [f"  {each.metric}", f"{fmt_count(each.n_there)} → {fmt_count(each.n_here)}"]
        styles = ["", ""]
        for point in map(each.at, SHOWN):
            row += cells(point)
            styles += ["", "", "" if point is None or point.low <= 0 <= point.high else "bold"]
        table.add_row(*(Text(cell, style=style) for cell, style in zip(row, styles, strict=True)))
    counts = ", ".join(
        f"{each.what} {fmt_count(each.there)} → {fmt_count(each.here)}" for each in found.counts
    )
    lines = [f"{found.there} → {found.here}", "", counts, *found.sentences]
    lines.append("A regression is judged by talkload gate.")
    return [Text(lines[0]), table, *map(Text, lines[1:])]
