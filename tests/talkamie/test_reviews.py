"""Reviews: one of each pair and direction, and a rating that is their mean."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.talkamie.stores import Backend
from tests.talkamie.world import Member, World, worlds

RATES = st.floats(1, 5, allow_nan=False)
METHODS = {"post": "POST", "update": "PUT", "delete": "DELETE"}


@given(
    steps=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(list(METHODS)), RATES), max_size=15),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_rating_is_the_mean_of_what_is_posted(
    backend: Backend, steps: list[tuple[int, str, float]]
) -> None:
    """Any steps of three raters: the status codes, the rating and the count are a dict's."""
    with worlds(backend) as make:
        world = make()
        bob = world.member()
        raters = [world.member() for _ in range(3)]
        model: dict[int, float] = {}
        for who, name, rate in steps:
            expected = (409 if who in model else 200) if name == "post" else (200 if who in model else 404)
            answer = review(raters[who], bob, METHODS[name], {"rate": rate}, status=expected)
            if expected != 200:
                continue
            model.pop(who, None)
            if name != "delete":
                model[who] = rate
            user = answer["data"]["user"]
            mean = sum(model.values()) / len(model) if model else 0
            assert (user["id"], user["totalReviews"]) == (bob.id, len(model))
            assert user["rating"] == pytest.approx(mean)
        seen = raters[0].call("GET", f"/user/{bob.id}")["data"]
        assert seen["totalReviews"] == len(model)
        found = {one["rater"]["id"]: one["rate"] for one in bob.call("GET", "/reviews")["data"]}
        assert found == {raters[who].id: rate for who, rate in model.items()}


def test_a_review_alerts_and_is_seen_by_all(world: World) -> None:
    """One alert to whom it is about; anybody may read it; its rater knows it; a text stays unless given."""
    ann, bob, eve = world.member(name="Ann"), world.member(), world.member()
    wire = bob.socket()
    made = review(ann, bob, "POST", {"rate": 4, "text": "kind"})["data"]["review"]
    assert (made["rate"], made["text"], made["rater"]["name"]) == (4, "kind", "Ann")
    (push,) = wire.pushed()
    assert push["data"]["alert"]["type"] == "review"
    assert push["data"]["alert"]["review"] == made
    assert bob.call("GET", "/alerts")["data"][0]["review"] == made
    assert eve.call("GET", f"/user/{bob.id}/reviews")["data"] == [made]
    assert ann.call("GET", f"/user/{bob.id}")["data"]["viewer"]["review"] == {"id": made["id"]}
    assert "review" not in eve.call("GET", f"/user/{bob.id}")["data"]["viewer"]
    assert review(ann, bob, "PUT", {"rate": 2})["data"]["review"] == made | {"rate": 2}
    assert wire.pushed() == []


def test_nobody_reviews_himself_or_nobody(world: World) -> None:
    """403 and 404; reviews of nobody are not found either."""
    ann = world.member()
    review(ann, ann, "POST", {"rate": 5}, status=403)
    ann.call("POST", "/user/nobody/review", {"rate": 5}, status=404)
    ann.call("GET", "/user/nobody/reviews", status=404)
    assert ann.call("GET", f"/user/{ann.id}/reviews")["data"] == []


@pytest.mark.parametrize("rate", [0, 0.99, 5.01, 6, -1, "5", None, True])
def test_a_rate_is_from_one_to_five(world: World, rate: Any) -> None:
    """400, and the rating is as it was."""
    ann, bob = world.member(), world.member()
    review(ann, bob, "POST", {"rate": rate}, status=400)
    assert bob.call("GET", "/reviews")["data"] == []


def review(me: Member, other: Member, method: str, body: Any, *, status: int = 200) -> Any:
    return me.call(method, f"/user/{other.id}/review", body, status=status)
