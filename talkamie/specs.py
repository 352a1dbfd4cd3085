"""The contract in two public formats: OpenAPI 3.1 for its https half, AsyncAPI 3.0 for its wss half.

Nothing is written here that the contract does not say: each row becomes one operation, each type one schema.
`python -m talkamie.specs` writes both documents to docs/specs; a test holds those copies to the contract.

AsyncAPI is told from the server's side: it receives what a client sends, replies, and sends pushes.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from talkamie.contract import (
    ACTIONS,
    EXTRA_ACTIONS,
    EXTRA_OPERATIONS,
    OPERATIONS,
    VERSION_PREFIX,
    Auth,
    Envelope,
    Frame,
    Operation,
    SocketAction,
)

Document = dict[str, Any]
DIALECT = "2025"
FOLDER = Path("docs/specs")
_REF = "#/components/schemas/{name}"
_SCHEME = "accessToken"
_ABOUT = {
    "openapi": "The https half of the Talkamie API. Every answer is an envelope; a page is asked for with "
    "`pageSize` and the `lastEvaluatedKey` of the answer before, and an empty query parameter means an "
    "absent one. The wss half is in asyncapi.json.",
    "asyncapi": "The wss half of the Talkamie API: one JSON object a text frame, with `action` on top. The "
    "first frame is `authenticate`; before it only `ping` is answered. An answer carries the name of its "
    "action and goes to the socket that asked; pushes come unasked. The https half is in openapi.json.",
}


class Schemas:
    """The schemas of a document's types, each once, and how to refer to them."""

    def __init__(self, wrapper: Any, types: Iterable[Any]) -> None:
        wanted = {str(one): one for one in types if one is not None}
        schemas, components = msgspec.json.schema_components([wrapper, *wanted.values()], ref_template=_REF)
        name = wrapper.__origin__.__name__
        generic = components.pop(schemas[0]["$ref"].rpartition("/")[2])
        self.components = {name: generic | {"title": name}} | dict(sorted(components.items()))
        self._of = dict(zip(wanted, schemas[1:], strict=True))
        self._wrapper = {"$ref": _REF.format(name=name)}

    def of(self, kind: Any) -> Document:
        return self._of[str(kind)]

    def wrapped(self, kind: Any, **fixed: Any) -> Document:
        """Return an envelope whose `data` is a `kind`, and whose other fields have these values."""
        properties = {field: {"const": value} for field, value in fixed.items()}
        data = {} if kind is None else {"data": self.of(kind)}
        return {
            "allOf": [self._wrapper],
            "properties": properties | data,
            "required": [*properties, *data],
        }


def openapi(*tables: Mapping[str, Operation]) -> Document:
    """Return the OpenAPI 3.1 document of some tables of operations."""
    rows = [row for table in tables for row in table.values()]
    schemas = Schemas(Envelope[Any], [kind for row in rows for kind in (row.body, row.data)])
    paths: dict[str, Document] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, schemas)
    failure = {
        "description": "The request failed: `error`, else `message`, says why.",
        "content": _json(schemas.wrapped(None, success=False)),
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Talkamie", "version": DIALECT, "description": _ABOUT["openapi"]},
        "servers": [{"url": VERSION_PREFIX}],
        "tags": [{"name": name} for name in dict.fromkeys(row.folder for row in rows)],
        "paths": paths,
        "components": {
            "securitySchemes": {_SCHEME: {"type": "http", "scheme": "bearer"}},
            "responses": {"Failure": failure},
            "schemas": schemas.components,
        },
    }


