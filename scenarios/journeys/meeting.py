"""Finding people, asking for a connection or with a first message, and taking back what was asked."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from scenarios.actor import GONE, OVERTAKEN, Actor
from scenarios.journeys.talking import history
from scenarios.people import sentence
from talkamie.contract import CONNECTIONS_PAGE, LIST_PAGE, Id, MessageData, MessageRequest, User

_REGRETS = 0.1  # share of requests that are taken back at once, assumed


def browse(actor: Actor) -> None:
    """Look through people by their filters, a page, perhaps the next."""
    opposite = "volunteer" if actor.person.type == "senior" else "senior"
    with actor.journey("browse"):
        low = actor.rng.choice((18, 30, 50))
        found = actor.call("get-users", type=opposite, min_age=low, page_size=LIST_PAGE)
        actor.think("look")
        actor.call("get-users", type=opposite, keyword=actor.person.tag, page_size=LIST_PAGE)
        if found:
            actor.think("look")
            look_at(actor, actor.rng.choice(found).id)


def connect(actor: Actor) -> None:
    """Ask somebody for a connection (a senior does)."""
    with actor.journey("connect"):
        other = _find_somebody(actor)
        if other is None:
            return
        # Either side may have asked the other since the list was made: then there is nothing to ask.
        if (other := look_at(actor, other.id)) and _is_free(other):
            actor.think("profile-read")
            sent = actor.call("send-connection-request", id=other.id, expect=OVERTAKEN)
            if sent and actor.rng.random() < _REGRETS:
                actor.call("cancel-connection-request", id=other.id, expect=OVERTAKEN)


def message_request(actor: Actor) -> None:
    """Write a first message to somebody with whom there is no connection (a volunteer does)."""
    with actor.journey("message-request"):
        other = _find_somebody(actor)
        if other is None:
            return
        if (other := look_at(actor, other.id)) and _is_free(other):
            actor.think("compose")
            words = MessageRequest(text=sentence(actor.rng))
            sent: MessageData | None = actor.call(
                "send-message-request", words, id=other.id, expect=OVERTAKEN
            )
            if sent is None:
                return
            actor.ask(history(sent.chat))
            if actor.rng.random() < _REGRETS:
                actor.call("cancel-message-request", id=other.id, expect=OVERTAKEN)


def _find_somebody(actor: Actor) -> User | None:
    """Search for this run's people of the other kind, and pick one from the page."""
    opposite = "volunteer" if actor.person.type == "senior" else "senior"
    found: list[User] = actor.call("get-users", type=opposite, keyword=actor.person.tag, page_size=LIST_PAGE)
    actor.think("look")
    return actor.rng.choice(found) if found else None


def _is_free(user: User) -> bool:
    """Return whether nothing is going on between the caller and this user: the app shows its buttons."""
    viewer = user.viewer
    if viewer is UNSET:
        return True
    request = viewer.connect_request
    if request is not UNSET and request.status in ("pending", "accepted"):
        return False
    if viewer.chat is UNSET or viewer.chat.request is UNSET:
        return True
    return viewer.chat.request.status not in ("pending", "accepted", "rejected")


def look_at(actor: Actor, user: Id | UnsetType) -> User | None:
    """Open somebody's profile; None if they have left the service since they were listed."""
    found: User | None = actor.call("get-user", id=user, expect=GONE)
    return found


def connections(actor: Actor) -> list[User]:
    """Open the list of one's connections and return the first page."""
    found: list[User] = actor.call("get-connections", page_size=CONNECTIONS_PAGE)
    return found
