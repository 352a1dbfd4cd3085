"""A storm is asked for when it is due, and is on record whether it came or not."""

from __future__ import annotations

from pathlib import Path

import gevent
import pytest
from gevent import socket

from loadtests import storm
from reports.manifest import read_events
from tests.patched.peer import listening

YES = b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"sockets": 7}'
NO = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (YES, "storm", {"sockets": 7}),
        (NO, "storm-failed", {"reason": "can't drop sockets: it answers 404"}),
        (b"", "storm-failed", {"reason": "no answer from"}),
    ],
)
def test_what_came_of_it_is_on_record(
    tmp_path: Path, answer: bytes, kind: str, says: dict[str, object]
) -> None:
    """How many sockets there were, or why it failed."""
    asked: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        asked.append(connection.recv(65536))
        connection.sendall(answer)
        connection.close()

    with listening(serve) as url:
        storm.schedule([0.0], tmp_path, url.replace("ws:", "http:").rstrip("/"), over=lambda: False)
        while not (events := list(read_events(tmp_path))):
            gevent.sleep(0.01)
    assert asked[0].startswith(b"DELETE /sockets ")
    assert [each["kind"] for each in events] == [kind]
    for name, wanted in says.items():
        assert str(wanted) in str(events[0][name])


def test_no_storm_comes_after_the_end(tmp_path: Path) -> None:
    """Nobody is asked for anything."""
    storm.schedule([0.0], tmp_path, "http://127.0.0.1:9", over=lambda: True)
    gevent.sleep(0.05)
    assert list(read_events(tmp_path)) == []
