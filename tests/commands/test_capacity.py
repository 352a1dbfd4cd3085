"""`talkload capacity` on the terminal: words, JSON, pictures, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

import talkload
from reports.manifest import read_manifest, write_manifest
from tests.analysis.conftest import fake_run, on_disk

EXAMPLE = Path(talkload.__file__).parent / "docs/examples/capacity.toml"


def test_capacity_is_fitted_to_a_table(tmp_path: Path) -> None:
    """The published fit on the terminal, as JSON, and as a picture."""
    table = tmp_path / "points.csv"
    table.write_text(
        "load,throughput\n1,64.9\n18,995.9\n36,1652.4\n72,1853.2\n108,1828.9\n144,1775\n216,1702.2\n"
    )
    picture = tmp_path / "curve.svg"
    arguments = ["capacity", "fit", "--csv", str(table)]
    ended = CliRunner().invoke(talkload.main, [*arguments, "--picture", str(picture)])
    assert ended.exit_code == 0, ended.output
    assert "the peak is 1,884/s" in ended.output
    assert picture.read_text().startswith("<?xml")
    ended = CliRunner().invoke(talkload.main, [*arguments, "--json"])
    assert f"{json.loads(ended.output)['fit']['contention']['value']:.5f}" == "0.02773"


def test_unlike_runs_are_refused_by_the_field(tmp_path: Path) -> None:
    """Exit code 2 and one sentence; alike they are fitted, by users."""
    ids = [f"20261122T2045{number:02}Z-typical-3f9a" for number in range(5)]
    for number, run in enumerate(ids):
        on_disk(fake_run(tmp_path, n=1_500, ledger=0, slo={}, id=run, users=10 * (number + 1)), tmp_path)
    head = read_manifest(tmp_path / ids[4])
    write_manifest(tmp_path / ids[4], replace(head, seed=43))
    call = ["capacity", "fit", "--out", str(tmp_path)]
    ended = CliRunner().invoke(talkload.main, [*call, *ids])
    assert ended.exit_code == 2
    assert ended.output == (
        f"talkload: seed: {ids[0]} has 42, {ids[4]} has 43; only runs that are alike in it lie on one curve\n"
    )
    ended = CliRunner().invoke(talkload.main, [*call, *ids[:4]])
    assert ended.exit_code == 0, ended.output
    assert ended.output.startswith("users")
    ended = CliRunner().invoke(talkload.main, [*call, *ids[:4], "--by", "processes"])
    assert ended.exit_code == 2
    assert "target.processes: the target of" in ended.output


def test_instances_are_sized_from_a_plan() -> None:
    """The example that ships: a table, JSON, and the word assumed."""
    arguments = ["capacity", "size", "--input", str(EXAMPLE)]
    ended = CliRunner().invoke(talkload.main, arguments)
    assert ended.exit_code == 0, ended.output
    assert "assumed, not measured: " in ended.output
    found = json.loads(CliRunner().invoke(talkload.main, [*arguments, "--json"]).output)
    assert found["probability"] >= 0.95


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["fit"], "give runs, or --csv"),
        (["fit", "--csv", "{bad}", "latest"], "give runs, or --csv"),
        (["fit", "--csv", "{bad}"], "bad.csv:3: throughput: -5 is not above 0"),
        (["fit", "--csv", "{one}"], "1 points"),
        (["fit", "--csv", "{folder}"], "there is no such file"),
        (["fit", "{folder}/nowhere"], "nowhere"),
        (["fit", "--csv", "{one}", "--picture", "x.jpg"], "neither *.svg nor *.png"),
        (["size", "--input", "{one}"], "this is not TOML"),
        (["size"], "--input"),
    ],
)
def test_bad_input_to_capacity_is_one_sentence(tmp_path: Path, arguments: list[str], says: str) -> None:
    """Exit code 2, the place, no traceback."""
    files = {"bad": tmp_path / "bad.csv", "one": tmp_path / "one.csv", "folder": tmp_path}
    files["bad"].write_text("load,throughput\n1,2\n3,-5\n")
    files["one"].write_text("load,throughput\n1,2\n")
    ended = CliRunner().invoke(talkload.main, ["capacity", *(each.format(**files) for each in arguments)])
    assert ended.exit_code == 2
    assert says in ended.output
    assert "Traceback" not in ended.output
