"""When a target was away, and when it was only slow, or said no."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pyarrow as pa
import pytest

from analysis.columns import Columns, Memory
from analysis.frames import Frames
from analysis.outages import Outage, outages
from reports.sample import Kind, Outcome

ORIGIN, MS = 5_000_000_000, 1_000_000


def frames(*outcomes: Outcome) -> Frames:
    """Return a run with an attempt each 100 ms that ended so, in no order."""
    rows = [
        {"kind": int(Kind.REQUEST), "outcome": int(outcome), "arrived": ORIGIN + 100 * MS * number}
        for number, outcome in enumerate(outcomes)
    ]
    samples = pa.Table.from_pylist(rows[::-1])
    attempts = Columns(lambda names: iter([samples.select(names)]), len(rows), {}, Memory()).every
    return cast("Frames", SimpleNamespace(attempts=attempts, manifest=SimpleNamespace(origin_ns=ORIGIN)))


OK, BROKEN = Outcome.OK, Outcome.BROKEN


def test_an_outage_is_from_its_first_failure_to_its_last() -> None:
    """Two of them, with a success between."""
    found = outages(frames(OK, *[BROKEN] * 6, OK, *[BROKEN] * 5))
    assert found == [Outage(100 * MS, 600 * MS, 6), Outage(800 * MS, 1200 * MS, 5)]
    assert "away for 500 ms" in found[0].sentence


@pytest.mark.parametrize("other", [Outcome.FAILED, Outcome.TIMEOUT, OK])
def test_a_target_that_answers_or_is_slow_is_not_away(other: Outcome) -> None:
    """Neither is one that loses a connection now and then."""
    assert outages(frames(*[other] * 9)) == []
    assert outages(frames(*[BROKEN, other] * 9)) == []


def test_what_we_gave_up_ourselves_ends_no_outage() -> None:
    """The target has not answered in between."""
    assert len(outages(frames(*[BROKEN] * 3, Outcome.CANCELLED, *[BROKEN] * 3))) == 1
