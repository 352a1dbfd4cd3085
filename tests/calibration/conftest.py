"""The command itself, as a person would start it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
PLANTED = Path(__file__).parent / "planted"


class Calibrated(NamedTuple):
    exit_code: int
    cells: list[dict[str, Any]]
    said: str


def calibrate(*cases: str, bug: str = "", attempts: int = 3) -> Calibrated:
    """Calibrate by some cases, a bug planted into every process of it."""
    path = os.pathsep.join([str(PLANTED), str(ROOT)] if bug else [str(ROOT)])
    options = ["--attempts", str(attempts)]
    options += [word for case in cases for word in ("--case", case)]
    ended = subprocess.run(
        [sys.executable, "-m", "talkload", "calibrate", "--json", *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "PLANTED_BUG": bug},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return Calibrated(ended.returncode, json.loads(ended.stdout or "[]"), ended.stderr)
