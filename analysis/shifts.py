"""Draws a comparison: at each quantile by how much the second run is slower than the first, with its band."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from analysis.axes import named, short
from analysis.charts import WIDE, no_data
from analysis.compare import DELIVERIES, Comparison, Shift
from analysis.formats import fmt_change
from analysis.svg import STYLE, Chart, colour, render

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = 6
PER_GROUP = 2
NINES = (0.1, 0.5, 0.9, 0.99, 0.999)


def shifts(found: Comparison) -> Chart:
    """Draw the shift functions of what has the most samples: deliveries, https, wss and pings."""
    drawn = chosen(found.shifts)
    if not drawn:
        return no_data("shifts", "No metric has enough samples in both runs.", WIDE)
    columns = min(3, len(drawn))
    rows = -(-len(drawn) // columns)
    shared: dict[str, Any] = {"squeeze": False, "sharex": True, "sharey": True}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDE, 0.4 + 2.0 * rows))
        grid = figure.subplots(rows, columns, **shared, gridspec_kw={"hspace": 0.38, "wspace": 0.1}).ravel()
        for axes, each in zip(grid, drawn, strict=False):
            _panel(axes, each)
        for axes in grid[len(drawn) :]:
            axes.set_axis_off()
        for axes in grid[max(0, len(drawn) - columns) : len(drawn)]:
            axes.tick_params(labelbottom=True)
        shown = [q for q in NINES if any(each.at(q) for each in drawn)]
        grid[0].set_xscale("log")
        grid[0].set_xlim(1.05, 1.25 / (1 - drawn_to(drawn)))
        grid[0].xaxis.set_major_locator(FixedLocator([1 / (1 - q) for q in shown]))
        grid[0].xaxis.set_minor_locator(NullLocator())
        grid[0].xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"p{100 - 100 / x:g}"))
        low, high = grid[0].get_ylim()
        grid[0].set_ylim(min(low, -0.05), max(high, 0.05))
        grid[0].yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        grid[0].yaxis.set_major_formatter(FuncFormatter(lambda y, _: short(fmt_change(y))))
    return render(figure, "shifts", "Relative change of each quantile with its band, of the largest metrics")


def chosen(every: Sequence[Shift]) -> list[Shift]:
    """Return the largest metrics of each group that people wait for, at most PANELS."""
    found = []
    for group in (DELIVERIES, "https", "wss", "ping"):
        own = sorted((each for each in every if each.group == group), key=lambda each: -each.n_here)
        found += [each for each in own if len(each.points) > 1][:PER_GROUP]
    return found[:PANELS]


def drawn_to(drawn: Sequence[Shift]) -> float:
    """Return the highest quantile that any of them has."""
    return max(point.q for each in drawn for point in each.points)


def _panel(axes: Axes, each: Shift) -> None:
    at = [1 / (1 - point.q) for point in each.points]
    low, high = ([getattr(point, name) for point in each.points] for name in ("low", "high"))
    axes.axhline(0, color=colour("mute"), lw=1)
    axes.fill_between(at, low, high, color=colour("blue"), alpha=0.18, lw=0)
    axes.plot(at, [point.change for point in each.points], color=colour("blue"), marker="o", ms=3)
    named(axes, each.metric)
