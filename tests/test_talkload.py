"""The front door keeps the rules that import-linter can't hold it to, since it is a module and no package."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import talkload

SOURCE = Path(talkload.__file__)
HEAVY = {"locust", "gevent", "pandas", "pyarrow", "matplotlib", "rich", "httpx", "numpy", "msgspec"}


def imported() -> set[str]:
    """Return every module that the front door names in an import, wherever it stands."""
    names = set()
    for node in ast.walk(ast.parse(SOURCE.read_text())):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def test_it_loads_neither_locust_nor_the_server() -> None:
    """Locust patches the process, the server is a process of its own: neither is imported here."""
    assert not any(name.split(".")[0] in ("locust", "gevent") for name in imported())
    assert not any(name.startswith("talkamie.server") for name in imported())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["report", "--help"],
        ["gate", "--help"],
        ["mix", "--help"],
        ["--version"],
    ],
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    """Help is quick because what is heavy is imported where it is used."""
    code = (
        "import sys, talkload\n"
        f"try: talkload.main({arguments!r})\n"
        f"finally: print('heavy:', *sorted({HEAVY!r} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "heavy:"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("5m", 300.0), ("1h", 3600.0), ("0.5s", 0.5), ("99999h", 1e6)]
)
def test_a_time_has_a_unit(text: str, seconds: float) -> None:
    """Seconds, minutes, hours."""
    assert talkload._Seconds().convert(text, None, None) == seconds
