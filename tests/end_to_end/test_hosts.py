"""Clocks of separate hosts, compared over a real link."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from reports import clocks
from reports.sample import EXCHANGES
from tests.end_to_end.hosts import Host

pytestmark = pytest.mark.end_to_end

Hosts = Callable[..., AbstractContextManager[dict[str, Host]]]
PARTY = (sys.executable, "-m", "tests.end_to_end.clock_party")
AHEAD = 250_000_000
LIMIT = 50_000


def compared(worker: Host, master: Host) -> tuple[str, clocks.Line]:
    """Return the identity of a worker's clock, and the line through its exchanges with the master."""
    responder = master.start(*PARTY, "respond", master.address)
    assert responder.stdout is not None
    port = responder.stdout.readline().strip()
    ended = worker.run(*PARTY, "probe", master.address, port, "3")
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    rows = np.array(said["exchanges"], np.int64)
    line = clocks.line(pa.table(list(rows.T), schema=EXCHANGES))
    assert line is not None
    return str(said["identity"]), line


def test_a_clock_that_is_ahead_is_found_over_a_link(hosts: Hosts) -> None:
    """250 ms, within a bound of at most 50 µs; the hosts' identities tell that the clocks are two."""
    with hosts("master", "worker", "other", clocks={"worker": AHEAD}) as found:
        worker, line = compared(found["worker"], found["master"])
        assert abs(line.offset_at(line.at) - AHEAD).max() <= line.bound <= LIMIT
        other, line = compared(found["other"], found["master"])
        assert abs(line.offset_at(line.at)).max() <= line.bound <= LIMIT
        assert worker != other


def reaches(one: Host, other: Host) -> bool:
    """Tell whether a datagram gets from one host to another."""
    listen = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1)\n"
        f"s.bind(('{other.address}', 9)); print('ready', flush=True); s.recv(1); print('came')"
    )
    send = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"s.sendto(b'!', ('{other.address}', 9))"
    )
    receiver: subprocess.Popen[Any] = other.start(sys.executable, "-c", listen)
    assert receiver.stdout is not None
    receiver.stdout.readline()
    one.run(sys.executable, "-c", send)
    return "came" in receiver.stdout.read()


def test_a_link_can_be_cut_stalled_and_mended(hosts: Hosts) -> None:
    """What the faults of the other tests are made of."""
    with hosts("one", "other") as found:
        one, other = found["one"], found["other"]
        assert reaches(one, other)
        for harm in (one.cut, one.stall):
            harm()
            assert not reaches(one, other)
            one.mend()
            assert reaches(one, other)


def test_nothing_of_the_hosts_is_left(hosts: Hosts) -> None:
    """Whatever failed inside, and whoever still ran."""

    def present() -> str:
        links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True)
        spaces = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True)
        return links.stdout + spaces.stdout

    running = []

    def fail() -> None:
        with hosts("one") as found:
            running.append(found["one"].start(sys.executable, "-c", "import time; time.sleep(600)"))
            assert found["one"].namespace in present()
            raise RuntimeError("inside")

    before = present()
    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert [process.returncode is not None for process in running] == [True]
    assert present() == before
