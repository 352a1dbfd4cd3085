"""What a handler is given, and the ways it may end.

A handler gets a `Call` and returns the `data` of its answer, or raises a `Problem`. It never sees HTTP, and
never a socket but the one that asked.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import msgspec

from talkamie.contract import Id, Page, Pagination, Wire
from talkamie.server import clock
from talkamie.server.store import Conflict

if TYPE_CHECKING:
    from talkamie.server.faults import Gate
    from talkamie.server.hub import Hub, Socket
    from talkamie.server.metrics import Metrics
    from talkamie.server.security import Passwords
    from talkamie.server.siblings import Siblings
    from talkamie.server.store import Row, Session, Store

T = TypeVar("T")
PasswordCost = Literal["light", "realistic"]
REQUESTS_KEPT = 10_000
ATTEMPTS = 25
MAX_PAUSE_S = 0.05


class Problem(Exception):
    """The request fails with this status and this sentence."""

    def __init__(self, status: int, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line decided."""

    password_cost: PasswordCost = "light"  # noqa: S105 - no password
    otp_resend_limit: bool = False
    platform_limits: bool = True
    auth_deadline_s: float = 30.0
    ring_timeout_s: float = 45.0
    call_grace_s: float = 15.0  # how long a call waits for somebody who lost his last socket
    dialect: str = "2025"
    extras: bool = False
    billing: bool = False
    enforce_roles: bool = False
    check_overlap: bool = False
    apigw_errors: bool = False
    origin: str = ""  # by which clients reach us: `https://host:port`
    files: str = ""  # the folder that takes uploads
    stage: str = "dev"
    loopback: bool = True  # nobody but this machine reaches us
    test: str = ""  # address of the test endpoints


class Request(NamedTuple):
    """One https request, or action, as the server saw it; instants and durations in nanoseconds."""

    id: str  # none of an action
    operation: str
    status: int  # 0 where the connection was reset instead
    start_ns: int
    duration_ns: int
    queue_ns: int  # from its first byte until the start
    fault_ns: int  # of it, what a fault plan held it up for
    fault: str  # the numbers and names of the rules that hit it, such as `1:latency 3:error`


@dataclass(slots=True)
class Service:
    """The parts of a running server."""

    settings: Settings
    store: Store
    hub: Hub
    passwords: Passwords
    metrics: Metrics
    gate: Gate | None = None  # where connections come in
    siblings: Siblings | None = None  # all processes of the server, this one too, where there are several
    started: int = field(default_factory=clock.monotonic)
    name: str = field(default_factory=lambda: secrets.token_hex(4))  # no other process has it
    requests: deque[Request] = field(default_factory=lambda: deque(maxlen=REQUESTS_KEPT))
    actions: deque[Request] = field(default_factory=lambda: deque(maxlen=REQUESTS_KEPT))

    def health(self) -> dict[str, Any]:
        """Return what `/health` says of this process."""
        faults = self.hub.faults
        body: dict[str, Any] = {
            "version": _version(),
            "stage": self.settings.stage,
            "extras": self.settings.extras,
            "faults": faults is not None,
            "passwordCost": self.passwords.cost,
            "store": self.store.name,
            "uptime_s": (clock.monotonic() - self.started) / 1e9,
            "sockets": len(self.hub),
            "workers": 1,
        }
        if self.settings.loopback and self.settings.test:
            body["test"] = self.settings.test
        return body if faults is None else body | {"faultPlan": faults.plan.name}


@dataclass(slots=True)
class Call:
    """One request: who asks, when, and with what."""

    service: Service
    db: Session
    now: int  # ms since 1970
    accepted: int  # monotonic ns: when its first byte was here
    user: str | None = None
    session: str | None = None  # the sign-in its token came from
    socket: Socket | None = None
    after: list[Callable[[], None]] = field(default_factory=list)  # done once the answer is written
    held: int = 0  # ns that faults held it up for
    faults: list[str] = field(default_factory=list)  # that hit it

    @property
    def me(self) -> str:
        """The caller's id, where the contract demands a token."""
        if self.user is None:
            raise Problem(401, "Sign in first.")
        return self.user


