"""The process: its ready line, its options, its end, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError

from tests.talkamie.client import TIMEOUT_S
from tests.talkamie.conftest import (
    PASSWORD,
    Person,
    Ready,
    ask,
    befriend,
    open_socket,
    people_of,
    receive,
    running,
    send,
)

pytestmark = pytest.mark.end_to_end
COMMAND = [sys.executable, "-m", "talkamie.server"]


def test_the_ready_line_says_where(server: Ready) -> None:
    """Addresses, CA and process, and nothing else on stdout."""
    assert set(server) == {"https", "wss", "ca", "pid", "test"}
    assert server["https"].startswith("https://127.0.0.1:")
    assert server["https"].endswith("/v1")
    assert server["wss"].startswith("wss://127.0.0.1:")
    os.kill(server["pid"], 0)


def test_the_whole_way_in_over_https(server: Ready, tls: ssl.SSLContext) -> None:
    """Health, OTP, sign-up, sign-in, the socket."""
    with httpx.Client(base_url=server["https"], verify=tls, trust_env=False) as http:
        health = http.get(server["https"].removesuffix("/v1") + "/health").json()
        assert (health["stage"], health["faults"], health["passwordCost"]) == ("dev", False, "light")
        assert health["workers"] == 1
        assert health["extras"] is False
        code = http.post("/otp", json={"email": "way@in.test"}).json()["data"]["otp"]
        assert http.post("/otp/verify", json={"email": "way@in.test", "code": code}).status_code == 200
        body = {"email": "way@in.test", "password": PASSWORD, "name": "Way"}
        user = http.post("/auth/sign-up", json=body).json()["data"]["user"]
        session = http.post("/auth/sign-in", json=body).json()["data"]
        assert session["user"] == user
    with open_socket(server, tls) as wire:
        assert ask(wire, "authenticate", token=session["tokens"]["access"])["data"] == user


def test_it_may_open_more_files_than_the_shell_gave() -> None:
    """As many as the hard limit lets it, up to 65,536: each connection is one."""
    few = ["sh", "-c", 'ulimit -Sn 256 && exec "$@"', "sh"]
    with subprocess.Popen([*few, *COMMAND, "--port", "0", "--plain"], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            soft, hard = psutil.Process(process.pid).rlimit(psutil.RLIMIT_NOFILE)
        finally:
            process.terminate()
    assert soft == min(hard, 65_536) > 256


def test_metrics_count_requests_and_deliveries(people: Callable[..., list[Person]]) -> None:
    """In the text format of Prometheus, with the process's own memory."""
    (ann,) = people(1)
    ann.call("GET", "/auth")
    text = ann.http.get(ann.ready["https"].removesuffix("/v1") + "/metrics").text
    assert 'talkamie_requests_total{operation="get-user-by-token",status="200"}' in text
    assert "talkamie_request_seconds_bucket" in text
    assert "process_resident_memory_bytes" in text
    ring = ann.http.get(ann.ready["test"] + "/requests").json()
    assert ring["columns"] == [
        "id",
        "operation",
        "status",
        "start_ns",
        "duration_ns",
        "queue_ns",
        "fault_ns",
        "fault",
    ]
    assert ring["rows"][-1][1:3] == ["get-user-by-token", 200]


def test_the_test_endpoints_are_not_on_the_main_port(server: Ready, tls: ssl.SSLContext) -> None:
    """Whoever reaches the API reads no ledger."""
    with httpx.Client(verify=tls, trust_env=False) as http:
        for path in ("/ledger", "/v1/ledger", "/accounts", "/v1/accounts", "/requests"):
            assert http.get(server["https"].removesuffix("/v1") + path).status_code == 404


