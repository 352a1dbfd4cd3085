"""The doctor's findings carry a figure each, and a remedy wherever something is not right."""

from __future__ import annotations

import re
from pathlib import Path

from loadtests import doctor


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
