"""Draws the latency per recipient and the completion of a fan-out over its size: what a larger room costs.

Both axes are logarithmic: a target that writes to one socket after the other shows a straight line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from analysis.axes import key, log_time, named, positive
from analysis.charts import WIDE
from analysis.fanouts import SizeFigures
from analysis.svg import STYLE, Chart, colour, render

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = 2
SHADES = {"fanout": "blue", "completion": "orange"}
STYLES = (("p50", "-"), ("p90", (0, (4, 2))))


def sizes(rows: Sequence[SizeFigures]) -> Chart | None:
    """Draw p50 and p90 over the size, of the kinds of delivery with the largest fan-outs.

    None where no kind has two sizes with enough messages to show a median.
    """
    drawn = [row for row in rows if row.completion.p50]
    several = [kind for kind, count in Counter(row.operation for row in drawn).items() if count > 1]
    kinds = sorted(several, key=lambda kind: (-_largest(drawn, kind), kind))[:PANELS]
    if not kinds:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDE, 3.0))
        grid = figure.subplots(1, len(kinds), sharey=True, squeeze=False, gridspec_kw={"wspace": 0.12})[0]
        for axes, kind in zip(grid, kinds, strict=True):
            _panel(axes, [row for row in drawn if row.operation == kind])
            named(axes, kind)
        log_time(grid[0])
        lines = [("per recipient", SHADES["fanout"]), ("until the last one", SHADES["completion"])]
        key(grid[-1], lines, y=1.13)  # above the title: beside it there is no room
    return render(figure, "sizes", "Latency per recipient and completion by the size of the fan-out")


def _largest(rows: Sequence[SizeFigures], kind: str) -> int:
    return max(row.largest for row in rows if row.operation == kind)


def _panel(axes: Axes, rows: Sequence[SizeFigures]) -> None:
    for what, shade in SHADES.items():
        for name, dashes in STYLES:
            found = [(row.size, getattr(getattr(row, what), name)) for row in rows]
            shown = [(size, quantile) for size, quantile in found if quantile]
            if not shown:
                continue
            at = [size for size, _ in shown]
            line = positive([quantile.value for _, quantile in shown])
            axes.plot(at, line, color=colour(shade), ls=dashes, marker="o", ms=3.5)
            if name == "p50":
                low, high = (positive([getattr(each, end) for _, each in shown]) for end in ("low", "high"))
                axes.vlines(at, low, high, color=colour(shade), lw=1, alpha=0.6)
    axes.set_xscale("log")
    marks = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000]
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(FixedLocator([mark for mark in marks if low <= mark <= high]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,.0f}"))
    axes.set_xlabel("sockets that a message was due on; dashed: p90")
