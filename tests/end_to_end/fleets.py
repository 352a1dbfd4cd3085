"""A run on several hosts: a target, a master, and a worker on each of the others."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.end_to_end.conftest import ROOT, command
from tests.end_to_end.hosts import Host

Hosts = Callable[..., AbstractContextManager[dict[str, Host]]]


@dataclass
class Fleet:
    """What takes part in it."""

    hosts: dict[str, Host]
    master: subprocess.Popen[str]
    workers: dict[str, subprocess.Popen[str]]

    def until_online(self) -> None:
        """Wait for the run's first second."""
        assert self.master.stdout is not None
        for line in self.master.stdout:
            if "online" in line:
                return


@contextmanager
def fleet(
    hosts: Hosts,
    folder: Path,
    scenario: Path,
    *told: str,
    workers: tuple[str, ...],
    clocks: dict[str, int] | None = None,
    cwd: Path = ROOT,
    before: Callable[[Host, dict[str, Any]], None] = lambda target, ready: None,
) -> Iterator[Fleet]:
    """Start a run of `scenario` that goes to `folder` / "runs"; a worker writes to its name's folder there.

    The master, in `cwd`, is `told` more. `before` can prepare the target: its host, and its ready line.
    """
    secret = folder / "secret"
    secret.write_text("s" * 32)
    secret.chmod(0o600)
    with hosts("target", "master", *workers, clocks=clocks) as found:
        serving = ("--port", "0", "--host", found["target"].address, "--test-endpoints")
        server = found["target"].start(sys.executable, "-m", "talkamie.server", *serving)
        assert server.stdout is not None
        ready = json.loads(server.stdout.readline())
        before(found["target"], ready)
        at, shared = found["master"].address, ("--secret-file", str(secret))
        where = ("--target", ready["https"], "--socket", ready["wss"], "--ca", ready["ca"], "--allow-private")
        line = ("--master", "--bind", at, "--expect-workers", str(len(workers)), *shared, *where)
        much = ("--out", str(folder / "runs"), "--no-page", *told)
        master = found["master"].start(*command("run", str(scenario), *line, *much), cwd=cwd)
        to = command("run", "--worker", "--own-disk", "--master-host", at, *shared)
        started = {name: found[name].start(*to, "--out", str(folder / name)) for name in workers}
        yield Fleet(found, master, started)
