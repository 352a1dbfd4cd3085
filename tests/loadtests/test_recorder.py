"""What is recorded is on disk after a flush, and the live figures are those of the last seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loadtests.recorder import WINDOW_S, Recorder
from loadtests.statement import recent
from reports.parts import PartWriter, find_parts
from reports.sample import Kind, Outcome

MS = 1_000_000


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    """A recorder with a folder of its own."""
    (tmp_path / "parts").mkdir()
    return Recorder(PartWriter(tmp_path, "w"))


def sample(recorder: Recorder, kind: Kind = Kind.REQUEST, took: int = MS, **row: Any) -> None:
    """Add one sample that was meant for 0, sent at 10 and arrived after `took`."""
    fields = {"journey": "", "user": 1, "intended": 0, "sent": 10, "arrived": took, "seen": took, **row}
    recorder.sample(kind, "get-chats", **fields)


def test_rows_reach_the_disk_with_the_next_flush(recorder: Recorder, tmp_path: Path) -> None:
    """After a flush, and not before, a reader finds each row once."""
    for _ in range(3):
        sample(recorder)
    recorder.presence("u", 1, online=True, at=5)
    assert find_parts(tmp_path) == [] or not any(list(part.batches()) for part in find_parts(tmp_path))
    recorder.flush()
    recorder.flush()
    found = {part.table: sum(batch.num_rows for batch in part.batches()) for part in find_parts(tmp_path)}
    assert found["samples"] == 3
    assert found["presence"] == 1
    assert recorder.counts["samples"] == 3


def test_response_time_counts_from_the_intended_start(recorder: Recorder) -> None:
    """The live quantile is arrived - intended: a late start is not forgiven."""
    sample(recorder, took=80 * MS, sent=70 * MS)
    recorder.flush()
    assert recent([recorder.windows()])["https"]["p50"] == pytest.approx(80.0, rel=1e-3)


def test_failures_are_counted_and_stay_out_of_the_times(recorder: Recorder) -> None:
    """An instant refusal does not make the target look fast; a cancelled call is nobody's failure."""
    sample(recorder, took=9 * MS)
    sample(recorder, took=0, outcome=Outcome.BROKEN, error="connection refused")
    sample(recorder, took=0, outcome=Outcome.CANCELLED)
    recorder.flush()
    assert recent([recorder.windows()])["https"]["p99"] == pytest.approx(9.0, rel=1e-3)
    assert recorder.failures["https"] == 1


def test_the_live_figures_forget_what_is_older_than_their_window(recorder: Recorder) -> None:
    """Ten quiet seconds later there is nothing recent to show."""
    sample(recorder)
    recorder.delivered("chat.delivered", MS)
    recorder.flush()
    assert set(recent([recorder.windows()])) == {"https", "deliveries"}
    for _ in range(WINDOW_S):
        recorder.flush()
    assert recent([recorder.windows()]) == {}


def test_a_second_is_handed_on_once(recorder: Recorder) -> None:
    """Whoever listens gets each sample and each delivery of the second exactly once."""
    sample(recorder)
    recorder.delivered("chat.delivered", 7)
    second = recorder.flush()
    assert len(second.samples) == 1
    assert second.deliveries == [("chat.delivered", 7)]
    assert recorder.flush() == ([], [])
