"""The public documents: valid, whole, the contract's own, and served as they are kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from talkamie import specs
from talkamie.contract import ACTIONS, OPERATIONS, Auth, Operation, SocketAction, User
from tests.talkamie.conftest import ON_SQLITE
from tests.talkamie.world import World

ROOT = Path(__file__).parents[2]
OPENAPI, ASYNCAPI = specs.documents(extras=True).values()


@pytest.mark.parametrize("name", ["openapi.json", "asyncapi.json"])
def test_the_kept_copy_is_the_contracts(name: str) -> None:
    """After a change of the contract: python -m talkamie.specs."""
    kept = (ROOT / specs.FOLDER / name).read_text(encoding="utf-8")
    assert kept == specs.text(specs.documents(extras=True)[name]), "run: python -m talkamie.specs"


def test_both_can_be_written_anywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the files are named."""
    assert specs.main(tmp_path / "new") == 0
    names = capsys.readouterr().out.split()
    assert [json.loads(Path(name).read_text()) for name in names] == [OPENAPI, ASYNCAPI]


def test_the_https_document_is_valid_openapi() -> None:
    """By the specification's own schema."""
    OpenAPIV31SpecValidator(OPENAPI).validate()


@pytest.mark.parametrize("row", OPERATIONS.values(), ids=lambda row: row.name)
def test_every_operation_is_told_whole(row: Operation) -> None:
    """Its path's parts, its query, its body, who may, and what comes back."""
    found = OPENAPI["paths"][row.path][row.method.lower()]
    assert found["operationId"] == row.name
    assert ({} in found["security"]) == (row.auth is Auth.PUBLIC)
    parts = [one["name"] for one in found["parameters"] if one["in"] == "path"]
    assert parts == re.findall(r"{(\w+)}", row.path)
    query = [one["name"] for one in found["parameters"] if one["in"] == "query"]
    fields = () if row.query is None else row.query.__struct_encode_fields__
    assert query == list(fields)
    assert ("requestBody" in found) == (row.body is not None)
    assert ("data" in answer_of(found)["properties"]) == (row.data is not None)


def test_a_table_more_is_a_few_operations_more() -> None:
    """The documents are functions of the tables they are given."""
    extra = {"x": Operation("get-x", "GET", "/x/{y}", data=list[User])}
    document = specs.openapi(OPERATIONS, extra)
    assert set(document["paths"]) == {*(row.path for row in OPERATIONS.values()), "/x/{y}"}
    OpenAPIV31SpecValidator(document).validate()
    more = specs.asyncapi(ACTIONS, {"x": SocketAction("x", "folder", push=User)})
    assert set(more["operations"]) == {*specs.asyncapi(ACTIONS)["operations"], "x-push"}


@pytest.mark.parametrize("row", ACTIONS.values(), ids=lambda row: row.name)
def test_every_action_is_told_from_the_servers_side(row: SocketAction) -> None:
    """It receives requests and replies, and sends pushes."""
    asked, pushed = (ASYNCAPI["operations"].get(name) for name in (row.name, f"{row.name}-push"))
    assert (asked is not None, pushed is not None) == (row.request is not None, row.push is not None)
    if asked is not None:
        assert asked["action"] == "receive"
        replies = [one["$ref"].rpartition("/")[2] for one in asked["reply"]["messages"]]
        assert replies == [f"{row.name}-answer", "failure"]
    if pushed is not None:
        assert pushed["action"] == "send"


@pytest.mark.parametrize("document", [OPENAPI, ASYNCAPI], ids=["openapi", "asyncapi"])
def test_every_reference_leads_somewhere_and_every_schema_is_used(document: Any) -> None:
    """Nothing dangles and nothing is left over."""
    references = set(strings(document, "$ref"))
    for reference in references:
        at = document
        for key in reference.removeprefix("#/").split("/"):
            at = at[key]
    used = {one.rpartition("/")[2] for one in references if one.startswith("#/components/schemas/")}
    assert used == set(document["components"]["schemas"])


@ON_SQLITE
def test_frames_are_as_the_document_says(world: World) -> None:
    """What a conversation puts on the wire is what the messages describe, and not something else."""
    ann, bob, chat = world.friends()
    frames, one = [], ann.socket()
    one.ask("send-message", chatId=chat, message={"text": "waits"})
    other = world.socket()
    frames.append(other.ask("authenticate", token=bob.token))
    frames.append(one.ask("send-message", chatId=chat, message={"text": "hi"}))
    stored = frames[-1]["data"]["message"]["id"]
    frames.append(other.ask("ping"))
    frames.append(other.ask("get-messages", chatId=chat, pageSize=1))
    frames.append(other.ask("update-messages", chatId=chat, messagesMap={stored: {"status": "read"}}))
    world.member().call("POST", f"/user/{bob.id}/connection")
    pushes = one.pushed() + other.pushed()
    alert = next(frame for frame in pushes if frame["action"] == "alert")["data"]["alert"]["id"]
    frames.append(other.ask("update-alerts", alertsMap={alert: {"status": "read"}}))
    described = set()
    for kind, some in (("answer", frames), ("push", pushes)):
        for frame in some:
            described.add(f"{frame['action']}-{kind}")
            validator(f"{frame['action']}-{kind}").validate(frame)
            assert not validator("failure").is_valid(frame)
    rows = [row for row in ACTIONS.values() if row.folder in {"ping", "auth", "chats", "messaging", "alert"}]
    told = {f"{row.name}-answer" for row in rows if row.request is not None}
    assert described == told | {f"{row.name}-push" for row in rows if row.push is not None}
    validator("failure").validate(other.ask("get-messages", status=404, chatId="nothing"))


@ON_SQLITE
def test_a_server_serves_both_and_a_page(world: World) -> None:
    """Without a token, and of the contract as this server serves it: without the extras."""
    for name, document in specs.documents(extras=False).items():
        status, head, body = world.raw("GET", f"/{name}")
        assert (status, head["content-type"]) == (200, "application/json")
        assert json.loads(body) == document
    status, head, body = world.raw("GET", "/docs")
    assert (status, head["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'; script-src 'sha256-" in head["content-security-policy"]
    page = body.decode()
    assert set(re.findall(r'(?:src|href)="([^"]*)"', page)) == {"/openapi.json", "/asyncapi.json"}
    assert "://" not in page
    assert "innerHTML" not in page


def validator(message: str) -> Any:
    """Return what checks a frame against one message of the document."""
    payload = ASYNCAPI["components"]["messages"][message]["payload"]
    return jsonschema.Draft202012Validator(payload | {"components": ASYNCAPI["components"]})


def answer_of(operation: Any) -> Any:
    return operation["responses"]["200"]["content"]["application/json"]["schema"]


def strings(value: Any, key: str) -> Iterator[str]:
    """Yield every value of `key` anywhere in a document."""
    if isinstance(value, dict):
        if isinstance(value.get(key), str):
            yield value[key]
        for one in value.values():
            yield from strings(one, key)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one, key)
