"""Starts the generator's processes (Locust, monkey-patched, on their own), passes on what they say, sees to
their end.

That is one process, or a master and its workers: each a Python of its own, not a fork of one that is patched.
Ctrl-C and SIGTERM reach this process only. The first one asks the generator for a polite end: everything is
drained, written and marked partial. A second one ends it at once; what was on disk by then is still a run.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

import msgspec

from loadtests.target import Target

LOCUSTFILE = Path(__file__).parent / "locustfile.py"
PORT = 5557  # Locust's own
END_S = 45.0  # for workers to end by themselves once their master has: a lease, a polite end, a margin
CONNECT_S = 60  # for workers of this machine to start


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the process ended: exit code, the run's folder if one was made, its last words if it failed."""

    exit_code: int
    folder: Path | None
    complaint: str


@dataclass(frozen=True, slots=True)
class Fleet:
    """On which processes a run is carried out."""

    processes: int = 0  # workers on this machine; 0 without others expected: one process does everything
    expected: int = 0  # workers to wait for, those of other machines included
    bind: str = "127.0.0.1"
    port: int = 0  # 0: any
    secret_file: str = ""  # "": one of our own, for workers of this machine


def run(
    target: Target,
    options: list[str],
    *,
    on_second: Callable[[dict[str, Any]], None],
    on_stop: Callable[[], None],
    locustfile: Path = LOCUSTFILE,
    fleet: Fleet | None = None,
) -> Outcome:
    """Run the generator against a target that was looked at, until its end.

    `options` are Locust's and ours, as strings. `on_second` gets a snapshot a second; `on_stop` is told of
    the first signal. Always returns; the caller judges.
    """
    looked_at = msgspec.json.encode(target).decode()
    line = [*_locust(locustfile), "--headless", "--only-summary", "--live", "--stop-timeout", "15"]
    line += ["--looked-at", looked_at]
    with ExitStack() as stack:
        workers = _Workers(locustfile)
        if fleet is not None:
            secret_file = fleet.secret_file or stack.enter_context(_Secret()).path
            line += _as_master(fleet, secret_file)
            workers.told = ["--secret-file", secret_file]
        process = subprocess.Popen(
            [*line, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        workers.on_failure = process.terminate
        stack.callback(workers.end)
        asked = False

        def on_signal(_number: int, _frame: FrameType | None) -> None:
            nonlocal asked
            if asked:
                process.kill()
                workers.kill()
            else:
                asked = True
                process.send_signal(signal.SIGTERM)
                on_stop()

        before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        folder: Path | None = None
        try:
            assert process.stdout is not None
            for said in map(json.loads, filter(_is_json, process.stdout)):
                if "port" in said and fleet is not None:
                    workers.start(fleet.processes, fleet.bind, said["port"])
                elif "run" in said:
                    folder = Path(said["run"])
                    workers.began = True
                elif "elapsed_s" in said:
                    on_second(said)
            assert process.stderr is not None
            complaint = process.stderr.read().strip()
            process.wait()
            workers.wait(END_S if folder else 0)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if process.poll() is None:
                process.kill()
                process.wait()
    return Outcome(process.returncode, folder, "\n".join(filter(None, [complaint, *workers.complaints])))


def serve(count: int, host: str, port: int, secret_file: str, options: list[str]) -> Outcome:
    """Be so many workers of a master elsewhere, until they end. Signals are as for `run`."""
    workers = _Workers(LOCUSTFILE)
    workers.told = [*(["--secret-file", secret_file] if secret_file else []), *options]
    asked = False

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            workers.kill()
        else:
            asked = True
            workers.terminate()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        workers.start(count, host, port)
        workers.wait(None)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        workers.end()
    return Outcome(workers.exit_code, None, "\n".join(workers.complaints))


def _locust(locustfile: Path) -> list[str]:
    return [sys.executable, "-m", "locust", "-f", str(locustfile), "--loglevel", "WARNING"]


def _is_json(line: str) -> bool:
    return line.startswith("{")


def _as_master(fleet: Fleet, secret_file: str) -> list[str]:
    expected = max(fleet.expected, fleet.processes, 1)
    said = ["--master", "--master-bind-host", fleet.bind, "--master-bind-port", str(fleet.port)]
    said += ["--expect-workers", str(expected), "--secret-file", secret_file]
    if expected == fleet.processes:
        said += ["--expect-workers-max-wait", str(CONNECT_S)]
    return said


class _Secret:
    """A secret of one run, in a file that nobody else may read."""

    def __enter__(self) -> _Secret:
        fd, self.path = tempfile.mkstemp(prefix="talkload-secret-")  # 0600
        with os.fdopen(fd, "w") as file:
            file.write(secrets.token_hex(32))
        return self

    def __exit__(self, *_: object) -> None:
        Path(self.path).unlink(missing_ok=True)


class _Workers:
    """The workers of this machine."""

    def __init__(self, locustfile: Path) -> None:
        self._line = _locust(locustfile)
        self._started: list[tuple[subprocess.Popen[str], IO[str]]] = []
        self.told: list[str] = []  # further options
        self.began = False  # from then on the master sees to those that end
        self.on_failure: Callable[[], object] = lambda: None
        self.complaints: list[str] = []
        self.exit_code = 0

    def start(self, count: int, host: str, port: int) -> None:
        """Start so many."""
        line = [*self._line, "--worker", "--master-host", _reachable(host), "--master-port", str(port)]
        for _ in range(count):
            errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  as long as the worker
            process = subprocess.Popen(
                [*line, *self.told],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
            self._started.append((process, errors))
            threading.Thread(target=self._watch, args=(process,), daemon=True).start()

    def _watch(self, process: subprocess.Popen[str]) -> None:
        if process.wait() and not self.began:
            self.on_failure()

    def wait(self, seconds: float | None) -> None:
        """Wait for all of them, each at most so long; then end those that still run."""
        for process, _ in self._started:
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.terminate()
        self.end()

    def terminate(self) -> None:
        """Ask all of them for a polite end."""
        for process, _ in self._started:
            if process.poll() is None:
                process.terminate()

    def kill(self) -> None:
        """End all of them at once."""
        for process, _ in self._started:
            if process.poll() is None:
                process.kill()

    def end(self) -> None:
        """See that none is left, and keep what they complained of."""
        for process, errors in self._started:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            errors.seek(0)
            if process.returncode and (said := errors.read().strip()):
                self.complaints.append(f"worker {process.pid}: {said}")
            errors.close()
            self.exit_code = self.exit_code or abs(process.returncode)
        self._started = []


def _reachable(bind: str) -> str:
    """Return where this machine finds a master that is bound so."""
    return "127.0.0.1" if bind in ("*", "0.0.0.0", "::") else bind  # noqa: S104  read, not bound