async def settled(work: Callable[[], Awaitable[T]]) -> T:
    """Run a handler, and again as long as its transaction loses races; 503 when it has lost too many.

    Between two tries there is a pause by chance, because two that met would meet again.
    """
    for attempt in range(ATTEMPTS):
        try:
            return await work()
        except Conflict:
            await asyncio.sleep(random.uniform(0, min(0.001 * 2**attempt, MAX_PAUSE_S)))
    raise Problem(503, "Too many wanted the same at once. Try again.", retry_after_s=1)


@dataclass(frozen=True, slots=True)
class Paged(Generic[T]):
    """One page of an answer, and the key of the next where there is one."""

    data: T
    pagination: Pagination | msgspec.UnsetType


class Cursor(Wire):
    """Where the last page ended. Clients hand it back unmodified."""

    id: str
    date_created: str
    rank: Annotated[int, msgspec.Meta(ge=0, le=2**62)] = 0  # what every store can compare

    @property
    def at(self) -> int:
        return from_iso(self.date_created)


def cursor(query: Page) -> Cursor | None:
    """Return where a page begins. A malformed key is the caller's mistake: 400."""
    if isinstance(query.last_evaluated_key, msgspec.UnsetType):
        return None
    try:
        return cursor_of(msgspec.json.decode(query.last_evaluated_key))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Problem(400, f"lastEvaluatedKey: {failure_text(error)}") from error


def cursor_of(key: Any) -> Cursor:
    """Return the cursor a client hands back, taken apart as JSON already."""
    try:
        found = msgspec.convert(key, Cursor)
    except msgspec.ValidationError as error:
        raise Problem(400, f"lastEvaluatedKey: {error}") from error
    from_iso(found.date_created)
    return found


def page(
    rows: list[Row], size: int, key: Callable[[Row], Cursor]
) -> tuple[list[Row], Pagination | msgspec.UnsetType]:
    """Cut `size + 1` rows to a page; the row too many tells that there is another."""
    if len(rows) <= size:
        return rows, msgspec.UNSET
    rows = rows[:size]
    return rows, Pagination(last_evaluated_key=msgspec.to_builtins(key(rows[-1])))


def given(value: T | msgspec.UnsetType) -> T | None:
    """Return an optional field's value, or None where it was absent."""
    return None if isinstance(value, msgspec.UnsetType) else value


def known(value: T | None) -> T | msgspec.UnsetType:
    """Return a column's value for the wire, where nothing is absent rather than null."""
    return msgspec.UNSET if value is None else value


def text_id(value: Id) -> str:
    """Return an id as ours are kept; one too long to be ours finds nothing anyway."""
    if isinstance(value, int):
        return str(value) if -(2**63) <= value < 2**63 else ""
    return value


def iso(ms: int) -> str:
    """Return an instant as it crosses the wire: `2025-06-01T10:00:00.000Z`."""
    seconds, rest = divmod(ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{rest:03d}Z"


def from_iso(text: str) -> int:
    """Return the milliseconds since 1970 of an instant. A date that does not exist is a 400."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Problem(400, f"{text!r} is no instant: {error}") from error
    if moment.tzinfo is None:
        raise Problem(400, f"{text!r} has no zone: end it with Z")
    return round(moment.timestamp() * 1000)


def like(keyword: str | msgspec.UnsetType) -> str:
    """Return the pattern that finds `keyword` anywhere, for `like … escape '!'` on a casefolded column.

    No keyword is found in everything.
    """
    if isinstance(keyword, msgspec.UnsetType):
        return "%"
    folded = keyword.casefold().replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return f"%{folded}%"


def pair(one: str, other: str) -> tuple[str, str]:
    """Return two users in the order a pair is kept in."""
    return (one, other) if one < other else (other, one)


def failure_text(error: Exception) -> str:
    """Return what a caller may know of a bad body: the decoder's sentence."""
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _version() -> str:
    try:
        return version("talkload")
    except PackageNotFoundError:
        return "unpackaged"
