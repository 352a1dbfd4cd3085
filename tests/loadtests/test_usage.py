"""What the kernel says of processes and the machine, read right; elsewhere than on Linux it is 0."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import psutil
import pytest

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
        [sys.executable, "-c", "held = b'x' * (64 << 20); print(len(held), flush=True); input()"], **PIPES
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        together = usage.of_server(psutil.Process())
        assert together.rss >= alone.rss + (64 << 20)
        assert together.user >= alone.user
    finally:
        child.communicate("\n")


METRICS = b"""# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 12.25
process_cpu_seconds_total_of_another 99
process_resident_memory_bytes 1.048576e+06
process_open_fds 17.0
"""


def test_metrics_tell_of_a_process() -> None:
    """By the names that Prometheus prescribes; comments and longer names are others."""
    found = usage.of_metrics(METRICS)
    assert found is not None
    assert (found.user, found.system, found.rss, found.fds) == (12_250_000_000, 0, 1 << 20, 17)


def test_metrics_of_several_processes_are_added_up() -> None:
    """Labels tell them apart; a time stamp may follow."""
    text = b"".join(
        b'process_cpu_seconds_total{pid="%d"} %d 1700000000\nprocess_resident_memory_bytes{pid="%d"} 100\n'
        % (n, n, n)
        for n in (1, 2)
    )
    found = usage.of_metrics(text)
    assert found is not None
    assert (found.user, found.rss, found.fds) == (3_000_000_000, 200, 0)


@pytest.mark.parametrize("value", [b"NaN", b"+Inf", b"-1", b"1e300", b"much"])
def test_metrics_without_a_sound_figure_tell_nothing(value: bytes) -> None:
    """Nor do those without the names, or nothing at all."""
    assert usage.of_metrics(METRICS.replace(b"12.25", value)) is None
    assert usage.of_metrics(b"talkamie_sockets 3\n") is None
    assert usage.of_metrics(b"") is None
