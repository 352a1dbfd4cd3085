"""Turns what a server's log shows into a scenario: each weight with its source, or "assumed".

A log tells operations, a mix names journeys. `SIGNS` says by which operations each journey is known: those
that it does and nobody else, each so many times a journey; what other journeys do of the same operation is
taken off. Requests count whatever their answer was: people wanted it. What happens on the socket, or nowhere
(calls, reconnecting, being idle), is in no access log: it stays as in `typical.toml`.

The weights that are told sum to what a senior does in `typical.toml`. A log does not tell seniors from
volunteers: where both do something, they share it by their shares of `[people]`, and the kind with less to do
is idle the longer. So the journeys of the whole run relate to one another as they did in the log.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, NamedTuple

import msgspec

from scenarios import workload
from scenarios.observed import Observed, minute_text

BASIS = "typical"
_ASSUMED = f"assumed: {BASIS}.toml's"
_TOLD = 20  # unknown requests that the scenario's text lists by name
_ROWS = 48  # of the arrival curve


class Sign(NamedTuple):
    """How a journey shows: (`seen` − `less`) / `per`, by the names of the contract's operations."""

    seen: str
    less: str = ""
    per: int = 1
    kinds: tuple[str, ...] = ("senior", "volunteer")
    because: str = ""


SIGNS = {
    "browse": Sign(
        "get-users",
        less="get-upcoming-schedules send-connection-request send-message-request sign-up",
        per=2,
        because="two searches each; first screens, requests and sign-ups search once too",
    ),
    "connect": Sign("send-connection-request", kinds=("senior",)),
    "message-request": Sign("send-message-request", kinds=("volunteer",)),
    "chat": Sign("get-chat", per=2, because="the other one opens it to answer, assumed"),
    "read-back": Sign("get-chat-messages"),
    "notifications": Sign("get-alerts"),
    "schedule": Sign("schedule-call", kinds=("senior",)),
    "reschedule": Sign("update-schedule delete-schedule"),
    "clear": Sign("clear-schedules", kinds=("senior",)),
    "history": Sign("get-call-histories", because="after a call it is opened too"),
    "settings": Sign("set-weekly-availability set-custom-availability"),
    "password": Sign("change-password", per=2, because="there and back"),
    "review": Sign("review-user update-review delete-review"),
}
"""The journeys that an access log can tell."""

SHARES = {
    "newcomers": ("sign-up", "delete-user", "get-upcoming-schedules"),
    "leavers": ("delete-user", "", "get-upcoming-schedules"),
    "signs_out": ("sign-in", "", "get-upcoming-schedules"),
    "accepts": (
        "accept-connection accept-message-request",
        "",
        "accept-connection accept-message-request reject-connection reject-message-request",
    ),
}
"""The shares of `[people]` that it can tell: (seen − less) / of. Each visit's first screen looks at the
upcoming schedules once; so does a reload, which a log can't tell from a visit."""


class Value(NamedTuple):
    """A number of a scenario, and where it comes from."""

    value: float
    source: str


def derive(seen: Observed) -> dict[str, dict[str, Value]]:
    """Return the values of `people`, `senior` and `volunteer` that a scenario gets, by table and key."""
    basis = workload.load(BASIS)
    tables = {"people": _people(seen, basis.people)}
    shares = {"senior": basis.people.senior, "volunteer": basis.people.volunteer}
    rates: dict[str, dict[str, float]] = {kind: {} for kind in shares}  # journeys per share of people
    for name, sign in SIGNS.items():
        count = _difference(seen.operations, sign.seen, sign.less) / sign.per
        for kind in sign.kinds if count else ():
            rates[kind][name] = count / sum(shares[each] for each in sign.kinds)
    busiest = max(sum(rate.values()) for rate in rates.values())
    room = sum(each.value for name, each in _assumed(basis.senior).items() if name in SIGNS)
    for kind, mix in (("senior", basis.senior), ("volunteer", basis.volunteer)):
        tables[kind] = _assumed(mix)
        if busiest:
            scaled = {name: rate / busiest * room for name, rate in rates[kind].items()}
            tables[kind] = _weights(seen.operations, scaled, room, tables[kind])
    return tables


def as_data(seen: Observed) -> dict[str, dict[str, dict[str, Any]]]:
    """Return `derive`'s values as plain data."""
    return {t: {key: each._asdict() for key, each in values.items()} for t, values in derive(seen).items()}


def _weights(
    operations: Counter[str], scaled: dict[str, float], room: float, assumed: dict[str, Value]
) -> dict[str, Value]:
    """Return the weights of one kind of person: what was seen, and what can't be."""
    found = {name: Value(_rounded(w), _source(operations, SIGNS[name])) for name, w in scaled.items()}
    found |= {name: value for name, value in assumed.items() if name not in SIGNS}
    idle, spare = found["idle"], _rounded(room - sum(scaled.values()))
    if spare > 0:
        found["idle"] = Value(
            idle.value + spare, f"{idle.source}, and {spare:g} that the other kind is busier"
        )
    return found