def test_seeding_twice_keeps_the_accounts(people: Callable[..., list[Person]]) -> None:
    """The same addresses give the same users with new tokens; nonsense is a 400."""
    (ann,) = people(1)
    body = [{"email": ann.email, "name": "Ann", "password": PASSWORD}]
    (again,) = ann.http.post(ann.ready["test"] + "/accounts", json=body).json()
    assert again["id"] == ann.id
    assert again["tokens"]["access"] != ann.token
    assert ann.http.post(ann.ready["test"] + "/accounts", json=[{"email": 5}]).status_code == 400
    assert ann.http.get(ann.ready["test"] + "/ledger?since=x").status_code == 400


def test_connecting_twice_is_connecting_once(people: Callable[..., list[Person]]) -> None:
    """One open chat for both, whatever was between them; of somebody unknown it is told, and nothing done."""
    ann, bob = people(2)
    ann.call("POST", f"/user/{bob.id}/connection")
    for _ in range(2):
        made = ann.http.post(ann.ready["test"] + "/connections", json=[[ann.id, bob.id]])
        assert made.status_code == 204
    for one in (ann, bob):
        (chat,) = one.call("GET", "/chats")["data"]
        assert chat["request"]["status"] == "accepted"
    refused = ann.http.post(ann.ready["test"] + "/connections", json=[[ann.id, "nobody"]])
    assert refused.status_code == 400
    assert "nobody" in refused.json()["error"]
    assert ann.http.post(ann.ready["test"] + "/connections", json=[[1]]).status_code == 400


def test_all_sockets_are_reset_at_once(people: Callable[..., list[Person]]) -> None:
    """Everybody is told so, and may come back."""
    ann, bob = people(2)
    sockets = [ann.connect(), bob.connect()]
    said = ann.http.delete(ann.ready["test"] + "/sockets").json()
    assert said["sockets"] >= 2
    for each in sockets:
        with pytest.raises(ConnectionClosedError):
            each.recv()
    ann.connect()


def test_a_client_that_does_not_know_the_ca_is_not_served(server: Ready) -> None:
    """The certificate is nobody's but our CA's."""
    with httpx.Client(trust_env=False) as http, pytest.raises(httpx.ConnectError, match="certificate"):
        http.get(server["https"] + "/interests")
    with pytest.raises(ssl.SSLCertVerificationError):
        open_socket(server, ssl.create_default_context())


def test_the_ca_of_one_server_is_not_anothers(server: Ready) -> None:
    """Each start makes its own."""
    with running("--port", "0") as (other, _):
        context = ssl.create_default_context(cafile=server["ca"])
        with httpx.Client(verify=context, trust_env=False) as http, pytest.raises(httpx.ConnectError):
            http.get(other["https"] + "/interests")


def test_the_end_is_told_to_sockets_and_requests_are_finished() -> None:
    """SIGTERM: a request in flight has its answer, sockets close with 1012, exit code 0, nothing left."""
    with running("--port", "0", "--password-cost", "realistic") as (ready, process):
        context = ssl.create_default_context(cafile=ready["ca"])
        wire = open_socket(ready, context)
        address = ready["https"].removeprefix("https://").removesuffix("/v1").split(":")
        body = json.dumps({"email": "nobody@example.test", "password": PASSWORD}).encode()
        raw = socket.create_connection((address[0], int(address[1])), TIMEOUT_S)
        with context.wrap_socket(raw, server_hostname=address[0]) as secure:
            head = f"POST /v1/auth/sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            secure.sendall(head.encode() + body[:-1])
            ask(wire, "ping")  # by now the request has begun too
            process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                wire.recv()
            secure.sendall(body[-1:])
            assert secure.recv(65536).startswith(b"HTTP/1.1 401")
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        assert process.wait(TIMEOUT_S) == 0
        assert not Path(ready["ca"]).parent.exists()


def test_ctrl_c_ends_it_too() -> None:
    """SIGINT, exit code 0, within seconds, also with sockets open."""
    with running("--port", "0", "--plain") as (ready, process):
        wire = open_socket(ready, None)
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 0
        wire.close()


