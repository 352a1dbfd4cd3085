"""Known answers: what is injected into the reference server, what is done to it meanwhile, and what was true.

A case is a fault plan and a drill. A drill is a handful of devices that each do one thing at fixed instants,
whatever becomes of it: `intended` never moves. What the suite then claims is held against `Truth`, which
comes from the books of the reference server. Pure data: `loadtests.calibrate` carries it out, and
`analysis.calibration` judges.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

CONSTANTS_MS = (1, 5, 20, 100, 500)
HTTPS = ("get-user-by-token", "get-user", "get-chats", "get-connections", "get-alerts")
SOCKET = ("ping", "get-messages", "update-alerts", "accept-call", "end-call")
"""What is held up for each of the constants, in their order: nothing that would be pushed to anybody."""

OK_OPERATION, ERROR_OPERATION, SLOW_OPERATION = HTTPS[:3]
RESET_OPERATION = "set-weekly-availability"
PING_US = (200, 350, 600, 900)
CLOCK_STEP_S = 120


class Stream(Struct, frozen=True, kw_only=True):
    """One operation, or action as `wss.name`, `per_s` times a second, by `devices` in turn."""

    what: str
    per_s: float
    devices: int = 4
    one_by_one: bool = False  # a device waits for an answer before it goes on, late if need be

    @property
    def on_socket(self) -> bool:
        """Tell whether its devices are online."""
        return self.what.startswith("wss.")


class Drill(Struct, frozen=True, kw_only=True):
    """What the generator does. Times in seconds; those of events count from when the faults begin."""

    streams: tuple[Stream, ...]
    span_s: float
    lead_s: float = 0.2  # from the begin of the faults to the first start
    listeners: int = 0  # devices of the other party, which are online and do nothing
    timeout_s: float = 10.0
    deadline_s: float = 5.0
    clock_steps: tuple[tuple[float, int], ...] = ()  # when the wall clock is set, and by how many seconds
    busy_ms: int = 0  # for so long the event loop of the generator is blocked, over and over
    kill_at_s: float = 0.0  # when the generator is killed

    @property
    def devices(self) -> int:
        """Return how many take part."""
        return sum(stream.devices for stream in self.streams) + self.listeners

    def count(self, stream: Stream) -> int:
        """Return how many starts of a stream fall due."""
        return round(stream.per_s * self.span_s)

    def starts(self, stream: Stream, device: int, offset: float) -> list[int]:
        """Return when a device of a stream has to start, ns; all are late by `offset` of an interval."""
        return [
            round((each + offset) * 1e9 / stream.per_s)
            for each in range(device, self.count(stream), stream.devices)
        ]


class Case(Struct, frozen=True, kw_only=True):
    """Something that is known, and how it is brought about. Without a drill nothing needs to be run."""

    name: str
    about: str
    plan: str = ""  # of faults, TOML
    drill: Drill | None = None
    echo_us: tuple[int, ...] = ()  # the target is not the reference server but its echo, with these delays


class Account(Struct, frozen=True):
    """Somebody who is signed in already."""

    id: str
    token: str


class Orders(Struct, frozen=True, kw_only=True):
    """What the generator is told: a drill, whose faults, and who takes part."""

    drill: Drill
    plan: str
    name: str
    me: Account
    partner: Account
    chat: str


class Rule(Struct, frozen=True):
    """One rule of the plan, as the server tells of it."""

    fault: str
    places: list[str]
    seen: int
    hits: int
    achieved_ns: list[int]
    truth_ns: dict[str, int] | None


class Ping(Struct, frozen=True):
    """What the echo's book says of one ping: instants, ns of CLOCK_MONOTONIC; 0 where the kernel has none."""

    delay_us: int
    received_ns: int  # the kernel had it
    written_ns: int  # right before the answer was written
    answered_ns: int  # the kernel gave the answer to the receiving end


class Truth(Struct, frozen=True, kw_only=True):
    """What the target's own books say of one case. Instants and durations in ns of CLOCK_MONOTONIC."""

    rules: list[Rule] = []
    took: dict[
        str, list[int]
    ] = {}  # by operation, or action as `wss.name`: from the first byte of a request to its answer
    counted: dict[str, dict[int, int]] = {}  # by operation or action: how often it ended with each status
    pushes: list[tuple[str, int, int, int, str]] = []  # message, socket, accepted, written, fate
    pings: list[Ping] = []  # of the echo

    def rule(self, fault: str, place: str = "") -> Rule:
        """Return the first rule with this fault, at this place. Raises StopIteration."""
        return next(
            rule for rule in self.rules if rule.fault == fault and (not place or place in rule.places)
        )


def _plan(*rules: dict[str, Any]) -> str:
    """Return a fault plan as TOML: values are numbers, strings and tables of these."""
    return "\n".join("[[rule]]\n" + "\n".join(f"{k} = {_toml(v)}" for k, v in rule.items()) for rule in rules)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + " }"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _constant(where: str, ms: int) -> dict[str, Any]:
    return {"fault": "latency", "where": where, "delay": {"distribution": "constant", "ms": ms}}


