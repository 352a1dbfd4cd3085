"""What the reference server costs, in CPU and memory: `python -m benchmarks.server_cost [--quick] [--json]`.

CPU is user + system time of the server's process, divided by what it did meanwhile. Every figure of one run
is from the same minute of the same machine: believe the ratios, not the microseconds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from statistics import median

import httpx

from benchmarks.line import TIMEOUT_S, Line, LineError, request
from benchmarks.subject import (
    PING,
    Meter,
    Subject,
    Work,
    drain,
    expecting,
    hung_up,
    in_turns,
    round_of,
)
from benchmarks.tables import MET, markdown
from loadtests import clock
from loadtests.sockets import allow_files
from loadtests.target import Server, TargetError
from talkamie.contract import VERSION_PREFIX

CONNECTIONS = 8  # at work at the same time, in every figure but connecting and fan-out
READ_GOAL = 2.5  # × the bare route
DELIVERY_GOAL_US = 16.0  # plain, to 500 sockets
MEMORY_GOAL_KIB = 60.0


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    block_s: float  # of one block
    pairs: int  # blocks of user reads on each server
    blocks: int  # of everything else
    sockets: tuple[int, int]  # of the two recipients of the fan-out


FULL = Size(block_s=0.8, pairs=6, blocks=3, sockets=(500, 2000))
QUICK = Size(block_s=0.2, pairs=2, blocks=1, sockets=(50, 150))


@dataclass(frozen=True)
class Figure:
    """One line of the table. `goal` is what `ratio` is judged by if there is a ratio, else `value`."""

    key: str
    what: str
    value: float
    unit: str
    bare: float | None = None
    ratio: float | None = None
    goal: float | None = None

    @property
    def met(self) -> bool | None:
        """Tell whether the goal was reached; None where there is none."""
        if self.goal is None:
            return None
        return (self.value if self.ratio is None else self.ratio) <= self.goal


def measure(size: Size) -> list[Figure]:
    """Start the servers, plain and then TLS, and return every figure."""
    allow_files()
    figures: list[Figure] = []
    for name in ("plain", "TLS"):
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="talkload-bench-"))
            options = ("--no-platform-limits", "--auth-deadline", "600", "--test-endpoints")
            server = Server(*options, *(("--plain",) if name == "plain" else ("--ca-dir", folder)))
            stack.callback(server.stop)
            subject = Subject(server.ready(), people=2 * CONNECTIONS + 3)
            certificate = None if name == "plain" else os.path.join(folder, "server.pem")
            port, pid = stack.enter_context(_bare_server(certificate))
            figures += [
                replace(one, key=f"{one.key}_{name.lower()}", what=f"{one.what}, {name}")
                for one in (
                    _read(subject, port, Meter(pid), size),
                    _ping(subject, size),
                    *_crowd(subject, size),
                    _post(subject, size),
                )
            ]
    return figures


def _read(subject: Subject, bare_port: int, bare: Meter, size: Size) -> Figure:
    """Measure user reads in turns with the yardstick; the ratio is that of neighbours."""
    me, other = subject.people[:2]
    ask = request(f"{VERSION_PREFIX}/user/{other.id}", me.token)
    ours = [Line(subject.target.https, subject.context) for _ in range(CONNECTIONS)]
    theirs = [Line(f"//127.0.0.1:{bare_port}", subject.context) for _ in range(CONNECTIONS)]
    with hung_up(ours + theirs):
        costs = in_turns(
            [(subject.meter, _echo(ours, ask, Line.answer)), (bare, _echo(theirs, ask, Line.answer))],
            size.pairs,
            size.block_s,
        )
    cost, yardstick = (median(side) for side in zip(*costs, strict=True))
    ratio = median(one / other for one, other in costs)
    return Figure("read", "user read", cost, "µs", yardstick, ratio, READ_GOAL)


def _ping(subject: Subject, size: Size) -> Figure:
    with hung_up(subject.sockets(subject.people[:CONNECTIONS])) as lines:
        cost = _cost(subject, _echo(lines, PING, Line.frame), size)
    return Figure("ping", "socket echo (ping)", cost, "µs")


def _crowd(subject: Subject, size: Size) -> Iterator[Figure]:
    """Measure many sockets: to open them, to have them, and to write to all of one person's."""
    sender, *recipients = subject.people[2 * CONNECTIONS :]
    opened: list[list[Line]] = []

    def work() -> int:
        opened.extend(
            subject.sockets([one] * many) for one, many in zip(recipients, size.sockets, strict=True)
        )
        return sum(size.sockets)

    # One for each first, because a first time is dearer.
    with hung_up(subject.sockets([sender, *recipients])) as lines:
        rss = subject.meter.rss_kib()
        cost = subject.meter.cost(work)
        memory = max(subject.meter.rss_kib() - rss, 4.0) / sum(size.sockets)
        yield Figure("connect", "connect and authenticate", cost, "µs")
        yield Figure("connects", "connections per CPU second", 1e6 / cost, "/s")
        what = f"idle socket of {sum(size.sockets):,}"
        yield Figure("memory", what, memory, "KiB", goal=MEMORY_GOAL_KIB)
        speaker, *firsts = lines
        lines += chain.from_iterable(opened)
        for which, one, first, others in zip(("small", "large"), recipients, firsts, opened, strict=True):
            message = subject.befriend(sender, one)
            # What came before, news of the friendship, is read before the first message.
            drain([speaker, first, *others])
            # The sender's answer is the last frame that the server writes. It is waited for first: readers
            # that wait for a frame each would be woken up one by one, at the server's cost.
            reads = expecting([speaker], b"send-message") + expecting([first, *others], b"new-message")
            cost = _cost(subject, round_of([(speaker, message)], reads, done=1 + len(others)), size)
            goal = DELIVERY_GOAL_US if which == "small" and subject.context is None else None
            what = f"delivery to one of {len(others):,} sockets"
            yield Figure(f"delivery_{which}", what, cost, "µs", goal=goal)


