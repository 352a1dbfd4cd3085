"""Turns a matplotlib figure into one SVG: right on a light and a dark page, and the same every time.

Figures are drawn in sentinel colours, which become CSS variables of the page; each has a fallback, so
that the figure can be read in a notebook as well. Ids are made unique per figure, because one page
holds many. No date and no random salt: two builds give the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from analysis.files import write_private

# name: (sentinel that matplotlib draws with, fallback for a light page)
THEME = {
    "fg": ("#010203", "#1b2430"),
    "mute": ("#010205", "#5f6b7a"),
    "grid": ("#010204", "#e3e7ec"),
    "shade": ("#010206", "#8794a5"),
    "blue": ("#020101", "#0b6bb5"),
    "orange": ("#020102", "#b85c00"),
    "green": ("#020103", "#0a7f5f"),
    "purple": ("#020104", "#8a4bb0"),
    "red": ("#020105", "#c62f3c"),
}
"""Hues that stay apart for the colour-blind (after Okabe and Ito, 2008), darkened for white paper."""


_on_paper: ContextVar[bool] = ContextVar("_on_paper", default=False)


def colour(name: str) -> str:
    """Return what matplotlib is told for a colour of the theme."""
    return THEME[name][_on_paper.get()]


STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": colour("grid"),
    "axes.labelcolor": colour("mute"),
    "axes.labelsize": 8.5,
    "axes.titlesize": 9,
    "axes.titlecolor": colour("fg"),
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "figure.facecolor": "none",
    "grid.color": colour("grid"),
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.5,
    "lines.solid_capstyle": "round",
    "text.color": colour("fg"),
    "text.parse_math": False,
    "xtick.color": colour("grid"),
    "ytick.color": colour("grid"),
    "xtick.labelcolor": colour("mute"),
    "ytick.labelcolor": colour("mute"),
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "xtick.minor.size": 0,
}


@dataclass(frozen=True, slots=True)
class Chart:
    """One drawing: `svg` stands on a page as it is, `name` is unique there, `alt` says what is drawn."""

    name: str
    alt: str
    svg: str

    def _repr_html_(self) -> str:
        return f'<div class="chart chart-{self.name}">{self.svg}</div>'


def save(draw: Callable[[], Figure], path: Path) -> None:
    """Write what `draw` draws to a file of its own, *.svg or *.png: in the colours of a light page.

    `draw` takes its style from `style()`. The same figure is the same bytes.
    """
    token = _on_paper.set(True)
    try:
        with mpl.rc_context({**style(), "svg.hashsalt": path.name}):
            kind = path.suffix.lower().removeprefix(".")
            buffer = io.BytesIO()
            metadata = dict.fromkeys(
                ("Date", "Creator", "Format", "Type") if kind == "svg" else ("Software",)
            )
            draw().savefig(
                buffer, format=kind, bbox_inches="tight", facecolor="white", dpi=160, metadata=metadata
            )
    finally:
        _on_paper.reset(token)
    write_private(path, buffer.getvalue())


def style() -> dict[Any, Any]:
    """Return STYLE, in the colours that are asked for here."""
    if not _on_paper.get():
        return STYLE
    paper: dict[Any, Any] = dict(THEME.values())
    return {
        name: paper.get(value, value) if isinstance(value, str) else value for name, value in STYLE.items()
    }


def render(figure: Figure, name: str, alt: str, dpi: int = 100) -> Chart:
    """Return the figure as a chart; the figure needs no closing, because pyplot never knew it.

    dpi: of what is rasterised in it.
    """
    FigureCanvasSVG(figure)
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", dpi=dpi, bbox_inches="tight", pad_inches=0.03, metadata=nothing)
    return Chart(name, alt, _adopt(buffer.getvalue(), name, alt))


def _adopt(text: str, name: str, alt: str) -> str:
    svg = text[text.index("<svg") :].strip()
    # Its style sheet would apply to the whole page; what it says is inherited from the root just as well.
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<metadata.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(xlink:)?href="#([^"]+)"', rf'href="#{name}-\2"', svg)
    svg = re.sub(r'xlink:href="(data:image/png;base64,)\s*', r'href="\1', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    for variable, (sentinel, fallback) in THEME.items():
        svg = svg.replace(sentinel, f"var(--{variable},{fallback})")
    svg = re.sub(r"font: ([^;\"]*?px) [^;\"]*", r"font: \1 system-ui, sans-serif", svg)
    svg = re.sub(r"\s*\n\s*", "\n", svg)
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {box[0]} role="img" aria-label="{escape(alt)}"'
        ' style="stroke-linejoin:round;stroke-linecap:butt">'
    )
    return re.sub(r"<svg[^>]*>", lambda _: head, svg, count=1)