def test_it_ends_with_its_parent() -> None:
    """Whoever started it may die of anything: no server is left behind."""
    script = (
        "import subprocess, sys, os\n"
        f"child = subprocess.Popen({[*COMMAND, '--port', '0', '--plain', '--exit-with-parent']!r},"
        " stdout=subprocess.PIPE)\n"
        "print(child.stdout.readline().decode(), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=TIMEOUT_S)
    ready = json.loads(done.stdout)
    descriptor = os.pidfd_open(ready["pid"])  # readable once the process has ended
    try:
        import select

        assert select.select([descriptor], [], [], TIMEOUT_S)[0] == [descriptor]
    finally:
        os.close(descriptor)


def test_a_kept_database_remembers(tmp_path: Path) -> None:
    """With --db, accounts and tokens outlive the process."""
    options = (
        "--port",
        "0",
        "--plain",
        "--test-endpoints",
        "--db",
        f"sqlite:///{tmp_path}/t.db",
        "--durable",
    )
    with httpx.Client(trust_env=False) as http:
        with running(*options) as (ready, _):
            body = [{"email": "a@b.test", "name": "A", "password": PASSWORD}]
            token = http.post(ready["test"] + "/accounts", json=body).json()[0]["tokens"]["access"]
        with running(*options) as (ready, _):
            headers = {"authorization": f"Bearer {token}"}
            assert http.get(ready["https"] + "/auth", headers=headers).status_code == 200


def test_keys_are_for_us_alone(tmp_path: Path) -> None:
    """The private key can be read by its owner only, the CA by anybody."""
    with running("--port", "0", "--ca-dir", str(tmp_path / "ca")) as (ready, _):
        assert ready["ca"] == str(tmp_path / "ca" / "ca.pem")
        assert stat.S_IMODE((tmp_path / "ca" / "server.pem").stat().st_mode) == 0o600
        assert b"PRIVATE" not in (tmp_path / "ca" / "ca.pem").read_bytes()


@pytest.mark.parametrize("options", [("--plain",), ()], ids=["plain", "TLS"])
def test_without_platform_limits_big_messages_pass(options: tuple[str, ...]) -> None:
    """A frame over 32 KiB is then an ordinary bad frame, in however many TLS records it comes."""
    with running("--port", "0", "--no-platform-limits", *options) as (ready, _):
        tls = ready["ca"] and ssl.create_default_context(cafile=ready["ca"])
        with open_socket(ready, tls) as wire:
            wire.send("x" * 200_000)
            assert json.loads(wire.recv())["statusCode"] == 400


def test_the_switches_for_other_deployments_reach_the_rules() -> None:
    """Each refuses what is let through without it."""
    switches = ("--billing", "--enforce-roles", "--check-overlap", "--apigw-errors")
    with (
        running("--port", "0", "--plain", "--test-endpoints", *switches) as (ready, _),
        people_of(ready, None) as make,
    ):
        (ann,), (bob,) = make(1), make(1, kind="volunteer")
        bob.call("POST", f"/user/{ann.id}/connection", status=403)
        chat = befriend(ann, bob)
        slot = {"title": "Tea", "type": "audio"} | {
            f"{end}DateTime": f"2099-01-01T1{hour}:00:00Z" for hour, end in enumerate(("start", "end"))
        }
        ann.call("POST", f"/user/{bob.id}/schedule", slot)
        ann.call("POST", f"/user/{bob.id}/schedule", slot, status=409)
        wire = ann.connect()
        ask(wire, "call-user", status=403, chatId=chat, type="audio")
        send(wire, "dance")
        assert receive(wire)["message"] == "Forbidden"


def test_a_head_without_end_is_refused(server: Ready, tls: ssl.SSLContext) -> None:
    """Over 32 KiB of headers: 400 and the connection is closed."""
    with httpx.Client(verify=tls, trust_env=False) as http:
        answer = http.get(server["https"] + "/interests", headers={"x-big": "x" * 40_000})
        assert answer.status_code == 400


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        ("POST /v1/otp HTTP/1.1\r\nContent-Length: 3000000", 413),
        ("POST /v1/otp HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", 400),
        ("POST /v1/otp HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6", 400),
        ("POST /v1/otp HTTP/1.1\r\nContent-Length: -5", 400),
        ("GET /v1/chat/%zz%00%ff HTTP/1.1", 401),
        ("GET /v1//interests HTTP/1.1", 404),
        ("GET /v1/../v1/interests HTTP/1.1", 404),
        ("GET /v1/interests?keyword=%ff HTTP/1.1", 400),
        ("GET http://elsewhere.test/v1/interests HTTP/1.1", 200),
        ("GET nonsense HTTP/1.1", 400),
        ("BREW /v1/interests HTTP/1.1", 400),
        ("GET /v1/interests HTTP/9.9", 400),
        ("\x00\x01\x02", 400),
    ],
)
def test_a_strange_request_has_a_plain_answer(
    server: Ready, tls: ssl.SSLContext, request_head: str, status: int
) -> None:
    """Smuggling, traversal, bad escapes and nonsense: a status below 500, and the server goes on."""
    address = urlsplit(server["https"])
    raw = socket.create_connection((address.hostname, address.port), TIMEOUT_S)
    with tls.wrap_socket(raw, server_hostname=address.hostname) as secure:
        secure.sendall(request_head.encode() + b"\r\nHost: x\r\n\r\n")
        assert int(secure.recv(65536).split()[1]) == status


