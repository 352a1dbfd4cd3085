"""What is compared: programs that can be put to a job. Three are ours, `benchmarks.peers` has others."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Job:
    """What to do: see `benchmarks.client` for the works; `hold` is to have sockets that get nothing."""

    work: str
    url: str
    folder: Path  # for files of the contender's own
    ca: Path | None  # where TLS is spoken
    users: int
    seconds: float  # of CPU where a rate is measured, else of time
    rate: float = 1.0  # calls a second
    levels: tuple[int, ...] = ()  # of CPU, per cent


@dataclass(frozen=True)
class Command:
    """A program to run, what it finds in its environment, and another that must run beside it."""

    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    beside: list[str] = field(default_factory=list)


class Contender(Protocol):
    """A load generator."""

    name: str
    version: str
    works: frozenset[str]

    def command(self, job: Job) -> Command:
        """Return how to put it to a job."""

    def result(self, output: str, job: Job) -> dict[str, Any]:
        """Return what it found out, after a job that ends by itself."""


class Own:
    """One of `benchmarks.kinds`."""

    def __init__(self, kind: str, *, https: bool = True) -> None:
        self.name, self.version = kind, ""
        works = {"receive", "hold", "echo", "connect", "stamp", "record"}
        self.works = frozenset(works | ({"https", "service"} if https else set()))

    def command(self, job: Job) -> Command:
        work = "receive" if job.work == "hold" else job.work
        options = {"users": job.users, "seconds": job.seconds, "rate": job.rate}
        start = [sys.executable, "-m", "gevent.monkey", "--module", "benchmarks.client"]
        return Command(
            [
                *start,
                *(self.name, work, job.url),
                *(f"--{name}={value}" for name, value in options.items()),
                *([f"--ca={job.ca}"] if job.ca else []),
                *(f"--level={level}" for level in job.levels),
            ]
        )

    def result(self, output: str, job: Job) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(output.splitlines()[-1])
        return found


USUAL, SYNC, OURS = Own("usual"), Own("websockets.sync", https=False), Own("ours")
OWN: tuple[Own, ...] = (USUAL, SYNC, OURS)
