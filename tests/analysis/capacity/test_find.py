"""A search by runs: what a run tells it, what it keeps, what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from analysis import verdict
from analysis.capacity.find import (
    ARRIVALS,
    BEGUN,
    FILE,
    USERS,
    Asked,
    FindError,
    Finding,
    allowed,
    counts,
    settings,
)
from analysis.capacity.search import Count, Outcome, State
from analysis.frames import Frames
from reports.manifest import Arrivals
from reports.sample import Fate
from tests.analysis.conftest import SECOND, fake_run

SLO = {"get-chats p95": "< 20 ms", "errors": "< 2 %", "lost": "= 0", "deliveries": ">= 10"}
ASKED = Asked(
    scenario="typical", hash="0" * 16, by=USERS, settings=(), target="", socket=None, ca=None, seed=1,
    step_s=20, most_s=600,
)  # fmt: skip


def a_run(tmp_path: Path, load: float = 100, **how: Any) -> Any:
    """Return a run on a target that is slower the more load there is; p95 is at its limit at about 106."""
    how = {"seed": int(load * 10), "n": 4_000, "ledger": 100, "slo": SLO, "slow": load / 100, **how}
    return fake_run(tmp_path, **how)


def seen(run: Any, limits: dict[str, float]) -> dict[str, Count]:
    """Return what a run says."""
    frames = Frames(run)
    return counts(frames, verdict.judge_frames(frames), limits)


def test_objectives_that_load_can_break_are_searched_for() -> None:
    """Quantiles by their share, errors by their limit, counts exactly; not how much a run has to do."""
    assert allowed(SLO, USERS) == {"get-chats p95": 0.05, "errors": 0.02, "lost": 0.5}


def test_what_a_scenario_does_not_say_is_added() -> None:
    """Errors always count, and of an open run the journeys that nobody was free for."""
    assert allowed({"late": "= 0"}, ARRIVALS) == {BEGUN: 0.01, "late": 0.5, "errors": 0.01}
    assert allowed({"errors": "= 0 %"}, USERS) == {"errors": 0.5}


def test_a_run_tells_how_many_went_beyond(tmp_path: Path) -> None:
    """As many independent ones as the spread over the run shows, of the same share."""
    found = seen(a_run(tmp_path, 150), allowed(SLO, USERS))
    share = found["get-chats p95"].exceeded / found["get-chats p95"].total
    assert 0.12 < share < 0.30
    assert found["get-chats p95"].total <= 680
    assert found["errors"].exceeded / found["errors"].total < 0.02
    assert found["lost"] == Count(0, 10)


def test_what_is_known_exactly_holds_or_does_not(tmp_path: Path) -> None:
    """One lost message of a hundred is enough; so is one failure where none is allowed."""
    limits = {"lost": 0.5, "errors": 0.5}
    found = seen(a_run(tmp_path, fates={Fate.LOST: 1}, slo={**SLO, "errors": "= 0 %"}), limits)
    assert found == {"lost": Count(10, 10), "errors": Count(10, 10)}


def test_what_there_is_no_data_for_is_missing(tmp_path: Path) -> None:
    """It neither held nor broke."""
    limits = {"sign-up p99": 0.01}
    assert seen(a_run(tmp_path, slo={"sign-up p99": "< 1 s"}), limits) == {}


def test_journeys_that_nobody_was_free_for_count_against_the_load(tmp_path: Path) -> None:
    """Of 1,000 that were planned, 100 never began."""
    run = a_run(tmp_path, arrivals=Arrivals(plan_hash="x", planned=1_000, achieved=900))
    assert seen(run, {BEGUN: 0.01}) == {BEGUN: Count(100, 1_000)}


def a_search(folder: Path, **changes: Any) -> Finding:
    """Return a search between 20 and 2,000 users."""
    asked = msgspec.structs.replace(ASKED, **changes)
    return Finding(folder, asked, State(settings(allowed(SLO, USERS), 20, 2_000, 60)))


def go_on(finding: Finding, tmp_path: Path, steps: int = 99) -> Finding:
    """Take steps, each with a run, until the search ends."""
    while steps and (load := finding.step()) is not None:
        finding.take(a_run(tmp_path, load, seed=len(finding.made)), load, finding.asked.step_s)
        steps -= 1
    return finding


def test_runs_lead_to_the_capacity(tmp_path: Path) -> None:
    """The answer holds the truth, names what broke first, and stands in search.json."""
    finding = go_on(a_search(tmp_path), tmp_path)
    found = finding.found()
    assert found.answer.outcome is Outcome.FOUND
    assert (found.exit_code, found.answer.broke) == (0, "get-chats p95")
    assert found.answer.high
    assert found.answer.low < 106 < found.answer.high
    kept = msgspec.json.decode((tmp_path / FILE).read_bytes())
    assert kept["sentences"] == found.sentences
    assert len(kept["made"]) == found.answer.steps


def test_an_interrupted_search_goes_on_to_the_same_answer(tmp_path: Path) -> None:
    """After four steps: read back from its folder, the rest as if nothing had happened."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    whole = go_on(a_search(tmp_path / "one"), tmp_path)
    go_on(a_search(tmp_path / "other"), tmp_path, steps=4)
    resumed = go_on(Finding.resume(tmp_path / "other"), tmp_path)
    assert resumed.found() == whole.found()


def test_a_step_that_the_generator_spoiled_does_not_count(tmp_path: Path) -> None:
    """The search asks for the same load again, and says so."""
    finding = a_search(tmp_path)
    load = finding.step()
    assert load
    made = finding.take(a_run(tmp_path, load, lag=SECOND // 4), load, 20)
    assert not made.counted
    assert made.reason
    assert finding.step() == load
    assert finding.search.state.observations == ()
    assert any("1 of 1 steps did not count" in said for said in finding.found().sentences)


def test_the_time_is_bounded(tmp_path: Path) -> None:
    """No step begins that would not end in time, and what is known by then is told: exit code 3."""
    finding = go_on(a_search(tmp_path, most_s=50), tmp_path)
    assert len(finding.made) == 2
    found = finding.found()
    assert found.exit_code == 3
    assert "not found: the time is up: 40 s of load of at most 50 s" in found.sentences[0]


def test_a_target_that_does_not_answer_ends_it(tmp_path: Path) -> None:
    """Exit code 5, like a run's."""
    finding = a_search(tmp_path)
    finding.take(a_run(tmp_path, 60, n=0, ledger=0), 60, 20)
    assert finding.step() is None
    assert finding.found().exit_code == 5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "there is no search to go on with"),
        ("{", "this is not the file of a search"),
        ("{}", "missing required field"),
        ('{"schema": 1, "asked": {"by": "x"}}', "this is not the file of a search"),
    ],
)
def test_what_is_no_search_can_not_be_gone_on_with(tmp_path: Path, text: str | None, says: str) -> None:
    """One sentence with the file."""
    if text is not None:
        (tmp_path / FILE).write_text(text)
    with pytest.raises(FindError, match=says):
        Finding.resume(tmp_path)


def test_settings_that_make_no_sense_are_refused() -> None:
    """As a mistake of usage."""
    with pytest.raises(FindError, match="lowest <= start"):
        settings({"errors": 0.01}, 10, 100, 1_000)
