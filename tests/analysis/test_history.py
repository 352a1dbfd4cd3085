"""The history: appended whole, read back, one point a commit, and a change where there was one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import msgspec
import pytest

from analysis import history, history_charts, history_text
from analysis.history import Entry, History, HistoryError
from reports.artefact import Run

CHAT = "chat.delivered p50"


def entries(commits: int, *, runs: int = 3, changed_at: int = 10**9, seed: int = 5) -> list[Entry]:
    """Return runs of so many commits, with 4 % noise; from `changed_at` on chat is 30 % slower."""
    random = Random(seed)
    found = []
    for number in range(commits):
        for run in range(runs):
            slower = 1.3 if number >= changed_at else 1.0
            values = {CHAT: int(2e6 * slower * random.lognormvariate(0, 0.04)), "wss.ping p50": 1_000_000}
            found.append(
                Entry(
                    schema=1,
                    run=f"r-{number}-{run}",
                    started=f"2026-10-{1 + number // 24:02}T{number % 24:02}:0{run}:00Z",
                    commit=f"c{number:06}",
                    scenario="typical",
                    hash="0" * 16,
                    machine="m",
                    values=values,
                )
            )
    return found


def shown(commits: int, *, changed_at: int = 10**9) -> History:
    """Return the history of these."""
    return history.show(entries(commits, changed_at=changed_at))


def test_a_change_is_found_at_its_commit() -> None:
    """Otava finds the step, its size and its commit, and nothing in the metric that did not change."""
    found = shown(40, changed_at=25)
    chat, ping = found.series
    (change,) = chat.changes
    assert (change.index, change.commit) == (25, "c000025")
    assert 0.25 < change.change < 0.35
    assert not ping.changes
    assert found.sentences == [f"{CHAT} changed at c000025: {change.change * 100:+.1f} %."]


def test_no_change_is_said() -> None:
    """Noise alone is none."""
    assert shown(30).sentences == ["No change in 30 commits."]
    assert "too few" in shown(2).sentences[0]


def test_without_otava_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The history is shown all the same."""
    monkeypatch.setitem(sys.modules, "otava.analysis", None)
    found = shown(30, changed_at=10)
    assert not found.detected
    assert "pip install --no-deps apache-otava" in found.sentences[0]
    assert len(found.series[0].values) == 30


def test_a_point_is_the_median_of_a_commits_runs() -> None:
    """In the order in which the commits were first run, whatever the order in the file."""
    every = entries(3)
    found = history.show(every[::-1])
    assert found.commits == ["c000000", "c000001", "c000002"]
    assert found.runs == [3, 3, 3]
    assert found.series[0].values[0] == sorted(each.values[CHAT] for each in every[:3])[1]


def test_what_did_something_else_is_left_out() -> None:
    """Another hash or machine is no point of this series, which is said; another scenario is another one."""
    every = entries(5)
    other = msgspec.structs.replace(every[0], hash="1" * 16, run="x")
    found = history.show([other, *every])
    assert sum(found.runs) == 15
    assert "1 runs that did something else" in found.sentences[-1]
    with pytest.raises(HistoryError, match="scenario 'soak': the history has typical"):
        history.show(every, "soak")
    with pytest.raises(HistoryError, match="metric 'nothing p50'"):
        history.show(every, metrics=["nothing p50"])


def test_what_was_added_is_read_back_and_is_not_added_twice(tmp_path: Path) -> None:
    """A line a run; private; a second time nothing is appended."""
    path = tmp_path / "history.jsonl"
    every = entries(2)
    assert history.add(path, every[:4]) == every[:4]
    assert history.add(path, every) == every[4:]
    assert history.read(path) == every
    assert path.stat().st_mode & 0o777 == 0o600


def test_all_or_none_is_added(tmp_path: Path) -> None:
    """One without a commit keeps the others out, and --commit gives it one."""
    path = tmp_path / "history.jsonl"
    every = entries(1)
    bare = [*every[:2], msgspec.structs.replace(every[2], commit="")]
    with pytest.raises(HistoryError, match="nobody knows its commit"):
        history.add(path, bare)
    assert history.read(path) == []
    assert {each.commit for each in history.add(path, bare, "abc")} == {"abc"}


def test_a_line_that_was_cut_is_named_and_swallows_no_other(tmp_path: Path) -> None:
    """The place is in the message."""
    path = tmp_path / "history.jsonl"
    history.add(path, entries(1))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(HistoryError, match=r"history\.jsonl:3: "):
        history.read(path)


def test_a_run_becomes_an_entry(store: Callable[..., Path]) -> None:
    """Its quantiles by metric, the suite's commit; a partial one and that of a bad target are refused."""
    run = Run.open(store(n=3_000, ledger=3_000))
    found = history.entry(run)
    assert (found.commit, found.scenario) == ("abc1234", "typical")
    assert found.values[CHAT] > 0
    assert set(found.values) >= {"chat.delivered p99", "wss.ping p50", "get-chats p50"}
    run.manifest.target.faults = True
    with pytest.raises(HistoryError, match=r"target\.faults"):
        history.entry(run)
    with pytest.raises(HistoryError, match="is partial"):
        history.entry(Run.open(store(n=200, ledger=100, status="partial", id="20261122T204501Z-x-0001")))


def test_the_chart_shows_what_changed_first() -> None:
    """One image, the same every time; the metric that changed is the first panel."""
    found = shown(30, changed_at=12)
    chart = history_charts.lines(found)
    assert ElementTree.fromstring(chart.svg).get("role") == "img"
    assert chart == history_charts.lines(found)
    assert history_charts.chosen(found.series)[0].metric == CHAT
    assert "No data" not in chart.svg


def test_bars_show_the_last_values() -> None:
    """From 0 to the largest; a commit without the metric is a gap."""
    assert history_text.bars(history.Series("m", [0, 50, None, 100], [])) == "▁▄ █"
