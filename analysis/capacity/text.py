"""The capacity of a target for a terminal: tables, then sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis.capacity.report import Capacity, sizing_sentences
from analysis.capacity.sizing import Sizing
from analysis.capacity.usl import Estimate
from analysis.formats import NONE, fmt_count, fmt_ms, fmt_number, fmt_rate, fmt_share


def fitted(capacity: Capacity) -> RenderableType:
    """Return points, parameters, headroom and what follows, of points that have a curve."""
    fit = capacity.fit
    assert fit
    holds = {check.source: check for check in capacity.little}
    points = [
        (
            fmt_number(point.load),
            fmt_rate(point.throughput),
            NONE if point.low is None else f"{fmt_rate(point.low)} to {fmt_rate(point.high)}",
            fmt_rate(curve),
            fmt_ms(point.response),
            ("holds" if holds[point.source].holds else "BROKEN") if point.source in holds else NONE,
        )
        for point, curve in zip(capacity.points, capacity.fitted, strict=True)
    ]
    parameters = [
        _estimate("g, throughput of one", fit.single),
        _estimate("a, contention", fit.contention),
        _estimate("b, coherency", fit.coherency),
        _estimate("load of the peak", fit.peak_load),
        _estimate("throughput of the peak", fit.peak_throughput),
    ]
    headroom = [
        (
            fmt_share(row.free),
            fmt_number(row.load),
            fmt_rate(row.throughput),
            fmt_share(row.waiting.waits if row.waiting else None),
            fmt_ms(row.waiting.wait if row.waiting else None),
        )
        for row in capacity.headroom
    ]
    held = [(each.objective, fmt_number(each.held), fmt_number(each.missed)) for each in capacity.held]
    columns = ("throughput", "95 % interval", "curve", "response", "Little's law")
    knee = [f"knee, for orientation only: at a load of {fmt_number(capacity.knee)}"] if capacity.knee else []
    return Group(
        table((capacity.unit or "load", *columns), points),
        table(("parameter", "value", f"95 % interval ({fit.method})"), parameters),
        table(("headroom", "load", "throughput", "would wait (M/M/c)", "mean wait"), headroom),
        *([table(("objective", "held at", "missed at"), held)] if held else []),
        *map(Text, (*capacity.sentences, *knee)),
    )


def sizings(sizing: Sizing | None) -> list[RenderableType]:
    """Return instances with their probability, what drives it, and what follows; nothing for none."""
    return [_sized(sizing)] if sizing else []


def _sized(sizing: Sizing) -> RenderableType:
    policy = sizing.policy
    rows = [
        (
            fmt_count(row.instances),
            fmt_share(row.probability),
            f"{row.cost:,.0f}" if row.cost else NONE,
            _remark(row.instances, sizing),
        )
        for row in sizing.rows
    ]
    inputs = [
        (
            each.name,
            *map(fmt_number, (each.low, each.median, each.high)),
            f"{each.correlation:+.2f}",
            fmt_share(each.share),
            each.origin,
        )
        for each in sizing.inputs
    ]
    low, median, high = map(fmt_count, sizing.users)
    return Group(
        table(("instances", "enough with", f"{policy.currency} a {policy.period}", " "), rows),
        table(("input", "5 %", "median", "95 %", "rank corr.", "of the spread", "from"), inputs),
        Text(f"users at once at the peak: {median} [{low}, {high}], 90 %"),
        *map(Text, sizing_sentences(sizing)),
    )


def _remark(instances: int, sizing: Sizing) -> str:
    if instances == sizing.instances:
        return "the answer"
    return "medians alone" if instances == sizing.naive else ""


def _estimate(name: str, found: Estimate | None) -> tuple[str, str, str]:
    if found is None:
        return name, NONE, NONE
    most = "no upper limit" if found.high is None else fmt_number(found.high)
    return name, fmt_number(found.value), f"{fmt_number(found.low)} to {most}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table of texts, numbers to the right of their names."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        # Text, because rich would read [brackets] in a name as markup.
        table.add_row(*(Text(_printable(cell)) for cell in row))
    table.add_row()
    return table


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
