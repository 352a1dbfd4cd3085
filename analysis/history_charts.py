"""Draws a history: each metric by commit, its mean between two changes, the changes marked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.axes import named, short
from analysis.charts import WIDE, no_data
from analysis.formats import fmt_ms
from analysis.history import History, Series
from analysis.svg import STYLE, Chart, colour, render, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = 8
COLUMNS = 2
FIRST = ("chat.delivered", "wss.send-message", "wss.ping", "get-chats", "sign-in")
"""What is drawn where not everything can be: what changed, then what people wait for."""


def lines(found: History) -> Chart:
    """Draw the metrics that changed, and those that people wait for."""
    if not found.commits or not found.series:
        return no_data("history", "The history has no metric.", WIDE)
    with mpl.rc_context(STYLE):
        return render(draw(found), "history", "Metrics by commit, with their changes")


def draw(found: History) -> Figure:
    """Return the figure, in the style that is asked for."""
    drawn = chosen(found.series)
    rows = -(-len(drawn) // COLUMNS)
    with mpl.rc_context(style()):
        figure = Figure(figsize=(WIDE, 0.3 + 1.75 * rows))
        shape = {"hspace": 0.55, "wspace": 0.2}
        grid = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True, gridspec_kw=shape).ravel()
        for axes, each in zip(grid, drawn, strict=False):
            _panel(axes, each)
        for axes in grid[len(drawn) :]:
            axes.set_axis_off()
        names = found.commits
        grid[0].xaxis.set_major_locator(MaxNLocator(5, integer=True))
        grid[0].xaxis.set_major_formatter(
            FuncFormatter(lambda x, _: names[round(x)][:7] if 0 <= round(x) < len(names) else "")
        )
        for axes in grid[max(0, len(drawn) - COLUMNS) : len(drawn)]:
            axes.tick_params(labelbottom=True)
    return figure


def chosen(series: Sequence[Series]) -> list[Series]:
    """Return what changed, the largest change first, then what people wait for, at most PANELS."""
    changed = [each for each in series if each.changes]
    changed.sort(key=lambda each: -max(abs(change.change) for change in each.changes))
    asked = [each for name in FIRST for each in series if each.metric.split()[0] == name]
    return list({each.metric: each for each in (*changed, *asked, *series)}.values())[:PANELS]


def _panel(axes: Axes, each: Series) -> None:
    values = np.array([np.nan if value is None else value for value in each.values], dtype=float)
    axes.plot(np.arange(len(values)), values, "o", color=colour("blue"), ms=3.5, alpha=0.7, lw=0)
    edges = [0, *(change.index for change in each.changes), len(values)]
    for begin, end in pairwise(edges):
        if not np.isnan(part := values[begin:end]).all():
            axes.plot([begin - 0.4, end - 0.6], [np.nanmean(part)] * 2, color=colour("blue"), lw=1.6)
    for change in each.changes:
        shade = colour("red" if change.change > 0 else "green")
        axes.axvline(change.index - 0.5, color=shade, lw=1, ls=(0, (4, 3)))
    top = np.nanmax(values) if not np.isnan(values).all() else 1.0
    axes.set_ylim(0, top * 1.15 or 1)
    axes.set_xlim(-0.7, max(len(values) - 0.3, 1))
    axes.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: short(fmt_ms(y))))
    named(axes, each.metric)
