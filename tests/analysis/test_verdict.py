"""One word for a run, with its exit code, from rules about the instrument and from the objectives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from analysis import summary, verdict
from analysis.objectives import State
from analysis.verdict import Verdict, Word
from reports.artefact import with_worker
from reports.manifest import Aborted, Arrivals, Clock, ScenarioInfo, Worker
from reports.sample import RESOURCES, SAMPLES, WAKEUPS, Fate, Kind, Outcome
from tests.analysis.conftest import MS, ORIGIN, SECOND, Build, table


def judged(build: Build, **how: Any) -> Verdict:
    """Return the verdict on such a run."""
    return verdict.judge(build(**how))


def worker(**changes: Any) -> Worker:
    """Return a worker that did all that it should, but for the changes."""
    rows = {"samples": 10}
    return Worker(**{"name": "w3", "closed": True, "rows": rows, "found": dict(rows), **changes})


def attempts(n: int, outcome: Outcome) -> pa.Table:
    """Return n requests that all ended alike."""
    at = ORIGIN + 6 * SECOND + np.arange(n) * MS
    kinds = {
        "kind": [Kind.REQUEST, Kind.CONNECT] * (n // 2),
        "operation": ["sign-in", "wss.connect"] * (n // 2),
    }
    instants = {"intended": at, "sent": at, "arrived": at + MS, "seen": at + MS}
    return table(SAMPLES, {**kinds, **instants, "outcome": [outcome] * n, "error": ["refused"] * n})


def test_a_run_that_meets_its_objectives_passes(build: Build) -> None:
    """All objectives met, all rules hold: pass, exit code 0, and a sentence with figures."""
    found = judged(build)
    assert (found.verdict, found.exit_code) == (Word.PASS, 0)
    assert found.sentences[0].startswith("All 7 objectives met")
    assert all(rule.holds for rule in found.validity)


@pytest.mark.parametrize(
    ("how", "word", "code", "says"),
    [
        ({"fates": {Fate.LOST: 3}}, Word.FAILED, 1, "lost is 3"),
        ({"slow": 60.0}, Word.FAILED, 1, "chat.delivered p50"),
        ({"failing": 0.2}, Word.FAILED, 1, "errors is"),
        ({"slo": {"chat.delivered p98": "< 1 s"}}, Word.USAGE, 2, "chat.delivered p98"),
        ({"slo": {"char.delivered p99": "< 1 s"}}, Word.USAGE, 2, "'chat.delivered'"),
        ({"slo": {"sign-up p99": "< 1 s"}}, Word.INCONCLUSIVE, 3, "there is no data"),
        ({"n": 0, "ledger": 0}, Word.INCONCLUSIVE, 3, "Nothing was attempted"),
        ({"n": 0, "ledger": 0, "slo": {}}, Word.INCONCLUSIVE, 3, "Nothing was attempted"),
        ({"measured_from_ns": 0}, Word.INCONCLUSIVE, 3, "there is no data"),
        ({"status": "partial", "reason": "killed"}, Word.INCONCLUSIVE, 3, "Interrupted after 60 s: killed"),
        ({"status": "partial", "fates": {Fate.LOST: 3}}, Word.FAILED, 1, "lost is 3"),
        ({"workers": [worker(closed=False), worker(name="w1")]}, Word.INVALID, 4, "w3 did not"),
        (
            {"workers": [worker(closed=False, last_words_ns=ORIGIN + 5 * SECOND), worker(name="w1")]},
            *(Word.INVALID, 4, "w3 was lost, last heard of 5.0 s into the run"),
        ),
        ({"workers": [worker(left="its master went"), worker(name="w1")]}, Word.INVALID, 4, "w3 ended early"),
        ({"workers": [worker(samples_at="there:/runs/x")]}, Word.INVALID, 4, "of w3 are at there:/runs/x"),
        ({"workers": []}, Word.INVALID, 4, "no worker"),
        ({"workers": [worker(found={"samples": 9})]}, Word.INVALID, 4, "wrote 10 samples, 9 are there"),
        ({"workers": [worker(dropped=7)]}, Word.INVALID, 4, "7 samples"),
        ({"workers": [worker(errors=["disk full"])]}, Word.INVALID, 4, "disk full"),
        ({"clock": Clock(stamps="")}, Word.INVALID, 4, "unknown"),
        ({"lag": 60 * MS}, Word.INVALID, 4, "was in time"),
        ({"lag": 60 * MS, "fates": {Fate.LOST: 3}}, Word.INVALID, 4, "was in time"),
        ({"tables": {"samples": attempts(40, Outcome.BROKEN)}, "ledger": 0}, Word.UNUSABLE, 5, "40 refused"),
        (
            {"tables": {"samples": attempts(40, Outcome.FAILED)}, "ledger": 0, "slo": {}},
            Word.FAILED,
            1,
            "Not one of 40",
        ),
        (
            {"tables": {"samples": attempts(40, Outcome.CANCELLED)}, "ledger": 0},
            Word.INCONCLUSIVE,
            3,
            "no data",
        ),
    ],
)
def test_every_word_has_its_exit_code(
    build: Build, how: dict[str, Any], word: Word, code: int, says: str
) -> None:
    """What is wrong decides the word, the word the exit code, and a sentence says it with the figure."""
    found = judged(build, **how)
    assert (found.verdict, found.exit_code) == (word, code), found.sentences
    assert says in " ".join(found.sentences)


ABORTED = Aborted(at_ns=ORIGIN + 20 * SECOND, since_ns=ORIGIN + 8 * SECOND, attempts=200, succeeded=30)


@pytest.mark.parametrize(
    ("how", "word", "code"),
    [
        ({}, Word.FAILED, 1),
        ({"lag": 60 * MS}, Word.INVALID, 4),
        ({"tables": {"samples": attempts(200, Outcome.BROKEN)}, "ledger": 0}, Word.UNUSABLE, 5),
    ],
)
def test_a_target_that_ran_away_has_failed(build: Build, how: dict[str, Any], word: Word, code: int) -> None:
    """With its figure first; a spoiled instrument outranks it, and so does a target that never answered."""
    config = {"slo": {"lost": "= 0"}, "abort": {"success_below": 0.5, "for_s": 10.0}}
    scenario = ScenarioInfo(name="typical", file="typical.toml", hash="0" * 16, config=config)
    why = "for 10 s less than 50 % of all attempts succeeded"
    found = judged(build, scenario=scenario, aborted=ABORTED, status="partial", reason=why, **how)
    assert (found.verdict, found.exit_code) == (word, code)
    first = found.objectives[0]
    assert (first.slo, first.state, first.figure) == ("success", State.MISSED, 0.15)
    if word is Word.FAILED:
        assert found.sentences[:2] == [f"Interrupted after 60 s: {why}.", f"{first.sentence}."]
        assert "30 of 200 attempts succeeded in the last 12 s" in first.sentence


def test_a_run_that_was_not_ended_early_met_that(build: Build) -> None:
    """What the scenario asks for stands among the objectives also when it was kept."""
    config = {"abort": {"success_below": 0.5, "for_s": 10.0}}
    found = judged(build, scenario=ScenarioInfo(name="t", file="t.toml", hash="0" * 16, config=config))
    assert [(each.slo, each.state) for each in found.objectives] == [("success", State.MET)]


def test_without_a_steady_state_nothing_is_shown(build: Build) -> None:
    """Not everybody was ever online at once: inconclusive, with the share, however well it went."""
    found = judged(build, measured_from_ns=0, connected=114, slo={})
    assert (found.verdict, found.exit_code) == (Word.INCONCLUSIVE, 3)
    assert "at most 114 of 120 people (95.0 %) were online at the same time" in found.sentences[0]
    assert judged(build, slo={}).verdict is Word.PASS


def test_lag_that_is_small_beside_what_it_measures_only_warns(build: Build) -> None:
    """A p99 above 20 ms, but within 20 % of a slow target's: the run stands, with a warning."""
    found = judged(build, lag=6 * MS, slow=80.0, slo={"chat.delivered p99": "< 9 s"})
    assert found.verdict is Word.PASS
    assert len(found.warnings) == 1
    assert "our own lag" in found.warnings[0]


