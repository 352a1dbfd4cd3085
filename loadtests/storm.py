"""A storm: the target drops every socket at once, and everybody comes back. It is on record as an event.

The reference server does so when its test endpoint is asked to. What came of it is found out after the run,
from when everybody was online (`analysis.storms`).
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from loadtests import clock
from loadtests.http1 import Client, NoAnswer
from reports.manifest import append_event
from reports.sample import STORM

_TIMEOUT_S = 10.0
_HEADERS = b"Accept: application/json\r\n"


class StormError(Exception):
    """It did not come; the message says why."""


class _Dropped(Struct):
    sockets: int


def unleash(folder: Path, test: str) -> None:
    """Let the target, whose test endpoints are at `test`, drop all sockets; write the event `storm`.

    Raises StormError, and ArtefactError where the event can't be written.
    """
    client, at = Client(test, None), clock.now()
    try:
        answer = client.request("DELETE", "/sockets", _HEADERS, None, at + clock.ns(_TIMEOUT_S))
        dropped = msgspec.json.decode(answer.content, type=_Dropped)
    except NoAnswer as failure:
        raise StormError(f"no answer from {test}: {failure.error}") from None
    except msgspec.DecodeError:
        raise StormError(f"{test} can't drop sockets: it answers {answer.status}") from None
    finally:
        client.close()
    append_event(folder, STORM, at, sockets=dropped.sockets)
