"""What all charts have in common: an axis of time, names at lines, a key above the plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from analysis.formats import fmt_bytes
from analysis.svg import colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MIB = 2**20


def log_time(axes: Axes, *, fine: bool = True) -> None:
    """Put a logarithmic axis of time on y, in ns inside and µs, ms or s outside; fine: ticks at 1, 2, 5."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if high / low < 4:  # so that at least two ticks are in sight
        middle = (low * high) ** 0.5
        axes.set_ylim(middle / 2.2, middle * 2.2)
        low, high = axes.get_ylim()
    subs = (1.0, 2.0, 5.0) if high / low < (2_000 if fine else 20) else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=20))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda ns, _: _tick(ns)))


def _tick(ns: float) -> str:
    for unit, name in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if ns >= unit * 0.999:
            return f"{ns / unit:g} {name}"
    return f"{ns:g} ns"


def mib(n: float) -> str:
    return fmt_bytes(n * MIB)


def short(text: str) -> str:
    """Drop the decimals that a round tick does not need: `20.0 %` becomes `20 %`."""
    number, _, unit = text.partition(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}".strip()


def labels(axes: Axes, x: float, ends: Sequence[tuple[str, float, str]]) -> None:
    """Write each line's name at its end, pushed apart where lines end close to each other."""
    low, high = axes.get_ylim()
    gap = (high / low) ** 0.07
    at = 0.0
    for name, y, shade in reversed(ends):
        at = max(y, at * gap, low)
        place: dict[str, Any] = {
            "xytext": (6, 0),
            "textcoords": "offset points",
            "va": "center",
            "annotation_clip": False,
        }
        axes.annotate(name, (x, at), color=colour(shade), fontsize=8.5, fontweight="bold", **place)


def key(axes: Axes, entries: Sequence[tuple[str, str]], *, y: float = 1.03) -> None:
    """Name the lines above the plot, each in its colour: nearer to them than a legend."""
    x = 1.0
    width = axes.get_window_extent().width * 72 / axes.figure.dpi
    for name, shade in reversed(entries):
        place: dict[str, Any] = {"xycoords": "axes fraction", "ha": "right", "va": "bottom"}
        axes.annotate(name, (x, y), color=colour(shade), fontsize=8.5, fontweight="bold", **place)
        x -= (len(name) + 2.5) * 5.0 / width


def named(axes: Axes, title: str) -> None:
    axes.set_title(title, pad=5, y=1.0)  # y, or it would make room for a scale beside it


def marker(line: pd.Series[Any] | pd.DataFrame) -> dict[str, Any]:
    """Show a single point as a point: a line of it would be invisible."""
    return {"marker": "o", "ms": 4} if len(line) < 2 else {}


def positive(durations: Any) -> Any:
    """Keep a duration of 0 on a logarithmic axis: at 1 µs, below anything that a socket can do."""
    return np.maximum(np.asarray(durations, dtype=float), 1e3)
