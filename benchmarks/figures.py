"""What a benchmark of contenders finds: figures, the goals they are judged by, and the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.contenders import OURS, USUAL
from benchmarks.peers import NAMES
from benchmarks.tables import MET, markdown

RATE = "/CPU s"
BEGIN, END = "<!-- instrument: begin -->", "<!-- instrument: end -->"

Cell = tuple[float, ...]


@dataclass(frozen=True)
class Goal:
    """What our own cell must be, given all cells of the row."""

    text: str
    met: Callable[[dict[str, Cell]], bool]


@dataclass
class Figure:
    """A row: a cell for each contender who could be measured. Two numbers are p50 and p99."""

    key: str
    what: str
    unit: str
    goal: Goal | None = None
    cells: dict[str, Cell] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """Return ours to the usual way, for rates."""
        if self.unit != RATE or USUAL.name not in self.cells or OURS.name not in self.cells:
            return None
        return self.cells[OURS.name][0] / self.cells[USUAL.name][0]

    @property
    def met(self) -> bool | None:
        """Tell whether the goal was reached; None where there is none, or nothing was measured."""
        return None if self.goal is None or OURS.name not in self.cells else self.goal.met(self.cells)


def times(factor: float, *ahead_of: str) -> Goal:
    """Be so many times the usual way, and not behind any of these."""
    text = f"≥ {factor:g}×" + (f", ≥ {' '.join(ahead_of)}" if ahead_of and ahead_of != NAMES else "")
    text += ", ≥ every peer" if ahead_of == NAMES else ""

    def met(cells: dict[str, Cell]) -> bool:
        ours = cells[OURS.name][0]
        rivals = [cells[name][0] for name in ahead_of if name in cells]
        return USUAL.name in cells and ours >= max(factor * cells[USUAL.name][0], *rivals, 0)

    return Goal(text, met)


def at_most(*limits: float, unit: str) -> Goal:
    """Be no more than these."""
    text = "≤ " + " / ".join(f"{limit:g}" for limit in limits) + f" {unit}"
    return Goal(text, lambda cells: all(a <= b for a, b in zip(cells[OURS.name], limits, strict=False)))


def table(figures: Sequence[Figure], names: Sequence[str]) -> str:
    """Return the figures as Markdown: a column for each contender."""
    rows = [["what", "", *names, "ours : usual", "goal", "met"]]
    for one in figures:
        ratio = "" if one.ratio is None else f"{one.ratio:.2g}×"
        cells = [_cell(one.cells.get(name)) for name in names]
        rows.append([one.what, one.unit, *cells, ratio, one.goal.text if one.goal else "", MET[one.met]])
    return markdown(rows)


def _cell(numbers: Cell | None) -> str:
    if numbers is None:
        return "–"
    return " / ".join(f"{one:,.0f}" if one >= 100 else f"{one:.3g}" for one in numbers)


def line(figure: Figure) -> str:
    return ", ".join(f"{name} {_cell(cell)}" for name, cell in figure.cells.items()) + f" {figure.unit}"


def report(run: dict[str, Any], figures: Sequence[Figure]) -> str:
    """Return the whole outcome as Markdown."""
    present = run["contenders"]
    names = [*present, *run["absent"]]
    facts = (run["date"], run["machine"], f"Python {run['python']}", run["openssl"], f"{run['took_s']} s")
    lines = [f"Measured {' · '.join(facts)}"]
    lines += [f"`{run['command']}`", "", table(figures, names), ""]
    lines += [f"- {name}: {version}" for name, version in present.items() if version]
    lines += [f"- {name}: absent ({why})" for name, why in run["absent"].items()]
    lines += [f"- failed: {failure}" for failure in run["failures"]]
    lines += [f"- doubtful: {remark}" for remark in run["remarks"]]
    return "\n".join(lines)


def keep(text: str, document: Path) -> None:
    """Put the outcome between its two marks in a document; at its end if it has none yet."""
    old = document.read_text()
    before, mark, rest = old.partition(BEGIN)
    after = rest.partition(END)[2] if mark else "\n"
    document.write_text(f"{before.rstrip()}\n\n{BEGIN}\n{text}\n{END}{after}")
