"""Which function answers which row of the contract.

A domain registers a handler by the row's name; `verify` refuses to start a server whose table and handlers
differ by a name or by a type. A handler takes the call, the parts of the path in order, and then `query` and
`body` by name where the row has them; an action takes the call and `body`.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from talkamie.contract import (
    ACTIONS,
    EXTRA_ACTIONS,
    EXTRA_OPERATIONS,
    OPERATIONS,
    Operation,
    SocketAction,
)
from talkamie.server.service import Paged

Handler = Callable[..., Awaitable[Any]]
H = TypeVar("H", bound=Handler)

_operations: dict[str, Handler] = {}
_actions: dict[str, Handler] = {}


class RegistryError(Exception):
    """The handlers are not those of the contract."""


def operation(name: str) -> Callable[[H], H]:
    """Register the handler of an https operation."""
    return _register(_operations, name)


def action(name: str) -> Callable[[H], H]:
    """Register the handler of a wss action."""
    return _register(_actions, name)


def operation_handler(name: str) -> Handler:
    return _operations[name]


def action_handler(name: str) -> Handler:
    return _actions[name]


def path_names(path: str) -> list[str]:
    """Return the names of a path's parts: `/user/{id}` has `id`."""
    return re.findall(r"{(\w+)}", path)


def operations(*, extras: bool) -> dict[str, Operation]:
    """Return the operations of a server, those beyond the first documentation where they are wanted."""
    return OPERATIONS | EXTRA_OPERATIONS if extras else OPERATIONS


def actions(*, extras: bool) -> dict[str, SocketAction]:
    """Return the actions of a server, likewise."""
    return ACTIONS | EXTRA_ACTIONS if extras else ACTIONS


def verify() -> None:
    """Raise RegistryError unless every row has one handler of its types, and every handler a row."""
    rows_of_operations = operations(extras=True)
    requests = {name: row for name, row in actions(extras=True).items() if row.request is not None}
    for what, rows, handlers in (
        ("operation", set(rows_of_operations), set(_operations)),
        ("action", set(requests), set(_actions)),
    ):
        if rows != handlers:
            raise RegistryError(
                f"{what}s without a handler: {sorted(rows - handlers)}; unknown: {sorted(handlers - rows)}"
            )
    for name, row in rows_of_operations.items():
        _verify_operation(row, _operations[name])
    for name, socket_row in requests.items():
        _verify_action(socket_row, _actions[name])


def _register(table: dict[str, Handler], name: str) -> Callable[[H], H]:
    def register(handler: H) -> H:
        if name in table:
            raise RegistryError(f"{name} has two handlers")
        table[name] = handler
        return handler

    return register


def _verify_operation(row: Operation, handler: Handler) -> None:
    hints = typing.get_type_hints(handler, include_extras=True)
    positional = [
        p for p in inspect.signature(handler).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    expected: dict[str, Any] = {
        "positional": 1 + len(path_names(row.path)),
        "query": row.query,
        "body": row.body,
    }
    found = {"positional": len(positional), "query": hints.get("query"), "body": hints.get("body")}
    _compare(row.name, expected | {"data": row.data}, found | {"data": _data(hints["return"])})


def _verify_action(row: SocketAction, handler: Handler) -> None:
    hints = typing.get_type_hints(handler, include_extras=True)
    _compare(
        row.name,
        {"body": row.request, "answer": row.answer},
        {"body": hints.get("body"), "answer": _data(hints["return"])},
    )


def _data(hint: Any) -> Any:
    if hint is type(None):
        return None
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Paged else hint


def _compare(name: str, expected: dict[str, Any], found: dict[str, Any]) -> None:
    if expected != found:
        raise RegistryError(f"the handler of {name} is for {found}, the contract says {expected}")
