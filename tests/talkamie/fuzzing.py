"""What both fuzz tests need: a server that is watched, values that hurt, and JSON of a schema's shape."""

from __future__ import annotations

import re
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.talkamie.conftest import Person, Ready, ask, befriend, people_of, running
from tests.talkamie.stores import Backend

HUGE = 10**40
ODD: list[Any] = [
    None, True, False, 0, -1, 1.5, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, HUGE, 1e308, -0.0,
    "", " ", "\u0000", "\u0001a", "\u202e", "💥" * 40, "é", "~", "%", "'; drop table users; --", "undefined",
    "9999-12-31T23:59:59.999Z", "0001-01-01T00:00:00.000Z", "2025-02-31", "x" * 5000,
    [], {}, [[]], {"a": {}}, {"": ""}, {"id": HUGE}, {"status": "read"}, [None] * 50,
]  # fmt: skip
CURSORS: list[Any] = [
    {"id": "~", "dateCreated": "2099-01-01T00:00:00.000Z"},
    {"id": "", "dateCreated": "0001-01-01T00:00:00.000Z", "rank": 5},
    {"id": "\u0000", "dateCreated": "9999-12-31T23:59:59.999Z", "rank": 2**62},
    {"id": "x", "dateCreated": "2025-06-01T00:00:00.000Z", "rank": 2**63},
    {"id": "x", "dateCreated": "2025-06-01T00:00:00.000Z", "rank": -HUGE},
    {"id": "x", "dateCreated": "0001-01-01T00:00:00.000+23:59"},
    {"id": "x", "dateCreated": "9999-12-31T23:59:59.999-23:59"},
    {"id": HUGE, "dateCreated": "2025-06-01"},
    {"id": "x" * 9000, "dateCreated": "2025-06-01T00:00:00.000Z"},
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@dataclass
class Watched:
    """A running server, two people who are friends and a bystander, and what the server wrote to stderr."""

    backend: str
    ready: Ready
    make: Callable[..., list[Person]]
    log: Any
    ann: Person
    bob: Person
    chat: str
    ticket: str  # Ann's
    known: list[str]  # ids that exist: three users, the chat, its message, the ticket, an alert, a schedule

    def schedule(self) -> str:
        """Return the id of a new schedule between the two friends."""
        slot = {
            "title": "Tea",
            "type": "audio",
            "startDateTime": "2099-01-01T10:00:00Z",
            "endDateTime": "2099-01-01T11:00:00Z",
            "recurrence": "weekly",
        }
        made = self.ann.call("POST", f"/user/{self.bob.id}/schedule", slot)["data"]
        return str(made["schedule"]["id"])

    def check(self) -> None:
        """Assert that nothing went wrong on the server's side: by its log, its metrics and its health."""
        self.log.seek(0)
        written = self.log.read()
        assert written == ""
        base = self.ready["https"].removesuffix("/v1")
        metrics = self.ann.http.get(base + "/metrics").text
        failed = re.findall(r'^talkamie_requests_total{.*status="5\d\d".*', metrics, re.MULTILINE)
        assert failed == []
        assert self.ann.http.get(base + "/health").status_code == 200


@contextmanager
def watched(backend: Backend) -> Iterator[Watched]:
    """Start a server with a little history on it."""
    with (
        tempfile.TemporaryFile("w+") as log,
        running("--port", "0", "--test-endpoints", "--extras", *backend.options(), stderr=log) as (ready, _),
        people_of(ready, ssl.create_default_context(cafile=ready["ca"])) as make,
    ):
        ann, bob = make()
        chat = befriend(ann, bob)
        socket = bob.connect()
        sent = ask(socket, "send-message", chatId=chat, message={"text": "hello"})["data"]["message"]["id"]
        socket.close()
        socket = ann.connect()
        ticket = ask(socket, "send-support-message", message={"text": "help"})["data"]["ticket"]["id"]
        socket.close()
        (cid,) = make(1)
        cid.call("POST", f"/user/{ann.id}/connection")
        alerts = [one["id"] for one in ann.call("GET", "/alerts")["data"]]
        known = [ann.id, bob.id, cid.id, chat, sent, ticket, *alerts]
        watched = Watched(backend.name, ready, make, log, ann, bob, chat, ticket, known)
        watched.known.append(watched.schedule())
        yield watched


def shaped(schema: Any, components: Any, known: list[str]) -> st.SearchStrategy[Any]:
    """Return JSON values of a schema: of the subset that the contract's types make."""
    match schema:
        case {"$ref": reference}:
            name = reference.rpartition("/")[2]
            return st.deferred(lambda: shaped(components[name], components, known))
        case {"const": value}:
            return st.just(value)
        case {"enum": values}:
            return st.sampled_from(values)
        case {"anyOf": kinds}:
            return st.one_of(*(shaped(kind, components, known) for kind in kinds))
        case {"type": "string", "pattern": pattern}:
            return st.from_regex(pattern.replace("$", r"\Z"))
        case {"type": "string"}:
            least, most = schema.get("minLength", 0), min(schema.get("maxLength", 50), 50)
            return st.sampled_from(known) | st.text(min_size=least, max_size=most)
        case {"type": "integer"}:
            return st.integers(schema.get("minimum"), schema.get("maximum"))
        case {"type": "number"}:
            return st.floats(allow_nan=False, allow_infinity=False)
        case {"type": "boolean"}:
            return st.booleans()
        case {"type": "array"}:
            return st.lists(shaped(schema.get("items", {}), components, known), max_size=3)
        case {"type": "object", "properties": properties}:
            fields = {name: shaped(one, components, known) for name, one in properties.items()}
            needed = {name: fields.pop(name) for name in schema.get("required", [])}
            return st.fixed_dictionaries(needed, optional=fields)
        case {"type": "object", "additionalProperties": dict(values)}:
            keys = st.sampled_from(known) | st.text(max_size=20)
            least = schema.get("minProperties", 0)
            return st.dictionaries(keys, shaped(values, components, known), min_size=least, max_size=4)
        case {"type": "object"}:
            return st.sampled_from(CURSORS) | st.dictionaries(st.text(max_size=5), json_values, max_size=3)
    return json_values


@st.composite
def mutated(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> Any:
    """Return a value with one place of it changed: another type, missing, one more, huge or nested."""
    value = draw(values)
    at: Any = None
    key: Any = None
    inner: Any = value
    while isinstance(inner, (dict, list)) and inner and (at is None or draw(st.booleans())):
        at = inner
        key = draw(st.sampled_from(list(inner) if isinstance(inner, dict) else range(len(inner))))
        inner = at[key]
    if at is None:
        return draw(st.sampled_from(ODD))
    match draw(st.sampled_from(["odd", "any", "missing", "more", "nested"])):
        case "odd":
            at[key] = draw(st.sampled_from(ODD))
        case "any":
            at[key] = draw(json_values)
        case "missing":
            del at[key]
        case "more" if isinstance(at, dict):
            at[draw(st.text(max_size=8))] = draw(st.sampled_from(ODD))
        case _:
            for _ in range(draw(st.sampled_from([1, 30, 300]))):
                inner = [inner]
            at[key] = inner
    return value
