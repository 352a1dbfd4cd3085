"""Reviews: reading somebody's, writing, mending or dropping one's own."""

from __future__ import annotations

from msgspec import UNSET

from scenarios.actor import GONE, Actor
from scenarios.journeys.meeting import connections, look_at
from scenarios.people import sentence
from talkamie.contract import LIST_PAGE, ReviewInput

_DROPS = 0.3  # share of second thoughts that end in no review, assumed


def review(actor: Actor) -> None:
    """Read the reviews of a connection and of oneself, then write one, or think better of it."""
    with actor.journey("review"):
        actor.call("get-reviews", page_size=LIST_PAGE)
        found = connections(actor)
        if not found:
            return
        other = look_at(actor, actor.rng.choice(found).id)
        if other is None:
            return
        actor.call("get-user-reviews", id=other.id, page_size=LIST_PAGE, expect=GONE)
        actor.think("compose")
        words = ReviewInput(rate=actor.rng.randint(3, 5), text=sentence(actor.rng))
        if other.viewer is UNSET or other.viewer.review is UNSET:
            actor.call("review-user", words, id=other.id, expect=GONE)
        elif actor.rng.random() < _DROPS:
            actor.call("delete-review", id=other.id, expect=GONE)
        else:
            actor.call("update-review", words, id=other.id, expect=GONE)
