"""The https half: one virtual user's calls of the contract's operations, each one written down.

Rides on Locust's FastHttpUser client. Certificates are verified, redirects are not followed (an answer
that points elsewhere is a failure, and no token goes there), and every call is bounded in time.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import gevent
import msgspec
from geventhttpclient._parser import HTTPParseError
from geventhttpclient.response import HTTPConnectionClosed
from geventhttpclient.useragent import RetriesExceeded
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS, FastHttpSession
from msgspec import UNSET

from loadtests import clock
from loadtests.link import class_of
from reports.sample import Outcome
from talkamie.contract import ANONYMOUS_TOKEN, Envelope, Operation, Page, Wire

_decoders: dict[str, msgspec.json.Decoder[Envelope[Any]]] = {}
_encode = msgspec.json.encode
_PART = re.compile(r"\{(\w+)\}")


class Called(NamedTuple):
    """One call: how it ended, what came back, and its instants in ns."""

    outcome: Outcome
    data: Any
    status: int
    error: str  # a short, stable class; "" when ok
    text: str  # what the target said, for people
    sent: int
    arrived: int
    seen: int
    size: int


class Api:
    """The operations of the contract for one user. Calls may run side by side in several greenlets."""

    def __init__(self, session: FastHttpSession, base: str, *, timeout: float) -> None:
        self._session = session
        self._base = base
        self._timeout = timeout
        agent: Any = session.client
        agent.valid_response_codes = frozenset(range(100, 600))  # we judge the status ourselves
        agent.redirect_response_codes = frozenset()
        self.token = ANONYMOUS_TOKEN

    def forget(self) -> None:
        """Sign out on this side: no token, no cookies."""
        self.token = ANONYMOUS_TOKEN
        self._session.cookiejar.clear()

    def call(
        self, operation: Operation, body: Any, fields: dict[str, Any], *, expect: tuple[int, ...]
    ) -> Called:
        """Do one operation. `fields` are parts of its path and query. What the target does never raises."""
        url = self._base + target_of(operation, fields)
        payload = _encode(body) if body is not None else None
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "x-user-timezone-offset": "0",
        }
        sent = clock.now()
        try:
            with gevent.Timeout(self._timeout):
                answer = self._session.client.urlopen(
                    url, method=operation.method, payload=payload, headers=headers
                )
                content: bytes = answer.content or b""
            arrived = clock.now()
        except (*FAILURE_EXCEPTIONS, HTTPParseError, RetriesExceeded) as error:
            outcome, why = _classify(error)
            if outcome is Outcome.TIMEOUT:
                self._session.client.close()  # its connection may still get the answer of the call given up
            now = clock.now()
            return Called(outcome, None, 0, why, str(error), sent, now, now, 0)
        return self._read(operation, answer.status_code, content, expect, sent, arrived)

    def _read(
        self,
        operation: Operation,
        status: int,
        content: bytes,
        expect: tuple[int, ...],
        sent: int,
        arrived: int,
    ) -> Called:
        seen = clock.now()
        size = len(content)
        if status in expect:
            return Called(Outcome.OK, None, status, "", "", sent, arrived, seen, size)
        if not 200 <= status < 300:
            text = _error_text(content)
            return Called(Outcome.FAILED, None, status, f"status {status}", text, sent, arrived, seen, size)
        try:
            envelope = _decoder(operation).decode(content)
        except (msgspec.DecodeError, RecursionError) as error:
            return Called(
                Outcome.FAILED, None, status, "unreadable answer", str(error), sent, arrived, seen, size
            )
        if not envelope.success:
            text = _text_of(envelope)
            return Called(Outcome.FAILED, None, status, "success: false", text, sent, arrived, seen, size)
        data = None if envelope.data is UNSET else envelope.data
        return Called(Outcome.OK, data, status, "", "", sent, arrived, seen, size)


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


def _classify(error: BaseException) -> tuple[Outcome, str]:
    """Return how a call ended that got no answer, and a short, stable name for the reason."""
    match error:
        case RetriesExceeded():
            return _classify(getattr(error, "original", None) or TimeoutError())
        case gevent.Timeout() | TimeoutError():
            return Outcome.TIMEOUT, "no answer in time"
        case HTTPConnectionClosed():
            return Outcome.BROKEN, "connection closed"
        case HTTPParseError():
            broke_off = "Incomplete" in str(error)  # the library has no class of its own for it
            return (Outcome.BROKEN, "connection closed") if broke_off else (Outcome.FAILED, "not HTTP")
        case _:
            return Outcome.BROKEN, class_of(error)
