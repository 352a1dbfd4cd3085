"""A gate for people: lines for a terminal, a table for one with colours, Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from analysis.formats import NONE, fmt_change, fmt_count, fmt_ms, fmt_share
from analysis.gate import Gate, Metric
from analysis.looks import Word

COLUMNS = ("metric", "baseline", "candidate", "change", "95 % interval", "tolerance", "verdict")
COLOURS = {
    Word.PASS: "bold green",
    Word.IMPROVED: "bold green",
    Word.REGRESSED: "bold red",
    Word.FAILED: "bold red",
    Word.INCONCLUSIVE: "bold yellow",
    Word.INVALID: "bold magenta",
}
_SHOWN = 10


def headline(gate: Gate) -> str:
    """Return the verdict in one line."""
    return f"{gate.verdict.value.upper()} (exit code {gate.exit_code}) after {fmt_count(gate.counted)} pairs"


def lines(gate: Gate) -> list[str]:
    """Return the whole result as plain lines."""
    discarded = [f"not counted: {each}" for each in gate.discarded]
    return [_printable(line) for line in (headline(gate), *gate.sentences, *discarded, *_others(gate))]


def progress(gate: Gate) -> str:
    """Return where a gate is, in one line: pairs done, current estimates."""
    estimates = [f"{each.metric} {_change(each)} {each.verdict.value}" for each in gate.metrics]
    skipped = f", {len(gate.discarded)} not counted" if gate.discarded else ""
    return f"{gate.counted} of {gate.planned} pairs{skipped}: {'; '.join(estimates)}"


def picture(gate: Gate | None, doing: str) -> RenderableType:
    """Return the same as a table, above what is being done."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, column in enumerate(COLUMNS):
        table.add_column(column, justify="right" if 0 < number < 6 else "left", no_wrap=True)
    for each in gate.metrics if gate else ():
        table.add_row(*_cells(each)[:-1], Text(each.verdict.value, style=COLOURS[each.verdict]))
    return Group(table, Text(doing, style="dim")) if gate else Text(doing, style="dim")


def markdown(gate: Gate) -> str:
    """Return summary.md."""
    marks = {Word.PASS: "✅", Word.IMPROVED: "✅", Word.INCONCLUSIVE: "❔", Word.INVALID: "⚠️"}
    text = [
        f"### {marks.get(gate.verdict, '❌')} talkload gate, {_escaped(gate.scenario)}: {gate.verdict.value}",
        "",
    ]
    text += [f"{fmt_count(gate.counted)} pairs of runs counted, at most {gate.planned} planned.", ""]
    text += [f"| {' | '.join(COLUMNS)} |", "|---|--:|--:|--:|--:|--:|---|"]
    text += [f"| {' | '.join(map(_escaped, _cells(each)))} |" for each in gate.metrics]
    text += ["", *(f"- {_escaped(sentence)}" for sentence in gate.sentences)]
    if gate.objectives:
        text += ["", "| objective | over the candidate's runs | runs that missed it |", "|---|---|--:|"]
        text += [f"| {_escaped(o.slo)} | {o.state.value} | {o.missed} of {o.runs} |" for o in gate.objectives]
    if gate.discarded:
        text += ["", "Not counted:", "", *(f"- {_escaped(each)}" for each in gate.discarded)]
    return "\n".join([*text, "", *map(_escaped, _others(gate)), ""])


class View:
    """Shows a gate while it runs: a table where something is redrawn in place, else a line a pair."""

    def __init__(self, console: Console, live: Live | None) -> None:
        self._console, self._live = console, live
        self._gate: Gate | None = None

    def second(self, pair: int, side: str, now: dict[str, Any]) -> None:
        """Show that a run goes on."""
        self._draw(
            f"pair {pair}, {side}: {now['elapsed_s']:.0f} s, {now['phase']}, {now['online']} people online"
        )

    def stopping(self) -> None:
        """Say that the end was asked for."""
        self._say("stopping: the run under way is finished and does not count")

    def pair(self, gate: Gate) -> None:
        """Show the result so far."""
        self._gate = gate
        self._draw("")
        if not self._live:
            self._say(progress(gate))

    def _draw(self, doing: str) -> None:
        if self._live:
            self._live.update(picture(self._gate, doing), refresh=True)

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def _others(gate: Gate) -> Iterator[str]:
    """Yield what is told of the metrics that were not declared."""
    if not gate.others:
        return
    differing = [each for each in gate.others if each.differs]
    told = ", ".join(f"{each.metric} {fmt_change(each.change)}" for each in differing[:_SHOWN])
    more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
    yield (
        f"For information, {fmt_count(len(gate.others))} other metrics (5 % false discoveries):"
        f" {told + more if differing else 'none differs'}."
    )


def _cells(each: Metric) -> tuple[str, ...]:
    interval = NONE if each.low is None else f"{fmt_change(each.low)} to {fmt_change(each.high)}"
    reason = f", {each.reason}" if each.reason else ""
    return (
        each.metric,
        fmt_ms(each.baseline),
        fmt_ms(each.candidate),
        fmt_change(each.change),
        interval,
        fmt_share(each.tolerance),
        each.verdict.value + reason,
    )


def _change(each: Metric) -> str:
    return fmt_change(each.change) + (
        "" if each.low is None else f" [{fmt_change(each.low)}, {fmt_change(each.high)}]"
    )


def _escaped(text: str) -> str:
    """Keep text from being read as Markdown, HTML or a new line."""
    return _printable(text).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("`", "\\`")


def _printable(text: str) -> str:
    """Drop control characters: a name must not move the cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
