"""A scenario: who, how many, doing what, for how long, and what they are owed.

What can be told from one key alone is in its type; what takes several keys is checked here. Every mistake
is named with its line and key and with what was expected there (`scenarios.reading`).
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from scenarios.arrivals import (
    MOST,
    PHASES,
    Constant,
    Pause,
    Rate,
    Replay,
    Segment,
    Shape,
    expected,
    phases,
    read_recorded,
)
from scenarios.reading import WorkloadError, convert, loads, nearest, parse_as, place, read_text
from scenarios.slo import GATE_METRICS, SloError, parse_slo, parse_tolerance
from talkamie.contract import PING_INTERVAL_S

__all__ = ["Load", "Mix", "People", "Scenario", "WorkloadError", "available", "load", "parse"]
__all__ += ["parse_as", "place", "read_text"]  # of other files, whose mistakes are named in the same way

HERE = Path(__file__).parent
BESIDE = ("name", "file", "recorded")  # fields of a Scenario that no file states

Positive = Annotated[float, Meta(gt=0, le=1e6)]
Weight = Annotated[float, Meta(ge=0, le=1e6)]
Share = Annotated[float, Meta(ge=0, le=1)]


class _Strict(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    pass


class Load(_Strict, frozen=True, kw_only=True):
    """How many people, how fast they come, how long it lasts."""

    users: Annotated[int, Meta(ge=1, le=100_000)]
    spawn_rate: Positive = 10.0  # people a second
    run_time_s: Positive = 60.0  # of an open run: how long people arrive, once everybody is online
    arrivals: Rate | tuple[Shape, ...] = 0.0  # a second, or shapes one after the other; 0: a closed model
    spacing: Literal["poisson", "even"] = "poisson"
    waiting: Annotated[int, Meta(ge=0, le=1_000_000)] = 10_000  # starts that may wait for somebody free
    warm_up_s: Positive = 60.0  # at latest then people arrive, whoever is online

    def segments(self, seconds: float) -> tuple[Segment, ...]:
        """Return the shapes of the arrival rate over a run of `seconds`; none of a closed model."""
        if isinstance(self.arrivals, tuple):
            return self.arrivals
        return (Constant(for_s=seconds, rate=self.arrivals),) if self.arrivals else ()

    def phases(self, seconds: float) -> list[str]:
        """Return the names of all phases of a run: those of every run, and those of its arrivals."""
        return [*PHASES, *(name for name, _, _ in phases(self.segments(seconds)))]


class People(_Strict, frozen=True, kw_only=True):
    """Shares of the kinds of people, and how much faster than real ones they act."""

    senior: Weight = 1.0
    volunteer: Weight = 1.0
    lurker: Weight = 0.0
    pace: Positive = 1.0
    newcomers: Share = 0.0  # share of visits that end in a sign-out, the next one being somebody new
    leavers: Share = 0.0  # share of visits that end in deleting the account
    signs_out: Share = 0.0  # share of visits that end in a sign-out, to come back with a password
    answers: Share = 0.85  # chance of answering a message, assumed
    accepts: Share = 0.95  # chance of accepting a request, assumed
    picks_up: Share = 0.8  # chance of answering the phone, assumed
    declines: Share = 0.1  # chance of rejecting a call, assumed; else it rings out


class Population(_Strict, frozen=True, kw_only=True):
    """What there is before anybody comes: accounts, connections, and the chats that come with these."""

    accounts: Share = 0.0  # share of the people who have an account: they sign in and do not sign up
    connections: Annotated[int, Meta(ge=0, le=1000)] = 0  # of each senior with an account, to volunteers


class Server(_Strict, frozen=True, kw_only=True):
    """The reference server, where it is started for this run."""

    password_cost: Literal["light", "realistic"] = "light"  # noqa: S105 - no password
    extras: bool = False
    billing: bool = False
    enforce_roles: bool = False
    check_overlap: bool = False


class Storm(_Strict, frozen=True, kw_only=True):
    """When the target drops everybody's sockets at once, in seconds of the steady state."""

    at_s: tuple[Pause, ...] = ()


class Mix(_Strict, frozen=True, kw_only=True):
    """What people start of their own accord, as weights. Answering others is not a choice here."""

    browse: Weight = 0.0
    connect: Weight = 0.0
    message_request: Weight = msgspec.field(default=0.0, name="message-request")
    chat: Weight = 0.0
    read_back: Weight = msgspec.field(default=0.0, name="read-back")
    notifications: Weight = 0.0
    schedule: Weight = 0.0
    reschedule: Weight = 0.0
    clear: Weight = 0.0
    call: Weight = 0.0
    history: Weight = 0.0
    settings: Weight = 0.0
    password: Weight = 0.0
    review: Weight = 0.0
    reload: Weight = 0.0
    sign_up: Weight = msgspec.field(default=0.0, name="sign-up")
    reconnect: Weight = 0.0
    idle: Weight = 0.0


