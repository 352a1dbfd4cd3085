"""Faults over real sockets: what the client sees, and that the books say the same."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from talkamie.server import clock
from tests.talkamie.client import TIMEOUT_S, Client
from tests.talkamie.conftest import Person, Ready, ask, befriend, people_of, quiet, receive, running, send

pytestmark = pytest.mark.end_to_end
MS = 1_000_000
WAIT = round(TIMEOUT_S * 1e9)
CONSTANT = 'delay={distribution="constant",ms=20}'


@pytest.fixture(scope="module")
def ready() -> Iterator[Ready]:
    """A server for faults alone."""
    with running("--port", "0", "--test-endpoints") as (line, _):
        yield line


@pytest.fixture(scope="module")
def context(ready: Ready) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ready["ca"])


@pytest.fixture
def people(ready: Ready, context: ssl.SSLContext) -> Iterator[Callable[..., list[Person]]]:
    """A function that makes people; afterwards everything goes as it should again."""
    with people_of(ready, context) as make:
        yield make
        httpx.delete(ready["test"] + "/faults", timeout=TIMEOUT_S, trust_env=False)


def follow(ready: Ready, *rules: str, **query: Any) -> Any:
    """Put a plan, with a new ledger; return what the server says of it."""
    httpx.delete(ready["test"] + "/ledger", trust_env=False).raise_for_status()
    text = "\n".join(f"[[rule]]\n{rule}" for rule in rules)
    return httpx.put(ready["test"] + "/faults", content=text, params=query, trust_env=False).json()


def rule(ready: Ready, number: int = 1) -> Any:
    return httpx.get(ready["test"] + "/faults", trust_env=False).json()["rules"][number - 1]


def rows(ready: Ready, fate: str) -> list[Any]:
    ledger = httpx.get(ready["test"] + "/ledger", trust_env=False).json()
    return [row for row in ledger["rows"] if row[6] == fate]


def fates(ready: Ready) -> Any:
    summary = httpx.get(ready["test"] + "/ledger/summary", trust_env=False).json()
    return summary["fates"].get("new-message", {})


def talk(count: int, one: Person, other: Person) -> list[int]:
    """Let one send messages with the numbers 1 … count; return what the other got."""
    chat = befriend(one, other)
    sender, reader = one.connect(), other.connect()
    assert quiet(reader)
    for number in range(1, count + 1):
        ask(sender, "send-message", chatId=chat, message={"text": str(number)})
    return numbers(reader)


def numbers(reader: Client) -> list[int]:
    """Return the messages that have come, in their order."""
    send(reader, "ping")
    got: list[int] = []
    while (frame := receive(reader))["action"] != "ping":
        if frame["action"] == "new-message":
            got.append(int(frame["data"]["message"]["text"]))
    return got


def test_every_seventh_message_is_lost(ready: Ready, people: Callable[..., list[Person]]) -> None:
    """Exactly those, in the client's hands, in the ledger and in the book of the rule."""
    follow(ready, 'fault="drop"\nwhere="new-message"\nevery=7')
    got = talk(50, *people(2))
    assert got == [n for n in range(1, 51) if n % 7]
    assert fates(ready) == {"dropped": 7, "sent": 43}
    assert (rule(ready)["seen"], rule(ready)["hits"]) == (50, 7)


def test_every_fifth_message_comes_twice(ready: Ready, people: Callable[..., list[Person]]) -> None:
    """One after the other."""
    follow(ready, 'fault="duplicate"\nwhere="new-message"\nevery=5')
    got = talk(20, *people(2))
    assert got == sorted([*range(1, 21), 5, 10, 15, 20])
    assert fates(ready) == {"duplicated": 4, "sent": 16}


def test_every_fourth_message_is_overtaken(ready: Ready, people: Callable[..., list[Person]]) -> None:
    """By the next one."""
    follow(ready, 'fault="reorder"\nwhere="new-message"\nevery=4')
    got = talk(18, *people(2))
    assert got == [1, 2, 3, 5, 4, 6, 7, 9, 8, 10, 11, 13, 12, 14, 15, 17, 16, 18]
    assert fates(ready) == {"reordered": 4, "sent": 14}


def test_every_sixth_message_goes_to_a_stranger(ready: Ready, people: Callable[..., list[Person]]) -> None:
    """Instead; the ledger has the number of his socket."""
    one, other, third = people(3)
    follow(ready, 'fault="misdeliver"\nwhere="new-message"\nevery=6')
    chat = befriend(one, other)
    sender, reader = one.connect(), other.connect()
    stranger = third.connect()
    for number in range(1, 21):
        ask(sender, "send-message", chatId=chat, message={"text": str(number)})
    assert numbers(reader) == [n for n in range(1, 21) if n % 6]
    assert numbers(stranger) == [6, 12, 18]
    misdelivered = rows(ready, "misdelivered")
    assert {row[2] for row in misdelivered} == {other.id}
    assert {row[3] for row in misdelivered}.isdisjoint({row[3] for row in rows(ready, "sent")})


