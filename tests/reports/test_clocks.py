"""Whatever the network does, an instant brought to the run's clock is wrong by no more than the bound."""

from __future__ import annotations

from random import Random

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.clocks import MARGIN, SECOND, Line, exchange, line
from reports.sample import EXCHANGES

MINUTE = 60 * SECOND


class Link:
    """A clock ahead of the run's by `offset` that gains `drift_ppb`, seen over a link with these delays."""

    def __init__(self, *, offset: int, drift_ppb: int, seed: int, there: int, back: int, jitter: int) -> None:
        self.offset, self.drift_ppb, self.rng = offset, drift_ppb, Random(seed)
        self.there, self.back, self.jitter = there, back, jitter

    def local(self, run: int) -> int:
        """Return what the clock shows at an instant of the run's."""
        return run + self.offset + run * self.drift_ppb // SECOND

    def asked(self, at: int) -> tuple[int, int, int]:
        """Return what an exchange that begins at an instant of the run's shows."""
        heard = at + self.there + round(self.rng.expovariate(1 / self.jitter))
        answered = heard + self.rng.randint(1_000, 50_000)
        told = answered + self.back + round(self.rng.expovariate(1 / self.jitter))
        begun, ended = self.local(at), self.local(told)
        return (begun + ended) // 2, *exchange(begun, heard, answered, ended)


def through(rows: list[tuple[int, int, int]]) -> Line | None:
    """Return the line through exchanges (at, offset, round trip)."""
    return line(pa.table(list(np.array(rows, np.int64).reshape(-1, 3).T), schema=EXCHANGES))


links = st.builds(
    Link,
    offset=st.integers(-(10**17), 10**17),
    drift_ppb=st.integers(-100_000, 100_000),
    seed=st.integers(0, 2**32),
    there=st.integers(1_000, 2_000_000),
    back=st.integers(1_000, 2_000_000),
    jitter=st.sampled_from([1, 1_000, 100_000, 5_000_000]),
)


@given(
    link=links,
    begin=st.integers(10**9, 10**15),
    gaps=st.lists(st.integers(SECOND, 5 * MINUTE), max_size=40),
    data=st.data(),
)
@settings(deadline=None)
def test_no_instant_is_wrong_by_more_than_the_bound(
    link: Link, begin: int, gaps: list[int], data: st.DataObject
) -> None:
    """Drift, unlike ways, jitter, long silences: it holds from before the first to after the last."""
    at = np.cumsum([begin, *gaps]).tolist()
    found = through([link.asked(each) for each in at])
    assert found is not None
    instants = data.draw(st.lists(st.integers(at[0] - MARGIN, at[-1] + MARGIN // 2), min_size=1, max_size=20))
    local = np.array([link.local(each) for each in instants], np.int64)
    assert np.abs(found.to_run(local) - np.array(instants)).max() <= found.bound


@given(link=links)
@settings(deadline=None)
def test_a_quiet_link_has_a_bound_of_about_half_its_round_trip(link: Link) -> None:
    """Without jitter the line fits every exchange, and only the two ways remain unknown."""
    link.jitter = 1
    found = through([link.asked(each * 5 * SECOND) for each in range(1, 40)])
    assert found is not None
    assert found.bound <= (link.there + link.back) * 0.8
    assert abs(found.drift_ppb - link.drift_ppb) <= 100_000 / 190 + (link.there + link.back) / 190


def test_a_spoilt_exchange_among_good_ones_does_not_widen_the_bound() -> None:
    """One that was held up for a second says little, and is not asked."""
    link = Link(offset=250_000_000, drift_ppb=20_000, seed=1, there=10_000, back=10_000, jitter=100)
    good = [link.asked(each * 5 * SECOND) for each in range(1, 20)]
    link.back = SECOND
    held_up = link.asked(52 * SECOND)
    plain, spoilt = through(good), through([*good, held_up])
    assert plain is not None
    assert spoilt is not None
    assert spoilt.bound <= plain.bound * 1.1


def test_without_an_exchange_there_is_no_line() -> None:
    """Neither is there with one in whose middle a clock was set."""
    assert through([]) is None
    assert through([(5 * SECOND, 3, -7)]) is None


def test_none_stays_none() -> None:
    """An instant of 0 says that there is none, on every clock."""
    found = through([(5 * SECOND, 1_000, 10), (9 * SECOND, 1_000, 10)])
    assert found is not None
    assert found.to_run(np.array([0, 7 * SECOND])).tolist() == [0, 7 * SECOND - 1_000]


def test_the_order_of_exchanges_does_not_matter() -> None:
    """Several workers of a host put theirs together."""
    link = Link(offset=-5 * SECOND, drift_ppb=-7_000, seed=3, there=9_000, back=30_000, jitter=2_000)
    rows = [link.asked(each * SECOND) for each in range(1, 30)]
    one, other = through(rows), through(Random(1).sample(rows, len(rows)))
    assert one is not None
    assert other is not None
    assert (one.at.tolist(), one.offset.tolist(), one.bound) == (
        other.at.tolist(),
        other.offset.tolist(),
        other.bound,
    )