STAMPED: dict[str, Any] = {"reads": 1000, "unstamped": 4, "frames": 5000, "coalesced": 150}


def test_how_arrivals_were_stamped_is_in_every_result(build: Build) -> None:
    """The source and the shares that are less exact: as figures, in the rule and in the summary."""
    found = judged(build, clock=Clock(stamps="wire", **STAMPED))
    assert (found.stamping.unstamped, found.stamping.coalesced) == (0.004, 0.03)
    words = "wire, 0.400 % of reads without a kernel stamp, 3.00 % of frames coalesced"
    assert words in [rule.figure for rule in found.validity]
    assert any(words in line for line in summary.summary_lines(found))
    assert found.warnings == []
    nothing = judged(build, clock=Clock(stamps="callback")).stamping
    assert (nothing.unstamped, nothing.coalesced) == (None, None)


@pytest.mark.parametrize(
    ("clock", "says"),
    [
        ({**STAMPED, "unstamped": 11}, "1.10 % of reads"),
        ({"steps_ns": [-120 * SECOND, 5 * MS]}, "2 steps, the largest of 120"),
    ],
)
def test_stamps_that_are_less_exact_than_they_seem_only_warn(
    build: Build, clock: dict[str, Any], says: str
) -> None:
    """More than one read in a hundred without a kernel stamp, or a wall clock that was set."""
    found = judged(build, clock=Clock(stamps="wire", **clock))
    assert found.verdict is Word.PASS
    assert len(found.warnings) == 1
    assert says in found.warnings[0]