def test_each_socket_of_a_user_hears_it_later(ready: Ready, people: Callable[..., list[Person]]) -> None:
    """The i-th no earlier than i steps after the first."""
    one, other = people(2)
    follow(ready, 'fault="fan-out"\nwhere="new-message"\ndelay_ms=5\nstep_ms=10')
    chat = befriend(one, other)
    sender, readers = one.connect(), [other.connect() for _ in range(4)]
    ask(sender, "send-message", chatId=chat, message={"text": "1"})
    while (frame := receive(readers[-1]))["action"] != "new-message":
        pass
    assert frame["data"]["message"]["text"] == "1"
    waits = rule(ready)["achieved_ns"]
    assert len(waits) == 4
    assert all(wait >= (5 + 10 * i) * MS for i, wait in enumerate(waits))


def test_a_request_takes_what_was_asked_for(ready: Ready, people: Callable[..., list[Person]]) -> None:
    """Never less; the answer, the ring and the book tell how long it was."""
    (ann,) = people(1)
    told = follow(ready, f'fault="latency"\nwhere="get-user-by-token"\n{CONSTANT}', name="slow", seed=9)
    assert (told["on"], told["plan"], told["seed"]) == (True, "slow", 9)
    assert told["rules"][0]["truth_ns"] == dict.fromkeys(["p50", "p90", "p95", "p99", "p999"], 20 * MS)
    headers = {"authorization": f"Bearer {ann.token}"}
    for _ in range(10):
        began = clock.monotonic()
        answer = ann.http.get(ready["https"] + "/auth", headers=headers)
        assert clock.monotonic() - began >= 20 * MS
        assert answer.headers["x-talkamie-faults"] == "on"
    fault = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))["fault"]
    assert float(fault) >= 20
    achieved = rule(ready)["achieved_ns"]
    assert len(achieved) == 10
    assert min(achieved) >= 20 * MS
    ring = httpx.get(ready["test"] + "/requests", trust_env=False).json()
    row = dict(zip(ring["columns"], ring["rows"][-1], strict=True))
    assert (row["operation"], row["fault"], row["fault_ns"]) == (
        "get-user-by-token",
        "1:latency",
        achieved[-1],
    )
    assert row["duration_ns"] >= row["fault_ns"]


def test_pings_are_late_or_not_answered(ready: Ready, people: Callable[..., list[Person]]) -> None:
    """The third and the sixth have no answer: eight pings, six answers."""
    (ann,) = people(1)
    wire = ann.connect()
    follow(ready, f'fault="latency"\nwhere="ping"\n{CONSTANT}', 'fault="ignore-ping"\nevery=3')
    began = clock.monotonic()
    for _ in range(8):
        send(wire, "ping")
    assert [receive(wire)["action"] for _ in range(6)] == ["ping"] * 6
    assert clock.monotonic() - began >= 8 * 20 * MS
    ask(wire, "get-messages", chatId="none", status=404)  # nothing else was under way
    assert rule(ready)["hits"] == 8
    assert rule(ready, 2)["hits"] == 2


def test_errors_instead_of_answers(ready: Ready, people: Callable[..., list[Person]]) -> None:
    """Every second request and action, with the status asked for."""
    (ann,) = people(1)
    wire = ann.connect()
    follow(ready, 'fault="error"\nwhere=["get-interests", "ping"]\nstatus=503\nevery=2')
    found = [ann.http.get(ready["https"] + "/interests").status_code for _ in range(4)]
    assert found == [200, 503, 200, 503]
    ask(wire, "ping")
    ask(wire, "ping", status=503)


def test_resets_instead_of_answers(ready: Ready, people: Callable[..., list[Person]]) -> None:
    """The request fails, its row has the status 0; the socket is gone without a close frame."""
    (ann,) = people(1)
    wire = ann.connect()
    follow(ready, 'fault="reset"\nwhere=["change-password", "ping"]')
    address = f"{ready['https']}/user/{ann.id}/password"
    with pytest.raises(httpx.TransportError):
        ann.http.put(address, json={"oldPassword": "x", "newPassword": "correct horse"})
    ring = httpx.get(ready["test"] + "/requests", trust_env=False).json()["rows"][-1]
    assert (ring[1], ring[2], ring[7]) == ("change-password", 0, "1:reset")
    send(wire, "ping")
    with pytest.raises(ConnectionClosed) as closed:
        wire.recv()
    assert closed.value.rcvd is None


def test_an_answer_in_pieces_is_whole(ready: Ready, people: Callable[..., list[Person]]) -> None:
    """Its bytes are the same, and they took as long as their pauses."""
    (ann,) = people(1)
    expected = ann.http.get(ready["https"] + "/interests").content
    follow(ready, 'fault="trickle"\nwhere="get-interests"\npiece_bytes=100\npause_ms=5')
    assert ann.http.get(ready["https"] + "/interests").content == expected
    assert rule(ready)["achieved_ns"][0] >= (len(expected) - 1) // 100 * 5 * MS


