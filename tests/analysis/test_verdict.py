"""One word for a run, with its exit code, from rules about the instrument and from the objectives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from analysis import verdict
from analysis.verdict import Verdict, Word
from reports.artefact import with_worker
from reports.manifest import Clock, Worker
from reports.sample import RESOURCES, SAMPLES, Fate, Kind, Outcome
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
        ({"workers": []}, Word.INVALID, 4, "no worker"),
        ({"workers": [worker(found={"samples": 9})]}, Word.INVALID, 4, "wrote 10 samples, 9 are there"),
        ({"workers": [worker(dropped=7)]}, Word.INVALID, 4, "7 samples"),
        ({"workers": [worker(errors=["disk full"])]}, Word.INVALID, 4, "disk full"),
        ({"clock": Clock(stamps="")}, Word.INVALID, 4, "unknown"),
        ({"lag": 60 * MS}, Word.INVALID, 4, "loop lag"),
        ({"lag": 60 * MS, "fates": {Fate.LOST: 3}}, Word.INVALID, 4, "loop lag"),
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


def test_lag_that_is_small_beside_what_it_measures_only_warns(build: Build) -> None:
    """Above 20 ms, but within 20 % of a slow target's p99: the run stands, with a warning."""
    found = judged(build, lag=9 * MS, slow=8.0, slo={"chat.delivered p99": "< 2 s"})
    assert found.verdict is Word.PASS
    assert len(found.warnings) == 1
    assert "try more workers" in found.warnings[0]


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