def _people(seen: Observed, people: workload.People) -> dict[str, Value]:
    names = ("senior", "volunteer", "lurker", "pace", *SHARES)
    found = {name: Value(getattr(people, name), _ASSUMED) for name in names}
    for name, (counted, less, of) in SHARES.items():
        if whole := _sum(seen.operations, of):
            share = min(1.0, _difference(seen.operations, counted, less) / whole)
            terms = f"({_terms(seen.operations, counted, less)}) / ({_terms(seen.operations, of)})"
            found[name] = Value(round(share, 4), terms)
    return found


def _assumed(mix: workload.Mix) -> dict[str, Value]:
    weights: dict[str, float] = msgspec.to_builtins(mix)
    return {name: Value(w, _ASSUMED) for name, w in weights.items() if w}


def _source(operations: Counter[str], sign: Sign) -> str:
    terms = _terms(operations, sign.seen, sign.less)
    whole = f"({terms}) / {sign.per}" if sign.per > 1 else terms
    shared = "; shared by seniors and volunteers" if len(sign.kinds) > 1 else ""
    return whole + (f"; {sign.because}" if sign.because else "") + shared


def _terms(operations: Counter[str], seen: str, less: str = "") -> str:
    """Return a sum of operations with their counts: "12 get-users − 3 sign-up"."""
    added = " + ".join(f"{operations[name]} {name}" for name in seen.split() if operations[name])
    taken = "".join(f" − {operations[name]} {name}" for name in less.split() if operations[name])
    return (added or "none") + taken


def _difference(operations: Counter[str], seen: str, less: str) -> int:
    return max(0, _sum(operations, seen) - _sum(operations, less))


def _sum(operations: Counter[str], names: str) -> int:
    return sum(operations[name] for name in names.split())


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


# --- The scenario's text -----------------------------------------------------------------------------


_LOAD = ("users", "spawn_rate", "run_time_s")


def scenario(seen: Observed) -> str:
    """Return the TOML text of a scenario with these weights; `scenarios.workload` reads it."""
    basis = msgspec.to_builtins(workload.load(BASIS))
    name = re.sub(r"[^A-Za-z0-9._-]", "_", seen.source)
    text = [*_heading(seen, name), f'description = "The mix of {name}: {seen.known} requests."', ""]
    text += _table("load", {key: Value(basis["load"][key], _ASSUMED) for key in _LOAD})
    for table, values in derive(seen).items():
        text += _table(table, values)
    numbers = {key: value for key, value in basis["client"].items() if not isinstance(value, str)}
    text += _table("client", {key: Value(value, _ASSUMED) for key, value in numbers.items()})
    text += [f"[slo]  # {BASIS}.toml's: set what your users are owed"]
    owed = {key: limit for key, limit in basis["slo"].items() if key != "deliveries"}  # that mix's own count
    text += [f"{json.dumps(key)} = {json.dumps(limit)}" for key, limit in owed.items()]
    return "\n".join(text) + "\n"


def summary(seen: Observed) -> list[str]:
    """Return in lines what was counted, and every kind of request that is no operation of the contract."""
    unknown = seen.unknown.total()
    told = [f"{count:>9,}  {shape}" for shape, count in seen.unknown.most_common(_TOLD)]
    rest = seen.unknown.most_common()[_TOLD:]
    if rest:
        told.append(f"{sum(count for _, count in rest):>9,}  of {len(rest):,} more kinds: see --json")
    return [
        f"{seen.lines:,} lines: {seen.known:,} of the contract's operations, {unknown:,} other requests,"
        f" {seen.unreadable:,} unreadable",
        *(["other requests, ids replaced:"] if told else []),
        *told,
    ]


def _heading(seen: Observed, name: str) -> list[str]:
    sizes = [
        f"{operation}: " + ", ".join(f"{count} × {size}" for size, count in sizes.most_common(5))
        for operation, sizes in sorted(seen.page_sizes.items())
    ]
    parts = [
        f"From {name} by talkload mix. A weight's source stands behind it, in requests of the log.",
        *summary(seen),
        *_curve(seen),
        *(["page sizes asked for; journeys ask for the web client's:"] if sizes else []),
        *("  " + line for line in sizes),
    ]
    return [f"# {part}" for part in parts]


def _curve(seen: Observed) -> list[str]:
    """Return the arrivals of known requests over time, in at most `_ROWS` rows; empty ones are left out."""
    if not seen.minutes:
        return ["no times: no arrival curve"]
    first, last = min(seen.minutes), max(seen.minutes)
    width = -(-(last - first + 1) // _ROWS)
    rows = Counter[int]()
    for minute, count in seen.minutes.items():
        rows[(minute - first) // width] += count
    peak, at_most = seen.minutes.most_common(1)[0]
    head = f"known requests from {minute_text(first)}, at most {at_most:,} a minute ({minute_text(peak)}):"
    steps = (f"  {minute_text(first + row * width)}  {count:>9,}" for row, count in sorted(rows.items()))
    return [head, f"each row {width} min" if width > 1 else "each row a minute", *steps]


def _table(name: str, values: dict[str, Any]) -> list[str]:
    rows = [f"{key} = {each.value:g}".ljust(28) + f"# {each.source}" for key, each in values.items()]
    return [f"[{name}]", *rows, ""]
