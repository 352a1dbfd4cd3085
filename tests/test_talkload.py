"""The front door is quick."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"locust", "gevent", "pandas", "pyarrow", "matplotlib", "rich", "httpx", "numpy", "msgspec"}


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--help"], ["run", "--help"], ["report", "--help"], ["gate", "--help"], ["--version"]),
        *(["capacity", "fit", "--help"], ["calibrate", "--help"], ["mix", "--help"]),
        *(["compare", "--help"], ["history", "show", "--help"]),
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
