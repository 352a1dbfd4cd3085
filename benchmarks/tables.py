"""A table as the benchmarks print it: Markdown that is read as well in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

MET = {None: "", True: "yes", False: "**no**"}
"""How the last column tells whether a goal was met; None where there is none."""


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a table; the first is its heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
