"""A generator that something burns is called invalid, an undisturbed one is not: exit code 4, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.validity import judged

pytestmark = [pytest.mark.end_to_end, pytest.mark.alone]


@pytest.mark.parametrize(("kind", "invalid"), [("quiet", False), ("hogs", True), ("burn", True)])
def test_only_a_burnt_generator_is_invalid(kind: str, invalid: bool, tmp_path: Path) -> None:
    """Undisturbed, beside processes that want its cores, and with a greenlet that keeps its loop."""
    found = judged(kind, tmp_path)
    assert found.invalid is invalid, found