def late(*stalls: tuple[float, float]) -> pa.Table:
    """Return a hundred wake-ups a second for a minute, on time but for stalls (begin and length in s)."""
    due = ORIGIN + np.arange(6000) * 10 * MS
    woken = due.copy()
    for begin, length in stalls:
        first, last = ORIGIN + int(begin * SECOND), ORIGIN + int((begin + length) * SECOND)
        woken[(due >= first) & (due < last)] = last
    return table(with_worker(WAKEUPS), {"worker": "w0", "due": due, "woken": woken})


@pytest.mark.parametrize(
    ("wakeups", "word"),
    [
        (late((30, 1.5)), Word.PASS),  # 2.7 % of the time was late, but it was once
        (late(*((second, 0.12) for second in range(5, 59, 2))), Word.INVALID),  # as much, again and again
        (late(*((second, 0.02) for second in range(5, 59, 2))), Word.PASS),  # again and again, for 20 ms
        (late((1, 3)), Word.PASS),  # in the warm-up
    ],
    ids=["once", "often", "little", "early"],
)
def test_lateness_is_judged_by_its_evidence(build: Build, wakeups: pa.Table, word: Word) -> None:
    """One stall makes many late wake-ups and shows nothing; what goes on being late is shown to be."""
    assert judged(build, tables={"wakeups": wakeups}).verdict is word


def test_a_generator_too_busy_to_become_steady_is_invalid_all_the_same(build: Build) -> None:
    """Where the warm-up never ended, or too late to leave evidence, it is looked at as well."""
    assert judged(build, measured_from_ns=0, phases=[], lag=60 * MS).verdict is Word.INVALID
    nearly = ORIGIN + 60 * SECOND - SECOND // 5
    assert judged(build, measured_from_ns=nearly, phases=[], lag=60 * MS).verdict is Word.INVALID


