"""`talkload capacity resources` on the terminal: words, JSON, a piece of a capacity.toml, exit codes."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import talkload

EXAMPLE = Path(talkload.__file__).parent / "reports" / "example"


def call(*arguments: object) -> Result:
    """Run `talkload capacity resources` in this process."""
    return CliRunner().invoke(talkload.main, ["capacity", "resources", *map(str, arguments)])


def test_a_run_says_what_its_users_cost() -> None:
    """The run that ships: tables, sentences, and TOML in whole lines at the end."""
    ended = call(EXAMPLE, "--cores", 2, "--memory", 4)
    assert ended.exit_code == 0, ended.output
    assert "a user of this mix takes" in ended.stdout
    piece = tomllib.loads(ended.stdout.partition("# for a capacity.toml")[2])
    assert piece["capacity"]["users_per_instance"]["measured"].startswith(
        "talkload capacity resources, 1 run"
    )


def test_a_run_says_it_as_json_too() -> None:
    """The same figures, nothing else."""
    found = json.loads(call(EXAMPLE, "--json").stdout)
    assert found["source"] == "process"
    assert 0 < found["user"]["low"] < found["user"]["value"] < found["user"]["high"]
    assert {cost["kind"] for cost in found["cpu"]} >= {"user", "message", "handshake", "call"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "RUN..."),
        (["{folder}/nowhere"], "nowhere"),
        (["{example}", "{example}"], "given twice"),
        (["{example}", "--cores", "0"], "--cores"),
        (["{example}", "--memory", "nan"], "not a number"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, arguments: list[str], says: str) -> None:
    """Exit code 2, the place, no traceback."""
    ended = call(*(each.format(folder=tmp_path, example=EXAMPLE) for each in arguments))
    assert ended.exit_code == 2
    assert says in ended.output
    assert "Traceback" not in ended.output
