"""Fault plans on the command line: what is said of them, and who must not have any."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from talkamie.server import clock
from tests.talkamie.client import TIMEOUT_S
from tests.talkamie.conftest import running

pytestmark = pytest.mark.end_to_end
WAIT = round(TIMEOUT_S * 1e9)


def test_a_plan_from_the_command_line(tmp_path: Path) -> None:
    """A banner says so, and what it does begins with the server."""
    file = tmp_path / "bad-day.toml"
    file.write_text('[[rule]]\nfault = "error"\nwhere = "get-interests"\nstatus = 503\n')
    options = ("--port", "0", "--plain", "--faults", str(file), "--seed", "5")
    with running(*options, stderr=subprocess.PIPE) as (ready, process), httpx.Client(trust_env=False) as http:
        assert process.stderr is not None
        assert process.stderr.readline() == (
            f"talkamie.server: FAULTS ARE ON, on purpose: {file}, 1 rule, seed 5\n"
        )
        assert http.get(ready["https"].removesuffix("/v1") + "/health").json()["faultPlan"] == "bad-day"
        assert http.get(ready["https"] + "/interests").status_code == 503
        process.stderr.close()


def test_a_server_ends_in_an_outage(tmp_path: Path) -> None:
    """SIGTERM, exit code 0: what refuses connections holds nobody up."""
    file = tmp_path / "p.toml"
    file.write_text('[[rule]]\nfault = "outage"\nfor_s = 600\n')
    with running("--port", "0", "--plain", "--faults", str(file)) as (ready, _):
        address = urlsplit(ready["https"])
        deadline = clock.monotonic() + WAIT
        refused = False
        while not refused and clock.monotonic() < deadline:
            try:
                socket.create_connection((address.hostname, address.port), TIMEOUT_S).close()
            except ConnectionRefusedError:
                refused = True
            except ConnectionResetError:  # it was accepted just before
                continue
        assert refused


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        ('[[rule]]\nfault = "dorp"\n', (), "p.toml: rule 1: fault: there is no 'dorp' (did you mean drop?)"),
        ('[[rule]]\nfault = "drop"\n', ("--host", "0.0.0.0"), "Faults are for this machine alone"),
        (None, (), "p.toml: there is no such file"),
    ],
)
def test_a_plan_that_cannot_be_followed(
    tmp_path: Path, text: str | None, options: tuple[str, ...], sentence: str
) -> None:
    """Exit code 2, a sentence, no traceback."""
    file = tmp_path / "p.toml"
    if text is not None:
        file.write_text(text)
    command = [sys.executable, "-m", "talkamie.server", "--port", "0", "--faults", str(file), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert json.dumps(done.stderr).count("\\n") == 1


def test_a_server_for_others_takes_no_plan() -> None:
    """Not by its test endpoints either."""
    options = ("--host", "0.0.0.0", "--port", "0", "--plain", "--test-endpoints")
    with running(*options) as (ready, _):
        refused = httpx.put(ready["test"] + "/faults", content='[[rule]]\nfault="drop"', trust_env=False)
        assert (refused.status_code, "this machine alone" in refused.json()["error"]) == (409, True)