def test_each_worker_is_late_by_itself(build: Build) -> None:
    """One that is late is told by its name, however many others are in time."""
    rows = late(*((second, 0.12) for second in range(5, 59, 2))).to_pydict()
    quiet = [{"worker": f"w{n}", "due": due, "woken": due + 1000} for n in range(1, 9) for due in rows["due"]]
    columns = {name: rows[name] + [row[name] for row in quiet] for name in rows}
    found = judged(build, tables={"wakeups": table(with_worker(WAKEUPS), columns)})
    assert found.verdict is Word.INVALID
    assert any("of w0, the worst of 9 workers" in rule.figure for rule in found.validity if not rule.holds)


def test_lag_is_compared_with_what_it_spoils(build: Build) -> None:
    """Kernel stamps keep it out of service times and fan-out latencies; stamps of our own do not."""
    rules = {
        stamps: next(rule for rule in judged(build, lag=MS, slow=80.0, clock=Clock(stamps=stamps)).validity
                     if rule.rule == "the generator was in time")
        for stamps in ("wire", "callback")
    }  # fmt: skip
    assert "response" in rules["wire"].limit
    assert "service" in rules["callback"].limit


@pytest.mark.parametrize(
    ("cpu", "wait", "says"),
    [
        (0.9, 0.05, "too much to do"),
        (0.1, 0.6, "others were on its cores"),
        (0.05, 0.04, "single pieces of work"),
    ],
)
def test_a_late_generator_is_told_why(build: Build, cpu: float, wait: float, says: str) -> None:
    """Its own work asks for more workers, that of others for another machine."""
    rows = {"at": [ORIGIN + 9 * SECOND], "process": ["generator"], "worker": ["w0"], "cpu": [cpu]}
    resources = table(with_worker(RESOURCES), {**rows, "cpu_wait": [wait]})
    found = judged(build, lag=60 * MS, tables={"resources": resources})
    assert says in found.sentences[0]
    assert bool(found.warnings) is (wait > 0.25)


def test_a_start_that_was_dropped_makes_the_run_invalid(build: Build) -> None:
    """The target got less load than was asked for, and the figures are those of another scenario."""
    rows = {"at": [ORIGIN + 9 * SECOND], "process": ["generator"], "worker": ["w0"], "dropped": [3]}
    found = judged(build, tables={"resources": table(with_worker(RESOURCES), rows)})
    assert found.verdict is Word.INVALID
    assert "3 dropped" in found.sentences[0]


@pytest.mark.parametrize(
    ("came", "word", "says"),
    [
        (Arrivals(plan_hash="h", planned=9, achieved=9, late=4), Word.PASS, ""),
        (
            Arrivals(plan_hash="h", planned=9, achieved=7, waiting=2),
            Word.PASS,
            "2 still waiting at the end, of 9",
        ),
        (Arrivals(plan_hash="h", planned=9, achieved=7, dropped=2), Word.INVALID, ""),
    ],
)
def test_arrivals_that_were_not_begun_are_told(build: Build, came: Arrivals, word: Word, says: str) -> None:
    """Late ones are in the response times, those that still waited are a warning, the dropped are missing."""
    found = judged(build, arrivals=came)
    assert (found.verdict, found.arrivals) == (word, came)
    assert bool(found.warnings) is bool(says)
    assert all(says in warning for warning in found.warnings)
    assert f"9 planned, {came.achieved} achieved" in summary.arrivals_lines(found)[0]


def test_a_worker_that_a_killed_run_never_closed_is_not_a_lost_worker(build: Build) -> None:
    """An interrupted run has open records by nature: it is partial, and not invalid for that."""
    found = judged(build, status="partial", reason="killed", workers=[worker(closed=False, rows={})])
    assert found.verdict is Word.INCONCLUSIVE
    assert found.partial


def test_time_to_first_byte_is_told_of_what_has_one(build: Build) -> None:
    """Beside each https operation, within its service time; nothing is said of sockets and connects."""
    operations = verdict.judge(build()).operations
    assert {row.group for row in operations if row.first.n} == {"https"}
    for row in operations:
        if row.group == "https":
            assert row.first.n == row.ok
            assert row.first.p50 is not None
            assert row.service.p50 is not None
            assert 0 < row.first.p50.value < row.service.p50.value
    assert "phases" in {row.group for row in operations}


