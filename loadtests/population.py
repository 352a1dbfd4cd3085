"""Prepares who has an account before a run: accounts, connections, and the chats that come with these.

The control plane: it is done before any load, by a client that has nothing to do with the generator's, at
most `AT_ONCE` things at a time, and twice does no harm. The reference server has test endpoints for it, a
target without them is asked as anybody would ask it; accounts of a file are there already. Used before the
generator starts, so it imports neither Locust nor gevent.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import Any, TypeVar

import httpx
import msgspec

from loadtests.target import Target, TargetError, tls_context
from scenarios.people import Person
from scenarios.population import KINDS, Population
from scenarios.workload import Scenario, WorkloadError
from talkamie.contract import ANONYMOUS_TOKEN, OPERATIONS, OtpCheck, OtpRequest, SignIn, SignUp

AT_ONCE = 8
_BATCH = 500
_FAILED = "the people of the run could not be prepared"
_TIMEOUT_S = 60.0
_FOUND_OUT = (403, 404, 409)  # of a request for a connection: it was made, or answered, some time before

T = TypeVar("T")
Pair = tuple[Person, Person]


def plan(scenario: Scenario, users: int, file: str = "") -> Population:
    """Return who of so many users has an account before the run. Raises WorkloadError."""
    share = 1.0 if file else scenario.population.accounts
    counts = {kind: round(share * count) for kind, count in scenario.headcount(users).items()}
    found = Population(tag=secrets.token_hex(4), counts=counts, file=file)
    if file:
        _check(found, scenario)
    return found


def _check(population: Population, scenario: Scenario) -> None:
    file, found = population.file, population.people(0)
    for kind, wanted in population.counts.items():
        if (there := len(found[kind])) < wanted:
            raise WorkloadError(
                f"{file}: too few accounts with the role {KINDS[kind]}: {there} of {wanted} are left for"
                f" {kind}s; give more, or fewer --users"
            )
    without = any(not each.password for people in found.values() for each in people)
    for key, said, why in (
        ("people.leavers", scenario.people.leavers, "its accounts are not deleted"),
        ("people.newcomers", scenario.people.newcomers, "nobody new signs up"),
        ("senior.sign-up", scenario.senior.sign_up, "nobody new signs up"),
        ("volunteer.sign-up", scenario.volunteer.sign_up, "nobody new signs up"),
        ("rooms.devices", scenario.rooms.devices, "the people of rooms sign up"),
        ("people.signs_out", without and scenario.people.signs_out, "who has no password can't come back"),
    ):
        if said:
            raise WorkloadError(f"{file}: {why}, but the scenario has {key}: leave it out, or --set it to 0")


def prepare(
    target: Target,
    population: Population,
    *,
    connections: int,
    seed: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Make the accounts that are not there, and connect each senior with so many volunteers.

    `on_progress` is told how many of how many accounts and connections are done. Raises TargetError.
    """
    found = population.people(seed)
    people = [each for kind in found.values() for each in kind]
    pairs = list(_pairs(people, connections))
    done, total = 0, len(pairs) + (0 if population.file else len(people))
    try:
        with closing(_Bulk(target) if target.test and not population.file else _Api(target)) as way:
            if not population.file:
                for made in way.make(people):
                    on_progress(done := done + made, total)
            for made in way.connect(pairs):
                on_progress(done := done + made, total)
    except httpx.HTTPError as error:
        raise TargetError(f"{_FAILED}: {str(error) or type(error).__name__}") from None
    except (AttributeError, KeyError, TypeError, ValueError):
        raise TargetError(f"{_FAILED}: {target.https} does not answer as the Talkamie API") from None


def _pairs(people: list[Person], each: int) -> Iterator[Pair]:
    """Yield every senior with so many volunteers, the next ones in the row for the next one."""
    seniors, volunteers = ([p for p in people if p.type == kind] for kind in ("senior", "volunteer"))
    for number, senior in enumerate(seniors):
        for step in range(min(each, len(volunteers))):
            yield senior, volunteers[(number + step) % len(volunteers)]


