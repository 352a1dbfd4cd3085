"""One end of the clock's side channel as a process: `respond ADDRESS`, or `probe ADDRESS PORT EXCHANGES`."""

from __future__ import annotations

import json
import sys

import gevent
from gevent.event import Event

from loadtests import clocksync

SECRET = b"of this test"


def respond(address: str) -> None:
    """Say where it listens, and answer until it is killed."""
    print(clocksync.Responder(address, secret=SECRET).port, flush=True)
    gevent.get_hub().join()


def probe(address: str, port: int, exchanges: int) -> None:
    """Print that many exchanges."""
    found: list[tuple[int, int, int]] = []
    enough = Event()

    def tell(*exchange: int) -> None:
        found.append((exchange[0], exchange[1], exchange[2]))
        if len(found) == exchanges:
            enough.set()

    prober = clocksync.Prober(address, port, secret=SECRET, on_exchange=tell)
    enough.wait()
    prober.stop()
    print(json.dumps({"identity": clocksync.identity(), "exchanges": found}))


if __name__ == "__main__":
    what, address, *more = sys.argv[1:]
    respond(address) if what == "respond" else probe(address, int(more[0]), int(more[1]))
