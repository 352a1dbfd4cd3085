"""The offset of the wall clock: steps are told from slew, noise and interrupted readings."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.clock import MICROSECOND, SECOND, STEP, Reading, Realtime, readings

START = 1_790_000_000 * SECOND


class Clocks:
    """Two clocks that only a test moves; a reading of both is interrupted for up to `noise` ns."""

    def __init__(self, *, noise: int = 60, seed: int = 1) -> None:
        self.now, self.offset, self.noise, self.rng = 5 * SECOND, START, noise, Random(seed)

    def read(self) -> list[Reading]:
        found = []
        for _ in range(9):
            before = self.now
            within = before + self.rng.randint(20, 20 + self.noise)
            self.now = within + self.rng.randint(20, 20 + self.noise)
            found.append(Reading(before, within + self.offset, self.now))
        return found

    def pass_second(self, *, drift: int = 0) -> None:
        self.now += SECOND
        self.offset += drift


@pytest.mark.parametrize("size", [120 * SECOND, -120 * SECOND, 250 * MICROSECOND, -250 * MICROSECOND])
def test_a_step_is_told_once_with_its_size(size: int) -> None:
    """Set by two minutes or by a quarter of a millisecond, either way: one step, then silence."""
    clocks = Clocks()
    clock = Realtime(clocks.read)
    told = []
    for second in range(10):
        clocks.pass_second(drift=size if second == 4 else 0)
        told.append(clock.sample())
    assert [n for n, step in enumerate(told) if step] == [4]
    assert abs(told[4] - size) < MICROSECOND
    assert abs(clock.offset - clocks.offset) < MICROSECOND


@given(
    drift=st.integers(-50, 50).map(lambda ppm: ppm * MICROSECOND),
    noise=st.integers(0, 20 * MICROSECOND),
    seed=st.integers(0, 2**32),
)
def test_slew_and_noise_are_no_steps(drift: int, noise: int, seed: int) -> None:
    """A clock that gains or loses up to 50 µs a second is followed, and never called set."""
    clocks = Clocks(noise=noise, seed=seed)
    clock = Realtime(clocks.read)
    for _ in range(30):
        clocks.pass_second(drift=drift)
        assert clock.sample() == 0
        assert abs(clock.offset - clocks.offset) <= noise + 20


def test_readings_that_were_all_interrupted_change_nothing() -> None:
    """A process that waited 5 ms in each of nine readings keeps the offset that it knew."""
    clocks = Clocks()
    clock = Realtime(clocks.read)
    known = clock.offset
    clocks.noise = 5_000 * MICROSECOND
    for _ in range(20):
        clocks.pass_second()
        assert clock.sample() == 0
        assert abs(clock.offset - known) <= STEP


def test_a_great_step_shows_through_interrupted_readings() -> None:
    """Two minutes are more than any interruption explains."""
    clocks = Clocks()
    clock = Realtime(clocks.read)
    clocks.noise = 5_000 * MICROSECOND
    clocks.pass_second(drift=120 * SECOND)
    assert abs(clock.sample() - 120 * SECOND) < 5_000 * MICROSECOND


def test_the_real_clocks_can_be_read() -> None:
    """Nine readings, each of them in order, and an offset that is a date of this century."""
    found = readings()
    assert len(found) == 9
    assert all(reading.before <= reading.after for reading in found)
    assert 0 < Realtime().offset < 2**63
