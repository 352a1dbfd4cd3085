"""`talkload gate` over runs that are there already: words, exit codes, files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import talkload
from reports.manifest import ScenarioInfo
from tests.analysis.conftest import fake_run, on_disk

GATE = {"chat.delivered p50": "10 %"}
Runs = Callable[..., tuple[list[str], list[str]]]


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """Make pairs of runs; return the options that name candidates and baselines."""

    def made(pairs: int, slow: float = 1.0, gate: dict[str, str] | None = None, **how: Any) -> Any:
        config = {"slo": {"lost": "= 0"}, "gate": GATE if gate is None else gate}
        scenario = ScenarioInfo(name="typical", file="typical.toml", hash="0" * 16, config=config)
        folders: tuple[list[str], list[str]] = ([], [])
        for number in range(2 * pairs):
            side = number % 2
            run = fake_run(
                tmp_path, seed=number, n=200, ledger=3000, slow=slow if side == 0 else 1.0, scenario=scenario,
                id=f"20261122T20{number:02}00Z-typical-x", started=f"2026-11-22T20:{number:02}:00Z", **how,
            )  # fmt: skip
            folders[side].append(str(on_disk(run, tmp_path / "runs")))
        return folders

    return made


def call(*arguments: str, out: Path) -> Result:
    """Run `talkload gate` in this process."""
    return CliRunner().invoke(talkload.main, ["gate", *arguments, "--out", str(out)])


@pytest.mark.parametrize(("slow", "word", "code"), [(1.0, "pass", 0), (1.4, "regressed", 1)])
def test_six_pairs_get_a_word_an_exit_code_and_four_files(
    runs: Runs, tmp_path: Path, slow: float, word: str, code: int
) -> None:
    """From folders to exit code; what is printed with --json is gate.json."""
    candidates, baselines = runs(6, slow)
    ended = call("--runs", *candidates, "--against", *baselines, "--json", out=tmp_path / "gates")
    assert ended.exit_code == code, ended.output
    (folder,) = (tmp_path / "gates").iterdir()
    assert json.loads(ended.stdout)["verdict"] == word
    assert (folder / "gate.json").read_text() == ended.stdout.removesuffix("\n")
    assert {path.name for path in folder.iterdir()} == {"gate.json", "junit.xml", "summary.md", "metrics.txt"}


def test_two_pairs_are_inconclusive(runs: Runs, tmp_path: Path) -> None:
    """Exit code 3, and how many more it takes."""
    candidates, baselines = runs(2, 2.0)
    ended = call("--runs", *candidates, "--against", *baselines, out=tmp_path / "gates")
    assert ended.exit_code == 3, ended.output
    assert "needs 4 more pairs" in ended.stdout


def test_what_can_not_be_judged_is_a_mistake_of_usage(runs: Runs, tmp_path: Path) -> None:
    """Exit code 2 and one sentence: no metrics, an unknown one, an unlike or missing baseline."""
    candidates, baselines = runs(1, gate={})
    both = ["--runs", *candidates, "--against", *baselines]
    out = tmp_path / "gates"
    unknown = tmp_path / "t.toml"
    unknown.write_text(
        'description = "x"\n[load]\nusers = 1\n[senior]\nchat = 1\n[volunteer]\nchat = 1\n'
        '[gate]\n"chat.deliverd p50" = "5 %"\n'
    )
    ungated = tmp_path / "u.toml"
    ungated.write_text(unknown.read_text().partition("[gate]")[0])
    live = ["--scenario", "gate", "--candidate", "x"]
    elsewhere = ["--baseline", "https://192.0.2.1/", "--baseline-socket", "wss://127.0.0.1/"]
    for arguments, says in (
        (both, "no [gate] table"),
        ([*both, "--scenario", str(unknown)], "'chat.delivered'"),
        (["--runs", *candidates, "--against", str(tmp_path / "nowhere")], "nowhere"),
        (["--runs", *candidates], "--runs needs --against"),
        (["--slo", "nowhere", "--runs", *candidates], "or --slo"),
        (["--baseline", "x"], "--candidate"),
        ([], "give --baseline and --candidate"),
        ([*live, "--baseline", "https://127.0.0.1/v1"], "--baseline-socket"),
        ([*live, "--baseline", "a 'b"], "No closing quotation"),
        ([*live, "--baseline", "serve", "--baseline-socket", "wss://127.0.0.1/"], "it is a command"),
        ([*live, *elsewhere], "this machine only"),
        (["--scenario", str(ungated), "--candidate", "x", "--baseline", "y"], "it has no [gate] table"),
    ):  # fmt: skip
        ended = call(*arguments, out=out)
        code = 5 if arguments[-len(elsewhere) :] == elsewhere else 2  # load must not go there
        assert (ended.exit_code, says in ended.stderr) == (code, True), ended.output
        assert ended.exception is None or isinstance(ended.exception, SystemExit)
    assert not out.exists()


def test_the_objectives_of_one_run_are_judged_alone(runs: Runs) -> None:
    """Exit code of the run's verdict, junit.xml beside it."""
    ((run,), _) = runs(1)
    ended = CliRunner().invoke(talkload.main, ["gate", "--slo", run])
    assert ended.exit_code == 0, ended.output
    assert "PASS" in ended.stdout
    assert (Path(run) / "junit.xml").exists()
