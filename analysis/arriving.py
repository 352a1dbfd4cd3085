"""Draws what was planned to begin and what was begun, added up: the gap is who still waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from analysis.axes import key, named
from analysis.charts import WIDE
from analysis.frames import Frames, of_kind, succeeded, values
from analysis.stats import SECOND
from analysis.svg import STYLE, Chart, colour, render
from reports.sample import ARRIVAL, Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

POINTS = 400


def arrivals(frames: Frames) -> Chart | None:
    """Draw both over time; None where nothing was due."""
    due = of_kind(frames.attempts, Kind.STEP).among("operation", ARRIVAL)
    if not len(due):
        return None
    begun = succeeded(due)
    origin = frames.manifest.origin_ns
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDE, 2.3))
        axes = figure.subplots()
        for instants, shade in ((values(due, "intended"), "orange"), (values(begun, "sent"), "blue")):
            at, count = _added_up((instants - origin) / SECOND)
            axes.step(at, count, where="post", color=colour(shade), lw=1.4)
        axes.set_xlabel("seconds since the start of the load")
        named(axes, "arrivals, added up")
        key(axes, [("planned", "orange"), ("begun", "blue")])
    return render(figure, "arrivals", "Arrivals that were due and those that were begun, added up over time")


def _added_up(at: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return so many points of the count over time as can be seen."""
    at = np.sort(at)
    some = np.unique(np.linspace(0, len(at) - 1, min(len(at), POINTS)).astype(np.int64))
    return at[some], some + 1
