"""A person's further devices: signed in, on record socket by socket, closed at the end."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from loadtests import devices
from loadtests.devices import Devices
from scenarios.actor import Unanswered
from talkamie.contract import User


class FakeLink:
    """A connection without a network; each one made is in `all`."""

    all: list[FakeLink]

    def __init__(self, on_push: Any, on_end: Any) -> None:
        self.on_push, self.on_end = on_push, on_end
        self.ended, self.strange = "", 1
        FakeLink.all.append(self)

    def close(self, *, timeout: float) -> None:
        self.ended = "closed by us"


class FakeApp:
    """The part of an app that devices use: notes what they ask of it."""

    def __init__(self) -> None:
        self.user, self.number = User(id="bob"), 7
        self.log: list[tuple[Any, ...]] = []
        numbers = itertools.count(1)
        self.books = SimpleNamespace(
            next_socket=lambda: next(numbers),
            ledger=SimpleNamespace(
                offline=lambda user, socket, at: self.log.append(("offline", user, socket))
            ),
            event=lambda kind, **fields: self.log.append((kind, fields["reason"])),
            strange=0,
        )
        self.refuses = 0

    def leave_if_finished(self) -> None:
        pass

    def connect(self, link: FakeLink) -> None:
        gevent.sleep(0)
        if self.refuses:
            self.refuses -= 1
            link.ended = "connection refused"
            raise Unanswered("refused")

    def authenticate(self, link: FakeLink, socket: int) -> None:
        self.log.append(("online", socket))

    def keep_pinging(self, link: FakeLink, interval_s: float, in_use: Any) -> None:
        self.log.append(("pings", interval_s, in_use()))

    def take_in(self, socket: int, *push: Any) -> None:
        self.log.append(("push", socket, *push))

    def logged(self, what: str) -> list[tuple[Any, ...]]:
        return [each for each in self.log if each[0] == what]


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> FakeApp:
    """An app whose devices have no network."""
    FakeLink.all = []
    monkeypatch.setattr(devices, "Link", FakeLink)
    return FakeApp()


def test_each_device_is_a_socket_of_its_own(app: FakeApp) -> None:
    """Opened once, each with its number, its pings and its pushes."""
    some = Devices(app, 40, 60.0)  # type: ignore[arg-type]
    some.open()
    some.open()
    gevent.sleep(0)
    assert sorted(app.logged("online")) == [("online", number) for number in range(1, 41)]
    assert app.logged("pings") == [("pings", 60.0, True)] * 40
    for link in FakeLink.all:
        link.on_push("new-message", "data", 5, 6)
    pushed = [("push", number, "new-message", "data", 5, 6) for number in range(1, 41)]
    assert sorted(app.logged("push")) == pushed
    some.close()
    some.close()
    assert sorted(app.logged("offline")) == [("offline", "bob", number) for number in range(1, 41)]
    assert app.books.strange == 40


def test_a_device_that_failed_is_tried_again_with_the_next_page(app: FakeApp) -> None:
    """Refused or cut, it is offline until the page is opened anew; those that are open stay."""
    app.refuses = 3
    some = Devices(app, 5, 60.0)  # type: ignore[arg-type]
    some.open()
    assert len(app.logged("online")) == 2
    cut = next(link for link in FakeLink.all if not link.ended)
    cut.ended = "connection lost"
    cut.on_end(1006, "connection lost")
    assert len(app.logged("offline")) == 1
    assert app.logged("socket-lost") == [("socket-lost", "connection lost")]
    some.open()
    assert len(app.logged("online")) == 2 + 4
