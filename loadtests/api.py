"""The https half: one virtual user's calls of the contract's operations.

Rides on `loadtests.http1`. Certificates are verified, redirects are not followed (an answer that points
elsewhere is a failure, and no token goes there), and every call is bounded in time and size.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from msgspec import UNSET

from loadtests import clock
from loadtests.http1 import Answer, BadAnswer, Client, Closed, NoAnswer, is_token
from loadtests.link import class_of
from loadtests.stream import Opened
from loadtests.waiting import Expired
from reports.sample import Outcome
from talkamie.contract import ANONYMOUS_TOKEN, Envelope, Operation, Page, Wire

_HEADERS = (
    "Authorization: Bearer {token}\r\n"
    "Content-Type: application/json\r\n"
    "Accept: application/json\r\n"
    "x-user-timezone-offset: 0\r\n"
    "User-Agent: talkload\r\n"
)

_decoders: dict[str, msgspec.json.Decoder[Envelope[Any]]] = {}
_encode = msgspec.json.encode
_PART = re.compile(r"\{(\w+)\}")


class Called(NamedTuple):
    """One call: how it ended, what came back, and its instants in ns.

    `sent` is right before the request was written (of a call that could not be sent: when it was given up),
    `first` when the first byte of the answer was there, 0 where none came.
    """

    outcome: Outcome
    data: Any
    status: int
    error: str  # a short, stable class; "" when ok
    text: str  # what the target said, for people
    sent: int
    first: int
    arrived: int
    seen: int
    size: int


class Api:
    """The operations of the contract for one user. Calls may run side by side in several greenlets."""

    def __init__(
        self,
        base: str,
        tls: ssl.SSLContext | None,
        *,
        timeout: float,
        on_open: Callable[[Opened], None] | None = None,
    ) -> None:
        """`base`: origin and version prefix. `on_open` is told of each new connection's phases."""
        self._client = Client(base, tls, on_open)
        self._prefix = urlsplit(base).path
        self._timeout = clock.ns(timeout)
        self.token = ANONYMOUS_TOKEN

    @property
    def token(self) -> str:
        """What the calls are authorised with. One that can't stand in a header makes every call fail."""
        return self._token

    @token.setter
    def token(self, token: str) -> None:
        self._token = token
        self._headers = _HEADERS.format(token=token).encode("ascii") if is_token(token) else b""

    @property
    def unasked(self) -> int:
        """How many connections were dropped because they brought bytes that nobody asked for."""
        return self._client.unasked

    def forget(self) -> None:
        """Sign out on this side: no token, no cookies."""
        self.token = ANONYMOUS_TOKEN
        self._client.cookies.clear()

    def close(self) -> None:
        """Close all connections that are idle: the page is gone."""
        self._client.close()

    def call(
        self, operation: Operation, body: Any, fields: dict[str, Any], *, expect: tuple[int, ...]
    ) -> Called:
        """Do one operation. `fields` are parts of its path and query. What the target does never raises."""
        deadline = clock.now() + self._timeout
        target = self._prefix + target_of(operation, fields)
        payload = _encode(body) if body is not None else None
        try:
            if not self._headers:
                raise NoAnswer(BadAnswer("token unfit for a header"), 0)
            answer = self._client.request(operation.method, target, self._headers, payload, deadline)
        except NoAnswer as failure:
            outcome, why = _classify(failure.error)
            now = clock.now()
            return Called(outcome, None, 0, why, str(failure), failure.sent or now, 0, now, now, 0)
        return _read(operation, answer, expect)


def _read(operation: Operation, answer: Answer, expect: tuple[int, ...]) -> Called:
    """Judge an answer."""
    seen = clock.now()
    status, content, sent, first, arrived = answer

    def called(outcome: Outcome, error: str = "", text: str = "", data: Any = None) -> Called:
        return Called(outcome, data, status, error, text, sent, first, arrived, seen, len(content))

    if status in expect:
        return called(Outcome.OK)
    if not 200 <= status < 300:
        return called(Outcome.FAILED, f"status {status}", _error_text(content))
    try:
        envelope = _decoder(operation).decode(content)
    except (msgspec.DecodeError, RecursionError) as error:
        return called(Outcome.FAILED, "unreadable answer", str(error))
    if not envelope.success:
        return called(Outcome.FAILED, "success: false", _text_of(envelope))
    return called(Outcome.OK, data=None if envelope.data is UNSET else envelope.data)


def target_of(operation: Operation, fields: dict[str, Any]) -> str:
    """Return path and query of an operation, the way the web client writes them (`lastEvaluatedKey=`)."""
    rest = dict(fields)
    path = _PART.sub(lambda part: quote(str(rest.pop(part[1])), safe=""), operation.path)
    if operation.query is None:
        assert not rest, f"{operation.name} takes no {', '.join(rest)}"
        return path
    query: Wire = operation.query(**rest)
    pairs = {
        field.encode_name: value
        for field in msgspec.structs.fields(query)
        if (value := getattr(query, field.name)) is not UNSET
    }
    if isinstance(query, Page) and "email" not in rest:
        pairs.setdefault("lastEvaluatedKey", "")
    elif "email" in rest:
        pairs = {"email": rest["email"]}  # the sign-up check asks for nothing else
    return f"{path}?{urlencode(pairs)}"


def _decoder(operation: Operation) -> msgspec.json.Decoder[Envelope[Any]]:
    if operation.name not in _decoders:
        envelope: Any = Envelope
        kind = envelope[operation.data if operation.data is not None else Any]
        _decoders[operation.name] = msgspec.json.Decoder(kind)
    return _decoders[operation.name]


def _error_text(content: bytes) -> str:
    try:
        return _text_of(msgspec.json.decode(content[:65536], type=Envelope[Any]))
    except (msgspec.DecodeError, RecursionError):
        return ""


def _text_of(envelope: Envelope[Any]) -> str:
    return str(envelope.error or envelope.message or "")[:200]


def _classify(error: Exception) -> tuple[Outcome, str]:
    """Return how a call ended that got no answer, and a short, stable name for the reason."""
    match error:
        case BadAnswer():
            return Outcome.FAILED, str(error)
        case Expired():
            return Outcome.TIMEOUT, "no answer in time"
        case Closed():
            return Outcome.BROKEN, "connection closed"
        case _:
            return Outcome.BROKEN, class_of(error)
