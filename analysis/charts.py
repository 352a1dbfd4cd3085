"""Draws a run. Each function takes frames and returns one chart; where there is no data it says so, calmly.

Times are on logarithmic axes with ticks at 1, 2 and 5, because a tail lives decades above its median.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from analysis import stats
from analysis.axes import MIB, key, labels, log_time, marker, mib, named, positive, short
from analysis.columns import Rows
from analysis.formats import fmt_ms, fmt_share
from analysis.frames import STEADY, WARM_UP, Frames, of_kind, per_second, succeeded, values
from analysis.svg import STYLE, Chart, colour, render
from reports.sample import Kind, Outcome
from scenarios.arrivals import PHASES
from scenarios.slo import QUANTILES, Slo, SloError, parse_slo

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

WIDE = 9.6
HALF = 4.7
LINES = (("p99", 0.99, "orange"), ("p95", 0.95, "purple"), ("p50", 0.5, "blue"))
DELIVERY_COLOURS = {
    "chat.delivered": "blue",
    "alert.delivered": "orange",
    "receipt.delivered": "green",
    "call.delivered": "purple",
}
"""What people wait for. Signals and presence are machines talking; they are in the table."""

REQUESTS = (Kind.REQUEST, Kind.SOCKET)
FAILURES = (int(Outcome.FAILED), int(Outcome.TIMEOUT), int(Outcome.BROKEN))
BINS = 300
WIDTHS = (1, 2, 5, 10, 20, 30, 60)
POINTS = 400
"""No curve has more points than a screen can show."""


def timeline(frames: Frames) -> Chart:
    """Draw p50, p95 and p99 of the response time per second, what was achieved, and errors."""
    rows = of_kind(frames.attempts, *REQUESTS)
    if not len(rows):
        return no_data("timeline", "No https operation and no wss request was made.", WIDE)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDE, 4.9))
        axes = figure.subplots(3, 1, sharex=True, height_ratios=[3.2, 1.3, 0.7], gridspec_kw={"hspace": 0.3})
        arrived = frames.ledger.among("came", True)
        width = bin_width(*(each.values("second") for each in (rows, arrived)))
        _percentile_lines(axes[0], quantiles_per_bin(succeeded(rows), width), width)
        _achieved(axes[1], [_per_bin(each, width) for each in (succeeded(rows), arrived)], width)
        _errors(axes[2], rows, width)
        _objective_lines(axes[0], frames, "https", "wss")
        phases(axes, frames)
        axes[2].set_xlabel("seconds since the start of the load")
        named(axes[0], "response time" + (f", {width} s at a time" if width > 1 else ""))
    return render(figure, "timeline", "Response time percentiles, throughput and errors, second by second")


def spectrum(frames: Frames) -> Chart:
    """Draw every percentile of requests, deliveries and pings on an axis of nines."""
    steady = succeeded(frames.judged)
    drawn = (
        ("https operations", of_kind(steady, Kind.REQUEST), "response", "orange"),
        ("wss requests", of_kind(steady, Kind.SOCKET), "response", "green"),
        ("deliveries", frames.timely, "service", "blue"),
        ("pings", of_kind(steady, Kind.PING), "response", "purple"),
    )
    series = ((title, values(rows, column), shade) for title, rows, column, shade in drawn)
    return spectra("spectrum", series, "Percentile spectrum of requests, deliveries and pings", [])


def fanout(frames: Frames) -> Chart:
    """Draw the distribution of the fan-out latency of each kind of delivery, with its objective."""
    series = (
        (name, values(frames.timely.among("operation", name), "service"), shade)
        for name, shade in DELIVERY_COLOURS.items()
    )
    alt = "Percentile spectrum of the fan-out latency per kind of delivery"
    return spectra("fanout", series, alt, list(_objectives(frames, list(DELIVERY_COLOURS))))


def ping(frames: Frames) -> Chart:
    """Draw each ping's round trip over time."""
    pings = succeeded(of_kind(frames.attempts, Kind.PING))
    if not len(pings):
        return no_data("ping", "No ping was answered.", WIDE)
    every = max(1, len(pings) // 600)
    some = pings.frame("arrived", "response").sort_values("arrived", kind="stable").iloc[::every]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDE, 2.3))
        axes = figure.subplots()
        at = (some["arrived"] - frames.manifest.origin_ns) / stats.SECOND
        axes.scatter(at, positive(some["response"]), s=7, color=colour("blue"), alpha=0.45, lw=0)
        lost = values(of_kind(frames.attempts, Kind.PING).among("outcome", *FAILURES), "arrived")[:POINTS]
        log_time(axes)
        if len(lost):
            when = (lost - frames.manifest.origin_ns) / stats.SECOND
            axes.plot(
                when, np.full(len(lost), axes.get_ylim()[1]), "x", color=colour("red"), ms=5, clip_on=False
            )
        axes.set_xlabel("seconds since the start of the load")
        named(axes, "ping round trip" + (", × = no answer" if len(lost) else ""))
        phases([axes], frames, label=False)
    return render(figure, "ping", "Round trip of each ping over time")


