"""Builds the page of a comparison: compare.json, and a notebook that draws it, executed and made into HTML.

As on the page of a run, a number gets there in one way only, by its path in compare.json.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from analysis import notebook
from analysis.compare import FILE, Comparison, encode
from analysis.files import write_private
from analysis.page import GLYPHS, TEMPLATES, Html, environment, figure

NOTEBOOK = Path(__file__).parent / "notebooks" / "compare.py"
HTML, IPYNB = "compare.html", "compare.ipynb"


@dataclass(frozen=True, slots=True)
class Page:
    """What the notebook works with."""

    comparison: Comparison

    def section(self, name: str) -> Html:
        """Return one part of the page, filled in from compare.json."""
        tree = msgspec.to_builtins(self.comparison)
        template = environment().get_template(f"compare_{name}.html.j2")
        return Html(
            template.render(
                c=tree,
                at=lambda row, q: next((n for n, point in enumerate(row["points"]) if point["q"] == q), None),
                figure=lambda path, form, **interval: figure(tree, path, form, **interval),
                glyphs=GLYPHS,
            )
        )


def open_page(folder: str | Path) -> Page:
    """Return the page of the compare.json in a folder; in a script, its first argument is taken instead."""
    argument = sys.argv[1] if len(sys.argv) > 1 and Path(sys.argv[1], FILE).is_file() else ""
    return Page(msgspec.json.decode(Path(argument or folder, FILE).read_bytes(), type=Comparison))


def build(found: Comparison, folder: Path) -> Path:
    """Put compare.json, compare.ipynb and compare.html into a folder; return the page's path."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(folder / FILE, encode(found))
    done = notebook.execute(NOTEBOOK, {"FOLDER": "."}, folder)
    write_private(folder / IPYNB, notebook.plain(done))
    title = f"{found.scenario}: {found.there} and {found.here}"
    return write_private(folder / HTML, notebook.to_html(done, TEMPLATES, title, FILE, IPYNB))
