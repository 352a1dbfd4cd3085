"""When people come, as data: a list of segments, each a shape of the arrival rate over some time.

Every shape is a row of straight pieces of rate over time, which makes counting and drawing them exact; the
only other one replays instants that were recorded. `loadtests.pacing` makes instants out of them.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

Seconds = Annotated[float, Meta(gt=0, le=1e6)]
Pause = Annotated[float, Meta(ge=0, le=1e6)]
Rate = Annotated[float, Meta(ge=0, le=1e5)]  # arrivals a second

MOST = 2_000_000
"""Arrivals of one plan: 16 MB of instants."""

PHASES = ("warm-up", "steady", "drain")
"""What every run goes through, whoever arrives."""

_KNOTS = 96  # a period of a sine in straight pieces: of a day, quarters of an hour


class Piece(NamedTuple):
    """A stretch in which the rate goes straight from `first` to `last`, in arrivals a second."""

    seconds: float
    first: float
    last: float


class Segment(Struct, tag_field="shape", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One shape of the rate over `for_s`."""

    for_s: Seconds
    name: Annotated[str, Meta(pattern=r"^([a-z][a-z0-9-]{0,40})?$")] = ""  # of its phase; else its shape

    def phases(self) -> list[tuple[str, float]]:
        """Return its phases, one after the other: names and seconds."""
        return [(self.name or str(self.__struct_config__.tag), self.for_s)]

    def pieces(self) -> list[Piece]:
        """Return its rate; of one that has none, nothing."""
        return []

    def misfit(self) -> str:
        """Return why its parts do not fit into its time, "" if they do."""
        return ""


class Constant(Segment, tag="constant", frozen=True, kw_only=True):
    rate: Rate

    def pieces(self) -> list[Piece]:
        """See Segment."""
        return [Piece(self.for_s, self.rate, self.rate)]


class Ramp(Segment, tag="ramp", frozen=True, kw_only=True):
    from_rate: Rate
    to_rate: Rate

    def pieces(self) -> list[Piece]:
        """See Segment."""
        return [Piece(self.for_s, self.from_rate, self.to_rate)]


class Stairs(Segment, tag="stairs", frozen=True, kw_only=True):
    """As many steps of the same length, the first at `from_rate` and the last at `to_rate`."""

    from_rate: Rate
    to_rate: Rate
    steps: Annotated[int, Meta(ge=2, le=1000)]

    def pieces(self) -> list[Piece]:
        """See Segment."""
        higher = (self.to_rate - self.from_rate) / (self.steps - 1)
        rates = [self.from_rate + higher * step for step in range(self.steps)]
        return [Piece(self.for_s / self.steps, rate, rate) for rate in rates]


class Spike(Segment, tag="spike", frozen=True, kw_only=True):
    """In its middle the rate rises to `peak` and falls again."""

    rate: Rate
    peak: Rate
    hold_s: Pause
    rise_s: Pause = 0.0  # and as long to fall

    def phases(self) -> list[tuple[str, float]]:
        """Return the spike, and what is before and after it."""
        ((name, for_s),) = super().phases()
        high = self.hold_s + 2 * self.rise_s
        aside = (for_s - high) / 2
        return [(f"before-{name}", aside), (name, high), (f"after-{name}", aside)]

    def pieces(self) -> list[Piece]:
        """See Segment."""
        aside = (self.for_s - self.hold_s - 2 * self.rise_s) / 2
        return [
            Piece(aside, self.rate, self.rate),
            Piece(self.rise_s, self.rate, self.peak),
            Piece(self.hold_s, self.peak, self.peak),
            Piece(self.rise_s, self.peak, self.rate),
            Piece(aside, self.rate, self.rate),
        ]

    def misfit(self) -> str:
        """See Segment."""
        return _too_long(self.hold_s + 2 * self.rise_s, self.for_s)


