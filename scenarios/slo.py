"""What the target owes its people, as written in a scenario and as judged after a run: one grammar.

[slo]
"chat.delivered p99" = "< 250 ms"     # a quantile of the response time of an operation or a delivery
"chat.completed p90" = "< 1 s"        # ... of the last recipient of each message
"get-chats p95"      = "<= 1 s"       # us, ms or s
"errors"             = "< 1 %"        # share of all attempts that did not succeed
"sign-in errors"     = "< 0.1 %"      # ... of one operation
"lost"               = "= 0"          # also late, duplicate, misdelivered, reordered
"deliveries"         = ">= 1000"      # also requests: a run that did nothing proves nothing
"wss.connect p99"    = "< 500 ms"     # of a connection: TCP, TLS and the websocket's handshake; https.connect
"https p99 @spike"   = "< 2 s"        # of what began in one phase, also errors, counts: see `Load.phases`
"coverage"           = ">= 90 %"      # share of the contract's operations and actions that worked

[gate]
"chat.delivered p50" = "5 %"          # how much slower a new version may be before it is a regression
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
COUNTS = ("lost", "late", "duplicate", "misdelivered", "reordered")
TOTALS = ("deliveries", "requests")
COVERAGE = "coverage"
SUCCESS = "success"
"""What an `[abort]` table asks for, as an objective: that the target did not run away."""

RELATIONS: dict[str, Callable[[Any, float], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}
"""Of a number, or of each number of an array."""

GATE_METRICS = 6
"""A gate judges at most so many: each one more is one more chance of a false alarm."""

_UNITS = {"us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_LIMIT = re.compile(r"^(<=|<|>=|>|=)\s*(\d+(?:\.\d+)?)\s*(us|µs|ms|s|%)?$", re.ASCII)
_TOLERANCE = re.compile(r"^(\d+(?:\.\d+)?)\s*%$", re.ASCII)
_OPERATION = re.compile(r"^[a-z][a-z0-9.-]*$")


class SloError(ValueError):
    """An objective that can't be understood; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Slo:
    """One objective: `statistic` of `operation` must be `relation` `limit`.

    `statistic` is a quantile (limit in ns), "errors" or "coverage" (limit a share, 0 to 1) or "count" (limit
    a number). `operation` is a metric's name, one of COUNTS or TOTALS, or "" for all operations together.
    `phase` is the stretch of the run that it is about, "" for all of what is judged.
    """

    name: str
    text: str
    operation: str
    statistic: str
    relation: str
    limit: float
    phase: str = ""

    def holds(self, value: float) -> bool:
        """Return whether a value that is known exactly meets this objective."""
        return bool(RELATIONS[self.relation](value, self.limit))


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What a gate looks at, and the share (0.05: five per cent) by which it may grow."""

    name: str
    operation: str
    statistic: str  # one of QUANTILES
    share: float


def parse_tolerance(name: str, text: str) -> Tolerance:
    """Return what a line `"name" = "text"` of a scenario's `[gate]` states, or raise SloError."""
    words, found = name.split(), _TOLERANCE.match(text.strip())
    if len(words) != 2 or words[1] not in QUANTILES or not _OPERATION.match(words[0]):
        raise SloError(f'"{name}" is not a gate metric: expected <metric> {" | ".join(QUANTILES)}')
    if not found or not 0 < float(found[1]) <= 100:
        raise SloError(f'the tolerance "{text}" of "{name}" is not understood: write for example "5 %"')
    return Tolerance(name, words[0], words[1], float(found[1]) / 100)


def parse_slo(name: str, text: str) -> Slo:
    """Return the objective that a line `"name" = "text"` of a scenario states, or raise SloError."""
    found = _LIMIT.match(text.strip())
    if not found:
        raise SloError(
            f'the limit "{text}" is not understood: write for example "< 250 ms", "< 1 %" or "= 0"'
        )
    relation, number, unit = found[1], float(found[2]), found[3] or ""
    words = name.split()
    phase = words.pop()[1:] if words[-1:] and words[-1].startswith("@") else ""
    if words == [COVERAGE] and not phase:
        operation, statistic, wanted = "", COVERAGE, {"%"}
    elif len(words) == 1 and words[0] in COUNTS + TOTALS:
        operation, statistic, wanted = words[0], "count", {""}
    elif words[-1:] == ["errors"] and len(words) <= 2:
        operation, statistic, wanted = " ".join(words[:-1]), "errors", {"%"}
    elif len(words) == 2 and words[1] in QUANTILES:
        operation, statistic, wanted = words[0], words[1], set(_UNITS)
    else:
        expected = f"<metric> {' | '.join(QUANTILES)}, [<metric>] errors, {', '.join(COUNTS + TOTALS)}"
        expected += f", each with @<phase> or without, or {COVERAGE}"
        raise SloError(f'"{name}" is not an objective: expected {expected}')
    if operation and statistic != "count" and not _OPERATION.match(operation):
        raise SloError(f'"{operation}" is not the name of a metric: expected one such as chat.delivered')
    if unit not in wanted:
        units = " or ".join(sorted(wanted)) or "no unit"
        raise SloError(f'the limit "{text}" of "{name}" needs {units}')
    scale = 0.01 if unit == "%" else _UNITS.get(unit, 1)
    return Slo(name, text.strip(), operation, statistic, relation, number * scale, phase)
