"""What a journey may do: the only things that stand between a person's intentions and the network.

A journey talks to an `Actor` and knows nothing of Locust, sockets or clocks. `loadtests.users` has the
real one; tests have one that plays a script.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from msgspec import UNSET, UnsetType

from scenarios.people import Person
from talkamie.contract import (
    Action,
    Alert,
    CallData,
    Chat,
    Message,
    MessageData,
    Session,
    Signal,
    User,
)

GONE = (404,)
"""A right answer about somebody, or something, that is not there any more."""

OVERTAKEN = (404, 409)
"""A right answer where somebody else was faster: they asked too, took it back, hung up, or left."""

Event = Alert | MessageData | CallData
"""What makes a person look up: an alert, a message in a chat that is not open, a phone that rings."""


class Answer(NamedTuple):
    """An answer on the socket; `next_key` asks for the page after it, UNSET on the last one."""

    data: Any
    next_key: dict[str, Any] | UnsetType = UNSET


class CallNews(NamedTuple):
    """Something that happened in a call: the action of the push, and what it brought."""

    action: str
    data: CallData | Signal


class Unhappy(Exception):
    """Something did not work. It is on record already: the person gives up what they were doing."""


class Refused(Unhappy):
    """The target answered, and the answer is no."""

    def __init__(self, what: str, status: int, text: str = "") -> None:
        super().__init__(f"{what} was refused with {status} {text[:200]}".rstrip())
        self.status = status


class Unanswered(Unhappy):
    """No answer came in time, or the connection is gone."""


class Cut(Unanswered):
    """The page's socket is gone, and nobody asked for it."""


class Finished(Exception):
    """The run is over: stop at once, and politely."""


class Actor(Protocol):
    """One person at one screen."""

    person: Person
    rng: random.Random
    user: User
    """The account as the target last told it; without an id before sign-up."""
    chats: dict[str, Chat]
    """Chats that this person has seen, by id."""
    withdrawn: set[str]
    """Ids of alerts that were taken back: the app has removed them."""
    seen: set[str]
    """Which lists were fetched since the page was opened: the app fetches each once."""
    extras: bool
    """Whether the target says that it serves what is beyond the 48 operations."""

    def now(self) -> datetime:
        """Return the date and time, UTC."""

    def call(self, operation: str, body: Any = None, *, expect: tuple[int, ...] = (), **fields: Any) -> Any:
        """Do one https operation and return its data; None where it was turned down as expected.

        `fields` are parts of the path and of the query, by their names in the contract. `expect` are
        statuses that are right answers too: nobody is signed in yet, somebody has left. Raises Unhappy.
        """

    def together(self, *calls: Callable[[], Any]) -> None:
        """Do several things at once, as a page does when it opens; return when all are done."""

    def sign(self, session: Session) -> None:
        """Be signed in from here on."""

    def forget(self) -> None:
        """Drop token and cookies: nobody is signed in here. The person and their account stay."""

    def make_way(self) -> None:
        """Leave for good: the next one to sit here is somebody else."""

    def open_socket(self) -> None:
        """Open the page's socket and authenticate. Raises Unhappy."""

    def close_socket(self) -> None:
        """Close it, if it is open."""

    def drop_socket(self) -> None:
        """Lose it without a goodbye, as somebody does who walks out of the wireless network."""

    def back_off(self, attempt: int) -> None:
        """Wait as the app does before it tries to connect again, for the first time with attempt 0."""

    def ask(self, frame: Action, *, expect: tuple[int, ...] = ()) -> Answer:
        """Send a frame and return its answer, `data` of the type that the contract gives; None where it was
        turned down with a status that is a right answer too. Raises Unhappy."""

    def tell(self, frame: Action) -> None:
        """Send a frame that has no answer. Raises Unhappy."""

    def say(self, chat: Chat, text: str) -> None:
        """Send a text message to the other party of a chat. Raises Unhappy."""

    def mark_read(self, chat: Chat, messages: list[Message]) -> None:
        """Send read receipts for those messages of the other party that lack one. Raises Unhappy."""

    def looking_at(self, chat: Chat) -> AbstractContextManager[None]:
        """Have a chat open: its new messages are marked read by the app and wait for `hear`."""

    def hear(self, pause: str) -> Message | None:
        """Wait up to a pause for a message in the open chat; None if none came, or if the phone rings."""

    def listen(self, pause: str, *actions: str) -> CallNews | None:
        """Wait up to a pause for one of these pushes of a call, dropping others; None if none came."""

    def think(self, pause: str) -> None:
        """Take one of the pauses of `scenarios.people`."""

    def attend(self, pause: str) -> Event | None:
        """Wait up to a pause for something to react to; None if nothing came."""

    def await_turn(self) -> Event | None:
        """Wait for something to react to, or, None, until it is time to begin something of one's own.

        That is after a look around in a closed model, and when somebody arrives in an open one.
        """

    def visit_is_over(self) -> bool:
        """Return whether this visit has lasted as long as this person wanted."""

    def step(self, name: str) -> AbstractContextManager[None]:
        """Time a named part of a journey, written down as `name`. Exceptions pass through."""

    def journey(self, name: str) -> AbstractContextManager[None]:
        """Everything inside belongs to this journey."""
