"""Draws what one line can't show: response times as a heatmap, each operation by itself, our own lateness.

As in `analysis.charts`, each function takes frames and returns one chart; where there is no data it says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.axes import log_time, named, positive
from analysis.charts import REQUESTS, WIDE, bin_width, bins_of, no_data, phases, quantiles_per_bin, spectra
from analysis.formats import fmt_count
from analysis.frames import Frames, of_kind, succeeded, values
from analysis.stats import SECOND
from analysis.svg import STYLE, Chart, colour, render
from reports.sample import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS = 48
"""Of the heatmap: steps of the response time, each the same factor."""

PANELS, COLUMNS = 12, 4
POINTS = 40
"""Of one operation's line."""

QUARTER = 0.25
BLOCK = 1 << 20


def heatmap(frames: Frames) -> Chart:
    """Draw how many requests took how long in which second: two modes stay two, as no percentile shows."""
    rows = succeeded(of_kind(frames.attempts, *REQUESTS))
    if not len(rows):
        return no_data("heatmap", "No request succeeded.", WIDE)
    seconds, took = rows.values("second"), values(rows, "response")
    width = bin_width(seconds)
    counts, edges = counted(bins_of(seconds, width), took)
    # Neither end of the map, because one would vanish on a light page and the other on a dark one.
    shades = ListedColormap(mpl.colormaps["plasma"](np.linspace(0.08, 0.82, 128)))
    norm = LogNorm(1, max(2, int(counts.max())))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDE, 2.9))
        axes = figure.subplots()
        columns = np.arange(len(counts) + 1) * width
        shown = np.ma.masked_equal(counts.T, 0)
        axes.pcolormesh(columns, edges, shown, cmap=shades, norm=norm, rasterized=True)
        log_time(axes)
        axes.set_xlabel("seconds since the start of the load")
        named(axes, f"requests by response time, each column {width} s")
        _scale(axes, shades, int(counts.max()))
        phases([axes], frames, label=False)
    return render(figure, "heatmap", "Response times of requests as a heatmap over time", dpi=144)


def operations(frames: Frames) -> Chart:
    """Draw p50 and p95 over time of those operations that were called the most, all on one axis of time."""
    rows = succeeded(of_kind(frames.attempts, *REQUESTS))
    busiest = sorted(rows.counts("operation").items(), key=lambda each: (-each[1], each[0]))[:PANELS]
    if not busiest:
        return no_data("operations", "No request succeeded.", WIDE)
    last = int(rows.values("second").max())
    width = max(1, -(-(last + 1) // POINTS))
    lines = -(-len(busiest) // COLUMNS)
    shape: dict[str, Any] = {"squeeze": False, "sharex": True, "sharey": True}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDE, 0.35 + 1.25 * lines))
        shape["gridspec_kw"] = {"hspace": 0.55, "wspace": 0.1}
        grid = figure.subplots(lines, COLUMNS, **shape).ravel()
        for axes, (name, count) in zip(grid, busiest, strict=False):
            found = quantiles_per_bin(rows.among("operation", name), width)
            found = found.reindex(np.arange(found.index.min(), found.index.max() + 1))  # a gap stays a gap
            at = (found.index.to_numpy() + 0.5) * width
            axes.fill_between(
                at, positive(found["p50"]), positive(found["p95"]), color=colour("blue"), alpha=0.2, lw=0
            )
            axes.plot(at, positive(found["p50"]), color=colour("blue"), lw=1.2, marker="o", ms=1.5)
            axes.set_title(f"{name} · {fmt_count(count)}", fontsize=7.5, pad=4)
        log_time(grid[0], fine=False)
        for axes in grid[len(busiest) :]:
            axes.set_axis_off()
        for axes in grid[max(0, len(busiest) - COLUMNS) : len(busiest)]:
            axes.tick_params(labelbottom=True)
        grid[0].set_xlim(0, max(last + 1, 1))
        grid[0].xaxis.set_major_locator(MaxNLocator(4, integer=True))
    return render(figure, "operations", "Response time of each operation over time: p50, and up to p95")


def quiet_and_busy(frames: Frames) -> Chart:
    """Draw the pings of the quarter of seconds with the least load, and of that with the most."""
    pings = succeeded(of_kind(frames.judged, Kind.PING))
    if not len(pings):
        return no_data("quiet-and-busy", "No ping was answered after the warm-up.")
    busy = load(frames)
    at = np.clip(pings.values("second"), 0, len(busy) - 1)
    low, high = np.quantile(busy[np.unique(at)], (QUARTER, 1 - QUARTER))
    took, here = values(pings, "response"), busy[at]
    series = (
        (f"at most {low:,.0f}/s", took[here <= low], "green"),
        (f"at least {high:,.0f}/s", took[here >= high], "orange"),
    )
    return spectra("quiet-and-busy", series, "Percentile spectrum of pings in quiet and in busy seconds", [])


def load(frames: Frames) -> NDArray[np.int64]:
    """Return by second how many requests were answered and deliveries arrived."""
    rows = [of_kind(frames.attempts, *REQUESTS), frames.ledger.among("came", True)]
    last = int((frames.manifest.ended_ns - frames.manifest.origin_ns) // SECOND) + 1
    counts = [np.bincount(np.clip(each.values("second"), 0, last), minlength=last + 1) for each in rows]
    return np.asarray(counts[0] + counts[1])


def lags(frames: Frames) -> Chart:
    """Draw how late we were ourselves: our event loop, what had a time of its own, what waited for us."""
    attempts = of_kind(frames.judged, Kind.REQUEST, Kind.SOCKET, Kind.PING, Kind.CONNECT)
    drawn = (
        ("loop lag", frames.wakeups, "lag", "blue"),
        ("send lag", attempts.among("timed", True), "send_lag", "orange"),
        ("read lag", succeeded(attempts), "read_lag", "green"),
    )
    series = ((title, values(rows, column), shade) for title, rows, column, shade in drawn)
    return spectra("lags", series, "Percentile spectrum of the generator's own lateness", [])


def counted(columns: NDArray[Any], took: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return counts by column and row, and the edges of the rows in ns."""
    low, high = (float(np.log10(positive(each))) for each in (took.min(), took.max()))
    low, high = (low - 0.2, high + 0.2) if high - low < 0.4 else (low, high)
    many = int(columns.max()) + 1
    counts = np.zeros(many * ROWS, dtype=np.int64)
    for begin in range(0, len(took), BLOCK):
        height = np.log10(positive(took[begin : begin + BLOCK]))
        row = ((height - low) / (high - low) * ROWS).astype(np.int64).clip(0, ROWS - 1)
        counts += np.bincount(columns[begin : begin + BLOCK] * ROWS + row, minlength=many * ROWS)
    return counts.reshape(many, ROWS), 10 ** np.linspace(low, high, ROWS + 1)


def _scale(axes: Any, shades: ListedColormap, most: int) -> None:
    """Put the scale of the colours above the plot."""
    scale = axes.inset_axes((0.86, 1.05, 0.09, 0.045))
    scale.imshow(np.arange(128)[None, :], aspect="auto", cmap=shades, rasterized=True)
    scale.set_axis_off()
    place: dict[str, Any] = {
        "transform": axes.transAxes,
        "fontsize": 8,
        "va": "center",
        "color": colour("mute"),
    }
    axes.text(0.852, 1.0725, "1", ha="right", **place)
    axes.text(0.958, 1.0725, fmt_count(most), ha="left", **place)
