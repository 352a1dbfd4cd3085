"""The verdict for a terminal: a table and the verdict's sentences; plain text where nobody looks at it."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis.clocks import ApartFigures
from analysis.fanouts import Times
from analysis.figures import OperationFigures
from analysis.formats import fmt_count, fmt_ms, fmt_rate, fmt_share, fmt_span
from analysis.validity import stamping_words
from analysis.verdict import Verdict, Word

COLUMNS = ("operation", "count", "failed", "p50", "p95", "p99", "max")
COLOURS = {
    Word.PASS: "bold green",
    Word.FAILED: "bold red",
    Word.USAGE: "bold magenta",
    Word.INCONCLUSIVE: "bold yellow",
    Word.INVALID: "bold magenta",
    Word.UNUSABLE: "bold red",
}

Row = tuple[str, ...]


def groups(verdict: Verdict) -> Iterator[tuple[str, list[Row]]]:
    """Yield https, wss and deliveries, each with its rows of text; a group without rows is left out."""
    for title in ("https", "wss"):
        rows = [
            _row(row.operation, row.attempts, row.failed + row.timeout + row.broken, row.response)
            for row in verdict.operations
            if row.group not in ("phases", "steps") and _half(row) == title
        ]
        if rows:
            yield title, rows
    delivered = [
        _row(row.operation, row.on_time + row.late, row.lost, row.fanout) for row in verdict.deliveries
    ]
    if delivered:
        yield "deliveries (failed: lost)", delivered
    for across in (False, True):
        some = [row for row in verdict.clocks_apart if row.across is across]
        if some:
            error = "clocks compared by nobody"
            if all(row.bound is not None for row in some):
                error = f"wrong by {fmt_ms(max(row.bound or 0 for row in some))} at most"
            yield f"across clocks, {error}" if across else "on one clock", [_apart(row) for row in some]


def _half(row: OperationFigures) -> str:
    """Return which half of the service an operation belongs to: the contract's names of wss say so."""
    return "wss" if row.operation.startswith("wss.") else "https"


def summary_lines(verdict: Verdict) -> list[str]:
    """Return the summary as plain lines: tables, totals, verdict."""
    tables = list(groups(verdict))
    rows = [row for _, rows in tables for row in rows]
    widths = [max(len(row[n]) for row in [COLUMNS, *rows]) for n in range(len(COLUMNS))]
    lines = [_aligned(COLUMNS, widths)] if rows else []
    for title, members in tables:
        lines += [title, *(_aligned(row, widths) for row in members)]
    above = [*lines, *([""] if lines else []), *coverage_lines(verdict)]
    return [
        *above,
        totals_line(verdict),
        *arrivals_lines(verdict),
        *(each.sentence for each in verdict.storms),
        instrument_line(verdict),
        *_verdict_lines(verdict),
    ]


def summary(verdict: Verdict) -> RenderableType:
    """Return the same for a terminal that has colours and a width."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, column in enumerate(COLUMNS):
        table.add_column(column, justify="right" if number else "left", no_wrap=number > 0)
    for title, members in groups(verdict):
        table.add_row(Text(title, style="bold"))
        for row in members:
            # Text, because rich would read [brackets] in what a target said as markup.
            failed = "red" if row[2] != "0" else ""
            table.add_row(*(Text(cell, style=failed if n == 2 else "") for n, cell in enumerate(row)))
    first, *rest = _verdict_lines(verdict)
    lines = [
        *map(Text, coverage_lines(verdict)),
        Text(totals_line(verdict), style="dim"),
        *(Text(line, style="dim") for line in arrivals_lines(verdict)),
        *(Text(each.sentence) for each in verdict.storms),
        Text(instrument_line(verdict), style="dim"),
        Text(first, style=COLOURS[verdict.verdict]),
        *map(Text, rest),
    ]
    above: list[RenderableType] = [table, Text("")] if table.row_count else []
    return Group(*above, *lines)


def coverage_lines(verdict: Verdict) -> list[str]:
    """Return what of the contract was exercised, row by row; nothing where no scenario asks for it."""
    if not any(objective.slo == "coverage" for objective in verdict.objectives):
        return []
    found = verdict.coverage
    width = max(len(row.name) for row in found.rows)
    lines = [f"{'coverage'.ljust(width)}   tried  worked"]
    lines += [f"{row.name.ljust(width)}  {row.tried:6}  {row.worked:6}" for row in found.rows]
    lines.append(
        f"{found.operations_done} of {found.operations_total} operations and"
        f" {found.actions_done} of {found.actions_total} actions exercised"
    )
    return [*lines, ""]


def totals_line(verdict: Verdict) -> str:
    """Return what the run amounted to, in one line."""
    totals = verdict.totals
    errors = fmt_share(totals.errors.value if totals.errors else None)
    return (
        f"{fmt_count(totals.users)} users, {fmt_span(totals.duration)}, measured in the steady state's"
        f" {fmt_span(totals.measured)}:"
        f" {fmt_rate(totals.request_rate)} requests,"
        f" {fmt_rate(totals.delivery_rate)} deliveries, {fmt_count(totals.lost)} lost, errors {errors}"
    )


def arrivals_lines(verdict: Verdict) -> list[str]:
    """Return what was planned and what came of it, in one line; nothing of a closed run."""
    if not (came := verdict.arrivals):
        return []
    return [
        f"arrivals: {fmt_count(came.planned)} planned, {fmt_count(came.achieved)} achieved,"
        f" {fmt_count(came.late)} of them late (at most {fmt_span(came.longest_wait_ns)}),"
        f" {fmt_count(came.waiting)} waiting at the end, {fmt_count(came.dropped)} dropped;"
        f" plan {came.plan_hash}"
    ]


def instrument_line(verdict: Verdict) -> str:
    """Return how arrivals were stamped and how late we were ourselves, in one line."""
    lag = verdict.resources.loop_lag.p99
    return f"stamps: {stamping_words(verdict.stamping)}; loop lag p99 {fmt_ms(lag.value if lag else None)}"


def _verdict_lines(verdict: Verdict) -> list[str]:
    lines = [f"{verdict.verdict.value.upper()} (exit code {verdict.exit_code})"]
    lines += [_printable(sentence) for sentence in verdict.sentences]
    return lines + [f"warning: {_printable(warning)}" for warning in verdict.warnings]


def _row(operation: str, count: int, failed: int, times: Times) -> Row:
    shown = [fmt_ms(each.value if each else None) for each in (times.p50, times.p95, times.p99)]
    return (f"  {_printable(operation)}", fmt_count(count), fmt_count(failed), *shown, fmt_ms(times.max))


def _apart(row: ApartFigures) -> Row:
    name, count, failed, p50, p95, p99, most = _row(row.operation, row.arrived, row.lost, row.fanout)
    p50, p99 = (
        f"≤ {fmt_ms(limit)}" if limit is not None else shown
        for limit, shown in ((row.p50_limit, p50), (row.p99_limit, p99))
    )
    return name, count, failed, p50, p95, p99, most


def _aligned(row: Row, widths: list[int]) -> str:
    cells = [
        cell.rjust(width) if n else cell.ljust(width)
        for n, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _printable(text: str) -> str:
    """Drop control characters: a name must not move the cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
