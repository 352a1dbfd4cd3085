"""A server of several processes is one server: whoever answers, the truth is the same."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.talkamie.conftest import Person, Ready, ask, befriend, people_of, receive, running
from tests.talkamie.stores import binaries, postgresql
from tests.talkamie.test_bus import nats_server

pytestmark = pytest.mark.end_to_end
SOCKETS = 8  # of one person: that all are in one process has a chance of 2 ** -7


@pytest.fixture(scope="module", params=["unix", "nats", "postgresql"])
def ready(request: pytest.FixtureRequest) -> Iterator[Ready]:
    """The ready line of a server of two processes; on PostgreSQL its store is there too."""
    options = ("--port", "0", "--workers", "2", "--test-endpoints")
    if request.param == "unix":
        with running(*options) as (found, _):
            yield found
    elif request.param == "nats":
        with nats_server() as url, running(*options, "--bus", url) as (found, _):
            yield found
    else:
        if (programs := binaries()) is None:
            pytest.skip(
                "PostgreSQL's own programs are not installed here (Debian: apt-get install postgresql)"
            )
        with postgresql(programs) as cluster:
            url = cluster.url("workers")
            with running(*options, "--bus", url, "--db", url) as (found, _):
                yield found


@pytest.fixture
def pair(ready: Ready) -> Iterator[tuple[Person, Person, str]]:
    """Two friends and their chat."""
    tls = ssl.create_default_context(cafile=ready["ca"])
    with people_of(ready, tls) as make:
        ann, bob = make(2)
        chat = befriend(ann, bob)
        httpx.delete(ready["test"] + "/ledger", trust_env=False)
        yield ann, bob, chat


def book(ready: Ready, path: str = "/ledger") -> list[dict[str, object]]:
    body = httpx.get(ready["test"] + path, trust_env=False).json()
    return [dict(zip(body["columns"], row, strict=True)) for row in body["rows"]]


def test_a_message_reaches_every_socket_in_whatever_process(
    ready: Ready, pair: tuple[Person, Person, str]
) -> None:
    """Each once, each sender's in order; the ledger has them all, and which crossed; none is lost."""
    ann, bob, chat = pair
    theirs = [bob.connect() for _ in range(SOCKETS)]
    senders = [ann.connect() for _ in range(4)]
    texts = [f"message {n}" for n in range(40)]
    for number, text in enumerate(texts):
        ask(senders[number % 4], "send-message", chatId=chat, message={"text": text})
    for socket in theirs:
        heard: list[str] = []
        while len(heard) < len(texts):
            frame = receive(socket)
            if frame["action"] == "new-message":
                heard.append(frame["data"]["message"]["text"])
        assert sorted(heard) == sorted(texts)
        for first in range(4):
            mine = texts[first::4]
            assert [text for text in heard if text in mine] == mine
    rows = [row for row in book(ready) if row["action"] == "new-message"]
    assert {row["fate"] for row in rows} == {"sent"}
    assert len(rows) == len(texts) * SOCKETS
    assert len({(row["ids"], row["socket"]) for row in rows}) == len(rows)
    crossed = sum(row["crossed_ns"] != 0 for row in rows)
    assert 0 < crossed < len(rows)
    summary = httpx.get(ready["test"] + "/ledger/summary", trust_env=False).json()
    assert summary["fates"]["new-message"] == {"sent": len(rows)}
    assert summary["crossed"] >= crossed
    assert summary["dropped"] == 0


def test_health_and_metrics_are_of_all(ready: Ready, pair: tuple[Person, Person, str]) -> None:
    """Whichever process answers."""
    ann, bob, chat = pair
    kept = [bob.connect() for _ in range(SOCKETS)]
    ask(ann.connect(), "send-message", chatId=chat, message={"text": "Hello."})
    origin = ready["https"].removesuffix("/v1")
    for _ in range(6):
        with httpx.Client(verify=ann.tls or True, trust_env=False) as http:
            health = http.get(origin + "/health").json()
            assert health["workers"] == 2
            assert health["sockets"] >= len(kept) + 1
            text = http.get(origin + "/metrics").text
    assert "talkamie_crossings_total" in text
    assert f"talkamie_sockets {float(health['sockets'])}" in text
    assert text.count("# TYPE talkamie_requests ") <= 1
    assert {"sign-up", "authenticate"} & {str(row["operation"]) for row in book(ready, "/actions")}


