"""Deliveries across clocks are told apart from those on one, with how wrong they may be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from analysis import page, summary, verdict
from analysis.verdict import Verdict, Word
from reports.manifest import Clock, OtherClock, Worker
from reports.sample import DELIVERIES, Fate
from tests.analysis.conftest import MS, ORIGIN, SECOND, Build, table

BOUND = 8_000
HERE, NEAR, FAR = "here", "near", "far"
WORKERS = {"w0": HERE, "w1": HERE, "w2": NEAR, "w3": FAR}


def ledger(latency: Callable[[str, str], int], n: int = 400) -> pa.Table:
    """Return deliveries from every worker to every other, one after another; one from w0 to w2 is lost."""
    ends = [(one, other) for one in WORKERS for other in WORKERS] * n
    sent = ORIGIN + 6 * SECOND + np.arange(len(ends)) * 1_000_000
    arrived = sent + np.array([latency(*pair) for pair in ends])
    fate = np.full(len(ends), Fate.ON_TIME.value, dtype=object)
    lost = ends.index(("w0", "w2"))
    fate[lost], arrived[lost] = Fate.LOST.value, 0
    columns = {
        "key": [f"m{number}" for number in range(len(ends))],
        "operation": ["chat.delivered"] * len(ends),
        "sent_by": [one for one, _ in ends],
        "worker": [other for _, other in ends],
        "intended": sent,
        "sent": sent,
        "arrived": arrived,
        "seen": np.where(arrived > 0, arrived + 1_000, 0),
        "fate": fate,
    }
    return table(DELIVERIES, columns)


def workers() -> list[Worker]:
    """Return four workers on three hosts."""
    return [Worker(name=name, closed=True, clock=clock) for name, clock in WORKERS.items()]


@pytest.fixture
def judged(build: Build) -> Callable[..., Verdict]:
    """Judge a run of four workers; `bounds` are those of the two other clocks."""

    def judge(
        latency: Callable[[str, str], int], *bounds: int | None, offset: int = 250 * MS, **how: Any
    ) -> Verdict:
        near, far = bounds or (BOUND, 2 * BOUND)
        clocks = [
            OtherClock(id=NEAR, exchanges=9, offset_ns=offset, bound_ns=near),
            OtherClock(id=FAR, exchanges=9 if far else 0, offset_ns=-offset, bound_ns=far),
        ]
        run = build(
            tables={"deliveries": ledger(latency)},
            workers=workers(),
            clock=Clock(id=HERE, stamps="wire"),
            clocks=clocks,
            slo={},
            **how,
        )
        return verdict.judge(run)

    return judge


def across(one: str, other: str) -> bool:
    """Tell whether two workers have two clocks."""
    return WORKERS[one] != WORKERS[other]


def test_one_clock_and_two_are_told_apart(judged: Callable[..., Verdict]) -> None:
    """Counts, quantiles and the lost of each; the bound is that of the worst pair, the sum of both ends."""
    found = judged(lambda one, other: 9 * MS if across(one, other) else 5 * MS)
    same, two = found.clocks_apart
    assert (same.across, same.arrived, same.lost, same.bound) == (False, 6 * 400, 0, 0)
    assert (two.across, two.arrived, two.lost, two.bound) == (True, 10 * 400 - 1, 1, 3 * BOUND)
    for row, expected in ((same, 5 * MS), (two, 9 * MS)):
        assert row.fanout.p50 is not None
        assert row.fanout.p99 is not None
        assert (row.fanout.p50.value, row.fanout.p99.value) == (expected, expected)
        assert (row.p50_limit, row.p99_limit) == (None, None)


def test_each_pair_of_workers_has_its_offset_and_bound(judged: Callable[..., Verdict]) -> None:
    """One way and the other; between two others the bounds add up, and a shared clock is no pair."""
    found = {(row.sent_by, row.worker): row for row in judged(lambda *_: 5 * MS).worker_pairs}
    assert set(found) == {(a, b) for a in WORKERS for b in WORKERS if across(a, b)}
    assert (found["w0", "w2"].offset, found["w0", "w2"].bound) == (250 * MS, BOUND)
    assert (found["w2", "w0"].offset, found["w2", "w0"].bound) == (-250 * MS, BOUND)
    assert (found["w2", "w3"].offset, found["w2", "w3"].bound) == (-500 * MS, 3 * BOUND)
    assert found["w0", "w2"].fanout.n == 399


@pytest.mark.parametrize("latency", [-BOUND, 0, 5_000, 9 * BOUND - 1])
def test_a_figure_below_three_bounds_is_a_limit(judged: Callable[..., Verdict], latency: int) -> None:
    """What is certain is the figure and the bound; a figure that a clock made negative is no exception."""
    found = judged(lambda *_: latency)
    same, two = found.clocks_apart
    assert (same.p50_limit, same.p99_limit) == (None, None)
    assert (two.p50_limit, two.p99_limit) == (latency + 3 * BOUND, latency + 3 * BOUND)


def test_three_bounds_are_a_figure(judged: Callable[..., Verdict]) -> None:
    """From there on the quantile itself is shown."""
    assert judged(lambda *_: 9 * BOUND).clocks_apart[1].p50_limit is None


def test_the_summary_tells_them_apart(judged: Callable[..., Verdict]) -> None:
    """A group for one clock, a group across with the bound; limits with their sign."""
    lines = summary.summary_lines(judged(lambda *_: 50_000))
    title = lines.index("across clocks, wrong by 24.0 µs at most")
    assert lines[title + 1].split()[:6] == ["chat.delivered", "3,999", "1", "≤", "74.0", "µs"]
    assert lines[lines.index("on one clock") + 1].split()[:5] == [
        "chat.delivered",
        "2,400",
        "0",
        "50.0",
        "µs",
    ]


def test_a_run_of_one_clock_says_nothing_of_clocks(build: Build) -> None:
    """Nobody asked, and there is nothing to tell apart."""
    found = verdict.judge(build())
    assert (found.clocks_apart, found.worker_pairs) == ([], [])
    assert not any("clock" in line for line in summary.summary_lines(found))


def test_a_clock_that_is_not_known_makes_the_run_invalid(judged: Callable[..., Verdict]) -> None:
    """No time across it can be believed: the worker is named."""
    found = judged(lambda *_: 5 * MS, BOUND, None)
    assert found.verdict is Word.INVALID
    assert "w3 never had an answer" in found.sentences[0]
    assert found.clocks_apart[1].bound is None
    assert "across clocks, clocks compared by nobody" in summary.summary_lines(found)


def test_a_clock_that_is_too_far_off_makes_the_run_invalid(judged: Callable[..., Verdict]) -> None:
    """On time or late could be its error."""
    assert judged(lambda *_: 5 * MS, BOUND, 99 * MS).verdict is Word.PASS
    found = judged(lambda *_: 5 * MS, BOUND, 101 * MS)
    assert found.verdict is Word.INVALID
    assert "101 ms off" in found.sentences[0]


def test_the_page_shows_both(judged: Callable[..., Verdict], build: Build) -> None:
    """The table, with limits and bound as figures of the verdict, and the pairs of workers."""
    found = judged(lambda *_: 50_000)
    run = build(workers=workers())
    report = page.Report(manifest=run.manifest, verdict=found, frames=None)  # type: ignore[arg-type]
    html = report.section("sizes")
    assert '≤ <data value="74000" data-of="clocks_apart/1/p50_limit">74.0 µs</data>' in html
    assert 'data-of="clocks_apart/1/bound"' in html
    assert html.count("<td>two</td>") == 1
    assert html.count('/offset">') == len(found.worker_pairs)


def test_the_verdict_is_read_back(judged: Callable[..., Verdict], build: Build, tmp_path: Path) -> None:
    """With its clocks."""
    found = judged(lambda *_: 50_000)
    verdict.write(build(), found)
    assert verdict.read(tmp_path) == found