def test_a_half_open_socket_is_silent(ready: Ready, people: Callable[..., list[Person]]) -> None:
    """No answer, no push, no end; the server takes it for open. The end of the plan resets it."""
    one, other = people(2)
    chat = befriend(one, other)
    sender, dead = one.connect(), other.connect()
    follow(ready, 'fault="half-open"\nwhere="ping"\nfor_s=60')
    send(dead, "ping")
    send(dead, "ping")
    ask(sender, "send-message", chatId=chat, message={"text": "1"})
    with pytest.raises(TimeoutError):
        dead.recv(timeout=0.3)
    assert fates(ready) == {"dropped": 1}
    assert rule(ready)["hits"] == 1
    httpx.delete(ready["test"] + "/faults", trust_env=False)
    with pytest.raises(ConnectionClosed):
        dead.recv()


def test_a_slow_handshake(ready: Ready, people: Callable[..., list[Person]]) -> None:
    """Every second opening is held up, no less than asked for."""
    (ann,) = people(1)
    follow(ready, f'fault="slow-handshake"\nevery=2\n{CONSTANT}')
    for _ in range(4):
        ann.connect(authenticate=False)
    achieved = rule(ready)["achieved_ns"]
    assert len(achieved) == 2
    assert min(achieved) >= 20 * MS


def test_a_storm_throws_everybody_out(ready: Ready, people: Callable[..., list[Person]]) -> None:
    """Without a close frame, and who comes back is served."""
    (ann,) = people(1)
    wires = [ann.connect() for _ in range(5)]
    follow(ready, 'fault="disconnect-all"')
    for wire in wires:
        with pytest.raises(ConnectionClosed) as closed:
            wire.recv()
        assert closed.value.rcvd is None
    assert (rule(ready)["seen"], rule(ready)["hits"]) == (1, 5)
    ask(ann.connect(), "ping")


def test_an_outage_refuses_and_ends(ready: Ready, people: Callable[..., list[Person]]) -> None:
    """Sockets are reset, connections are refused, and then the same address serves again."""
    (ann,) = people(1)
    wire = ann.connect()
    follow(ready, 'fault="outage"\nfor_s=1')
    with pytest.raises(ConnectionClosed):
        wire.recv()
    address = urlsplit(ready["https"])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.hostname, address.port), TIMEOUT_S)
    deadline = clock.monotonic() + WAIT
    while clock.monotonic() < deadline:
        try:
            ask(ann.connect(), "ping")
            break
        except ConnectionRefusedError:
            continue
    ann.http.get(ready["https"] + "/interests").raise_for_status()
    assert rule(ready)["achieved_ns"][0] >= 1000 * MS
    assert rule(ready)["hits"] >= 1


@pytest.mark.parametrize("fault", ["stall", "loop-block"])
def test_everything_stands_still(ready: Ready, people: Callable[..., list[Person]], fault: str) -> None:
    """Pings that go on and on meet the stall, and none gets out of it before its end."""
    (ann,) = people(1)
    wire = ann.connect()
    key = fault.removeprefix("loop-")
    follow(ready, f'fault="{fault}"\n{key}_ms=100\nperiod_s=0.25')
    worst = 0
    deadline = clock.monotonic() + WAIT
    while worst < 50 * MS and clock.monotonic() < deadline:
        began = clock.monotonic()
        ask(wire, "ping")
        worst = max(worst, clock.monotonic() - began)
    found = rule(ready)
    assert worst >= 50 * MS
    assert found["achieved_ns"]
    assert found["truth_ns"]["p50"] == 0
    assert found["truth_ns"]["p90"] == 75 * MS
    if fault == "loop-block":
        assert min(found["achieved_ns"]) >= 100 * MS


def test_a_queue_before_a_bucket(ready: Ready, people: Callable[..., list[Person]]) -> None:
    """Eleven requests at a hundred a second take at least 100 ms."""
    (ann,) = people(1)
    follow(ready, 'fault="capacity"\nwhere="get-interests"\nper_s=100')
    began = clock.monotonic()
    for _ in range(11):
        ann.http.get(ready["https"] + "/interests").raise_for_status()
    assert clock.monotonic() - began >= 100 * MS
    assert rule(ready)["seen"] == 11


def test_a_bad_plan_changes_nothing(ready: Ready, people: Callable[..., list[Person]]) -> None:
    """400 and a sentence; the plan before it goes on, its counters too."""
    (ann,) = people(1)
    follow(ready, 'fault="error"\nwhere="get-interests"\nstatus=500', name="first")
    ann.http.get(ready["https"] + "/interests")
    refused = httpx.put(ready["test"] + "/faults", content='[[rule]]\nfault="dorp"', trust_env=False)
    assert refused.status_code == 400
    assert refused.json()["error"].startswith("body: rule 1: fault: there is no 'dorp' (did you mean drop?)")
    assert rule(ready)["hits"] == 1
    health = ann.http.get(ready["https"].removesuffix("/v1") + "/health")
    assert (health.json()["faults"], health.json()["faultPlan"]) == (True, "first")
    assert health.headers["x-talkamie-faults"] == "on"
    off = httpx.delete(ready["test"] + "/faults", trust_env=False).json()
    assert off == {"on": False}
    health = ann.http.get(ready["https"].removesuffix("/v1") + "/health")
    assert (health.json()["faults"], "x-talkamie-faults" in health.headers) == (False, False)
