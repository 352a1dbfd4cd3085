"""The journeys against recorded traffic of the real web client: order, parameters, pages, frame sizes."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest

from scenarios.actor import Answer
from scenarios.journeys import arriving, calling, talking
from scenarios.people import Habits
from talkamie.contract import FIRST_PING_S, MESSAGES_PAGE, OPERATIONS, RECEIPT_DEBOUNCE_S, Action
from tests.scenarios.test_journeys import (
    ACCEPTED,
    ANSWER,
    HABITS,
    OFFER,
    OPEN_CHAT,
    RINGING,
    Scripted,
    caller,
)

TRACE = [
    json.loads(line) for line in (Path(__file__).parent / "web-client-trace.jsonl").read_text().splitlines()
]


def requests(trace: str) -> list[dict[str, Any]]:
    """Return the https requests of a trace, browser's preflights aside."""
    return [
        row
        for row in TRACE
        if row["trace"] == trace and row["kind"] == "https" and row["method"] != "OPTIONS"
    ]


def frames(user: str, since: float = 0.0, until: float = 1e9) -> list[dict[str, Any]]:
    """Return the frames that one person's client sent in the second trace."""
    return [
        row
        for row in TRACE
        if row["trace"] == "connect-chat-call"
        and row.get("user") == user
        and "frame" in row
        and since <= row["t"] <= until
    ]


def operation_of(row: dict[str, Any]) -> str:
    """Return the name in the contract of a recorded request."""
    parts = row["path"].strip("/").split("/")
    for name, operation in OPERATIONS.items():
        wanted = operation.path.strip("/").split("/")
        same = len(parts) == len(wanted) and all(
            w[0] == "{" or w == p for w, p in zip(wanted, parts, strict=True)
        )
        if same and operation.method == row["method"]:
            return name
    raise AssertionError(f"the contract has no {row['method']} {row['path']}")


