"""The real thing: the command, Locust, TLS and sockets, the reference server as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from loadtests.target import Server, Target
from tests.end_to_end import hosts as make_hosts
from tests.end_to_end.hosts import Host

ROOT = Path(__file__).parents[2]
LONG = 90.0
Talkload = Callable[..., "subprocess.CompletedProcess[str]"]

SCENARIO = """description = "A few busy seconds"

[load]
users = 16
spawn_rate = 16
run_time_s = 6

[people]
senior = 6
volunteer = 6
lurker = 2
pace = 40
newcomers = 0.2

[senior]
connect = 3
chat = 6

[volunteer]
message-request = 2
chat = 6

[client]
ping_interval_s = 1
timeout_s = 5
delivery_deadline_s = 2

[slo]
errors = "< 5 %"
lost = "= 0"
duplicate = "= 0"
"""


def command(*arguments: str) -> list[str]:
    """Return the command line of talkload in this environment."""
    return [sys.executable, "-m", "talkload", *arguments]


@pytest.fixture(scope="session")
def talkload() -> Talkload:
    """Run a talkload command to its end, as a person would, away from any terminal."""

    def run(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments),
            cwd=cwd,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONG,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scenario of six seconds."""
    file = tmp_path_factory.mktemp("scenario") / "busy.toml"
    file.write_text(SCENARIO)
    return file


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A fresh reference server with its test endpoints, and the options that a test parametrizes it with."""
    server = Server("--test-endpoints", *getattr(request, "param", ()))
    try:
        yield server.ready()
    finally:
        server.stop()


@pytest.fixture
def hosts() -> Callable[..., AbstractContextManager[dict[str, Host]]]:
    """Return what makes separate hosts on this machine, see `tests.end_to_end.hosts`."""
    if why := make_hosts.forbidden():
        pytest.skip(why)
    return make_hosts.hosts