def _operation(row: Operation, schemas: Schemas) -> Document:
    parts: list[Document] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"{(\w+)}", row.path)
    ]
    operation: Document = {
        "operationId": row.name,
        "summary": _sentence(row.name),
        "tags": [row.folder],
        "security": [{}, {_SCHEME: []}] if row.auth is Auth.PUBLIC else [{_SCHEME: []}],
        "parameters": parts + ([] if row.query is None else _query(row.query)),
        "responses": {
            "200": {"description": "Done.", "content": _json(schemas.wrapped(row.data, success=True))},
            "default": {"$ref": "#/components/responses/Failure"},
        },
    }
    if row.auth is Auth.SELF:
        operation["description"] = "Only for the user whose id is in the path."
    if row.body is not None:
        operation["requestBody"] = {"required": True, "content": _json(schemas.of(row.body))}
    return operation


def _query(kind: type[msgspec.Struct]) -> list[Document]:
    _, components = msgspec.json.schema_components([kind], ref_template=_REF)
    whole = components[kind.__name__]
    return [
        {"name": name, "in": "query", "required": name in whole["required"], "schema": schema}
        for name, schema in whole["properties"].items()
    ]


def asyncapi(*tables: Mapping[str, SocketAction]) -> Document:
    """Return the AsyncAPI 3.0 document of some tables of actions."""
    rows = [row for table in tables for row in table.values()]
    schemas = Schemas(Frame[Any], [kind for row in rows for kind in (row.request, row.answer, row.push)])
    messages: dict[str, Document] = {
        "failure": {
            "summary": "Something failed; `action` is what was asked, where it could be read.",
            "payload": schemas.wrapped(None, success=False),
        }
    }
    operations: dict[str, Document] = {}
    for row in rows:
        if row.request is not None:
            payload = {"allOf": [schemas.of(row.request)], "properties": {"action": {"const": row.name}}}
            answer = schemas.wrapped(row.answer, action=row.name, success=True)
            messages[f"{row.name}-request"] = {"payload": payload}
            messages[f"{row.name}-answer"] = {"payload": answer}
            operations[row.name] = _exchange(row, "receive", f"{row.name}-request") | {
                "reply": {
                    "channel": {"$ref": "#/channels/socket"},
                    "messages": [_message(f"{row.name}-answer"), _message("failure")],
                }
            }
        if row.push is not None:
            payload = schemas.wrapped(row.push, action=row.name, success=True)
            messages[f"{row.name}-push"] = {"payload": payload}
            operations[f"{row.name}-push"] = _exchange(row, "send", f"{row.name}-push")
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Talkamie", "version": DIALECT, "description": _ABOUT["asyncapi"]},
        "defaultContentType": "application/json",
        "servers": {"reference": {"host": "127.0.0.1:8443", "protocol": "wss", "pathname": "/socket"}},
        "channels": {
            "socket": {
                "address": "/",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": operations,
        "components": {
            "messages": {name: {"name": name} | message for name, message in messages.items()},
            "schemas": schemas.components,
        },
    }


def _exchange(row: SocketAction, action: str, message: str) -> Document:
    return {
        "action": action,
        "channel": {"$ref": "#/channels/socket"},
        "summary": _sentence(row.name),
        "tags": [{"name": row.folder}],
        "messages": [_message(message)],
    }


def _message(name: str) -> Document:
    return {"$ref": f"#/channels/socket/messages/{name}"}


def _json(schema: Document) -> Document:
    return {"application/json": {"schema": schema}}


def _sentence(name: str) -> str:
    return name.replace("-", " ").capitalize()


def documents(*, extras: bool) -> dict[str, Document]:
    """Return both documents by their file names, with what `--extras` serves or without."""
    if extras:
        return {
            "openapi.json": openapi(OPERATIONS, EXTRA_OPERATIONS),
            "asyncapi.json": asyncapi(ACTIONS, EXTRA_ACTIONS),
        }
    return {"openapi.json": openapi(OPERATIONS), "asyncapi.json": asyncapi(ACTIONS)}


def text(document: Document) -> str:
    """Return a document as it is kept and served."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main(folder: Path = FOLDER) -> int:
    """Write both documents."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in documents(extras=True).items():
        (folder / name).write_text(text(document), encoding="utf-8")
        print(folder / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
