"""Can one process hold ten thousand wss sockets against one server here? `python -m benchmarks.sockets`

    --sockets 10000   how many
    --json            for a program

Rooms of 500 signed-in devices, each of which pings every ten seconds; somebody writes to each room now and
then, so that a socket is seen to work in both directions. They are held for a minute once all are there.
Open files and local ports are computed and looked at first. Exit codes: 0 every goal was met, 1 one was
missed, 2 there was no run to judge.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from msgspec import Struct, to_builtins

from analysis import verdict
from analysis.formats import fmt_bytes, fmt_count, fmt_ms, fmt_span
from analysis.stats import quantile
from benchmarks.server_cost import machine
from benchmarks.tables import MET, markdown
from loadtests import sockets as room
from loadtests.doctor import misfit
from reports.artefact import Run
from reports.sample import Kind, Outcome

ROOT = Path(__file__).parents[1]
ROOM, HELD_S, PING_S = 500, 60, 10
MOST_BYTES = 2_500_000_000  # generator and server together
PEOPLE = 2  # of a room: its host, who has the devices, and who writes
PHASE = "held"
SCENARIO = """description = "Many devices that ping, and are written to now and then"

[load]
users = {users}
spawn_rate = {users}
run_time_s = {held}
warm_up_s = 600           # at most; the minute begins once everybody is there
[[load.arrivals]]
shape = "constant"
name = "{phase}"
for_s = {held}
rate = 0                  # whoever writes does so without being told to

[people]
senior = 0
volunteer = 0
pace = 1

[rooms]
devices = {devices}
ping_interval_s = {ping}

