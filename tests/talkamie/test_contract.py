"""The contract's tables, and that the server answers each row."""

from __future__ import annotations

import re

import msgspec
import pytest

from talkamie.contract import ACTIONS, OPERATIONS, Auth, Envelope, Message, Page
from talkamie.server import app, registry


def test_every_operation_has_its_own_method_and_path() -> None:
    """No two rows are the same request."""
    requests = [(row.method, re.sub(r"{\w+}", "{}", row.path)) for row in OPERATIONS.values()]
    assert len(requests) == len(set(requests))


def test_every_row_is_a_request_that_exists_in_http() -> None:
    """Methods are HTTP's, paths begin with a slash and end without, and only writes have bodies."""
    for row in OPERATIONS.values():
        assert row.method in {"GET", "POST", "PUT", "DELETE"}
        assert re.fullmatch(r"(/[a-z-]+|/{\w+})+", row.path)
        assert row.body is None or row.method in {"POST", "PUT"}
        assert row.query is None or row.method == "GET"


def test_only_what_comes_before_an_account_is_public() -> None:
    """Everything else needs a token."""
    public = {name for name, row in OPERATIONS.items() if row.auth is Auth.PUBLIC}
    assert public == {"sign-up", "sign-in", "generate-otp", "verify-otp", "get-interests", "get-users"}


def test_every_action_is_asked_or_pushed() -> None:
    """A row nobody sends would be a mistake."""
    for row in ACTIONS.values():
        assert row.request is not None or row.push is not None
    assert {name for name, row in ACTIONS.items() if row.anonymous} == {"ping", "authenticate"}


def test_every_row_has_one_handler_of_its_types() -> None:
    """The check that each start of the server makes holds."""
    assert app.DOMAINS
    registry.verify()


def test_a_row_without_a_handler_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forgotten operation is told by name."""
    monkeypatch.delitem(registry._operations, "get-chat")
    with pytest.raises(registry.RegistryError, match="get-chat"):
        registry.verify()


def test_a_handler_of_other_types_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that returns something else than its row says is told by name."""

    async def wrong(call: object, chat_id: str) -> Message:
        raise NotImplementedError

    monkeypatch.setitem(registry._operations, "get-chat", wrong)
    with pytest.raises(registry.RegistryError, match="get-chat"):
        registry.verify()


def test_a_second_handler_is_refused() -> None:
    """Of two handlers for one row, neither could be trusted."""
    with pytest.raises(registry.RegistryError, match="two handlers"):

        @registry.operation("get-chat")
        async def another() -> None:
            raise NotImplementedError


def test_absent_fields_do_not_cross_the_wire() -> None:
    """Nothing is ever null: what is not set is not there."""
    envelope: Envelope[Page] = Envelope(success=True, status_code=200)
    assert msgspec.json.encode(envelope) == b'{"success":true,"statusCode":200}'
