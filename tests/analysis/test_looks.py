"""Which look decides what: the four words, each at its boundary."""

from __future__ import annotations

from math import log, log1p

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import stats
from analysis.looks import LOOKS, Word, decide, looks, more_pairs

WIDTH = np.linspace(-0.02, 0.02, 20)
SHUFFLED = list(np.random.default_rng(2).permutation(WIDTH))
"""Differences around nothing, of about the size that a quiet machine has."""


def around(change: float, spread: float = 1.0, n: int = 20) -> list[float]:
    """Return n log ratios around a change."""
    return [log1p(change) + spread * each for each in SHUFFLED[:n]]


@pytest.mark.parametrize(
    ("change", "spread", "word", "pairs"),
    [
        (0.0, 1, Word.PASS, 6),
        (0.03, 0.2, Word.PASS, 6),
        (0.10, 1, Word.REGRESSED, 6),
        (-0.10, 1, Word.IMPROVED, 6),
        (-0.03, 0.2, Word.PASS, 6),
        (0.0, 30, Word.INCONCLUSIVE, 20),
        (0.10, 30, Word.INCONCLUSIVE, 20),
    ],
)
def test_the_first_look_that_decides_decides(change: float, spread: float, word: Word, pairs: int) -> None:
    """A clear change at the first look, noise at none; a proven change below the tolerance passes."""
    found, seen = decide(around(change, spread), 0.05, LOOKS)
    assert (found, seen.n) == (word, pairs)


def test_later_pairs_do_not_change_what_was_decided() -> None:
    """A verdict of the sixth pair stands, or looking often would be a second chance."""
    assert decide([*around(0.0, n=6), *[log(2)] * 14], 0.05, LOOKS)[0] is Word.PASS


def test_nothing_is_decided_before_six_pairs_or_between_looks() -> None:
    """Five identical doublings show nothing, nor does a seventh pair."""
    assert decide([log(2)] * 5, 0.05, looks(20))[0] is Word.INCONCLUSIVE
    torn = [log(2)] * 3 + [-log(2)] * 3 + [0.0]
    assert decide(torn, 0.05, looks(20))[0] is Word.INCONCLUSIVE


def test_more_metrics_ask_for_more_certainty() -> None:
    """One metric regresses at six pairs; of six metrics one needs eight, to be as sure of the whole gate."""
    slower = around(0.10)
    assert decide(slower[:6], 0.05, LOOKS, metrics=6)[0] is Word.INCONCLUSIVE
    assert decide(slower, 0.05, LOOKS, metrics=6)[1].n == 8


@pytest.mark.parametrize(
    ("planned", "expected"), [(3, []), (6, [6]), (7, [6, 7]), (20, [6, 8, 10, 14, 20]), (30, [*LOOKS, 30])]
)
def test_the_end_of_a_gate_is_a_look(planned: int, expected: list[int]) -> None:
    """As many pairs as were planned are looked at, if they are enough to show anything."""
    assert looks(planned) == expected


def test_how_many_more_pairs_are_needed() -> None:
    """Up to the next look where little is missing, none where it is too close to the tolerance."""
    assert more_pairs(stats.hodges_lehmann(around(0.0, n=4)), 0.05) == 2
    assert more_pairs(stats.Shift(0.01, -0.03, 0.05, 6), 0.05) == 2
    assert more_pairs(stats.Shift(0.10, -0.02, 0.25, 10), 0.05) == 10
    assert more_pairs(stats.Shift(0.048, -0.03, 0.12, 10), 0.05) is None


@given(
    st.lists(st.floats(-1, 1), min_size=6, max_size=24),
    st.sampled_from([0.01, 0.05, 0.1]),
    st.integers(1, 6),
)
def test_a_mirrored_change_never_regresses_too(values: list[float], tolerance: float, metrics: int) -> None:
    """What regressed does not regress when baseline and candidate are swapped."""
    found, _ = decide(values, tolerance, LOOKS, metrics)
    mirrored, _ = decide([-each for each in values], tolerance, LOOKS, metrics)
    assert not found is mirrored is Word.REGRESSED
    if found is Word.REGRESSED:
        assert mirrored in (Word.IMPROVED, Word.PASS)