[client]
ping_interval_s = {ping}
timeout_s = 30
delivery_deadline_s = 10
"""


class NoRun(Exception):
    """There is nothing to judge; the message says why."""


class Held(Struct, frozen=True):
    """What came of it. Times in ns, of the minute in which all were held; memory in bytes."""

    wanted: int
    sources: int  # addresses of this machine that they come from
    sockets: int  # the fewest that were open at any second of it
    held: int
    connecting: int  # from the first socket to the last: their people sign up at a person's pace
    connect_p50: int  # TCP, TLS and the upgrade, of those that could be opened
    connect_p99: int
    dropped: int  # over the whole run
    refused: int  # connects and sign-ins that failed, over the whole run
    pings: int
    pings_failed: int
    ping_p50: int
    ping_p99: int
    deliveries: int  # over the whole run
    lost: int
    rss_generator: int
    rss_server: int
    rss_together: int
    pressure: float | None  # share of the time in which anybody on the machine waited for a core

    def goals(self) -> list[tuple[str, str, str, bool | None]]:
        """Return what was looked at, the figure, its goal, and whether that was met."""
        return [
            ("sockets", fmt_count(self.sockets), f"≥ {fmt_count(self.wanted)}", self.sockets >= self.wanted),
            ("held for", fmt_span(self.held), f"≥ {HELD_S} s", self.held >= HELD_S * 1_000_000_000),
            ("dropped", fmt_count(self.dropped), "0", self.dropped == 0),
            ("not opened", fmt_count(self.refused), "0", self.refused == 0),
            ("pings", fmt_count(self.pings), "", None),
            ("pings not answered", fmt_count(self.pings_failed), "0", self.pings_failed == 0),
            ("ping p50", fmt_ms(self.ping_p50), "", None),
            ("ping p99", fmt_ms(self.ping_p99), "", None),
            ("deliveries", fmt_count(self.deliveries), "", None),
            ("lost", fmt_count(self.lost), "0", self.lost == 0),
            ("memory, generator", fmt_bytes(self.rss_generator), "", None),
            ("memory, server", fmt_bytes(self.rss_server), "", None),
            (
                "memory, together",
                fmt_bytes(self.rss_together),
                f"< {fmt_bytes(MOST_BYTES)}",
                self.rss_together < MOST_BYTES,
            ),
            ("connecting took", fmt_span(self.connecting), "", None),
            ("connect p50", fmt_ms(self.connect_p50), "", None),
            ("connect p99", fmt_ms(self.connect_p99), "", None),
        ]

    @property
    def met(self) -> bool:
        """Tell whether every goal was met."""
        return all(met is not False for *_, met in self.goals())


def scenario(sockets: int) -> str:
    """Return a scenario of so many devices; the last room is smaller where they do not come out even."""
    rooms = [min(ROOM, sockets - begin) for begin in range(0, sockets, ROOM)]
    return SCENARIO.format(users=PEOPLE * len(rooms), held=HELD_S, phase=PHASE, devices=rooms, ping=PING_S)


def connections(sockets: int) -> int:
    """Return how many connections that takes at most: those of the people of the rooms come on top."""
    return sockets + PEOPLE * -(-sockets // ROOM) * room.A_PERSON


def hold(sockets: int, folder: Path) -> Run:
    """Hold so many sockets; return the run. Raises NoRun."""
    file = folder / "held.toml"
    file.write_text(scenario(sockets))
    line = [sys.executable, "-m", "talkload", "run", str(file), "--no-page", "--out", str(folder / "runs")]
    ended = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    if not list(folder.glob("runs/*/verdict.json")):
        raise NoRun(f"there was no run: {(ended.stderr or ended.stdout).strip()[-500:]}")
    return Run.open("latest", root=folder / "runs")


def found(run: Run, wanted: int) -> Held:
    """Return what a run held. Raises NoRun where not everybody came."""
    phase = next((each for each in run.manifest.phases if each.name == PHASE), None)
    if phase is None or not run.manifest.measured_from_ns:
        raise NoRun(f"not everybody came: {run.manifest.connected} of {run.manifest.users}")
    columns = ("kind", "operation", "outcome", "sent", "arrived")
    samples = run.samples(columns).to_pandas()
    resources = run.resources(("at", "process", "rss", "sockets")).to_pandas()
    during = samples[samples["sent"].between(phase.from_ns, phase.to_ns)]
    pings = during[during["kind"] == Kind.PING]
    times, connects = _took(pings), _took(samples[samples["operation"] == "wss.connect"])
    opened = samples[samples["operation"].isin(["wss.connect", "wss.authenticate"])]
    rows = resources[resources["at"].between(phase.from_ns, phase.to_ns)]
    own = rows[rows["process"] == "generator"]
    judged = verdict.read(run.path)
    most = {each.process.partition(" ")[0]: each.rss_max for each in judged.resources.processes}
    return Held(
        wanted=wanted,
        sources=room.sources(connections(wanted)),
        sockets=int(own["sockets"].min()),
        held=phase.to_ns - phase.from_ns,
        connecting=int(opened["arrived"].max() - opened["sent"].min()),
        connect_p50=quantile(connects, 0.5),
        connect_p99=quantile(connects, 0.99),
        dropped=sum(each["kind"] == "socket-lost" for each in run.events()),
        refused=int((opened["outcome"] != Outcome.OK).sum()),
        pings=len(pings),
        pings_failed=int((pings["outcome"] != Outcome.OK).sum()),
        ping_p50=quantile(times, 0.5),
        ping_p99=quantile(times, 0.99),
        deliveries=judged.totals.deliveries,
        lost=judged.totals.lost,
        rss_generator=most["generator"],
        rss_server=most["server"],
        rss_together=judged.resources.rss_together_max or 0,
        pressure=judged.resources.pressure,
    )


def _took(attempts: pd.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    good = attempts[attempts["outcome"] == Outcome.OK]
    return (good["arrived"] - good["sent"]).to_numpy(np.int64)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was held; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sockets",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--sockets", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    about = machine()
    try:
        if wrong := misfit(1, connections(given.sockets), "127.0.0.1"):
            raise NoRun(wrong)
        with tempfile.TemporaryDirectory(prefix="talkload-") as folder:
            held = found(hold(given.sockets, Path(folder)), given.sockets)
    except NoRun as error:
        print(f"benchmarks.sockets: {fmt_count(given.sockets)} sockets: {error}", file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps(about | to_builtins(held) | {"met": held.met}, indent=1, ensure_ascii=False))
    else:
        pressure = "" if held.pressure is None else f" · pressure {held.pressure:.0%}"
        print(f"{about['date']} · {about['machine']} · Python {about['python']}{pressure}")
        files, sources = fmt_count(room.files()[0]), f"{held.sources} local addresses"
        needs = f"{fmt_count(connections(given.sockets))} connections at most, from {sources}"
        print(f"{needs} ({files} files a process, ports of an address: {room.ports()})\n")
        rows = [(*row, MET[met]) for *row, met in held.goals()]
        print(markdown([("what", "measured", "goal", "met"), *rows]))
    return 0 if held.met else 1


if __name__ == "__main__":
    sys.exit(main())
