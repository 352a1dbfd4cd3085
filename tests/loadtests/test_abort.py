"""When a run is ended early: seconds are made up here, no clock is read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loadtests.abort import LEAST, Watch
from loadtests.clock import SECOND
from reports.manifest import Aborted
from reports.sample import Kind, Outcome

Seconds = list[tuple[int, int]]
"""Of each second, how many succeeded and how many failed."""


def watched(seconds: Seconds, share: float = 0.5, for_s: int = 3) -> Aborted | None:
    """Return what a watch says of these seconds, the first of which begins at 0."""
    watch = Watch(share, for_s * SECOND)
    for number, (good, bad) in enumerate(seconds):
        outcomes = [(Kind.REQUEST, Outcome.OK)] * good + [(Kind.SOCKET, Outcome.TIMEOUT)] * bad
        if found := watch.second(number * SECOND, (number + 1) * SECOND, outcomes):
            return found
    return None


def test_a_target_that_fails_for_long_ends_the_run() -> None:
    """Three seconds below a half: ended with the third, and the figures are those of the three."""
    found = watched([(20, 0), (9, 11), (0, 20), (2, 18), (0, 20)])
    assert found == Aborted(at_ns=4 * SECOND, since_ns=SECOND, attempts=60, succeeded=11)


def test_one_good_second_begins_it_anew() -> None:
    """Exactly the share is not below it."""
    assert watched([(0, 20), (0, 20), (10, 10), (0, 20), (0, 20)]) is None


def test_a_target_that_hangs_lets_nothing_end() -> None:
    """Seconds without an answer go on with what was; time-outs that come late do not start it anew."""
    found = watched([(20, 0), (0, LEAST), (0, 0), (0, 0), (20, 0)])
    assert found == Aborted(at_ns=4 * SECOND, since_ns=SECOND, attempts=LEAST, succeeded=0)
    assert watched([(0, 0)] * 50) is None


def test_a_few_failures_are_an_accident() -> None:
    """However long it lasts, so many attempts have to have ended."""
    found = watched([(0, 1)] * 100)
    assert found
    assert found.at_ns == LEAST * SECOND


def test_what_we_gave_up_ourselves_and_what_has_no_answer_do_not_count() -> None:
    """Neither for nor against."""
    watch = Watch(0.5, SECOND)
    ours = [(Kind.REQUEST, Outcome.CANCELLED), (Kind.STEP, Outcome.FAILED), (Kind.NOTICE, Outcome.FAILED)]
    assert watch.second(0, 5 * SECOND, ours * LEAST) is None


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=60), st.floats(0.01, 1))
def test_it_never_ends_a_run_without_evidence(seconds: Seconds, share: float) -> None:
    """Whenever it does, so many attempts of at least so long were below the share, and the last was."""
    if found := watched(seconds, share):
        assert found.succeeded < share * found.attempts
        assert found.attempts >= LEAST
        assert found.at_ns - found.since_ns >= 3 * SECOND
        last = seconds[: found.at_ns // SECOND]
        assert all(
            good < share * (good + bad) or good + bad == 0 for good, bad in last[found.since_ns // SECOND :]
        )
