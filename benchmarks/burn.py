"""A locustfile beside ours: a greenlet in the generator that keeps the event loop from everybody else.

talkload run smoke -- -f loadtests/locustfile.py,benchmarks/burn.py
"""

from __future__ import annotations

from typing import Any

import gevent
from locust import events

from loadtests import clock

BURN_S = 0.06  # of work that gives nobody a turn
REST_S = 0.02


def burn() -> None:
    """Work and rest in turns."""
    while True:
        until = clock.now() + clock.ns(BURN_S)
        while clock.now() < until:
            pass
        gevent.sleep(REST_S)


def start(**_: Any) -> None:
    """Burn from the start of the test to the end of the process."""
    gevent.spawn(burn)


events.test_start.add_listener(start)
