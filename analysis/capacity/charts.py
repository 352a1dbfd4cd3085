"""Draws capacity: the curve with its band, response times by load, instances by probability.

Each `draw_…` returns a figure in the style that is asked for: of the page, or of a file of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis import svg
from analysis.axes import key, log_time, named, short
from analysis.capacity import usl
from analysis.capacity.points import Point
from analysis.capacity.report import Capacity
from analysis.capacity.sizing import Sizing
from analysis.capacity.usl import Fit
from analysis.charts import HALF, WIDE, no_data
from analysis.formats import fmt_number
from analysis.stats import Quantile
from analysis.svg import Chart, colour, render, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Found = TypeVar("Found", Capacity, Sizing)
MOST_OBJECTIVES = 8


def curve(capacity: Capacity) -> Chart:
    """Return goodput by load: the points with their intervals, the fitted curve with its band."""
    return _chart(partial(draw_curve, capacity), "usl", "Goodput by load, with the fitted scalability curve")


def response(capacity: Capacity) -> Chart:
    """Return response time by load, with the intervals of the quantiles."""
    if not any(point.p50 or point.p99 or point.response for point in capacity.points):
        return no_data("response", "No response time was given.")
    return _chart(partial(draw_response, capacity), "response", "Response time by load")


def breaking(capacity: Capacity) -> Chart:
    """Return by objective the load at which it breaks: what breaks first is at the top."""
    if not _breaks(capacity):
        return no_data("breaking", "No objective was judged.")
    return _chart(partial(draw_breaking, capacity), "breaking", "The load at which each objective breaks")


def instances(sizing: Sizing | None) -> Chart:
    """Return the probability that so many instances are enough."""
    if sizing is None:
        return no_data("sizing", "No plan was given: --input capacity.toml")
    return _chart(partial(draw_instances, sizing), "sizing", "Probability that so many instances are enough")


def _chart(draw: Callable[[], Figure], name: str, alt: str) -> Chart:
    with mpl.rc_context(style()):
        return render(draw(), name, alt)


def save(draw: Callable[[Found], Figure], found: Found, path: Path) -> None:
    """Write a picture, *.svg or *.png."""
    svg.save(partial(draw, found), path)


def draw_curve(capacity: Capacity) -> Figure:
    """Draw throughput by load, the fitted curve if there is one, and the capacity if it was searched for."""
    fit, points = capacity.fit, capacity.points
    figure = Figure(figsize=(WIDE, 3.4))
    axes = figure.subplots()
    x, y = ([getattr(point, name) for point in points] for name in ("load", "throughput"))
    right, top = max(x) * 1.05, max(y)
    if fit:
        top = max(top, _law(axes, fit, right))
        if fit.peak_observed and fit.peak_load:
            _mark(axes, fit.peak_load.value, f"peak at {fmt_number(fit.peak_load.value)}")
    errors = [
        [point.throughput - (point.low if point.low is not None else point.throughput) for point in points],
        [(point.high or point.throughput) - point.throughput for point in points],
    ]
    axes.errorbar(x, y, yerr=errors, fmt="o", ms=4, lw=1, color=colour("orange"))
    if capacity.knee:
        axes.plot([capacity.knee], [0], "^", color=colour("mute"), ms=5, clip_on=False)
    _interval(axes, capacity)
    axes.set_xlim(0, right * (1.15 if fit else 1))
    axes.set_ylim(0, top * 1.12)
    _plain(axes, capacity.unit or "load")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(fmt_number(value))))
    named(axes, "successes per second" + (", ▲ knee, for orientation" if capacity.knee else ""))
    law = [("scalability law, 95 %", "blue")] if fit else []
    found = [("capacity, 90 %", "green")] if capacity.search and capacity.search.answer.high else []
    key(axes, [("measured", "orange"), *law, *found])
    return figure


def _law(axes: Axes, fit: Fit, right: float) -> float:
    """Draw the fitted curve with its band; return how high it goes."""
    loads = np.linspace(right / 200, right, 200)
    low, high = usl.band(fit, loads)
    axes.fill_between(loads, low, high, color=colour("blue"), alpha=0.14, lw=0)
    axes.plot(loads, usl.throughput(loads, *fit.parameters), color=colour("blue"))
    # What was not measured is a dotted line: the curve's word, not the target's.
    beyond = right * np.array([1, 1.15])
    axes.plot(beyond, usl.throughput(beyond, *fit.parameters), color=colour("blue"), ls=":")
    return float(high[-1])


def _interval(axes: Axes, capacity: Capacity) -> None:
    """Mark the capacity that was found, with its interval."""
    answer = capacity.search.answer if capacity.search else None
    if answer and answer.high is not None:
        axes.axvspan(answer.low, answer.high, color=colour("green"), alpha=0.16, lw=0)
        _mark(axes, answer.capacity, f"{fmt_number(answer.capacity)} {capacity.unit}")


def draw_response(capacity: Capacity) -> Figure:
    """Draw p50 and p99 by load, or the mean where only that is known."""
    figure = Figure(figsize=(HALF, 3.0))
    axes = figure.subplots()
    lines = [("p99", "orange"), ("p50", "blue")]
    drawn = [(name, shade) for name, shade in lines if _quantiles(axes, capacity.points, name, shade)]
    if not drawn:
        known = [(point.load, point.response) for point in capacity.points if point.response]
        axes.plot(*zip(*known, strict=True), "o-", ms=4, color=colour("purple"))
        drawn = [("mean", "purple")]
    _interval(axes, capacity)
    log_time(axes)
    axes.set_xlim(0, max(point.load for point in capacity.points) * 1.05)
    _plain(axes, capacity.unit or "load")
    named(axes, "response time")
    key(axes, drawn)
    return figure


def _quantiles(axes: Axes, points: Sequence[Point], name: str, shade: str) -> bool:
    known: list[tuple[float, Quantile]] = [
        (point.load, found) for point in points if (found := getattr(point, name)) is not None
    ]
    if known:
        y = [found.value for _, found in known]
        errors = [
            [found.value - found.low for _, found in known],
            [found.high - found.value for _, found in known],
        ]
        axes.errorbar(
            [load for load, _ in known], y, yerr=errors, fmt="o-", ms=4, lw=1.2, color=colour(shade)
        )
    return bool(known)


class Break(NamedTuple):
    """Where an objective breaks: at `at`, and between `low` and `high`; None where nothing broke it."""

    objective: str
    low: float
    at: float | None
    high: float | None


def _breaks(capacity: Capacity) -> list[Break]:
    """Return those objectives that data speaks of, first what breaks first."""
    search = capacity.search
    if search is None:
        known = [each for each in capacity.held if each.held is not None or each.missed is not None]
        return [Break(each.objective, each.held or 0.0, None, each.missed) for each in known]
    seen = {name for each in search.state.observations for name in each.counts}
    most = max((made.load for made in search.made if made.counted), default=0.0)
    return [
        Break(each.objective, most if each.low is None else each.low, each.capacity, each.high)
        for each in search.limits
        if each.objective in seen
    ]


def draw_breaking(capacity: Capacity) -> Figure:
    """Draw a line an objective: where it breaks, with the interval, or how far it held."""
    found = _breaks(capacity)[:MOST_OBJECTIVES]
    figure = Figure(figsize=(HALF * 1.14, 3.0))  # it has no labels at its left: then its letters are as large
    axes = figure.subplots()
    right = max(each.high or each.low for each in found) * 1.1
    for y, each in enumerate(found):
        shade = colour("orange" if each.high is not None else "green")
        if each.high is None:
            axes.plot([each.low], [y], ">", ms=6, color=shade)
        else:
            axes.plot([each.low, each.high], [y, y], color=shade, lw=4, solid_capstyle="butt")
            axes.plot([each.at] if each.at else [], [y] if each.at else [], "o", ms=5, color=shade)
        axes.annotate(
            each.objective, (0, y), xytext=(3, 5), textcoords="offset points", fontsize=8, color=colour("fg")
        )
    axes.set_xlim(0, right)
    axes.set_ylim(len(found) - 0.5, -0.8)
    axes.set_yticks([])
    _plain(axes, capacity.unit)
    named(axes, "what breaks")
    key(axes, [("breaks between", "orange"), ("▸ held until", "green")])
    return figure


def draw_instances(sizing: Sizing) -> Figure:
    """Draw the probability that so many instances are enough, with what was asked for."""
    figure = Figure(figsize=(HALF, 3.0))
    axes = figure.subplots()
    counts = [row.instances for row in sizing.rows]
    chosen = [colour("green" if row.instances == sizing.instances else "blue") for row in sizing.rows]
    width = 0.8 * min((b - a for a, b in pairwise(counts)), default=1)
    axes.bar(counts, [row.probability for row in sizing.rows], width=width, color=chosen, lw=0)
    axes.axhline(sizing.policy.probability, color=colour("red"), lw=1, ls=(0, (4, 3)))
    axes.set_ylim(0, 1.04)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share * 100:.0f} %"))
    _plain(axes, "instances")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    named(axes, "probability of being enough")
    return figure


def _mark(axes: Axes, x: float, text: str) -> None:
    axes.axvline(x, color=colour("mute"), lw=1, ls=(0, (4, 3)))
    axes.annotate(
        text,
        (x, 0.04),
        xycoords=axes.get_xaxis_transform(),
        xytext=(5, 0),
        textcoords="offset points",
        color=colour("mute"),
        fontsize=8,
    )


def _plain(axes: Axes, name: str) -> None:
    axes.set_xlabel(name)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(fmt_number(value))))
