"""What can go wrong: one type for each fault, with the keys that a rule of a plan may have."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from talkamie.server.faults.delays import Distribution, Ms

# What a rule can be about. `handshake` is the opening of a socket.
HTTPS, ACTION, PUSH, HANDSHAKE = "https", "action", "push", "handshake"
GROUPS = {"wss": (ACTION, PUSH), "*": (HTTPS, ACTION, PUSH, HANDSHAKE)}

Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Period = Annotated[float, Meta(ge=0.001, le=86_400)]
Share = Annotated[float, Meta(gt=0, le=1)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Places = str | Annotated[list[str], Meta(min_length=1, max_length=200)]


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="fault"):
    """Something that goes wrong from `from_s` after the start of the plan, for `for_s` or until its end."""

    kinds: ClassVar[tuple[str, ...]] = ()  # what it can be about

    from_s: Seconds = 0.0
    for_s: Period | None = None


class Some(Rule, frozen=True, kw_only=True):
    """... to every k-th of what it is about, or to a share by chance, or else to all."""

    every: Count | None = None
    rate: Share | None = None

    def __post_init__(self) -> None:
        if self.every is not None and self.rate is not None:
            raise ValueError("every and rate exclude each other")


class Latency(Some, frozen=True, kw_only=True, tag="latency"):
    """Waits before the handler, or before a push is written."""

    kinds: ClassVar[tuple[str, ...]] = (HTTPS, ACTION, PUSH, HANDSHAKE)
    where: Places
    delay: Distribution


class Error(Some, frozen=True, kw_only=True, tag="error"):
    """Answers with a failure instead of running the handler."""

    kinds: ClassVar[tuple[str, ...]] = (HTTPS, ACTION)
    where: Places
    status: Annotated[int, Meta(ge=400, le=599)] = 500


class Reset(Some, frozen=True, kw_only=True, tag="reset"):
    """Resets the connection (RST) instead of running the handler."""

    kinds: ClassVar[tuple[str, ...]] = (HTTPS, ACTION)
    where: Places


class Trickle(Some, frozen=True, kw_only=True, tag="trickle"):
    """Writes the body of an answer in pieces of `piece_bytes`, one every `pause_ms`."""

    kinds: ClassVar[tuple[str, ...]] = (HTTPS,)
    where: Places = HTTPS
    piece_bytes: Count
    pause_ms: Ms


class Stall(Rule, frozen=True, kw_only=True, tag="stall"):
    """From every `period_s` on nothing goes ahead for `stall_ms`: who arrives then waits for the end."""

    kinds: ClassVar[tuple[str, ...]] = (HTTPS, ACTION, HANDSHAKE)
    where: Places = "*"
    stall_ms: Ms
    period_s: Period

    def __post_init__(self) -> None:
        _shorter(self.stall_ms, self.period_s, "stall_ms")


class LoopBlock(Rule, frozen=True, kw_only=True, tag="loop-block"):
    """Every `period_s` the event loop sleeps for `block_ms`: nothing is read, accepted or written."""

    block_ms: Ms
    period_s: Period

    def __post_init__(self) -> None:
        _shorter(self.block_ms, self.period_s, "block_ms")


class Capacity(Rule, frozen=True, kw_only=True, tag="capacity"):
    """A token bucket that `per_s` requests pass; `burst` at once after a pause, the others queue."""

    kinds: ClassVar[tuple[str, ...]] = (HTTPS, ACTION)
    where: Places = HTTPS
    per_s: Annotated[float, Meta(ge=0.01, le=1e6)]
    burst: Count = 1


class Drop(Some, frozen=True, kw_only=True, tag="drop"):
    """Does not write a push."""

    kinds: ClassVar[tuple[str, ...]] = (PUSH,)
    where: Places = PUSH


class Duplicate(Some, frozen=True, kw_only=True, tag="duplicate"):
    """Writes a push twice."""

    kinds: ClassVar[tuple[str, ...]] = (PUSH,)
    where: Places = PUSH


class Reorder(Some, frozen=True, kw_only=True, tag="reorder"):
    """Writes a push after the next one to the same socket; if none has come by `limit_ms`, in its turn."""

    kinds: ClassVar[tuple[str, ...]] = (PUSH,)
    where: Places = PUSH
    limit_ms: Ms = 1000


class Misdeliver(Some, frozen=True, kw_only=True, tag="misdeliver"):
    """Writes a push to a socket of another user instead."""

    kinds: ClassVar[tuple[str, ...]] = (PUSH,)
    where: Places = PUSH


class FanOut(Some, frozen=True, kw_only=True, tag="fan-out"):
    """Writes a push to the i-th socket of its user `delay_ms + i * step_ms` late, i from 0."""

    kinds: ClassVar[tuple[str, ...]] = (PUSH,)
    where: Places = PUSH
    delay_ms: Annotated[int, Meta(ge=0, le=600_000)] = 0
    step_ms: Annotated[int, Meta(ge=0, le=60_000)] = 0


class HalfOpen(Some, frozen=True, kw_only=True, tag="half-open"):
    """From this action or push on the socket stays open and says nothing; what it sends is thrown away."""

    kinds: ClassVar[tuple[str, ...]] = (ACTION, PUSH)
    where: Places


class SlowHandshake(Some, frozen=True, kw_only=True, tag="slow-handshake"):
    """Waits before it accepts a socket."""

    kinds: ClassVar[tuple[str, ...]] = (HANDSHAKE,)
    where: Literal["handshake"] = "handshake"
    delay: Distribution


class IgnorePing(Some, frozen=True, kw_only=True, tag="ignore-ping"):
    """Does not answer `ping`."""

    kinds: ClassVar[tuple[str, ...]] = (ACTION,)
    where: Literal["ping"] = "ping"


class DisconnectAll(Rule, frozen=True, kw_only=True, tag="disconnect-all"):
    """Resets every socket: once at `from_s`, or every `period_s` after it."""

    period_s: Period | None = None


class Outage(Rule, frozen=True, kw_only=True, tag="outage"):
    """Resets every connection at `from_s` and refuses new ones for `for_s`."""

    for_s: Period


WAITS = Latency | SlowHandshake | Stall | Capacity

RULES: dict[str, type[Rule]] = {
    str(kind.__struct_config__.tag): kind
    for kind in (
        *(Latency, Error, Reset, Trickle, Stall, LoopBlock, Capacity, Drop, Duplicate, Reorder),
        *(Misdeliver, FanOut, HalfOpen, SlowHandshake, IgnorePing, DisconnectAll, Outage),
    )
}


def _shorter(ms: int, period_s: float, field: str) -> None:
    if ms >= period_s * 1000:
        raise ValueError(f"{field} is not less than period_s")
