"""What the live gates are held to; none is done here: `python -m benchmarks.gates` does them."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.looks import Word, least_pairs
from benchmarks import gates
from scenarios import workload
from talkamie.server.faults import plan as plans


def ended(kind: str, word: Word, exit_code: int | None = None) -> gates.Ended:
    """Return a gate that said this."""
    code = word.exit_code if exit_code is None else exit_code
    return gates.Ended(kind, word, gates.right(kind, word, code), code, 8, 0, {}, 0.0, 1.0, "")


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"no-change": Word.PASS, "slower": Word.REGRESSED, "burn": Word.INCONCLUSIVE}, 0),
        ({"no-change": Word.INVALID, "slower": Word.REGRESSED, "burn": Word.INVALID}, 0),
        ({"no-change": Word.PASS, "slower": Word.INCONCLUSIVE, "burn": Word.INVALID}, 3),
        ({"no-change": Word.REGRESSED, "slower": Word.REGRESSED, "burn": Word.INVALID}, 1),
        ({"no-change": Word.IMPROVED, "slower": Word.REGRESSED, "burn": Word.INVALID}, 1),
        ({"no-change": Word.PASS, "slower": Word.PASS, "burn": Word.INVALID}, 1),
        ({"no-change": Word.PASS, "slower": Word.REGRESSED, "burn": Word.PASS}, 1),
    ],
)
def test_one_wrong_word_is_enough(
    said: dict[str, Word], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A false alarm, a change that passed, or anything that passed on a machine that could not tell."""
    monkeypatch.setattr(gates, "gate", lambda kind, *_: ended(kind, said[kind]))
    assert gates.main(["--quick"]) == code
    assert capsys.readouterr().out.count("WRONG") == (code == 1)


def test_the_exit_code_has_to_be_the_words_too() -> None:
    """A regression that ends with 0 has not been told to anybody's machine."""
    assert not ended("slower", Word.REGRESSED, exit_code=0).right


def test_what_is_gated_can_be_shown_in_so_many_pairs(tmp_path: Path) -> None:
    """Scenario and plans of the handlers can be read, and eight pairs are enough for a regression."""
    plan = workload.load(str(gates.scenario(tmp_path)))
    assert tuple(plan.gate) == gates.GATED
    assert least_pairs(len(plan.gate)) <= 8
    for ms in gates.HANDLERS_MS:
        file = tmp_path / "plan.toml"
        file.write_text(gates.PLAN.format(ms=ms))
        assert len(plans.load(str(file), seed=1).rules) == 1
