"""`talkload capacity find`, its runs made up: words, exit codes, files, interruption."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import talkload
from loadtests import campaign, generator
from loadtests.generator import Outcome
from loadtests.target import Target, TargetError
from tests.analysis.conftest import fake_run, on_disk

SCENARIO = """description = "x"
[load]
users = 60
[senior]
chat = 1
[volunteer]
chat = 1
[slo]
"get-chats p95" = "< 20 ms"
errors = "< 2 %"
"""


class Stage:
    """In place of target and generator: runs that are slower the more users there are."""

    def __init__(self) -> None:
        self.loads: list[int] = []
        self.interrupt_at = 0
        self.down = False

    @contextmanager
    def up(self, _source: campaign.Source) -> Iterator[Target]:
        if self.down:
            raise TargetError("the target did not start: no")
        yield Target("https://127.0.0.1:1", "wss://127.0.0.1:1")

    def run(self, _target: Target, options: list[str], *, on_stop: Callable[[], None], **_: Any) -> Outcome:
        given = dict(zip(options[::2], options[1::2], strict=True))
        users, number = int(given["--users"]), len(self.loads) + 1
        if number == self.interrupt_at:
            self.interrupt_at = 0
            on_stop()
            return Outcome(1, None, "")
        self.loads.append(users)
        run = fake_run(
            Path(given["--out"]), seed=int(given["--seed"]), n=4_000, ledger=50, slow=users / 100,
            slo={"get-chats p95": "< 20 ms", "errors": "< 2 %"}, id=f"20261122T2045{number:02}Z-s-x",
        )  # fmt: skip
        return Outcome(0, on_disk(run, Path(given["--out"])), "")


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Return a stage that is in place."""
    made = Stage()
    monkeypatch.setattr(campaign.Source, "up", lambda source: made.up(source))
    monkeypatch.setattr(generator, "run", made.run)
    return made


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    """Return a scenario's file."""
    path = tmp_path / "s.toml"
    path.write_text(SCENARIO)
    return path


def call(*arguments: object) -> Result:
    """Run `talkload capacity find` in this process."""
    return CliRunner().invoke(talkload.main, ["capacity", "find", *map(str, arguments)])


def test_a_search_ends_with_an_answer_a_page_and_exit_code_0(
    stage: Stage, scenario: Path, tmp_path: Path
) -> None:
    """A line a step, the interval, what broke first."""
    ended = call(scenario, "--out", tmp_path / "found")
    assert ended.exit_code == 0, ended.output
    assert "the capacity is" in ended.stdout
    assert "what breaks first is get-chats p95" in ended.stdout
    assert ended.stderr.count("step ") == len(stage.loads)
    (folder,) = (tmp_path / "found").iterdir()
    page = (folder / "capacity.html").read_text()
    assert "Capacity found" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_an_interrupted_search_resumes_to_the_same_answer(
    stage: Stage, scenario: Path, tmp_path: Path
) -> None:
    """The step under way does not count, exit code 3, and the command that goes on is printed."""
    whole = json.loads(call(scenario, "--out", tmp_path / "one", "--json", "--no-page").stdout)
    stage.loads, stage.interrupt_at = [], 4
    ended = call(scenario, "--out", tmp_path / "two", "--no-page")
    assert ended.exit_code == 3
    (folder,) = (tmp_path / "two").iterdir()
    assert f"talkload capacity find --resume {folder}" in ended.output
    resumed = json.loads(call("--resume", folder, "--json", "--no-page").stdout)
    assert resumed["answer"] == whole["answer"]


def test_a_target_that_is_down_is_exit_code_5(stage: Stage, scenario: Path, tmp_path: Path) -> None:
    """What it said is told."""
    stage.down = True
    ended = call(scenario, "--out", tmp_path / "found")
    assert ended.exit_code == 5
    assert "the target did not start: no" in ended.output


def test_a_scenario_that_changed_can_not_be_gone_on_with(
    stage: Stage, scenario: Path, tmp_path: Path
) -> None:
    """Its steps would be of two scenarios."""
    stage.interrupt_at = 2
    call(scenario, "--out", tmp_path / "found", "--no-page")
    (folder,) = (tmp_path / "found").iterdir()
    scenario.write_text(SCENARIO.replace("chat = 1", "chat = 2"))
    ended = call("--resume", folder)
    assert ended.exit_code == 2
    assert "not the scenario any more" in ended.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give a scenario, or --resume"),
        (["typicl"], "did you mean typical?"),
        (["typical", "--start", "10", "--lowest", "20"], "lowest <= start"),
        (["typical", "--start", "nan"], "not a number to work with"),
        (["typical", "--target", "https://127.0.0.1:1"], "give --target-socket too"),
        (["--resume", "nowhere"], "nowhere/search.json: there is no search"),
        (["typical", "--by", "miles"], "miles"),
        (["typical", "--step-time", "20"], "is not a time"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, arguments: list[str], says: str) -> None:
    """Exit code 2, no traceback, no folder."""
    ended = call(*arguments, *(["--out", tmp_path / "found"] if arguments else []))
    assert ended.exit_code == 2, ended.output
    assert says in ended.output
    assert not (tmp_path / "found").exists()
