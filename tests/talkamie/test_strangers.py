"""What a stranger with a good token of his own may do to two others: look, and ask. The rest has no effect.

The tables name every operation with a part in its path and every action with an id in its frame, so that
a new one cannot be forgotten here.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from talkamie.contract import ACTIONS, OPERATIONS, Auth
from talkamie.server.registry import path_names
from talkamie.server.store import schema
from tests.talkamie.world import Member, Wire, World

SLOT = {
    "title": "Tea",
    "type": "audio",
    "startDateTime": "2030-01-01T10:00:00.000Z",
    "endDateTime": "2030-01-01T11:00:00.000Z",
}
BODIES: dict[str, Any] = {
    "update-schedule": {"title": "mine now"},
    "schedule-call": SLOT,
    "send-message-request": {"text": "hi"},
    "update-user": {"name": "Eve"},
    "change-password": {"oldPassword": "correct horse battery", "newPassword": "eve knows it"},
    "background-check": {"dob": "1950-06-15", "state": "TX"},
    "review-user": {"rate": 1},
    "update-review": {"rate": 1},
}
ALLOWED = {"get-user", "get-user-reviews", "send-connection-request", "send-message-request", "review-user"}
"""What anybody may do to anybody."""
HARMLESS = {"clear-schedules"}
"""Succeeds, and does nothing where there is nothing between the two."""
REFUSED = {
    **dict.fromkeys(("get-call", "get-chat", "get-chat-messages"), 404),
    **dict.fromkeys(("get-schedule", "update-schedule", "delete-schedule"), 404),
    **dict.fromkeys(("cancel-connection-request", "accept-connection", "reject-connection"), 404),
    **dict.fromkeys(("cancel-message-request", "accept-message-request", "reject-message-request"), 404),
    **dict.fromkeys(("update-review", "delete-review"), 404),
    **dict.fromkeys(("update-user", "change-password", "background-check", "delete-user"), 403),
    "schedule-call": 403,
}
FRAMES: dict[str, dict[str, Any]] = {
    "send-message": {"message": {"text": "hi"}},
    "get-messages": {},
    "update-messages": {"messagesMap": {"{message}": {"status": "read"}}},
    "update-alerts": {"alertsMap": {"{alert}": {"status": "read"}}},
    "call-user": {"type": "audio"},
    **{name: {} for name in ("accept-call", "reject-call", "end-call")},
    **{name: {"timestamp": 1} for name in ("call-connected", "call-disconnected")},
    **{name: {"signal": {"type": "offer", "sdp": "v=0"}} for name in ("signal", "call-signal")},
}


def test_the_tables_are_complete() -> None:
    """Each operation with a part in its path and each action that is not about oneself is in one of them."""
    parts = {name for name, row in OPERATIONS.items() if path_names(row.path)}
    assert parts == ALLOWED | HARMLESS | set(REFUSED)
    asked = {name for name, row in ACTIONS.items() if row.request is not None}
    assert asked - {"ping", "authenticate"} == set(FRAMES)


@pytest.mark.parametrize("name", sorted(set(REFUSED) | HARMLESS))
def test_a_stranger_has_no_effect(world: World, name: str) -> None:
    """The status of the table, nothing of the two in the answer, and a database as it was."""
    ids, eve, wires = scene(world)
    row = OPERATIONS[name]
    before = dump(world)
    if row.auth is Auth.SELF:
        targets = [ids["ann"]]
    else:
        targets = [ids["ann"], ids["bob"]] if "{id}" in row.path and "schedule/" not in row.path else [""]
    for target in targets:
        path = row.path.replace("{chatId}", ids["chat"]).replace("{callId}", ids["call"])
        path = path.replace("{id}", target or ids["schedule"])
        answer = eve.call(row.method, path, BODIES.get(name), status=REFUSED.get(name, 200))
        assert not any(one in str(answer.get("data")) for one in ids.values())
    assert dump(world) == before
    assert [wire.pushed() for wire in wires] == [[], []]


@pytest.mark.parametrize("name", sorted(FRAMES))
def test_a_strangers_frame_has_no_effect(world: World, name: str) -> None:
    """404 for what is not his, as if it did not exist; nobody hears of it, and the database is as it was."""
    ids, eve, wires = scene(world)
    wire = eve.socket()
    before = dump(world)
    fields = {
        key: {one.format(**ids): mark for one, mark in value.items()} if key.endswith("Map") else value
        for key, value in FRAMES[name].items()
    }
    answer = wire.ask(name, status=404, chatId=ids["chat"], callId=ids["call"], **fields)
    assert "data" not in answer
    assert dump(world) == before
    assert [one.pushed() for one in wires] == [[], []]


def scene(world: World) -> tuple[dict[str, str], Member, list[Wire]]:
    """Make two friends with a message, an alert, a schedule and a call that rings, and a stranger."""
    ann, bob, chat = world.friends()
    wires = [ann.socket(), bob.socket()]
    message = wires[0].ask("send-message", chatId=chat, message={"text": "secret"})["data"]["message"]["id"]
    schedule = ann.call("POST", f"/user/{bob.id}/schedule", SLOT)["data"]["schedule"]["id"]
    ann.call("POST", f"/user/{bob.id}/review", {"rate": 5})
    alert = bob.call("GET", "/alerts")["data"][0]["id"]
    call = wires[0].ask("call-user", chatId=chat, type="audio")["data"]["call"]["id"]
    for wire in wires:
        wire.pushed()
    ids = {"ann": ann.id, "bob": bob.id, "chat": chat, "schedule": schedule, "call": call}
    return ids | {"message": message, "alert": alert}, world.member(name="Eve"), wires


def dump(world: World) -> list[str]:
    """Return every row of every table, as text."""
    tables = re.findall(r"(?im)^create table if not exists (\w+)", schema())
    assert len(tables) > 5
    return [
        f"{table} {row}" for table in tables for row in sorted(map(repr, world.sql(f"select * from {table}")))
    ]