class Rooms(_Strict, frozen=True, kw_only=True):
    """Rooms of a known size: a host with so many devices, all signed in, and somebody who writes to them."""

    devices: tuple[Annotated[int, Meta(ge=1, le=10_000)], ...] = ()  # of each room's host
    ping_interval_s: Positive = PING_INTERVAL_S  # of each device but the one that is read on

    @property
    def further(self) -> int:
        """Return how many devices there are beside those that are read on."""
        return sum(self.devices) - len(self.devices)


class Client(_Strict, frozen=True, kw_only=True):
    """What the app does on its own, and how long it waits."""

    ping_interval_s: Positive = PING_INTERVAL_S
    timeout_s: Positive = 10.0  # for every answer
    delivery_deadline_s: Positive = 5.0  # later than this is late
    reconnect: Literal["instant", "backoff"] = "instant"  # the real app: at once
    backoff_s: Positive = 1.0  # of backoff: before the first attempt up to this, then up to twice as long …
    backoff_most_s: Positive = 30.0  # … and never longer than this


class Abort(_Strict, frozen=True, kw_only=True):
    """When a run is ended early, because its target has run away: see `loadtests.abort`."""

    success_below: Share = 0.0  # of all attempts; 0: never
    for_s: Positive = 10.0


class Scenario(_Strict, frozen=True, kw_only=True):
    description: str
    load: Load
    people: People = People()
    senior: Mix = Mix()
    volunteer: Mix = Mix()
    rooms: Rooms = Rooms()
    client: Client = Client()
    population: Population = Population()
    storm: Storm = Storm()
    server: Server = Server()
    abort: Abort = Abort()
    slo: dict[str, str] = {}
    gate: dict[str, str] = {}

    name: str = ""
    file: str = ""
    recorded: dict[str, tuple[float, ...]] = {}  # what is replayed, by file

    def resolved(self) -> dict[str, Any]:
        """Return the whole configuration, defaults included, as plain data."""
        data: dict[str, Any] = msgspec.to_builtins(self)
        for beside in BESIDE:
            del data[beside]
        return data

    def misfit(self, users: int) -> str:
        """Return why so many people can't come, "" if they can. A room takes two, shares the others."""
        rooms, people = len(self.rooms.devices), self.people
        shares = people.senior + people.volunteer + people.lurker
        if not rooms and shares <= 0:
            return "every share of [people] is 0; somebody must come"
        if users < 2 * rooms:
            return f"{users} people are too few for {rooms} rooms, each with a host and a writer"
        if users > 2 * rooms and shares <= 0:
            return f"{rooms} rooms take {2 * rooms} of {users} people, and every share of [people] is 0"
        return ""

    def headcount(self, users: int) -> dict[str, int]:
        """Return how many seniors, volunteers and lurkers there are of so many users, rooms left out.

        By shares: the next is whose quotient of share and 2n + 1 is highest (Webster, Sainte-Laguë).
        """
        people = self.people
        # Of equals the first one, in this order.
        shares = {"lurker": people.lurker, "senior": people.senior, "volunteer": people.volunteer}
        found = {"senior": 0, "volunteer": 0, "lurker": 0}
        for _ in range(users - 2 * len(self.rooms.devices)):
            found[max(shares, key=lambda kind: shares[kind] / (2 * found[kind] + 1))] += 1
        return found

    def serve_options(self) -> list[str]:
        """Return the options of `talkload serve` for a server that is started for this scenario."""
        server = self.server
        switches = ("extras", "billing", "enforce_roles", "check_overlap")
        options = [f"--{each.replace('_', '-')}" for each in switches if getattr(server, each)]
        if self.population.accounts or self.storm.at_s:
            options.append("--test-endpoints")
        return ["--password-cost", server.password_cost, *options]

    def hash(self) -> str:
        """Return a digest of everything that shapes the load: equal digests are comparable runs."""
        beside = ("description", "slo", "gate", "abort")  # what is said of a load, and asked of it
        shapes = {k: v for k, v in self.resolved().items() if k not in beside}
        text = msgspec.json.encode({**shapes, "recorded": self.recorded}, order="sorted")
        return hashlib.sha256(text).hexdigest()[:16]


def available() -> dict[str, Path]:
    """Return the scenarios that ship with the suite, by name."""
    return {path.stem: path for path in sorted(HERE.glob("*.toml"))}


def load(name_or_file: str, settings: Sequence[str] = ()) -> Scenario:
    """Return the scenario with this name, or in this file, with `table.key=value` put into it.

    Raises WorkloadError.
    """
    shipped = available()
    if name_or_file in shipped:
        path, file = shipped[name_or_file], shipped[name_or_file].name
    else:
        path, file = Path(name_or_file), name_or_file
        if path.suffix != ".toml":
            hint = nearest(name_or_file, shipped)
            wanted = f"one of {', '.join(shipped)}, or a file *.toml"
            raise WorkloadError(f"there is no scenario {name_or_file!r}{hint}: expected {wanted}")
    return parse(read_text(path), name=path.stem, file=file, folder=path.parent, settings=settings)


