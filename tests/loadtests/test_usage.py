"""What the kernel says of processes and the machine, read right; elsewhere than on Linux it is 0."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import psutil

from loadtests import usage

PIPES: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}


def test_waiting_is_the_second_number_of_schedstat() -> None:
    """Run time, wait time, slices."""
    assert usage.waited("145447 332190 2\n") == 332_190
    assert usage.waited("") == 0


def test_pressure_is_what_some_waited() -> None:
    """The first line, in µs; an unknown text is no pressure."""
    text = "some avg10=0.23 avg60=0.32 avg300=0.65 total=763418\nfull avg10=0.00 total=7\n"
    assert usage.pressed(text) == 763_418_000
    assert usage.pressed("") == 0


def test_steal_is_the_eighth_of_all_cores_and_guests_count_once() -> None:
    """user nice system idle iowait irq softirq steal, then guests, which are in user already."""
    stat = "cpu  100 1 20 800 5 0 3 11 9 9\ncpu0 1 1 1 1 1 1 1 1 1 1\n"
    assert usage.stolen_and_all(stat) == (11, 940)
    assert usage.stolen_and_all("") == (0, 0)


def test_counters_only_grow() -> None:
    """Two readings of this process and this machine: nothing that was used comes back."""
    process = psutil.Process()
    for first, second in (
        (usage.of_process(process)[:4], usage.of_process(process)[:4]),
        (usage.of_machine(), usage.of_machine()),
    ):
        assert all(before <= after for before, after in zip(first, second, strict=True))


def test_a_server_is_all_of_its_processes() -> None:
    """Those that it started to serve for it count with it."""
    alone = usage.of_process(psutil.Process())
    child = subprocess.Popen(
        [sys.executable, "-c", "print(len(bytearray(64 << 20)), flush=True); input()"], **PIPES
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        together = usage.of_server(psutil.Process())
        assert together.rss >= alone.rss + (64 << 20)
        assert together.user >= alone.user
    finally:
        child.communicate("\n")
