"""What a gate leaves for machines: gate.json (the truth), junit.xml, summary.md, metrics.txt (OpenMetrics).

In junit.xml each gate metric and each objective is a test case; what is inconclusive or not shown is skipped,
with its reason, because it is neither a success nor a failure.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.openmetrics.exposition import generate_latest

from analysis import gate_text
from analysis.files import write_private
from analysis.gate import Gate
from analysis.looks import Word
from analysis.objectives import State
from analysis.verdict import Verdict
from reports.manifest import write_json

FILE = "gate.json"
Case = tuple[str, str, str, str]
"""Class, name, one of "passed", "failed", "skipped", "error", and why."""


def write(folder: Path, gate: Gate) -> None:
    """Write all four files into a gate's folder. Raises reports' ArtefactError and OSError."""
    write_json(folder, FILE, gate)
    write_private(folder / "junit.xml", junit(gate.scenario, _cases(gate)))
    write_private(folder / "summary.md", gate_text.markdown(gate).encode())
    write_private(folder / "metrics.txt", openmetrics(gate))


def read(folder: Path) -> Gate:
    """Return the gate that `write` left in a folder."""
    return msgspec.json.decode((folder / FILE).read_bytes(), type=Gate)


def write_objectives(folder: Path, verdict: Verdict) -> None:
    """Write junit.xml beside a run: a test case for each of its objectives, and one for the instrument."""
    states = {State.MET: "passed", State.MISSED: "failed", State.NOT_SHOWN: "skipped", State.UNKNOWN: "error"}
    cases = [("slo", each.slo, states[each.state], each.sentence) for each in verdict.objectives]
    broken = " ".join(rule.sentence for rule in verdict.validity if not rule.holds)
    instrument = ("validity", "instrument", "error" if broken else "passed", broken)
    write_private(folder / "junit.xml", junit(verdict.scenario, [instrument, *cases]))


def junit(scenario: str, cases: Iterable[Case]) -> bytes:
    """Return JUnit XML with one suite."""
    suite = TestSuite(f"talkload gate {scenario}")
    results = {"failed": Failure, "skipped": Skipped, "error": Error}
    for kind, name, state, why in cases:
        case = TestCase(_clean(name), classname=kind)
        if state in results:
            case.result = [results[state](_clean(why))]
        suite.add_testcase(case)
    xml: Any = JUnitXml("talkload")  # Any, because the library has no types
    xml.add_testsuite(suite)
    xml.update_statistics()
    return bytes(xml.tostring())


def openmetrics(gate: Gate) -> bytes:
    """Return the estimates as OpenMetrics text, changes as ratios: 0.06 is six per cent slower."""
    registry = CollectorRegistry()
    change = Gauge(
        "talkload_gate_change_ratio", "Change of the candidate.", ["metric", "bound"], registry=registry
    )
    state = Gauge(
        "talkload_gate_verdict", "1 for the verdict on a metric.", ["metric", "verdict"], registry=registry
    )
    pairs = Gauge("talkload_gate_pairs", "Pairs of runs.", ["counted"], registry=registry)
    Gauge("talkload_gate_exit_code", "Exit code.", registry=registry).set(gate.exit_code)
    pairs.labels("yes").set(gate.counted)
    pairs.labels("no").set(len(gate.discarded))
    for each in gate.metrics:
        for bound, value in (("estimate", each.change), ("low", each.low), ("high", each.high)):
            if value is not None:
                change.labels(each.metric, bound).set(value)
        for word in (Word.PASS, Word.IMPROVED, Word.REGRESSED, Word.INCONCLUSIVE):
            state.labels(each.metric, word.value).set(each.verdict is word)
    text: bytes = generate_latest(registry)  # type: ignore[no-untyped-call]  # the library has none here
    return text


def _cases(gate: Gate) -> list[Case]:
    states = {Word.REGRESSED: "failed", Word.INCONCLUSIVE: "skipped"}
    found = [
        ("gate", each.metric, states.get(each.verdict, "passed"), each.sentence) for each in gate.metrics
    ]
    invalid = [side for pair in gate.pairs for side in (pair.baseline, pair.candidate) if side.invalid]
    if gate.verdict is Word.INVALID:
        # Figures that can't be trusted are neither good nor bad.
        why = " ".join(f"{side.run}: {side.invalid}" for side in invalid)
        found = [(kind, name, "skipped", why) for kind, name, *_ in found]
        found.append(("validity", "instrument", "error", why))
    for each in gate.objectives:
        state = {State.MET: "passed", State.MISSED: "failed"}.get(each.state, "skipped")
        found.append(
            ("slo", each.slo, state, f"{each.state.value}: {each.missed} of {each.runs} runs missed it")
        )
    return found


def _clean(text: str) -> str:
    """Drop what XML can't hold."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