def parse(text: str, *, name: str, file: str, folder: Path = HERE, settings: Sequence[str] = ()) -> Scenario:
    """Return the scenario that `text` states; files that it names are beside it, in `folder`.

    Raises WorkloadError naming `file`, the line and the key, or the setting.
    """
    data = loads(text, file)
    chosen = [_put(setting, data) for setting in settings]
    where = partial(place, file, text, chosen=chosen)
    for reserved in BESIDE:
        if reserved in data:
            raise WorkloadError(f"{where([reserved])}: unknown key; the name is the file's own")
    scenario = convert({**data, "name": name, "file": file}, Scenario, where, BESIDE)
    _check(scenario, lambda *keys: where(list(keys)))
    return msgspec.structs.replace(scenario, recorded=_recorded(scenario.load, folder, where))


def _put(setting: str, data: dict[str, Any]) -> list[str]:
    """Put `table.key=value` into a scenario's data; return its keys.

    The value is TOML where it can be read as that, else a string: quotes are the shell's.
    """
    name, equals, value = setting.partition("=")
    keys = [key.strip() for key in name.split(".", 1)]  # two levels: what follows is one key, as in [slo]
    if not equals or not all(keys):
        raise WorkloadError(f"--set {setting}: expected table.key=value, such as load.users=20")
    try:
        read = tomllib.loads(f"value = {value.strip()}")
    except (tomllib.TOMLDecodeError, RecursionError):
        read = {}
    table = data.setdefault(keys[0], {}) if len(keys) == 2 else data
    if not isinstance(table, dict):
        raise WorkloadError(f"--set {name}: {keys[0]} is not a table")
    table[keys[-1]] = read["value"] if read.keys() == {"value"} else value.strip()
    return keys


def _check(scenario: Scenario, place: Callable[..., str]) -> None:
    people = scenario.people
    if complaint := scenario.misfit(scenario.load.users):
        raise WorkloadError(f"{place('rooms' if scenario.rooms.devices else 'people')}: {complaint}")
    for kind, mix in (("senior", scenario.senior), ("volunteer", scenario.volunteer)):
        if getattr(people, kind) and sum(msgspec.structs.astuple(mix)) <= 0:
            raise WorkloadError(f"{place(kind)}: every weight is 0 or missing; a {kind} must do something")
    _check_arrivals(scenario.load, place)
    phases = scenario.load.phases(scenario.load.run_time_s)
    late = [at for at in scenario.storm.at_s if at >= scenario.load.run_time_s]
    if late:
        raise WorkloadError(
            f"{place('storm', 'at_s')}: {late[0]:g} s, but the run lasts {scenario.load.run_time_s:g} s"
        )
    for name, limit in scenario.slo.items():
        try:
            phase = parse_slo(name, limit).phase
        except SloError as error:
            raise WorkloadError(f"{place('slo', name)}: {error}") from None
        if phase and phase not in phases:
            hint = nearest(phase, phases)
            known = ", ".join(phases)
            raise WorkloadError(
                f"{place('slo', name)}: there is no phase {phase!r}{hint}: expected one of {known}"
            )
    if len(scenario.gate) > GATE_METRICS:
        raise WorkloadError(
            f"{place('gate')}: {len(scenario.gate)} metrics; a gate judges at most {GATE_METRICS}"
            " (all others are compared for information)"
        )
    for name, tolerance in scenario.gate.items():
        try:
            parse_tolerance(name, tolerance)
        except SloError as error:
            raise WorkloadError(f"{place('gate', name)}: {error}") from None


def _check_arrivals(load: Load, place: Callable[..., str]) -> None:
    segments = load.segments(load.run_time_s)
    for number, segment in enumerate(segments):
        taken = sorted({name for name, _ in segment.phases()} & set(PHASES))
        complaint = f"{taken[0]} is a phase of every run: give it another name" if taken else segment.misfit()
        if complaint:
            raise WorkloadError(f"{place('load', f'arrivals[{number}]')}: {complaint}")
    lasts = sum(segment.for_s for segment in segments)
    if segments and abs(lasts - load.run_time_s) > 1e-6:
        where = place("load", "run_time_s")
        raise WorkloadError(f"{where}: {load.run_time_s:g} s, but the segments of arrivals last {lasts:g} s")
    if (count := expected(segments)) > MOST:
        raise WorkloadError(f"{place('load', 'arrivals')}: {count:,.0f} arrivals, expected at most {MOST:,}")


def _recorded(load: Load, folder: Path, place: Callable[[list[str]], str]) -> dict[str, tuple[float, ...]]:
    """Return the recorded schedules that are replayed, by file."""
    found = {}
    for number, segment in enumerate(load.segments(load.run_time_s)):
        if isinstance(segment, Replay):
            try:
                found[segment.file] = read_recorded(folder / segment.file)
            except ValueError as error:
                raise WorkloadError(f"{place(['load', f'arrivals[{number}]', 'file'])}: {error}") from None
    return found
