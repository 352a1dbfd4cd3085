"""The benchmark of many sockets asks for as many as it says, and judges what it found by its goals."""

from __future__ import annotations

import resource

import pytest
from msgspec.structs import replace

from benchmarks.sockets import HELD_S, MOST_BYTES, ROOM, Held, connections, main, scenario
from scenarios import workload

NS = 1_000_000_000
HELD = Held(
    wanted=10_000,
    sources=2,
    sockets=10_020,
    held=HELD_S * NS,
    connecting=40 * NS,
    connect_p50=NS // 100,
    connect_p99=NS // 10,
    dropped=0,
    refused=0,
    pings=60_000,
    pings_failed=0,
    ping_p50=NS // 1000,
    ping_p99=NS // 100,
    deliveries=1000,
    lost=0,
    rss_generator=600 << 20,
    rss_server=500 << 20,
    rss_together=1100 << 20,
    pressure=None,
)


@pytest.mark.parametrize("sockets", [1, ROOM, ROOM + 1, 10_000])
def test_the_scenario_has_as_many_devices(sockets: int) -> None:
    """In rooms of 500 at most, each with its two people."""
    found = workload.parse(scenario(sockets), name="held", file="held.toml")
    assert sum(found.rooms.devices) == sockets
    assert max(found.rooms.devices) <= ROOM
    assert found.misfit(found.load.users) == ""
    assert connections(sockets) >= found.load.users + found.rooms.further


def test_more_than_the_machine_has_room_for_is_refused_with_its_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is started: exit code 2."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    assert main(["--sockets", "10000"]) == 2
    assert "4032 connections in 1 processes" in capsys.readouterr().err


@pytest.mark.parametrize(
    "missed",
    [
        {"sockets": 9_999},
        {"held": HELD_S * NS - 1},
        {"dropped": 1},
        {"refused": 1},
        {"pings_failed": 1},
        {"lost": 1},
        {"rss_together": MOST_BYTES},
    ],
)
def test_each_goal_can_be_missed(missed: dict[str, int]) -> None:
    """One that is missed is enough."""
    assert HELD.met
    assert not replace(HELD, **missed).met