def test_totals_agree_with_the_tables(build: Build) -> None:
    """Everything that was recorded is in exactly one of the totals."""
    run = build(fates={Fate.LOST: 3, Fate.DUPLICATE: 2, Fate.OFFLINE: 5, Fate.UNKNOWN: 4, Fate.LATE: 6})
    found = verdict.judge(run)
    totals = found.totals
    parts = int(np.isin(run.samples()["kind"].to_numpy(), [Kind.STEP, Kind.PHASE]).sum())
    assert totals.requests + totals.socket_requests + totals.pings + totals.connects == totals.attempts
    assert totals.attempts == run.samples().num_rows - parts
    assert totals.successes + totals.failures + totals.cancelled == totals.attempts
    assert sum(totals.errors_by_class.values()) == totals.failures
    fates = (
        totals.deliveries
        + totals.lost
        + totals.duplicate
        + totals.misdelivered
        + totals.offline
        + totals.unknown
    )
    assert fates == run.deliveries().num_rows
    for row in found.operations:
        assert row.ok + row.failed + row.timeout + row.broken + row.cancelled == row.attempts


def test_bad_deliveries_come_with_their_keys_the_worst_first(build: Build) -> None:
    """At most twenty, lost before duplicate before late, so that each can be looked up."""
    found = judged(build, fates={Fate.LATE: 30, Fate.LOST: 3, Fate.DUPLICATE: 2}).bad_deliveries
    assert [each.fate for each in found] == ["lost"] * 3 + ["duplicate"] * 2 + ["late"] * 15
    assert all(each.key.startswith("m-") for each in found)


def test_coverage_names_what_was_never_tried(build: Build) -> None:
    """Every operation and action of the contract is exercised, failed, or never tried."""
    found = judged(build).coverage
    assert len(found.exercised) + len(found.failed) + len(found.never) == len(found.rows)
    assert found.operations_total + found.actions_total == len(found.rows)
    assert found.share == len(found.exercised) / len(found.rows)
    assert "wss.send-message" in found.exercised
    assert "clear-schedules" in found.never


def test_a_verdict_survives_the_disk(build: Build, tmp_path: Path) -> None:
    """What was written is what is read, and writing it twice gives the same bytes, for its owner only."""
    run = build(fates={Fate.LOST: 3})
    found = verdict.judge(run)
    path = verdict.write(run, found)
    first = path.read_bytes()
    assert verdict.read(tmp_path) == found
    verdict.write(run, verdict.judge(run))
    assert path.read_bytes() == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert msgspec.json.decode(first)["exit_code"] == 1


def test_one_request_shows_no_quantile(build: Build) -> None:
    """A single sample has a maximum and no p50: one is not a distribution."""
    found = judged(build, tables={"samples": attempts(2, Outcome.OK)}, ledger=1, slo={})
    assert found.operations[0].response.p50 is None
    assert found.operations[0].response.max == MS
    assert found.verdict is Word.PASS


def test_several_generators_are_told_apart(build: Build) -> None:
    """Each process has its row, the busiest is the one in view, and memory is added up over all of them."""
    n = 60
    first = np.arange(n) % 2 == 0
    rows = table(
        with_worker(RESOURCES),
        {
            "at": ORIGIN + (6 + np.arange(n) // 2) * SECOND,
            "process": ["generator"] * n,
            "worker": np.where(first, "w0", "w1"),
            "cpu": np.where(first, 0.25, 0.5),
            "rss": np.where(first, 100, 30),
        },
    )
    found = judged(build, tables={"resources": rows}).resources
    assert [each.process for each in found.processes] == ["generator w0", "generator w1"]
    assert (found.generator_cpu, found.server_cpu, found.rss_together_max) == (0.5, None, 130)
