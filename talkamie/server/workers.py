"""Several processes, one server: a parent that serves nothing starts them, watches them and ends them.

They are forked before there is a loop or a thread, so they share what was made by then: options, certificate,
folder. Each says when it hears the others (`joined`) and is told from when on all do; each says when it
listens (`listening`), and when all do the server is ready. One that ends unasked ends the server, because its
sockets are gone, the others would owe pushes to nobody, and its part of the books is missing.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from talkamie.server import clock
from talkamie.server.doors import StartError

STOP_S = 15  # after which a process that was told to stop is killed
CHECK_S = 0.5
_WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


class Ended(Exception):
    """A server that ran cannot go on; the text says why."""


class Herald(Protocol):
    """Whom a process tells how far it is."""

    async def joined(self) -> int:
        """Say that the bus is open; return since when, monotonic ns, all processes hear each other."""

    def listening(self) -> None: ...


class Alone:
    """Of the only process: the ready line is its own."""

    def __init__(self, ready: dict[str, Any]) -> None:
        self._ready = ready

    async def joined(self) -> int:
        return clock.monotonic()

    def listening(self) -> None:
        print(json.dumps(self._ready), flush=True)


class Member:
    """Of one of several: it tells the parent."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    async def joined(self) -> int:
        self._say({"joined": True})
        self._channel.setblocking(False)
        told = await asyncio.get_running_loop().sock_recv(self._channel, 64)
        if not told:
            raise Ended("the process that started this one is gone")
        return int(told)

    def listening(self) -> None:
        self._say({"listening": True})

    def failed(self, why: str) -> None:
        self._say({"failed": why})

    def _say(self, what: dict[str, Any]) -> None:
        with suppress(OSError):  # who hears nothing any more has no more to decide
            self._channel.sendall(json.dumps(what).encode() + b"\n")


@dataclass
class Worker:
    """One process, as its parent sees it."""

    number: int
    pid: int
    channel: socket.socket
    ended: bool = False

    def hear(self) -> dict[str, Any]:
        """Return what it says next; nothing if it is gone."""
        line = b""
        while not line.endswith(b"\n"):
            if not (byte := self.channel.recv(1)):
                return {}
            line += byte
        found: dict[str, Any] = json.loads(line)
        return found


class Workers:
    """The processes of one server, from their start to their end."""

    def __init__(self, count: int, serve: Callable[[int, Member], None]) -> None:
        """Start them; each does `serve` with its number."""
        self._workers: list[Worker] = []
        for number in range(count):
            ours, theirs = socket.socketpair()
            pid = os.fork()
            if pid == 0:
                ours.close()
                for other in self._workers:
                    other.channel.close()
                _live(number, Member(theirs), serve)
            theirs.close()
            self._workers.append(Worker(number, pid, ours))

    @property
    def pids(self) -> list[int]:
        return [worker.pid for worker in self._workers]

    def start(self) -> None:
        """Bring all to the point where they listen. Raises Ended."""
        for step in ("joined", "listening"):
            for worker in self._workers:
                said = worker.hear()
                if step not in said:
                    raise Ended(said.get("failed") or f"process {worker.number} ended while it started")
            if step == "joined":
                now = str(clock.monotonic()).encode()
                for worker in self._workers:
                    worker.channel.sendall(now)

    def watch(self, parent: int | None) -> None:
        """Return when told to stop, or when the parent is another one. Raises Ended when a process ends."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        while True:
            for worker in self._workers:
                if self._has_ended(worker):
                    said = worker.hear()
                    raise Ended(
                        said.get("failed") or f"process {worker.number} (pid {worker.pid}) ended by itself"
                    )
            found = signal.sigtimedwait(_WATCHED, CHECK_S)
            if found is not None and found.si_signo != signal.SIGCHLD:
                return
            if parent is not None and os.getppid() != parent:
                return

    def stop(self) -> None:
        """End all that are left, and wait for them."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        self._signal(signal.SIGTERM)
        give_up = clock.monotonic() + STOP_S * 1_000_000_000
        while sum(self._has_ended(worker) for worker in self._workers) < len(self._workers):
            if clock.monotonic() > give_up:
                self._signal(signal.SIGKILL)
            signal.sigtimedwait((signal.SIGCHLD,), CHECK_S)
        for worker in self._workers:
            worker.channel.close()

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if not worker.ended:
                os.kill(worker.pid, number)

    def _has_ended(self, worker: Worker) -> bool:
        if not worker.ended:
            worker.ended = os.waitpid(worker.pid, os.WNOHANG)[0] != 0
        return worker.ended


def _live(number: int, member: Member, serve: Callable[[int, Member], None]) -> None:
    """Be a worker, and end without what the parent would do at its end."""
    code = 1
    try:
        serve(number, member)
        code = 0
    except SystemExit:
        code = 0
    except (Ended, StartError) as error:
        member.failed(str(error))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
