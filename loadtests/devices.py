"""A person's further devices: each a signed-in socket that listens and pings, and does nothing else.

What the person is pushed arrives on all of them, so that one message is due on as many sockets as there are
devices. They come with the page, all have the person's token, and stay until the run is over.
"""

from __future__ import annotations

from typing import Any

import gevent
from gevent.pool import Pool
from msgspec import UNSET

from loadtests import clock
from loadtests.app import CLOSE_TIMEOUT_S, App
from loadtests.link import Link
from scenarios.actor import Finished, Refused, Unanswered

_AT_ONCE = 16  # handshakes under way: a crowd of them would measure only itself


class Devices:
    """So many devices of the person at `app`, each with a ping every `ping_interval_s`."""

    def __init__(self, app: App, count: int, ping_interval_s: float) -> None:
        self._devices = [_Device(app, ping_interval_s) for _ in range(count)]

    def open(self) -> None:
        """Sign in on every device that is not; one that fails is on record, and left alone."""
        Pool(_AT_ONCE).map(_Device.open, self._devices)

    def close(self) -> None:
        """Say goodbye on all of them."""
        gevent.joinall([gevent.spawn(each.close) for each in self._devices])


class _Device:
    def __init__(self, app: App, ping_interval_s: float) -> None:
        self._app, self._interval_s = app, ping_interval_s
        self._link: Link | None = None
        self._socket = 0

    def open(self) -> None:
        if self._link is not None and not self._link.ended:
            return
        app, link = self._app, Link(self._on_push, self._on_cut)
        try:
            app.leave_if_finished()
            app.connect(link)
            self._link, self._socket = link, app.books.next_socket()
            app.authenticate(link, self._socket)
        except (Refused, Unanswered, Finished):
            self.close()
        else:
            gevent.spawn(app.keep_pinging, link, self._interval_s, lambda: link is self._link)

    def close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            if not link.ended:
                self._offline()
            link.close(timeout=CLOSE_TIMEOUT_S)
            self._app.books.strange += link.strange

    def _offline(self) -> None:
        assert self._app.user.id is not UNSET
        self._app.books.ledger.offline(self._app.user.id, self._socket, at=clock.now())

    def _on_push(self, action: str, data: Any, arrived: int, seen: int) -> None:
        self._app.take_in(self._socket, action, data, arrived, seen)

    def _on_cut(self, code: int, reason: str) -> None:
        self._offline()
        self._app.books.event("socket-lost", user=self._app.number, code=code, reason=reason)
