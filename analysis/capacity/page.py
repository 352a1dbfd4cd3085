"""Builds the page of a capacity: capacity.json, and a notebook that draws it, executed and made into HTML.

As on the page of a run, a number gets there in one way only, by its path in capacity.json.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from analysis import notebook
from analysis.capacity import resources_text
from analysis.capacity.report import FILE, Capacity, encode, sizing_sentences
from analysis.files import write_private
from analysis.page import GLYPHS, TEMPLATES, Html, environment, figure

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "capacity.py"
HTML, IPYNB = "capacity.html", "capacity.ipynb"


@dataclass(frozen=True, slots=True)
class Page:
    """What the notebook works with."""

    capacity: Capacity

    def section(self, name: str) -> Html:
        """Return one part of the page, filled in from capacity.json."""
        tree = msgspec.to_builtins(self.capacity)
        sizing, resources = self.capacity.sizing, self.capacity.resources
        template = environment().get_template(f"capacity_{name}.html.j2")
        return Html(
            template.render(
                c=tree,
                sentences=sizing_sentences(sizing) if sizing else [],
                **(resources_text.words(resources) if resources else {}),
                figure=lambda path, form, **interval: figure(tree, path, form, **interval),
                glyphs=GLYPHS,
            )
        )


def open_page(folder: str | Path) -> Page:
    """Return the page of the capacity.json in a folder; in a script, its first argument is taken instead."""
    argument = sys.argv[1] if len(sys.argv) > 1 and Path(sys.argv[1], FILE).is_file() else ""
    return Page(msgspec.json.decode(Path(argument or folder, FILE).read_bytes(), type=Capacity))


def build(capacity: Capacity, folder: Path) -> Path:
    """Put capacity.json, capacity.ipynb and capacity.html into a folder; return the page's path."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(folder / FILE, encode(capacity))
    done = notebook.execute(NOTEBOOK, {"FOLDER": "."}, folder)
    write_private(folder / IPYNB, notebook.plain(done))
    return write_private(folder / HTML, notebook.to_html(done, TEMPLATES, "Capacity", FILE, IPYNB))
