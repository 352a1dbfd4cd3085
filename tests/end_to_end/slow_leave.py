"""Locust's way into a run whose people take two seconds to leave, and do a last thing then."""

from __future__ import annotations

import gevent

from loadtests.app import App
from loadtests.locustfile import Host, Lurker, Senior, Volunteer, Writer
from reports.sample import Kind
from talkamie.contract import OPERATIONS

__all__ = ["Host", "Lurker", "Senior", "Volunteer", "Writer"]

LEAVING_S = 2.0
LAST = "get-user-by-token"
_leave = App.on_stop


def _slowly(self: App) -> None:
    gevent.sleep(LEAVING_S)
    called = self.api.call(OPERATIONS[LAST], None, {}, expect=())
    self.books.recorder.sample(
        Kind.REQUEST,
        LAST,
        journey="leaving",
        user=self.number,
        intended=called.sent,
        sent=called.sent,
        arrived=called.arrived,
        seen=called.seen,
        status=called.status,
    )
    _leave(self)


App.on_stop = _slowly  # type: ignore[method-assign]
