"""The doctor's findings carry a figure each, and a remedy wherever something is not right."""

from __future__ import annotations

import re
import resource
from pathlib import Path

import pytest

from loadtests import doctor, sockets


def test_every_check_has_a_figure_and_what_is_wrong_a_remedy(tmp_path: Path) -> None:
    """All the things that a run depends on are looked at, once each."""
    checks = doctor.examine(tmp_path)
    assert [check.name for check in checks] == [
        "Python",
        "cores",
        "file descriptors",
        "ephemeral ports",
        "clock",
        "kernel receive stamps",
        "deliveries",
        "disk",
    ]
    assert re.search(r"\d a second can be trusted", checks[-2].found)
    assert all(check.found for check in checks)
    assert all(check.ok or check.remedy for check in checks)


def test_a_folder_that_is_yet_to_be_made_is_judged_by_where_it_would_be(tmp_path: Path) -> None:
    """Free space is that of the nearest folder that exists."""
    disk = doctor.examine(tmp_path / "a" / "b")[-1]
    assert str(tmp_path) in disk.found


def test_limits_are_those_of_all_processes_of_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are each process's own, ports are everybody's; what does not fit is refused with its figures."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4064))
    assert doctor.misfit(1, 4000, "127.0.0.1") == ""
    wrong = doctor.misfit(1, 4001, "127.0.0.1")
    assert "4000 connections in 1 processes, about 1000 people; 4001 connections are wanted" in wrong
    assert "ulimit -n 65536" in wrong
    assert doctor.misfit(2, 4001, "127.0.0.1") == ""
    assert "for each pair of addresses" in doctor.misfit(256, 100_000, "10.1.2.3")
    assert doctor.misfit(256, 100_000, "127.0.0.1") == ""  # from several addresses


def test_more_processes_than_cores_are_warned_of(tmp_path: Path) -> None:
    """They would wait for one another, and be late."""
    cores = next(check for check in doctor.examine(tmp_path, processes=256) if check.name == "cores")
    assert cores.ok is None
    assert "or more machines" in cores.remedy


def test_where_nobody_says_what_the_target_is_too_few_ports_are_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Over loopback there are enough, to another machine there are not."""
    monkeypatch.setattr(sockets, "ports", lambda: (20_001, 40_000))
    found = [
        next(each for each in doctor.examine(tmp_path, users=users) if each.name == "ephemeral ports").ok
        for users in (5_000, 5_001)
    ]
    assert found == [True, None]
