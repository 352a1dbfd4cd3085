"""Pairs of runs against servers that a command starts: order, seeds, ends. No load is made here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from loadtests import campaign, generator
from loadtests.campaign import CampaignError, Source
from loadtests.generator import Outcome
from loadtests.target import Started, Target, TargetError


def python(code: str) -> list[str]:
    """Return the command that runs a line of Python."""
    return [sys.executable, "-c", code]


def printing(said: object) -> list[str]:
    """Return a command that prints one line, then a great deal more, and stays."""
    line = said if isinstance(said, str) else json.dumps(said)
    return python(
        f"import sys; print({line!r}, flush=True); print('x' * 300_000, flush=True);"
        " print('y' * 300_000, file=sys.stderr, flush=True); sys.stdin.read(); import signal; signal.pause()"
    )


def test_a_target_is_an_address_or_a_command() -> None:
    """An address comes with its socket; a command is taken apart as a shell would, and run without one."""
    found = Source.parse("baseline", "https://127.0.0.1:8443/v1/", "wss://127.0.0.1:8443/", None)
    assert found.address == Target("https://127.0.0.1:8443/v1", "wss://127.0.0.1:8443/", None)
    assert Source.parse("candidate", "run 'my server' --port 0", None, None).command == (
        "run",
        "my server",
        "--port",
        "0",
    )


@pytest.mark.parametrize(
    ("text", "socket", "says"),
    [
        ("https://127.0.0.1/", None, "--baseline-socket"),
        ("serve", "wss://127.0.0.1/", "it is a command"),
        ("", None, "expected an https address, or a command"),
        ("serve 'x", None, "No closing quotation"),
        ("https://example.org/", "wss://example.org/", "this machine only"),
    ],
)
def test_a_target_that_is_neither_is_a_mistake_of_usage(text: str, socket: str | None, says: str) -> None:
    """Nothing is started for it."""
    with pytest.raises(TargetError, match=says):
        Source.parse("baseline", text, socket, None)


def test_a_ready_line_says_where_a_server_is_and_its_chatter_does_not_stop_it() -> None:
    """More output than a pipe holds follows the line; the server lives until it is stopped, then is gone."""
    said = {"https": "https://127.0.0.1:1/", "wss": "wss://127.0.0.1:1/", "ca": None, "pid": 7}
    started = Started(printing(said), "the baseline")
    try:
        assert started.ready() == Target("https://127.0.0.1:1/", "wss://127.0.0.1:1/", None, 7)
        assert started._process.poll() is None
    finally:
        started.stop()
    assert started._process.poll() is not None


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["/nowhere/server"], "the baseline can't be started: No such file"),
        (python("import sys; sys.exit('the port is taken')"), "did not start: the port is taken"),
        (printing("Listening on 8443"), "did not start: Listening on 8443|did not start: yyy"),
        (printing({"https": "https://127.0.0.1/"}), "did not start"),
        (printing({"https": 1, "wss": 2, "ca": 3, "pid": "x"}), "did not start"),
        (printing(["https"]), "did not start"),
    ],
)
def test_a_server_that_does_not_start_says_why(command: list[str], says: str) -> None:
    """Its last words, or what it said in place of a ready line."""
    with pytest.raises(TargetError, match=says):
        Started(command, "the baseline").ready()


def test_a_server_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command says of itself is held to the same rule as an address: this machine only."""
    said = {"https": "https://192.0.2.1/", "wss": "wss://192.0.2.1/", "ca": None, "pid": 7}
    source = Source("candidate", None, tuple(printing(said)))
    with pytest.raises(TargetError, match="the candidate says that it is at another place"), source.up():
        pass


class Fake:
    """Stands for the generator: writes down how it was called, and ends as it is told."""

    def __init__(self, *, stop_at: int = 0, fail_at: int = 0) -> None:
        self.calls: list[tuple[str, str]] = []
        self._stop_at, self._fail_at = stop_at, fail_at

    def run(self, target: Target, options: list[str], *, on_second: Any, on_stop: Any) -> Outcome:
        self.calls.append((target.https, options[options.index("--seed") + 1]))
        on_second({"elapsed_s": 1.0})
        if len(self.calls) == self._stop_at:
            on_stop()
        if len(self.calls) == self._fail_at:
            return Outcome(2, None, "warning\ntalkload: the disk is full")
        return Outcome(0, Path(f"run-{len(self.calls)}"), "")


def pairs(fake: Fake, monkeypatch: pytest.MonkeyPatch, n: int, seed: int = 5) -> list[tuple[Path, Path]]:
    """Return up to n pairs of runs of this generator."""
    monkeypatch.setattr(generator, "run", fake.run)
    monkeypatch.setattr("loadtests.target.preflight", lambda found: found)
    baseline, candidate = (
        Source(name, Target(f"https://{name}", "wss://x")) for name in (campaign.BASELINE, campaign.CANDIDATE)
    )
    found = campaign.pairs(
        baseline,
        candidate,
        ["--users", "3"],
        seed=seed,
        on_second=lambda *_: None,
        on_stop=lambda: None,
    )
    return [pair for _, pair in zip(range(n), found, strict=False)]


def test_both_sides_of_a_pair_have_one_seed_and_a_random_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pair has its own people; who goes first is drawn, the same way for the same seed."""
    fake, again = Fake(), Fake()
    found = pairs(fake, monkeypatch, 20)
    assert pairs(again, monkeypatch, 20) == found
    assert [seed for _, seed in fake.calls[:6]] == ["5", "5", "6", "6", "7", "7"]
    firsts = [https for https, _ in fake.calls[:40:2]]
    assert 4 <= firsts.count("https://candidate") <= 16
    for number, (baseline, candidate) in enumerate(found):
        first = firsts[number].removeprefix("https://")
        assert (baseline if first == "baseline" else candidate) == Path(f"run-{2 * number + 1}")


def test_a_signal_ends_it_without_the_pair_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the third run: one pair, and no fourth run."""
    fake = Fake(stop_at=3)
    assert len(pairs(fake, monkeypatch, 10)) == 1
    assert len(fake.calls) == 3


def test_a_run_that_did_not_begin_ends_it_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pair, side and the generator's last words; its exit code."""
    with pytest.raises(CampaignError, match=r"pair 2, \w+: talkload: the disk is full") as failed:
        pairs(Fake(fail_at=4), monkeypatch, 10)
    assert failed.value.exit_code == 2
