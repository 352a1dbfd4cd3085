"""What scaling says follows from its runs, and a quick one has them all. Its figures are not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from benchmarks import scaling
from benchmarks.scaling import LOADS, Block, contention, gains, sentences

ROOT = Path(__file__).parents[2]
BLOCK = Block(
    load="messages", processes=2, per_s=100, server_cores=0.9, generator_cores=0.1, other_cores=0.0,
    owed=400, heard=400, strange=0, sent=400, lost=0, crossed=180,
)  # fmt: skip


def blocks(rates: dict[int, Sequence[float]], **how: float) -> list[Block]:
    """Return the runs of some turns, by processes."""
    return [replace(BLOCK, processes=n, per_s=x, **how) for n, several in rates.items() for x in several]


@pytest.mark.end_to_end
def test_a_quick_run_balances_on_one_process_and_on_two() -> None:
    """Every load, both sizes; with two some pushes cross, with one none does."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scaling", "--quick", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    whole = json.loads(done.stdout)
    assert {(each["load"], each["processes"]) for each in whole["blocks"]} == {
        (load, size) for load in LOADS for size in (1, 2)
    }
    assert [each["load"] for each in whole["gains"]] == list(LOADS)
    messages = [each for each in whole["blocks"] if each["load"] == "messages"]
    assert all(each["owed"] == each["heard"] == each["sent"] > 0 == each["lost"] for each in messages)
    assert all((each["crossed"] > 0) == (each["processes"] == 2) for each in messages)
    assert "0 lost" in whole["sentences"][0]


@pytest.mark.parametrize(
    "change", [{"heard": 399}, {"sent": 399}, {"strange": 1}, {"lost": 1}, {"crossed": 0}, {"owed": 401}]
)
def test_one_delivery_is_enough_for_a_book_that_does_not_balance(
    change: dict[str, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost, twice, out of turn, unknown to the books; or no push crossed, so that nothing was shown."""
    one = replace(BLOCK, processes=1, crossed=0)
    assert one.balanced
    assert BLOCK.balanced
    monkeypatch.setattr(scaling, "measure", lambda *_: iter([one, replace(BLOCK, **change)]))
    assert scaling.main(["--quick"]) == 1
    assert "1 of 2 runs DO NOT BALANCE" in capsys.readouterr().out


def test_contention_follows_from_the_gain() -> None:
    """0 for twice as much, 1 for no more, within its bounds beyond."""
    assert [contention(gain, 2) for gain in (2, 1, 4 / 3, 3, 0.5)] == pytest.approx([0, 1, 0.5, 0, 1])
    assert contention(2, 4) == pytest.approx(1 / 3)


def test_a_gain_is_that_of_neighbouring_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns that differ by ten times leave the ratio as it is; of six of them there is an interval."""
    monkeypatch.setattr(scaling, "_cores", lambda: 2)
    one = [100, 1_000, 200, 500, 300, 700]
    (found,) = gains(blocks({1: one, 2: [1.6 * x for x in one]}))
    assert (found.gain, found.low, found.high) == pytest.approx((1.6, 1.6, 1.6))
    assert found.room == pytest.approx(2.0)
    assert found.dearer.value == pytest.approx(1 / 1.6)  # the same CPU for more answers
    assert found.sentence.endswith("the cores had room for 2.00; a = 0.25 [0.25, 0.25]")


def test_limits_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two sizes no peak and no b; of a busy machine no a; of less than before neither."""
    monkeypatch.setattr(scaling, "_cores", lambda: 2)
    two = blocks({1: [100] * 6, 2: [160] * 6})
    said = " ".join(sentences(two, gains(two)))
    assert "one parameter, a, with b taken as 0" in said
    assert "peak was not observed" in said
    assert "the generator took 0.10 of them" in said
    busy = blocks({1: [100] * 6, 2: [90] * 6}, other_cores=1.0)
    assert gains(busy)[0].sentence.endswith("room for 1.00; too little to tell more")
    less = blocks({1: [100] * 6, 2: [90] * 6})
    assert "no a describes less than before" in gains(less)[0].sentence


def test_three_sizes_get_the_whole_curve() -> None:
    """With its peak, or without."""
    three = blocks({1: [100, 101], 2: [180, 182], 4: [290, 291]})
    said = list(sentences(three, gains(three)))
    assert any(
        "messages: g 100/s, a 0." in each and "peak not observed, at least 291/s" in each for each in said
    )