class Noting(Scripted):
    """An actor that also notes the parameters of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.parameters: list[dict[str, str]] = []

    def call(self, operation: str, body: Any = None, *, expect: tuple[int, ...] = (), **fields: Any) -> Any:
        row = OPERATIONS[operation]
        rest = {name: value for name, value in fields.items() if f"{{{name}}}" not in row.path}
        said = msgspec.to_builtins(row.query(**rest)) if row.query else {}
        self.parameters.append({name: str(value) for name, value in said.items()})
        return super().call(operation, body, expect=expect, **fields)


def parameters_of(row: dict[str, Any]) -> dict[str, str]:
    """Return the parameters that say something, without the default page size."""
    pairs = dict(parse_qsl(row["query"]))
    return {name: value for name, value in pairs.items() if (name, value) != ("pageSize", "25")}


def test_every_recorded_request_is_in_the_contract() -> None:
    """Both traces, from landing to hang-up."""
    for trace in ("sign-up", "connect-chat-call"):
        assert all(operation_of(row) for row in requests(trace))


def test_sign_up_and_first_page_in_the_recorded_order() -> None:
    """Up to the interests; the profile is skipped in the recording, and the page loads anew."""
    recorded = [operation_of(row) for row in requests("sign-up")][:8]
    actor = Noting()
    arriving.sign_up(actor)
    assert actor.calls[:7] == recorded[:7]
    arriving.app_start(actor)
    assert actor.calls[8] == recorded[7] == "get-user-by-token"
    said = dict(zip(actor.calls[:7], actor.parameters, strict=False))
    assert set(said["get-users"]) == set(parameters_of(requests("sign-up")[1])) == {"email"}


def test_sign_in_and_first_screen_in_the_recorded_order_with_the_recorded_parameters() -> None:
    """Who is there, the password, then three lists and the socket, with the page sizes seen."""
    recorded = requests("connect-chat-call")[:5]
    actor = Noting()
    actor.answers["sign-in"] = actor.answers["sign-up"]
    arriving.sign_in(actor)
    assert actor.calls == [*map(operation_of, recorded), "wss.authenticate"]
    assert actor.parameters == [parameters_of(row) for row in recorded]


def test_the_first_ping_comes_two_seconds_after_coming_online() -> None:
    """In all recorded sockets."""
    sockets = [row for row in TRACE if row.get("frame", {}).get("action") in ("authenticate", "ping")]
    gaps = [
        after["t"] - before["t"]
        for before, after in itertools.pairwise(sockets)
        if (before["frame"]["action"], after["frame"]["action"]) == ("authenticate", "ping")
    ]
    assert len(gaps) >= 5
    assert all(abs(gap - FIRST_PING_S) < 0.1 for gap in gaps)


def test_receipts_follow_a_message_by_the_debounce() -> None:
    """About a tenth of a second after the other side sent it, the open chat marks it read."""
    sent = [row for row in TRACE if row.get("frame", {}).get("action") == "send-message"]
    read = [row for row in TRACE if row.get("frame", {}).get("action") == "update-messages"]
    for message, receipt in zip(sent, read, strict=True):
        assert RECEIPT_DEBOUNCE_S <= receipt["t"] - message["t"] < RECEIPT_DEBOUNCE_S + 0.05


def test_an_open_chat_reads_the_page_size_seen() -> None:
    """Four messages a page."""
    first = next(row["frame"] for row in frames("senior") if row["frame"]["action"] == "get-messages")
    assert talking.history(OPEN_CHAT).page_size == first["pageSize"] == MESSAGES_PAGE


def calls_of(user: str) -> list[list[str]]:
    """Return the call actions of one person, a list a call."""
    calls: list[list[str]] = []
    for row in frames(user, since=51.0):
        action = row["frame"]["action"]
        if action in ("call-user", "accept-call"):
            calls.append([])
        calls[-1].append(action)
    return calls


def test_the_caller_sends_what_the_recorded_caller_sent() -> None:
    """Ring, offer and four candidates, connected, hang up."""
    actor = caller(ACCEPTED, ANSWER)
    calling.place(actor)
    assert [each.removeprefix("wss.") for each in actor.calls if each.startswith("wss.")] == calls_of(
        "senior"
    )[0]


def test_the_callee_sends_what_the_recorded_callee_sent() -> None:
    """Accept, answer and four candidates, connected."""

    class Callee(Scripted):
        def ask(self, frame: Action, *, expect: tuple[int, ...] = ()) -> Answer:
            self.news.append(OFFER)  # it comes once the call is accepted
            return super().ask(frame, expect=expect)

    actor = Callee("volunteer")
    calling.pick_up(actor, Habits(mix={}, picks_up=1.0), RINGING)
    sent = [each.removeprefix("wss.") for each in actor.calls if each.startswith("wss.")]
    assert sent[:7] == calls_of("volunteer")[0]


@pytest.mark.parametrize(("kind", "since", "until"), [("audio", 55.0, 60.0), ("video", 75.7, 80.0)])
def test_signals_have_the_sizes_seen(kind: Any, since: float, until: float) -> None:
    """Within a tenth for descriptions, a few bytes for candidates."""
    for user, side in (("senior", "offer"), ("volunteer", "answer")):
        seen = [row["bytes"] for row in frames(user, since, until) if row["frame"]["action"] == "signal"]
        ours = len(msgspec.json.encode(calling._signal("id3", calling._description(side, kind))))
        assert abs(ours / seen[0] - 1) < 0.1
        candidate = len(msgspec.json.encode(calling._signal("id3", calling._candidate(1))))
        assert min(seen[1:]) - 15 <= candidate <= max(seen[1:]) + 15


def test_the_six_frames_of_one_exchanged_message() -> None:
    """Ours are one of them a side: the message, and the receipt of who reads it."""
    actor = Scripted()
    talking.talk(actor, HABITS, OPEN_CHAT, starts=True)
    assert actor.calls.count("wss.send-message") == 1
