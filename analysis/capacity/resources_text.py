"""What users cost a target, for a terminal: tables, sentences, and a piece of a capacity.toml."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from analysis.capacity.regression import Estimate
from analysis.capacity.resources import GIB, Cost, Range, Resources
from analysis.capacity.text import table
from analysis.formats import NONE, fmt_bytes, fmt_count, fmt_ms, fmt_number, fmt_span

LABELS = {
    "base": "the server by itself, a second",
    "user": "connected user, a second",
    "https": "https request",
    "message": "message sent (wss frame)",
    "handshake": "handshake",
    "delivery": "delivery (wss push)",
    "password": "https request with a password",
    "ping": "ping",
    "call": "minute of a call, beyond its frames",
}
_OF_MEMORY = {"user": "connected user"}


def tables(found: Resources) -> list[RenderableType]:
    """Return costs in CPU and memory, and what follows."""
    cpu = [_row(LABELS, cost, "ms") for cost in found.cpu]
    memory = [_row(LABELS | _OF_MEMORY, cost, "bytes") for cost in found.memory]
    head = ("95 % interval", "counted", " ")
    return [
        table(("CPU of the target", "one takes", *head), cpu),
        table(("memory of the target", "one leaves behind", *head), memory),
        Group(*(Text(each) for each in sentences(found))),
    ]


def words(found: Resources) -> dict[str, Any]:
    """Return what stands on the page beside the figures: names, remarks and sentences."""
    return {
        "labels": {"cpu": LABELS, "memory": LABELS | _OF_MEMORY},
        "remarks": {name: [*map(remark, getattr(found, name))] for name in ("cpu", "memory")},
        "costs_say": sentences(found),
    }


def remark(cost: Cost) -> str:
    """Return what there is to be said of a cost besides its figures."""
    if cost.within:
        return f"within: {LABELS[cost.within]}"
    if cost.estimate is None:
        return "none in these runs"
    return "" if cost.estimate.low > 0 else "not shown"


def _row(labels: dict[str, str], cost: Cost, form: str) -> tuple[str, ...]:
    write = {"ms": fmt_ms, "bytes": fmt_bytes}[form]
    each = cost.estimate
    figures = (write(each.value), f"{write(each.low)} to {write(each.high)}") if each else (NONE, NONE)
    return labels[cost.kind], *figures, fmt_number(cost.count), remark(cost)


def sentences(found: Resources) -> list[str]:
    """Return what follows from the costs, and of what it holds."""
    source = {"process": "its processes", "/metrics": "its /metrics"}.get(found.source, found.source)
    said = [
        f"from {found.windows} windows of {fmt_span(found.span)} in {_runs(found)}, as {source} tell:"
        " intervals say how well these runs are known, not how another day differs",
        f"a user of this mix takes {_ms(found.user)} of CPU a second: {_range(found.users)} a core",
    ]
    if found.idle and found.connections:
        said.append(
            f"a connected user who does nothing but {fmt_number(60 * found.pings)} pings a minute takes"
            f" {_ms(found.idle)} of CPU a second: {_range(found.connections)} connections a core"
        )
    if found.connections_per_gib:
        said.append(
            f"memory: {fmt_bytes(found.base_memory)} with nobody connected, then"
            f" {_range(found.connections_per_gib)} connections a GiB"
        )
    if found.connections and found.connections_per_gib:
        said += _which_first(found.connections, found.connections_per_gib)
    if found.call:
        said.append(f"a minute of a call with its frames takes {_ms(found.call)} of CPU")
    return said


def toml(found: Resources) -> str:
    """Return the piece of a capacity.toml that these figures stand for; it says what they leave out."""
    made, users = found.instance, found.instance.users
    source = f"talkload capacity resources, {_runs(found)} to {found.runs[-1]}"
    if users.high is None or users.low <= 0:
        return f"# users_per_instance: not shown by {source}"
    cores = f"{made.cores:g} core" + ("" if made.cores == 1 else "s, taken as linear")
    memory = f" and {fmt_bytes(made.memory)}" if made.memory is not None else ""
    low, high = (f"{each:.0f}" if each >= 100 else f"{each:.3g}" for each in (users.low, users.high))
    return (
        f"[capacity]\nusers_per_instance = {{ low = {low}, high = {high},"
        f' measured = "{source}: all {made.binds} of {cores}{memory}; objectives not asked" }}'
    )


def _runs(found: Resources) -> str:
    return f"{len(found.runs)} run{'s'[: len(found.runs) != 1]}"


def _which_first(by_cpu: Range, per_gib: Range) -> list[str]:
    if not by_cpu.value or not per_gib.value:
        return []
    needed = fmt_bytes(by_cpu.value / per_gib.value * GIB)
    return [f"with less than {needed} a core, connections are bounded by memory; with more by CPU"]


def _range(found: Range) -> str:
    most = "no upper limit" if found.high is None else fmt_count(found.high)
    return f"{NONE if found.value is None else fmt_count(found.value)} [{fmt_count(found.low)}, {most}]"


def _ms(each: Estimate) -> str:
    return f"{fmt_ms(each.value)} [{fmt_ms(each.low)}, {fmt_ms(each.high)}]"
