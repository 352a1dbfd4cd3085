"""Whatever a person gets wrong is answered with one sentence and the right exit code."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from loadtests.target import Target
from tests.end_to_end.conftest import Talkload

pytestmark = pytest.mark.end_to_end

USAGE, UNUSABLE = 2, 5


def refused(ended: subprocess.CompletedProcess[str], code: int) -> str:
    """Check that a command was refused in a sentence; return it."""
    assert ended.returncode == code, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    sentence = ended.stderr.strip().splitlines()[-1]
    assert len(sentence) > 20
    return sentence


def test_a_wrong_key_in_a_scenario(talkload: Talkload, tmp_path: Path) -> None:
    """File, line, key, the nearest that exists."""
    file = tmp_path / "mine.toml"
    file.write_text('description = "x"\n[load]\nuser = 3\n')
    sentence = refused(talkload("run", str(file)), USAGE)
    assert f"{file}:3: load.user: unknown key (did you mean users?)" in sentence


def test_a_scenario_that_does_not_exist(talkload: Talkload) -> None:
    """The nearest name is offered."""
    assert "did you mean typical?" in refused(talkload("run", "typicl"), USAGE)


def test_an_unreachable_target(talkload: Talkload, tmp_path: Path) -> None:
    """Nothing is started against a target that nobody answers at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ended = talkload(
        "run", "smoke", "--target", f"https://127.0.0.1:{port}/v1", "--socket", f"wss://127.0.0.1:{port}/",
        "--out", str(tmp_path / "runs"),
    )  # fmt: skip
    assert "nobody listens there" in refused(ended, UNUSABLE)
    assert not (tmp_path / "runs").exists()


def test_a_certificate_that_is_not_trusted(talkload: Talkload, target: Target) -> None:
    """The remedy is --ca."""
    ended = talkload("run", "smoke", "--target", target.https, "--socket", target.wss)
    assert "--ca FILE" in refused(ended, UNUSABLE)


def test_a_target_that_is_not_this_machine(talkload: Talkload) -> None:
    """Load goes to loopback; somebody else's server is refused before a packet leaves."""
    ended = talkload("run", "smoke", "--target", "https://192.0.2.1/v1", "--socket", "wss://192.0.2.1/")
    assert "this machine only" in refused(ended, UNUSABLE)


def test_a_target_in_a_private_network(talkload: Talkload) -> None:
    """The flag that would allow it is named; a name never is, whatever the flag."""
    ended = talkload("run", "smoke", "--target", "https://10.213.99.9/v1", "--socket", "wss://10.213.99.9/")
    assert "--allow-private" in refused(ended, UNUSABLE)
    named = ("--target", "https://intranet.test/v1", "--socket", "wss://intranet.test/")
    assert "this machine only" in refused(talkload("run", "smoke", *named, "--allow-private"), UNUSABLE)


def test_half_a_target(talkload: Talkload) -> None:
    """A target is two addresses."""
    assert "two addresses" in refused(talkload("run", "--target", "https://127.0.0.1/v1"), USAGE)


def test_a_busy_port(talkload: Talkload) -> None:
    """Whoever listens there first keeps it."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        sentence = refused(talkload("serve", "--port", str(port)), USAGE)
    assert str(port) in sentence
    assert "--port" in sentence


def test_an_output_folder_that_can_not_be_made(talkload: Talkload, tmp_path: Path) -> None:
    """A file is in the way: said before any load starts."""
    (tmp_path / "runs").write_text("a file")
    sentence = refused(talkload("run", "smoke", "--out", str(tmp_path / "runs")), USAGE)
    assert "runs" in sentence


def test_an_output_folder_that_is_read_only(talkload: Talkload) -> None:
    """Read-only even for root: a file system that takes no folders."""
    assert "/proc/runs" in refused(talkload("run", "smoke", "--out", "/proc/runs"), USAGE)


def test_an_output_folder_on_a_full_disk(talkload: Talkload, tmp_path: Path) -> None:
    """A disk with a megabyte on it is too small for a run: the figure and the remedy are named."""
    full = tmp_path / "full"
    full.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(full)], check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk is not permitted here")
    try:
        sentence = refused(talkload("run", "smoke", "--out", str(full)), USAGE)
        assert "MB" in sentence
        assert "free" in sentence
    finally:
        subprocess.run(["umount", str(full)], check=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--users", "0"),
        ("--users", "-3"),
        ("--users", "1e9"),
        ("--users", "nan"),
        ("--run-time", "10"),
        ("--run-time", "١٠s"),
        ("--run-time", "0s"),
        ("--spawn-rate", "0"),
        ("--spawn-rate", "nan"),
        ("--seed", "-1"),
        ("--user", "3"),
        ("--ca", "/nowhere.pem"),
    ],
)
def test_an_option_with_a_value_that_makes_no_sense(talkload: Talkload, arguments: tuple[str, str]) -> None:
    """Zero, negative, not a number, no unit, misspelt: the option is named."""
    assert arguments[0] in refused(talkload("run", "smoke", *arguments), USAGE)


def test_a_run_that_is_not_there(talkload: Talkload, tmp_path: Path) -> None:
    """The report names what it looked for."""
    assert "nowhere" in refused(talkload("report", "nowhere"), USAGE)
    assert "no run" in refused(talkload("report", "--out", str(tmp_path)), USAGE)


def test_help_is_there_for_every_command(talkload: Talkload) -> None:
    """And says what the command does."""
    for name in ("run", "serve", "report", "gate", "doctor"):
        ended = talkload(name, "--help")
        assert ended.returncode == 0
        assert "--" in ended.stdout


def test_the_doctor_examines_this_machine(talkload: Talkload) -> None:
    """Each finding has its figure."""
    ended = talkload("doctor")
    assert ended.returncode == 0
    assert "kernel receive stamps" in ended.stdout
    assert "a second can be trusted" in ended.stdout