def test_a_call_rings_across_and_sign_out_closes_across(
    ready: Ready, pair: tuple[Person, Person, str]
) -> None:
    """Presence, pushes and revocation know no processes."""
    ann, bob, chat = pair
    ring = [bob.connect() for _ in range(SOCKETS)]
    answer = ask(ann.connect(), "call-user", chatId=chat, type="audio")
    assert answer["data"]["call"]["status"] == "ringing"
    for socket in ring:
        assert receive(socket)["action"] == "user-calling"
    bob.call("DELETE", "/auth/sign-out")
    for socket in ring:
        while (frame := receive(socket))["action"] != "authenticate":
            pass
        assert frame["statusCode"] == 401


def test_who_left_is_offline_everywhere(ready: Ready, pair: tuple[Person, Person, str]) -> None:
    """A message to him is sent, not delivered, whichever process stores it."""
    ann, bob, chat = pair
    senders = [ann.connect() for _ in range(6)]
    bob.connect().close()
    bob.sockets.clear()
    for sender in senders:
        status = ""
        while status != "sent":  # until the close has gone round
            said = ask(sender, "send-message", chatId=chat, message={"text": "There?"})
            status = said["data"]["message"]["delivery"]["status"]


def test_faults_are_followed_by_all(ready: Ready, pair: tuple[Person, Person, str]) -> None:
    """A plan that is put reaches every process, and its book adds up."""
    ann, bob, chat = pair
    plan = b'[[rule]]\nfault = "drop"\nwhere = "new-message"\n'
    put = httpx.put(ready["test"] + "/faults?name=all", content=plan, trust_env=False)
    assert put.json()["on"] is True
    for _ in range(SOCKETS):
        bob.connect()
    for sender in [ann.connect() for _ in range(4)]:
        ask(sender, "send-message", chatId=chat, message={"text": "Gone."})
    rows = [row for row in book(ready) if row["action"] == "new-message"]
    while len(rows) < 4 * SOCKETS:
        rows = [row for row in book(ready) if row["action"] == "new-message"]
    assert {row["fate"] for row in rows} == {"dropped"}
    report = httpx.get(ready["test"] + "/faults", trust_env=False).json()
    assert report["rules"][0]["hits"] == len(rows)
    assert httpx.delete(ready["test"] + "/faults", trust_env=False).json() == {"on": False}
    assert httpx.put(ready["test"] + "/faults", content=b"nonsense", trust_env=False).status_code == 400


def test_a_process_that_dies_ends_the_server() -> None:
    """With one sentence and code 1; nothing is left of the others."""
    with running("--port", "0", "--workers", "3", expect=1, stderr=subprocess.PIPE) as (ready, process):
        os.kill(ready["workers"][1], signal.SIGKILL)
        _, said = process.communicate(timeout=20)
    assert "process 1 " in said
    assert "ended by itself" in said
    for pid in ready["workers"]:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_the_parents_death_ends_all() -> None:
    """Even one that could not say goodbye."""
    with running("--port", "0", "--workers", "2", expect=None) as (ready, process):
        process.kill()
        process.wait()
        for pid in ready["workers"]:
            while True:
                try:
                    stat = Path(f"/proc/{pid}/stat").read_text()
                except (FileNotFoundError, ProcessLookupError):
                    break
                if stat.rpartition(")")[2].split()[0] == "Z":
                    break


def test_a_port_that_is_taken_is_said(ready: Ready) -> None:
    """Though processes of one server share theirs."""
    port = ready["https"].rpartition(":")[2].removesuffix("/v1")
    with (
        pytest.raises(json.JSONDecodeError),
        running("--port", port, "--workers", "2", expect=2, stderr=subprocess.DEVNULL),
    ):
        pass
