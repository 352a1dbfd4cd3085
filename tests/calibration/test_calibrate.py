"""The calibration of the suite as it is: everything that is counted, counted right."""

from __future__ import annotations

import pytest

from tests.calibration.conftest import calibrate

pytestmark = pytest.mark.end_to_end


def test_what_is_counted_is_counted_exactly() -> None:
    """Pushes lost, doubled, overtaken and misdelivered, failures of three kinds, and merged histograms."""
    ended = calibrate("messages", "failures", "merge")
    assert [cell for cell in ended.cells if not cell["detected"]] == [], ended.said
    assert ended.exit_code == 0, ended.said
    assert {cell["case"] for cell in ended.cells} == {"messages", "failures", "merge"}


def test_a_case_that_does_not_exist_is_a_mistake_of_usage() -> None:
    """The answer names those that do."""
    ended = calibrate("mesages")
    assert ended.exit_code == 2
    assert "messages" in ended.said
    assert "Traceback" not in ended.said
