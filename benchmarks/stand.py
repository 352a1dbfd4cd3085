"""Where contenders are measured: the target on a core of its own, one contender at a time on another.

What was done is counted by the target, what it took by the kernel, over the same seconds: nobody is asked for
figures about himself that somebody else can see.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import trustme

from benchmarks.contenders import Contender, Job
from loadtests import clock

PATIENCE_S = 90.0
_POLL_S = 0.05
_PAUSE = threading.Event()  # never set
_LONGEST = 4  # times the seconds of CPU asked for: a neighbour, or the target, may have the core
_CPU_TICK_S = 0.01  # the kernel counts in these
_TARGET = [sys.executable, "-m", "benchmarks.target"]
_COUNTED = {"receive": "deliveries", "echo": "echoes", "connect": "connects", "https": "requests"}


class StandError(Exception):
    """A contender did not do its job; the message says what it said."""


class Stand:
    """The target, and whoever is at work against it."""

    def __init__(self, stack: ExitStack) -> None:
        """Start the target; it ends with `stack`."""
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="talkload-bench-")))
        self._ca = self._folder / "ca.pem"
        certificate = self._folder / "target.pem"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self._ca))
        leaf = authority.issue_cert("127.0.0.1", "localhost")
        leaf.private_key_and_cert_chain_pem.write_to_path(str(certificate))
        self.cores = cores()
        with _on_core(self.cores[0]):
            self._target = stack.enter_context(_ended([*_TARGET, str(certificate)]))
        self._ports: dict[str, int] = self._heard()
        self._jobs = 0

    def tell(self, line: str) -> dict[str, Any]:
        """Tell the target something; return what it answers."""
        assert self._target.stdin is not None
        self._target.stdin.write(line + "\n")
        self._target.stdin.flush()
        return self._heard()

    def _heard(self) -> dict[str, Any]:
        assert self._target.stdout is not None
        line = self._target.stdout.readline()
        if not line:
            raise StandError("the target is gone")
        answer: dict[str, Any] = json.loads(line)
        return answer

    # --- Jobs ---

    def job(self, work: str, *, tls: bool = False, path: str = "", **settings: Any) -> Job:
        """Return a job against the target."""
        self._jobs += 1
        folder = self._folder / str(self._jobs)
        folder.mkdir()
        scheme = "http" if work in ("https", "service") else "ws"
        port = self._ports["tls" if tls else "plain"]
        url = f"{scheme}{'s' if tls else ''}://127.0.0.1:{port}{path}"
        ca = self._ca if tls else None
        return Job(work=work, url=url, folder=folder, ca=ca, **settings)

    def rate(self, contender: Contender, job: Job) -> tuple[float, float]:
        """Return what it gets done in a second of CPU, and in a second."""
        with self._at_work(contender, job) as crew:
            what = _COUNTED[job.work]
            first = self.tell("counts")[what]
            if job.work in ("receive", "echo"):
                self._until(crew, lambda: self.tell("counts")["open"] >= job.users)
            if job.work == "receive":
                self.tell("broadcast full")
            self._until(crew, lambda: self.tell("counts")[what] > first + 2 * job.users)
            _PAUSE.wait(min(1.0, job.seconds / 2))
            done, used, began = self.tell("counts")[what], crew.cpu_s(), clock.now()
            end = began + clock.ns(_LONGEST * job.seconds)
            while crew.cpu_s() - used < job.seconds and clock.now() < end:
                _PAUSE.wait(_POLL_S)
            done, used = self.tell("counts")[what] - done, max(crew.cpu_s() - used, _CPU_TICK_S)
            return done / used, done * clock.SECOND / (clock.now() - began)

    def memory_kib(self, contender: Contender, job: Job) -> float:
        """Return what it has in memory with so many idle sockets."""
        with self._at_work(contender, job) as crew:
            self._until(crew, lambda: self.tell("counts")["open"] >= job.users)
            _PAUSE.wait(min(2.0, job.seconds))
            return crew.rss_kib()

    def result(self, contender: Contender, job: Job) -> dict[str, Any]:
        """Return what it found out, after a job that ends by itself."""
        with self._at_work(contender, job) as crew:
            try:
                crew.process.wait(job.seconds + PATIENCE_S)
            except subprocess.TimeoutExpired:
                raise StandError(f"did not end: {crew.said()}") from None
            if crew.process.returncode:
                raise StandError(crew.said())
            return contender.result(crew.log.read_text(), job)

    @contextmanager
    def _at_work(self, contender: Contender, job: Job) -> Iterator[Crew]:
        """Run it, and see to it that nothing of it is left, here or at the target."""
        command = contender.command(job)
        environment = os.environ | command.environment
        log = job.folder / "output"
        with ExitStack() as stack, log.open("w") as output:
            for arguments in filter(None, (command.beside, command.arguments)):
                with _on_core(self.cores[1]):
                    process = stack.enter_context(_ended(arguments, env=environment, output=output))
            try:
                yield Crew(process, log)
            finally:
                self.tell("broadcast off")
        self._until(None, lambda: self.tell("counts")["open"] == 0)

    @staticmethod
    def _until(crew: Crew | None, true: Callable[[], bool]) -> None:
        deadline = clock.now() + clock.ns(PATIENCE_S)
        while not true():
            if crew and crew.process.poll() is not None:
                raise StandError(f"ended: {crew.said()}")
            if clock.now() > deadline:
                raise StandError(f"got nowhere: {crew.said() if crew else 'sockets stay open'}")
            _PAUSE.wait(_POLL_S)


class Crew:
    """A contender's processes."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self.log = process, log

    def cpu_s(self) -> float:
        """Return user and system CPU time."""
        return sum(each.cpu_times().user + each.cpu_times().system for each in self._all())

    def rss_kib(self) -> float:
        return sum(each.memory_info().rss for each in self._all()) / 1024

    def _all(self) -> list[psutil.Process]:
        first = psutil.Process(self.process.pid)
        return [first, *first.children(recursive=True)]

    def said(self) -> str:
        """Return the last it said."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return (lines or ["nothing was said"])[-1][:200]


def cores() -> tuple[int, int] | tuple[None, None]:
    """Return a core for the target and one for contenders; none where this machine has no two to give."""
    mine = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (mine[0], mine[1]) if len(mine) > 1 else (None, None)


@contextmanager
def _on_core(core: int | None) -> Iterator[None]:
    """Let what is started here run on one core: processes inherit it."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _ended(
    arguments: list[str], *, env: dict[str, str] | None = None, output: Any = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a program in a group of its own, and end the whole group."""
    process = subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL if output else subprocess.PIPE,
        stdout=output or subprocess.PIPE,
        stderr=subprocess.STDOUT if output else None,
        text=True,
        env=env,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
