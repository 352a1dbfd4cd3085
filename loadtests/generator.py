"""Starts the generator process (Locust, monkey-patched, on its own), passes on what it says, sees to its end.

Ctrl-C and SIGTERM reach this process only. The first one asks the generator for a polite end: everything is
drained, written and marked partial. A second one ends it at once; what was on disk by then is still a run.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from loadtests.target import Target

LOCUSTFILE = Path(__file__).parent / "locustfile.py"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the process ended: exit code, the run's folder if one was made, its last words if it failed."""

    exit_code: int
    folder: Path | None
    complaint: str


def run(
    target: Target,
    options: list[str],
    *,
    on_second: Callable[[dict[str, Any]], None],
    on_stop: Callable[[], None],
    locustfile: Path = LOCUSTFILE,
) -> Outcome:
    """Run the generator against a target that was looked at, until its end.

    `options` are Locust's and ours, as strings. `on_second` gets a snapshot a second; `on_stop` is told of
    the first signal. Always returns; the caller judges.
    """
    looked_at = msgspec.json.encode(target).decode()
    command = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        str(locustfile),
        "--headless",
        "--only-summary",
        "--live",
    ]
    process = subprocess.Popen(
        [*command, "--loglevel", "WARNING", "--looked-at", looked_at, *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    asked = False

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            process.kill()
        else:
            asked = True
            process.send_signal(signal.SIGTERM)
            on_stop()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    folder: Path | None = None
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                said = json.loads(line)
                if "run" in said:
                    folder = Path(said["run"])
                else:
                    on_second(said)
        assert process.stderr is not None
        complaint = process.stderr.read().strip()
        process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if process.poll() is None:
            process.kill()
            process.wait()
    return Outcome(process.returncode, folder, complaint)
