"""A storm: the target drops every socket at once, and everybody comes back. It is on record as an event.

The reference server does so when its test endpoint is asked to. What came of it is found out after the run,
from when everybody was online (`analysis.storms`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

import gevent
import msgspec
from msgspec import Struct

from loadtests import clock
from loadtests.http1 import Client, NoAnswer
from reports.manifest import ArtefactError, append_event
from reports.sample import STORM

_TIMEOUT_S = 10.0
_HEADERS = b"Accept: application/json\r\n"


class _Dropped(Struct):
    sockets: int


def schedule(at_s: Iterable[float], folder: Path, test: str, *, over: Callable[[], bool]) -> None:
    """Let the target, whose test endpoints are at `test`, drop all sockets so many seconds from now.

    Writes the event `storm` each time, or `storm-failed` with the reason; nothing once it is `over`.
    """
    for each in at_s:
        gevent.spawn_later(each, _come, folder, test, over)


def _come(folder: Path, test: str, over: Callable[[], bool]) -> None:
    if over():
        return
    at = clock.now()
    with contextlib.suppress(ArtefactError):  # a storm that is not on record did not come, says the verdict
        try:
            append_event(folder, STORM, at, sockets=_drop(test))
        except _NoStorm as failure:
            append_event(folder, f"{STORM}-failed", at, reason=str(failure))


class _NoStorm(Exception):
    pass


def _drop(test: str) -> int:
    """Let all sockets be dropped, and return how many there were."""
    client, at = Client(test, None), clock.now()
    try:
        answer = client.request("DELETE", "/sockets", _HEADERS, None, at + clock.ns(_TIMEOUT_S))
        return msgspec.json.decode(answer.content, type=_Dropped).sockets
    except NoAnswer as failure:
        raise _NoStorm(f"no answer from {test}: {failure.error}") from None
    except msgspec.DecodeError:
        raise _NoStorm(f"{test} can't drop sockets: it answers {answer.status}") from None
    finally:
        client.close()
