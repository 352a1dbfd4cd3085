"""Many runs in a row: pairs of a baseline and a candidate, each run a fresh process against a fresh server.

Which of a pair goes first is drawn from the seed: what drifts in the meantime then hits both alike. Both
have the same people, who come at the same moments; each pair has others.
"""

from __future__ import annotations

import itertools
import random
import shlex
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from loadtests import generator, target
from loadtests.target import AddressError, Started, Target, TargetError

BASELINE, CANDIDATE = "baseline", "candidate"


class CampaignError(Exception):
    """A run did not come to its end; the message says which and why, `exit_code` whose fault it is."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Source:
    """Where a server is, or the command that starts one."""

    name: str
    address: Target | None
    command: tuple[str, ...] = ()

    @classmethod
    def parse(cls, name: str, text: str, socket: str | None, ca: str | None) -> Source:
        """Return what a person gave as TARGET. Raises AddressError."""
        if text.startswith(("http://", "https://")):
            if not socket:
                raise AddressError(f"--{name} {text}: a target is two addresses: give --{name}-socket too")
            return cls(name, target.address(text, socket, ca))
        if socket or ca:
            raise AddressError(f"--{name}: it is a command, which tells its socket and authority itself")
        try:
            command = tuple(shlex.split(text))
        except ValueError as error:
            raise AddressError(f"--{name} {text!r}: {error}") from None
        if not command:
            raise AddressError(f"--{name}: expected an https address, or a command that starts a server")
        return cls(name, None, command)

    @contextmanager
    def up(self) -> Iterator[Target]:
        """Give a server that answers; one that was started here ends with the block. Raises TargetError."""
        if self.address:
            yield target.preflight(self.address)
            return
        started = Started(self.command, f"the {self.name}")
        try:
            said = started.ready()
            try:
                checked = target.address(said.https, said.wss, said.ca)
            except TargetError as error:
                raise TargetError(f"the {self.name} says that it is at another place: {error}") from None
            yield target.preflight(Target(checked.https, checked.wss, checked.ca, said.pid, said.test))
        finally:
            started.stop()


def pairs(
    baseline: Source,
    candidate: Source,
    options: list[str],
    *,
    seed: int,
    on_second: Callable[[int, str, dict[str, Any]], None],
    on_stop: Callable[[], None],
) -> Generator[tuple[Path, Path]]:
    """Yield the folders (baseline, candidate) of one pair after another, for as long as the caller goes on.

    `options` are the generator's, but for the seed. `on_second` gets the pair's number, the side and a
    snapshot; `on_stop` is told of a signal during a run, after which no further pair comes. Between runs a
    signal raises KeyboardInterrupt, SIGTERM too, so that no server is left behind. Raises TargetError and
    CampaignError.
    """
    rng = random.Random(f"order of the pairs of {seed}")
    stopping = False

    def stop() -> None:
        nonlocal stopping
        stopping = True
        on_stop()

    with _interrupted_by(signal.SIGTERM):
        for number in itertools.count(1):
            sides = [baseline, candidate]
            rng.shuffle(sides)
            folders: dict[str, Path] = {}
            for side in sides:
                show = partial(on_second, number, side.name)
                with side.up() as found:
                    seeded = [*options, "--seed", str(seed + number - 1)]
                    ended = generator.run(found, seeded, on_second=show, on_stop=stop)
                if stopping:
                    return
                if ended.folder is None:
                    why = ended.complaint.splitlines()[-1:] or ["the generator ended before the run began"]
                    raise CampaignError(f"pair {number}, {side.name}: {why[0]}", ended.exit_code or 4)
                folders[side.name] = ended.folder
            yield folders[baseline.name], folders[candidate.name]


@contextmanager
def _interrupted_by(number: signal.Signals) -> Iterator[None]:
    """Let a signal do what Ctrl-C does for as long as the block lasts."""
    before = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(number, before)