def resources(frames: Frames) -> Chart:
    """Draw CPU, memory and our own loop lag, second by second."""
    table = frames.resources
    if table.empty:
        return no_data("resources", "No resources were recorded.", WIDE)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDE, 2.2))
        grid = figure.subplots(1, 3, gridspec_kw={"wspace": 0.24})
        shades = {"generator": "blue", "server": "orange"}
        width = bin_width(values(table, "second"))
        table = table.assign(second=bins_of(values(table, "second"), width) * width)
        lines = [(name, table[table["process"] == name], shade) for name, shade in shades.items()]
        lines = [line for line in lines if len(line[1])]
        for name, rows, shade in lines:
            cpu, rss = (per_second(rows, column) for column in ("cpu", "rss"))
            grid[0].plot(cpu.index, cpu, color=colour(shade), label=name, **marker(cpu))
            grid[1].plot(rss.index, rss / MIB, color=colour(shade), label=name, **marker(rss))
        lag = table[table["process"] == "generator"].groupby("second")["loop_lag_p99"].max()
        grid[2].plot(lag.index, lag, color=colour("blue"), **marker(lag))
        named(grid[0], "CPU, of one core")
        named(grid[1], "memory")
        named(grid[2], "generator's loop lag")
        for axes, write in zip(grid, (fmt_share, mib, fmt_ms), strict=True):
            axes.set_ylim(0, max(axes.get_ylim()[1], 1e-3))
            axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _, write=write: short(write(y))))
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.set_xlabel("seconds")
        key(grid[1], [(name, shade) for name, _, shade in lines])
    return render(figure, "resources", "CPU, memory and loop lag of generator and server, second by second")


