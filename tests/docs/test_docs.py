"""Public text is tested text: links lead somewhere, commands and options exist, tables match the code."""

from __future__ import annotations

import re
from pathlib import Path

import click
import msgspec
import pytest

import talkload
from scenarios import workload
from scenarios.workload import Scenario

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("reports/*.md")])
MAKE_TARGETS = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))


def code_of(page: Path) -> list[str]:
    """Return the lines of a page that stand in code blocks."""
    return [
        line
        for block in re.findall(r"```\w*\n(.*?)```", page.read_text(), re.S)
        for line in block.splitlines()
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """Files and folders that a page points to exist."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_option_exists(page: Path) -> None:
    """What a page tells people to type is what the program understands."""
    for line in code_of(page):
        words = re.sub(r"'[^']*'", "''", line).split("#")[0].split()  # in quotes: another program's command
        if words[:1] == ["make"] and len(words) > 1:
            assert words[1] in MAKE_TARGETS
        if words[:1] != ["talkload"] or len(words) == 1:
            continue
        command = talkload.main.commands.get(words[1])
        if isinstance(command, click.Group):
            command = command.commands.get(words[2])
        assert command is not None, line
        if words[1] == "serve":
            continue  # its options are the server's own, tested there
        known = {option for each in command.params if isinstance(each, click.Option) for option in each.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


def test_every_key_of_a_scenario_is_documented() -> None:
    """docs/scenarios.md names each table and each key."""
    text = (ROOT / "docs/scenarios.md").read_text()
    for table in msgspec.structs.fields(Scenario):
        kind = table.type
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            assert f"[{table.encode_name}]" in text
            for key in msgspec.structs.fields(kind):
                assert f"`{key.encode_name}`" in text, key.encode_name


def test_every_scenario_that_ships_is_described_in_its_file() -> None:
    """A person who lists the folder can choose."""
    for name in workload.available():
        assert len(workload.load(name).description) > 20


def test_nothing_public_names_a_registry_or_a_machine() -> None:
    """The lock file has versions and hashes; where packages come from is each machine's own setting."""
    lock = (ROOT / "requirements.lock").read_text()
    assert "--hash=sha256:" in lock
    assert "://" not in lock
    assert "--index-url" not in lock