def test_it_listens_on_ipv6_too() -> None:
    """The certificate covers ::1."""
    with running("--host", "::1", "--port", "0") as (ready, _):
        assert ready["wss"].startswith("wss://[::1]:")
        context = ssl.create_default_context(cafile=ready["ca"])
        with httpx.Client(verify=context, trust_env=False) as http:
            assert http.get(ready["https"] + "/interests").status_code == 200


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--port", "70000"], "no port"),
        (["--port", "-1"], "no port"),
        (["--port", "١٠"], "no port"),
        (["--port"], "expected one argument"),
        (["--frobnicate"], "unrecognized arguments"),
        (["--host", "no.such.host.invalid", "--port", "0"], "cannot listen"),
        (["--db", "mysql://x", "--port", "0"], "sqlite:///FILE or postgresql://"),
        (["--db", "postgresql://u:secret@127.0.0.1:1/x", "--port", "0"], "Start PostgreSQL there"),
        (["--db", "postgresql://u:secret@127.0.0.1:x/x", "--port", "0"], "the address is malformed"),
        (["--db", "sqlite:////no/such/folder/x.db", "--port", "0"], "cannot use the database"),
        (["--db", "sqlite:////dev/null/x.db", "--port", "0"], "cannot use the database"),
        (["--ca-dir", "/dev/null/x", "--port", "0"], "Choose another --ca-dir"),
        (["--auth-deadline", "nan", "--port", "0"], "no number of seconds"),
        (["--password-cost", "free"], "invalid choice"),
    ],
)
def test_what_cannot_start_says_why(options: list[str], sentence: str) -> None:
    """Exit code 2, a sentence on stderr, nothing on stdout, no traceback."""
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=TIMEOUT_S)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr


def test_a_busy_port_is_told_with_its_remedy(server: Ready) -> None:
    """One sentence: which port, and what to do."""
    port = server["https"].removesuffix("/v1").rsplit(":")[-1]
    done = subprocess.run([*COMMAND, "--port", port], capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 2
    assert done.stderr == (
        f"talkamie.server: port {port} of 127.0.0.1 is in use. Stop what listens there, or use --port 0.\n"
    )


def test_help_names_every_option() -> None:
    """--help works and is about the server."""
    done = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0
    for option in ("--port", "--plain", "--db", "--durable", "--password-cost", "--test-endpoints"):
        assert option in done.stdout
