"""The echo: on its own, over a real socket."""

from __future__ import annotations

import json
import subprocess
import sys

from websockets.sync.client import connect


def test_the_books_have_every_ping_no_earlier_than_its_delay() -> None:
    """The k-th connection has the k-th delay, and who authenticates is who he says he is."""
    echo = subprocess.Popen(
        [sys.executable, "-m", "talkamie.server.echo", "300", "2000"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert echo.stdout is not None
    address = json.loads(echo.stdout.readline())["wss"]
    with connect(address, compression=None) as first, connect(address, compression=None) as second:
        second.send(json.dumps({"action": "authenticate", "token": "somebody"}))
        assert json.loads(second.recv())["data"] == {"id": "somebody"}
        for peer in (first, first, second):
            peer.send(json.dumps({"action": "ping"}))
            assert json.loads(peer.recv()) == {"action": "ping", "success": True, "statusCode": 200}
    said, _ = echo.communicate(timeout=10)
    books = json.loads(said)["echo_ns"]
    assert [len(books["300"]), len(books["2000"])] == [2, 1]
    assert min(books["300"]) >= 300_000
    assert min(books["2000"]) >= 2_000_000