def _post(subject: Subject, size: Size) -> Figure:
    """Measure posts from one to another: the answer to the one and the push to the other included."""
    senders, receivers = subject.people[:CONNECTIONS], subject.people[CONNECTIONS : 2 * CONNECTIONS]
    messages = [subject.befriend(one, other) for one, other in zip(senders, receivers, strict=True)]
    with hung_up(subject.sockets(senders + receivers)) as lines:
        asks = zip(lines[:CONNECTIONS], messages, strict=True)
        cost = _cost(subject, round_of(asks, expecting(lines, b"-message"), done=CONNECTIONS), size)
    return Figure("post", "message post and its push", cost, "µs")


def _echo(lines: list[Line], ask: bytes, read: Callable[[Line], bytes]) -> Work:
    return round_of([(line, ask) for line in lines], [partial(read, line) for line in lines], done=len(lines))


def _cost(subject: Subject, work: Work, size: Size) -> float:
    """Return the median of some blocks, in CPU µs."""
    return median(cost for (cost,) in in_turns([(subject.meter, work)], size.blocks, size.block_s))


@contextmanager
def _bare_server(certificate: str | None) -> Iterator[tuple[int, int]]:
    """Run the yardstick; yield its port and process id."""
    command = [sys.executable, "-m", "benchmarks.bare", *([certificate] if certificate else [])]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process.pid
    finally:
        try:
            process.communicate(timeout=TIMEOUT_S)  # closes its stdin, which ends it
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def machine() -> dict[str, str]:
    """Return what the microseconds depend on."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), model)
    return {
        "date": clock.utc().strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} × {model}, {platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
    }


def table(figures: list[Figure]) -> str:
    """Return the figures as a Markdown table."""
    rows = [("what", "measured", "bare", "ratio", "goal", "met")]
    for one in figures:
        digits = 0 if one.unit == "/s" else 1
        goal = "" if one.goal is None else f"≤ {one.goal:g}{'×' if one.ratio else ' ' + one.unit}"
        rows.append(
            (
                one.what,
                f"{one.value:,.{digits}f} {one.unit}",
                "" if one.bare is None else f"{one.bare:,.1f} {one.unit}",
                "" if one.ratio is None else f"{one.ratio:.2f}×",
                goal,
                MET[one.met],
            )
        )
    return markdown(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return 0 whatever the figures are: another machine is no failure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server_cost", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds, rough figures")
    parser.add_argument("--json", action="store_true", help="figures for a program")
    options = parser.parse_args(arguments)
    about = machine()
    started = clock.now()
    try:
        figures = measure(QUICK if options.quick else FULL)
    except (LineError, TargetError, httpx.HTTPError, OSError) as error:
        print(f"benchmarks.server_cost: {error}", file=sys.stderr)
        return 2
    took_s = round((clock.now() - started) / clock.SECOND, 1)
    if options.json:
        whole = about | {
            "took_s": took_s,
            "quick": options.quick,
            "figures": [asdict(one) | {"met": one.met} for one in figures],
        }
        print(json.dumps(whole, indent=1, ensure_ascii=False))
    else:
        print(f"{about['date']} · {about['machine']} · Python {about['python']} · {about['openssl']}")
        print(f"{'quick, rough figures: ' if options.quick else ''}{took_s:g} s\n\n{table(figures)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