def _cases() -> list[Case]:
    held_up = list(zip(HTTPS, CONSTANTS_MS, strict=True))
    answers = list(zip(SOCKET, CONSTANTS_MS, strict=True))
    shapes = (
        {"distribution": "bimodal", "fast_ms": 10, "slow_ms": 100, "slow_share": 0.2},
        {"distribution": "lognormal", "median_ms": 20, "sigma": 0.5, "max_ms": 500},
    )
    few = Stream(what=OK_OPERATION, per_s=50)
    say = Stream(what="wss.send-message", per_s=40, devices=1, one_by_one=True)
    return [
        Case(
            name="https-delays",
            about="five https operations, each answered after a constant time",
            plan=_plan(*(_constant(name, ms) for name, ms in held_up)),
            drill=Drill(
                streams=tuple(Stream(what=n, per_s=100, devices=10) for n, _ in held_up), span_s=10.5
            ),
        ),
        Case(
            name="socket-delays",
            about="five actions, each answered on the socket after a constant time",
            plan=_plan(*(_constant(f"action:{name}", ms) for name, ms in answers)),
            # A server answers one socket's frames in turn: so many devices that none has two under way.
            drill=Drill(
                streams=tuple(
                    Stream(what=f"wss.{name}", per_s=100, devices=max(4, ms // 5)) for name, ms in answers
                ),
                span_s=10.5,
            ),
        ),
        Case(
            name="shapes",
            about="delays that are bimodal and lognormal",
            plan=_plan(
                *({"fault": "latency", "where": n, "delay": d} for n, d in zip(HTTPS, shapes, strict=False))
            ),
            drill=Drill(
                streams=tuple(Stream(what=n, per_s=200, devices=10) for n in HTTPS[: len(shapes)]), span_s=6
            ),
        ),
        Case(
            name="stall",
            about="the server stands still for 1 s of every 3 s",
            plan=_plan({"fault": "stall", "where": "https", "stall_ms": 1000, "period_s": 3}),
            drill=Drill(
                streams=(Stream(what=OK_OPERATION, per_s=120, devices=4, one_by_one=True),),
                span_s=9,
                lead_s=3.1,
            ),
        ),
        Case(
            name="messages",
            about="pushes that are lost, written twice, overtaken, and written to somebody else",
            plan=_plan(
                *(
                    {"fault": fault, "where": "new-message", "every": k}
                    for fault, k in (("drop", 7), ("duplicate", 11), ("reorder", 13), ("misdeliver", 17))
                )
            ),
            drill=Drill(streams=(say,), span_s=4, listeners=1, deadline_s=2),
        ),
        Case(
            name="fan-out",
            about="a push reaches the i-th of 50 sockets 20 + 2 i ms late",
            plan=_plan({"fault": "fan-out", "where": "new-message", "delay_ms": 20, "step_ms": 2}),
            drill=Drill(
                streams=(Stream(what="wss.send-message", per_s=8, devices=1),), span_s=4, listeners=50
            ),
        ),
        Case(
            name="burst",
            about="a push reaches 200 sockets at once",
            drill=Drill(
                streams=(Stream(what="wss.send-message", per_s=8, devices=1),), span_s=4, listeners=200
            ),
        ),
        Case(
            name="ping",
            about="pings that take 0.2 to 0.9 ms",
            drill=Drill(
                streams=tuple(Stream(what="wss.ping", per_s=25, devices=1) for _ in PING_US), span_s=6
            ),
            echo_us=PING_US,
        ),
        Case(
            name="failures",
            about="errors, resets and answers that come after the client has given up",
            plan=_plan(
                {"fault": "error", "where": ERROR_OPERATION, "every": 5, "status": 500},
                {"fault": "reset", "where": RESET_OPERATION, "every": 5},
                _constant(SLOW_OPERATION, 1200) | {"every": 5},
            ),
            drill=Drill(
                streams=tuple(Stream(what=n, per_s=50) for n in (*HTTPS[:3], RESET_OPERATION)),
                span_s=3,
                timeout_s=1,
                deadline_s=2,
            ),
        ),
        Case(
            name="outage",
            about="the server is away for 3 s",
            plan=_plan({"fault": "outage", "from_s": 1.5, "for_s": 3}),
            drill=Drill(streams=(few,), span_s=6),
        ),
        Case(
            name="clock",
            about="the wall clock of the generator is set, 120 s ahead and back again",
            plan=_plan(_constant(OK_OPERATION, 20), _constant("action:ping", 20)),
            drill=Drill(
                streams=(few, Stream(what="wss.ping", per_s=50)),
                span_s=5,
                clock_steps=((1.5, CLOCK_STEP_S), (3.5, -CLOCK_STEP_S)),
            ),
        ),
        Case(
            name="saturated",
            about="the generator has something else to do, and the kernel has not",
            # So many devices that no read brings two answers, the first with the second's stamp.
            drill=Drill(streams=(Stream(what="wss.ping", per_s=20, devices=8),), span_s=6, busy_ms=40),
            echo_us=PING_US[-1:],
        ),
        Case(
            name="killed",
            about="the generator is killed",
            drill=Drill(streams=(Stream(what=OK_OPERATION, per_s=100),), span_s=10, kill_at_s=3.5),
        ),
        Case(name="merge", about="the same samples, split over 1 to 16 workers"),
    ]


CASES = {case.name: case for case in _cases()}
