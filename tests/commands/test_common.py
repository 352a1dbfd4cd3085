"""What the commands share."""

from __future__ import annotations

import pytest

from commands.common import Seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("5m", 300.0), ("1h", 3600.0), ("0.5s", 0.5), ("99999h", 1e6)]
)
def test_a_time_has_a_unit(text: str, seconds: float) -> None:
    """Seconds, minutes, hours."""
    assert Seconds().convert(text, None, None) == seconds
