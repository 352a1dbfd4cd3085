"""Builds the pages that show one JSON file: a comparison of two runs, the history of a scenario.

As on the page of a run, a number gets there in one way only, by its path in that file, which stands beside
the page. The notebook of the same name draws it, executed and made into HTML.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from analysis import compare, history, notebook
from analysis.compare import Comparison
from analysis.files import write_private
from analysis.history import History
from analysis.page import GLYPHS, TEMPLATES, Html, environment, figure

KINDS: dict[str, tuple[str, type[Comparison] | type[History]]] = {
    "compare": (compare.FILE, Comparison),
    "history": (history.FILE, History),
}


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a notebook works with."""

    kind: str
    found: Any  # a Comparison or a History

    def section(self, name: str) -> Html:
        """Return one part of the page, filled in from the file."""
        tree = msgspec.to_builtins(self.found)
        template = environment().get_template(f"{self.kind}_{name}.html.j2")
        return Html(
            template.render(
                c=tree,
                figure=lambda path, form, **interval: figure(tree, path, form, **interval),
                glyphs=GLYPHS,
            )
        )


def open_sheet(kind: str, folder: str | Path) -> Sheet:
    """Return what is in a folder; in a script, its first argument is taken instead."""
    file, form = KINDS[kind]
    argument = sys.argv[1] if len(sys.argv) > 1 and Path(sys.argv[1], file).is_file() else ""
    return Sheet(kind, msgspec.json.decode(Path(argument or folder, file).read_bytes(), type=form))


def encode(found: Comparison | History) -> bytes:
    """Return compare.json or history.json."""
    return msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n"


def build(kind: str, found: Comparison | History, folder: Path, title: str) -> Path:
    """Put the JSON file, the notebook and the page into a folder; return the page's path."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file, itself = KINDS[kind][0], f"{kind}.ipynb"
    write_private(folder / file, encode(found))
    script = Path(__file__).parent / "notebooks" / f"{kind}.py"
    done = notebook.execute(script, {"FOLDER": "."}, folder)
    write_private(folder / itself, notebook.plain(done))
    return write_private(folder / f"{kind}.html", notebook.to_html(done, TEMPLATES, title, file, itself))