class _Bulk:
    """The reference server's test endpoints: some hundreds at a time."""

    def __init__(self, target: Target) -> None:
        self._client = httpx.Client(base_url=target.test, timeout=_TIMEOUT_S, trust_env=False)
        self._ids: dict[str, str] = {}  # by e-mail

    def close(self) -> None:
        self._client.close()

    def make(self, people: list[Person]) -> Iterator[int]:
        for some in _batches(people):
            made = self._post("/accounts", [_wish(each) for each in some]).json()
            self._ids |= {each.email: account["id"] for each, account in zip(some, made, strict=True)}
            yield len(some)

    def connect(self, pairs: list[Pair]) -> Iterator[int]:
        for some in _batches(pairs):
            self._post("/connections", [[self._ids[each.email] for each in pair] for pair in some])
            yield len(some)

    def _post(self, path: str, body: Any) -> httpx.Response:
        return self._client.post(path, content=msgspec.json.encode(body)).raise_for_status()


class _Api:
    """The API as everybody has it: one thing after the other for each person, several people at once."""

    def __init__(self, target: Target) -> None:
        limits = httpx.Limits(max_connections=AT_ONCE)
        self._client = httpx.Client(
            base_url=target.https,
            verify=tls_context(target) or True,
            timeout=_TIMEOUT_S,
            trust_env=False,
            limits=limits,
        )
        self._signed_in: dict[str, tuple[str, str]] = {}  # by e-mail: id and token

    def close(self) -> None:
        self._client.close()

    def make(self, people: list[Person]) -> Iterator[int]:
        return self._at_once(self._sign_up, people)

    def connect(self, pairs: list[Pair]) -> Iterator[int]:
        everybody = {each.email: each for pair in pairs for each in pair}
        deque(self._at_once(self._sign_in, everybody.values()), maxlen=0)
        return self._at_once(self._make_known, pairs)

    def _at_once(self, do: Callable[[T], None], what: Iterable[T]) -> Iterator[int]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                for _ in pool.map(do, what):
                    yield 1
            finally:
                pool.shutdown(cancel_futures=True)

    def _sign_up(self, someone: Person) -> None:
        otp = self._call("generate-otp", OtpRequest(email=someone.email)).get("otp")
        if otp is None:
            raise TargetError(
                "the target does not tell one-time passwords, so no account can be made there:"
                " give existing ones with --accounts FILE"
            )
        self._call("verify-otp", OtpCheck(email=someone.email, code=otp))
        said = self._call("sign-up", _wish(someone))
        self._signed_in[someone.email] = said["user"]["id"], said["tokens"]["access"]

    def _sign_in(self, someone: Person) -> None:
        if someone.email in self._signed_in:
            return
        if someone.token:
            said = self._call("get-user-by-token", token=someone.token)
            self._signed_in[someone.email] = said["user"]["id"], someone.token
        else:
            said = self._call("sign-in", SignIn(email=someone.email, password=someone.password))
            self._signed_in[someone.email] = said["user"]["id"], said["tokens"]["access"]

    def _make_known(self, pair: Pair) -> None:
        (senior, asks), (volunteer, answers) = (self._signed_in[each.email] for each in pair)
        self._call("send-connection-request", token=asks, id=volunteer, expect=_FOUND_OUT)
        self._call("accept-connection", token=answers, id=senior, expect=_FOUND_OUT)

    def _call(
        self,
        operation: str,
        body: Any = None,
        *,
        token: str = ANONYMOUS_TOKEN,
        id: str = "",
        expect: tuple[int, ...] = (),
    ) -> Any:
        """Do one operation and return its data; what the target said stays untold, there may be secrets."""
        row = OPERATIONS[operation]
        answer = self._client.request(
            row.method,
            row.path.format(id=id),
            content=None if body is None else msgspec.json.encode(body),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        if answer.status_code in expect:
            return {}
        if not answer.is_success:
            raise TargetError(f"{_FAILED}: {operation} was refused with {answer.status_code}")
        return answer.json().get("data")


def _wish(someone: Person) -> SignUp:
    return SignUp(email=someone.email, password=someone.password, name=someone.name, type=someone.type)


def _batches(rows: Iterable[T]) -> Iterator[list[T]]:
    left = iter(rows)
    while some := list(islice(left, _BATCH)):
        yield some
