"""People come from one seed: the same arguments give the same person, the same dice, the same pauses."""

from __future__ import annotations

import random
from statistics import median

from hypothesis import given
from hypothesis import strategies as st

from scenarios.people import PAUSES, dice, person, sentence


@given(seed=st.integers(0, 2**32), number=st.integers(0, 10_000))
def test_the_same_seed_and_number_give_the_same_person(seed: int, number: int) -> None:
    """Two calls with the same arguments return equal people whose dice roll alike."""
    one, two = (person(seed, number, type="senior", tag="ab12") for _ in range(2))
    assert one == two
    assert dice(one).random() == dice(two).random()


def test_no_two_people_of_a_run_share_an_address() -> None:
    """A thousand people have a thousand e-mail addresses, all with the run's tag."""
    people = [person(7, number, type="volunteer", tag="ab12") for number in range(1000)]
    assert len({each.email for each in people}) == 1000
    assert all("ab12" in each.email and "ab12" in each.name for each in people)


def test_two_runs_with_one_seed_have_different_accounts() -> None:
    """The tag of a run is part of the address, so a second run on the same target can sign up again."""
    assert person(1, 0, type="senior", tag="a").email != person(1, 0, type="senior", tag="b").email


def test_half_of_all_pauses_are_shorter_than_their_median() -> None:
    """Drawn pauses are log-normal around the stated median, and scale with the pace."""
    rng = random.Random(3)
    for name, pause in PAUSES.items():
        drawn = [pause.draw(rng, 1.0) for _ in range(4000)]
        assert abs(median(drawn) / pause.median_s - 1) < 0.06, name
        assert max(drawn) <= 4 * pause.median_s
    assert PAUSES["read"].draw(random.Random(1), 10.0) * 10 == PAUSES["read"].draw(random.Random(1), 1.0)


def test_a_sentence_has_three_to_thirty_words() -> None:
    """What people write stays within what a chat allows."""
    rng = random.Random(5)
    lengths = [len(sentence(rng).split()) for _ in range(500)]
    assert min(lengths) >= 3
    assert max(lengths) <= 30