def no_data(name: str, sentence: str, width: float = HALF) -> Chart:
    """Draw a sentence where there is nothing to draw."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, 1.1))
        axes = figure.subplots()
        axes.set_axis_off()
        axes.text(0.5, 0.5, sentence, ha="center", va="center", color=colour("mute"), fontsize=9.5)
    return render(figure, name, sentence)


# --- Parts of charts -----------------------------------------------------------------------------------


def bin_width(*seconds: NDArray[Any]) -> int:
    """Return the width of a bin in seconds, so that no run, however long, has more than BINS of them."""
    last = max([0, *(int(each.max()) for each in seconds if len(each))])
    return next((width for width in WIDTHS if last < width * BINS), -(-(last + 1) // BINS))


def bins_of(seconds: NDArray[Any], width: int) -> NDArray[Any]:
    return np.asarray(np.maximum(seconds, 0) // width)


def _per_bin(rows: Rows, width: int) -> NDArray[np.int64]:
    return np.bincount(bins_of(rows.values("second"), width))


def quantiles_per_bin(ok: Rows, width: int) -> pd.DataFrame:
    """Return nearest-rank quantiles by bin, in ns; a bin without a success has no row."""
    times, bins = values(ok, "response"), bins_of(ok.values("second"), width)
    order = np.lexsort((times, bins))
    each, start, count = np.unique(bins[order], return_index=True, return_counts=True)
    found = {
        name: times[order][start + np.maximum(np.ceil(count * q - 1e-9).astype(np.int64), 1) - 1]
        for name, q, _ in LINES
    }
    return pd.DataFrame(found, index=each)


def _percentile_lines(axes: Axes, bins: pd.DataFrame, width: int) -> None:
    if bins.empty:
        axes.text(0.5, 0.5, "nothing succeeded", transform=axes.transAxes, ha="center", color=colour("mute"))
        axes.yaxis.set_major_locator(NullLocator())
        return
    # A bin without a success is a gap in the line, not a bridge over it.
    gaps = bins.reindex(np.arange(bins.index.min(), bins.index.max() + 1))
    middle = (gaps.index.to_numpy() + 0.5) * width
    for name, _, shade in LINES:
        lw = 1.8 if name == "p50" else 1.3
        axes.plot(middle, positive(gaps[name]), color=colour(shade), lw=lw, **marker(bins))
    log_time(axes)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.08)  # room for the names of the phases
    labels(axes, float(middle[-1]), [(name, float(bins[name].iloc[-1]), shade) for name, _, shade in LINES])


def _achieved(axes: Axes, counts: Sequence[NDArray[np.int64]], width: int) -> None:
    lines = [("requests", counts[0], "green"), ("deliveries", counts[1], "blue")]
    lines = [line for line in lines if len(line[1])]
    for _, count, shade in lines:
        # The last bin has a width too.
        edges, heights = np.arange(len(count) + 1) * width, np.append(count, count[-1]) / width
        axes.step(edges, heights, where="post", color=colour(shade), lw=1.2)
    axes.set_ylim(0, max(axes.get_ylim()[1], 1))
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    named(axes, "per second")
    key(axes, [(name, shade) for name, _, shade in lines])


def _errors(axes: Axes, rows: Rows, width: int) -> None:
    count = _per_bin(rows.among("outcome", *FAILURES), width)
    at = np.flatnonzero(count)
    axes.bar((at + 0.5) * width, count[at], color=colour("red"), width=0.9 * width, lw=0)
    axes.set_ylim(0, max(1, *count, 0) * 1.15)
    axes.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    named(axes, "errors" if len(at) else "errors: none")


def phases(grid: Sequence[Axes], frames: Frames, *, label: bool = True) -> None:
    """Shade the warm-up and every other phase, and name them on top."""
    end = (frames.manifest.ended_ns - frames.manifest.origin_ns) / stats.SECOND
    right = max(*(axes.dataLim.x1 for axes in grid if np.isfinite(axes.dataLim.x1)), end, 1.0)
    spans = list(_spans(frames, right))
    for number, (name, start, stop) in enumerate(spans):
        for axes in grid:
            if name == WARM_UP or number % 2:
                axes.axvspan(
                    start, stop, color=colour("shade"), alpha=0.14 if name == WARM_UP else 0.05, lw=0
                )
        if label and (stop - start) > right * 0.06:
            where = ((start + stop) / 2, 0.985)
            place = grid[0].get_xaxis_transform()
            grid[0].text(
                *where, name, transform=place, ha="center", va="top", fontsize=8, color=colour("mute")
            )
    grid[0].set_xlim(0, right)


def _spans(frames: Frames, right: float) -> Iterator[tuple[str, float, float]]:
    manifest = frames.manifest
    first = (
        (manifest.measured_from_ns - manifest.origin_ns) / stats.SECOND
        if manifest.measured_from_ns
        else right
    )
    if first > 0:
        yield WARM_UP, 0.0, min(first, right)
    parts = {phase.name for phase in manifest.phases} - set(PHASES)
    for phase in manifest.phases:
        if parts and phase.name == STEADY:
            continue  # the phases of the arrivals say it in more detail
        start = (phase.from_ns - manifest.origin_ns) / stats.SECOND
        stop = (phase.to_ns - manifest.origin_ns) / stats.SECOND if phase.to_ns else right
        if stop > first and min(stop, right) > max(start, first):
            yield phase.name, max(start, first), min(stop, right)


def _objective_lines(axes: Axes, frames: Frames, *operations: str) -> None:
    """Draw the limits of these operations that are near enough to what was measured to be in one picture."""
    low, high = axes.get_ylim()
    near = [slo for slo in _objectives(frames, operations) if low / 3 <= slo.limit <= high * 10]
    if axes.get_yscale() != "log" or not near:
        return
    axes.set_ylim(min(low, *(slo.limit / 1.2 for slo in near)), max(high, *(slo.limit * 1.6 for slo in near)))
    for slo in near:
        axes.axhline(slo.limit, color=colour("red"), lw=1, ls=(0, (4, 3)))
        axes.annotate(
            f"objective {slo.name} {slo.text}",
            (0.995, slo.limit),
            xycoords=axes.get_yaxis_transform(),
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            color=colour("red"),
            fontsize=8,
        )


def _objectives(frames: Frames, operations: Sequence[str]) -> Iterator[Slo]:
    for name, limit in dict(frames.manifest.scenario.config.get("slo") or {}).items():
        try:
            slo = parse_slo(str(name), str(limit))
        except SloError:
            continue  # the verdict names it
        if slo.operation in operations and slo.statistic in QUANTILES:
            yield slo


def spectra(
    name: str, series: Iterable[tuple[str, NDArray[np.int64], str]], alt: str, limits: Sequence[Slo]
) -> Chart:
    # One after the other, because several columns of a large run at once are too large.
    drawn = [(title, _curve(durations), shade) for title, durations, shade in series if len(durations)]
    if not drawn:
        return no_data(name, "Nothing arrived after the warm-up." if name == "fanout" else "No data.")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(HALF, 3.0))
        axes = figure.subplots()
        for _, (x, y), shade in drawn:
            axes.plot(
                x,
                positive(y),
                color=colour(shade),
                marker="o" if len(x) < 3 else "",
                ms=4,
                clip_on=len(x) >= 3,
            )
        for slo in limits:
            _limit(axes, slo)
        axes.set_xscale("log")
        nines = [1, 2, 10, 100, 1_000, 10_000, 100_000]
        top = max(axes.get_xlim()[1], 2.5)
        axes.set_xlim(1, top)
        axes.xaxis.set_major_locator(FixedLocator([x for x in nines if x <= top]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: "min" if x <= 1 else f"p{100 - 100 / x:g}"))
        log_time(axes)
        key(axes, [(title, shade) for title, _, shade in drawn])
    return render(figure, name, alt)


def _limit(axes: Axes, slo: Slo) -> None:
    """Mark the limit of a quantile where its curve must stay below."""
    x = 1 / (1 - QUANTILES[slo.statistic])
    axes.plot([x], [slo.limit], "v", color=colour("red"), ms=5)
    text = f"{slo.operation.partition('.')[0]} {slo.statistic} {slo.text}"
    offset: dict[str, Any] = {"xytext": (-6, 0), "textcoords": "offset points", "ha": "right", "va": "center"}
    if x < 5:
        offset |= {"xytext": (6, 0), "ha": "left"}
    axes.annotate(text, (x, slo.limit), color=colour("red"), fontsize=7.5, **offset)


def _curve(durations: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return 1 / (1 - q) and the quantile there, up to where fewer than ten samples are left above."""
    ordered = np.sort(durations)
    n = len(ordered)
    last = max(1, n - stats.TAIL) if n > stats.TAIL else n - 1
    ranks = n - np.unique(np.geomspace(max(n - last, 1), n, POINTS).astype(np.int64))
    ranks = np.clip(np.sort(ranks), 0, n - 1)
    return n / (n - ranks), ordered[ranks]
