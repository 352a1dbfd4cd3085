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
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from benchmarks.line import TIMEOUT_S, Line, LineError, request, text
from loadtests import clock
from loadtests.target import Server, Target, TargetError, tls_context

CONNECTIONS = 8  # at work at the same time, in every figure but connecting and fan-out
READ_GOAL = 2.5  # × the bare route
DELIVERY_GOAL_US = 16.0  # plain, to 500 sockets
MEMORY_GOAL_KIB = 60.0
PASSWORD = "correct horse battery"  # noqa: S105 - of people who live for a minute
_PING = text(b'{"action":"ping"}')


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


@dataclass(frozen=True)
class Person:
    """An account of the server that is measured."""

    id: str
    token: str


class Meter:
    """The CPU that one process has used."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)

    def cpu_us(self) -> float:
        times = self._process.cpu_times()
        return (times.user + times.system) * 1e6

    def rss_kib(self) -> float:
        return float(self._process.memory_info().rss) / 1024

    def block(self, work: Callable[[], int], seconds: float) -> float:
        """Repeat `work` for some seconds; return CPU µs for each of the things it says it did."""
        until, done, before = clock.now() + clock.ns(seconds), 0, self.cpu_us()
        while clock.now() < until:
            done += work()
        # Because the kernel counts in steps of 10 ms: nothing is free, so never less than one.
        return max(self.cpu_us() - before, 10_000.0) / done


def measure(size: Size) -> list[Figure]:
    """Start the servers, plain and then TLS, and return every figure."""
    _raise_file_limit()
    figures: list[Figure] = []
    for secure in (False, True):
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="talkload-bench-"))
            options = ("--no-platform-limits", "--auth-deadline", "600", "--test-endpoints")
            server = Server(*options, *(("--ca-dir", folder) if secure else ("--plain",)))
            stack.callback(server.stop)
            target = server.ready()
            certificate = os.path.join(folder, "server.pem") if secure else None
            port, pid = stack.enter_context(_bare_server(certificate))
            bare = f"http{'s' if secure else ''}://127.0.0.1:{port}"
            figures += _of(target, tls_context(target), bare, Meter(pid), size)
    return figures


def _of(
    target: Target, context: ssl.SSLContext | None, bare: str, bare_meter: Meter, size: Size
) -> Iterator[Figure]:
    """Measure one server, with TLS or without."""
    meter = Meter(target.pid)
    plain = context is None
    kind = "plain" if plain else "tls"
    name = "plain" if plain else "TLS"
    people = _people(target, 2 * CONNECTIONS + 3)
    sender, *recipients = people[2 * CONNECTIONS :]
    with _hung_up() as lines:
        path = f"/v1/user/{people[1].id}"
        ours, yardstick, ratio = _beside(
            (meter, _asker(lines, target.https, context, _get(target, people[1], people[0].token))),
            (bare_meter, _asker(lines, bare, context, request(path, people[0].token))),
            size,
        )
        yield Figure(f"read_{kind}", f"user read, {name}", ours, "µs", yardstick, ratio, READ_GOAL)
    with _hung_up() as lines:
        cost = _echo(meter, lines, target, context, people, size)
        yield Figure(f"ping_{kind}", f"socket echo (ping), {name}", cost, "µs")
    with _hung_up() as lines:
        # One for each first, because a first time is dearer.
        _sockets(lines, target, context, [sender, *recipients])
        rss, cpu = meter.rss_kib(), meter.cpu_us()
        readers = [
            _sockets(lines, target, context, [one] * count)
            for one, count in zip(recipients, size.sockets, strict=True)
        ]
        cpu, rss = max(meter.cpu_us() - cpu, 10_000.0), meter.rss_kib() - rss
        count = sum(size.sockets)
        yield Figure(f"connect_{kind}", f"connect and authenticate, {name}", cpu / count, "µs")
        yield Figure(f"connects_{kind}", f"connections per CPU second, {name}", 1e6 * count / cpu, "/s")
        memory = max(rss, 4.0) / count
        yield Figure(
            f"memory_{kind}", f"idle socket of {count:,}, {name}", memory, "KiB", goal=MEMORY_GOAL_KIB
        )
        for which, one, readers_of_one, first in zip(
            ("small", "large"), recipients, readers, lines[1:3], strict=True
        ):
            post = _poster(lines[0], _befriend(target, sender, one), [first, *readers_of_one])
            # What came before, news of the friendship, is read before the first message.
            _drain([lines[0], first, *readers_of_one])
            cost = median(meter.block(post, size.block_s) for _ in range(size.blocks))
            goal = DELIVERY_GOAL_US if plain and which == "small" else None
            what = f"delivery to one of {len(readers_of_one):,} sockets, {name}"
            yield Figure(f"delivery_{which}_{kind}", what, cost, "µs", goal=goal)
    with _hung_up() as lines:
        cost = _posts(meter, lines, target, context, people, size)
        yield Figure(f"post_{kind}", f"message post and its push, {name}", cost, "µs")


def _beside(
    one: tuple[Meter, Callable[[], int]], other: tuple[Meter, Callable[[], int]], size: Size
) -> tuple[float, float, float]:
    """Measure two in turns: the median of each, and of the ratios of neighbours."""
    costs: list[tuple[float, float]] = []
    for meter, work in (one, other):  # a first time is dearer, so it is not counted
        meter.block(work, size.block_s / 2)
    for turn in range(size.pairs):
        order = (one, other) if turn % 2 == 0 else (other, one)
        taken = {id(work): meter.block(work, size.block_s) for meter, work in order}
        costs.append((taken[id(one[1])], taken[id(other[1])]))
    return median(a for a, _ in costs), median(b for _, b in costs), median(a / b for a, b in costs)


def _asker(lines: list[Line], url: str, context: ssl.SSLContext | None, ask: bytes) -> Callable[[], int]:
    """Return a round of requests: one on each connection, then their answers."""
    mine = [Line(url, context) for _ in range(CONNECTIONS)]
    lines += mine

    def work() -> int:
        for line in mine:
            line.send(ask)
        for line in mine:
            line.answer()
        return len(mine)

    return work


def _echo(
    meter: Meter,
    lines: list[Line],
    target: Target,
    context: ssl.SSLContext | None,
    people: list[Person],
    size: Size,
) -> float:
    mine = _sockets(lines, target, context, people[:CONNECTIONS])

    def work() -> int:
        for line in mine:
            line.send(_PING)
        for line in mine:
            line.frame()
        return len(mine)

    work()
    return median(meter.block(work, size.block_s) for _ in range(size.blocks))


def _posts(
    meter: Meter,
    lines: list[Line],
    target: Target,
    context: ssl.SSLContext | None,
    people: list[Person],
    size: Size,
) -> float:
    """Measure posts from one to another: the answer to the one and the push to the other included."""
    senders, receivers = people[:CONNECTIONS], people[CONNECTIONS : 2 * CONNECTIONS]
    chats = [_befriend(target, one, other) for one, other in zip(senders, receivers, strict=True)]
    mine = _sockets(lines, target, context, senders)
    theirs = _sockets(lines, target, context, receivers)
    frames = [_message(chat) for chat in chats]

    def work() -> int:
        for line, frame in zip(mine, frames, strict=True):
            line.send(frame)
        for line in (*mine, *theirs):
            _expect(line, b"-message")
        return len(mine)

    work()
    return median(meter.block(work, size.block_s) for _ in range(size.blocks))


def _poster(sender: Line, chat: str, readers: list[Line]) -> Callable[[], int]:
    """Return one message to every socket of one person.

    The sender's answer is the last frame that the server writes. It is waited for first: readers that wait
    for a frame each would be woken up one by one, at the server's cost.
    """
    frame = _message(chat)

    def work() -> int:
        sender.send(frame)
        _expect(sender, b"send-message")
        for line in readers:
            _expect(line, b"new-message")
        return len(readers)

    return work


def _drain(lines: list[Line]) -> None:
    """Read until the answer to a ping: frames keep their order."""
    for line in lines:
        line.send(_PING)
    for line in lines:
        while b'"action":"ping"' not in line.frame():
            pass


def _expect(line: Line, what: bytes) -> None:
    frame = line.frame()
    if what not in frame[:60]:
        raise LineError(f"expected {what!r}, not {frame[:100]!r}")


def _message(chat: str) -> bytes:
    message = {"action": "send-message", "chatId": chat, "message": {"text": "Good morning, how are you?"}}
    return text(json.dumps(message).encode())


def _sockets(
    lines: list[Line], target: Target, context: ssl.SSLContext | None, owners: Sequence[Person]
) -> list[Line]:
    """Open and authenticate a socket for each of `owners`, one after the other."""
    opened = []
    for owner in owners:
        line = Line(target.wss, context)
        lines.append(line)
        opened.append(line)
        line.upgrade()
        line.send(text(json.dumps({"action": "authenticate", "token": owner.token}).encode()))
        _expect(line, b"authenticate")
    return opened


@contextmanager
def _hung_up() -> Iterator[list[Line]]:
    """Yield a list; whatever connections are in it at the end are closed."""
    lines: list[Line] = []
    try:
        yield lines
    finally:
        for line in lines:
            line.close()


def _people(target: Target, count: int) -> list[Person]:
    wanted = [
        {"email": f"bench-{n}@example.test", "name": f"Person {n}", "type": "senior", "password": PASSWORD}
        for n in range(count)
    ]
    with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client:
        made = client.post(f"{target.test}/accounts", json=wanted).raise_for_status().json()
    return [Person(one["id"], one["tokens"]["access"]) for one in made]


def _befriend(target: Target, one: Person, other: Person) -> str:
    """Connect two people; return their chat's id."""
    with httpx.Client(verify=tls_context(target) or True, timeout=TIMEOUT_S, trust_env=False) as client:

        def post(by: Person, path: str) -> Any:
            headers = {"authorization": f"Bearer {by.token}"}
            return client.post(f"{target.https}/user/{path}", headers=headers).raise_for_status().json()

        post(one, f"{other.id}/connection")
        return str(post(other, f"{one.id}/connection/accept")["data"]["chat"]["id"])


def _get(target: Target, whom: Person, token: str) -> bytes:
    return request(f"{urlsplit(target.https).path}/user/{whom.id}", token)


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


def _raise_file_limit() -> None:
    """Allow as many sockets as the machine lets us; the servers inherit it."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


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
                {None: "", True: "yes", False: "**no**"}[one.met],
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


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