class Soak(Segment, tag="soak", frozen=True, kw_only=True):
    """A long time at one rate, entered and left gently."""

    rate: Rate
    rise_s: Pause = 0.0  # and as long to fall

    def pieces(self) -> list[Piece]:
        """See Segment."""
        return [
            Piece(self.rise_s, 0.0, self.rate),
            Piece(self.for_s - 2 * self.rise_s, self.rate, self.rate),
            Piece(self.rise_s, self.rate, 0.0),
        ]

    def misfit(self) -> str:
        """See Segment."""
        return _too_long(2 * self.rise_s, self.for_s)


class Sine(Segment, tag="sine", frozen=True, kw_only=True):
    """Day and night: from `low` up to `high` and back, every `period_s`."""

    low: Rate
    high: Rate
    period_s: Seconds

    def pieces(self) -> list[Piece]:
        """Return straight pieces between points of the sine: over whole periods their mean is exact."""
        count = math.ceil(self.for_s / self.period_s * _KNOTS)
        knots = [self.for_s * n / count for n in range(count + 1)]
        middle, swing = (self.high + self.low) / 2, (self.high - self.low) / 2
        rates = [middle - swing * math.cos(2 * math.pi * at / self.period_s) for at in knots]
        return [
            Piece(self.for_s / count, max(0.0, first), max(0.0, last))
            for first, last in itertools.pairwise(rates)
        ]

    def misfit(self) -> str:
        """See Segment."""
        if self.low > self.high:
            return f"low is {self.low:g} and high is {self.high:g}: expected low to be the lower one"
        if self.for_s > 1000 * self.period_s:
            return f"{self.for_s / self.period_s:.0f} periods of {self.period_s:g} s: expected at most 1000"
        return ""


class Replay(Segment, tag="replay", frozen=True, kw_only=True):
    """Arrivals as they were recorded: `file` is a CSV beside the scenario with a column `at_s`."""

    file: str
    speed: Seconds = 1.0  # so many times as fast


Shape = Constant | Ramp | Stairs | Spike | Soak | Sine | Replay
SHAPES: tuple[type[Segment], ...] = (Constant, Ramp, Stairs, Spike, Soak, Sine, Replay)


def phases(segments: Iterable[Segment]) -> list[tuple[str, float, float]]:
    """Return the phases of a plan, each with when it begins and ends, in seconds from the plan's begin.

    Of a name that comes again the second one is `name-2`.
    """
    found: list[tuple[str, float, float]] = []
    seen: Counter[str] = Counter()
    began = 0.0
    for name, seconds in (phase for segment in segments for phase in segment.phases()):
        seen[name] += 1
        if seconds > 0:
            found.append((name if seen[name] == 1 else f"{name}-{seen[name]}", began, began + seconds))
        began += seconds
    return found


def expected(segments: Iterable[Segment]) -> float:
    """Return how many arrivals the rates add up to: the area below them."""
    return math.fsum(
        piece.seconds * (piece.first + piece.last) / 2 for each in segments for piece in each.pieces()
    )


def read_recorded(path: Path) -> tuple[float, ...]:
    """Return the instants of a recorded schedule, in seconds from its beginning.

    Raises ValueError naming the file, the line and what was expected there.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if "at_s" not in (rows.fieldnames or ()):
                raise ValueError(f"{path}:1: no column at_s, the instants in seconds from the beginning")
            found: list[float] = []
            for row in rows:
                at = _seconds(row["at_s"])
                if at is None or at < (found[-1] if found else 0.0):
                    raise ValueError(
                        f"{path}:{rows.line_num}: at_s: expected seconds, none before"
                        f" {found[-1] if found else 0:g}, found {row['at_s']!r}"
                    )
                found.append(at)
                if len(found) > MOST:
                    raise ValueError(f"{path}: more than {MOST:,} arrivals")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: can't be read: {error}") from None
    if not found:
        raise ValueError(f"{path}: no arrival in it")
    return tuple(found)


def _seconds(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value <= 1e6 else None


def _too_long(parts_s: float, for_s: float) -> str:
    return f"its parts take {parts_s:g} s of {for_s:g} s" if parts_s > for_s else ""
