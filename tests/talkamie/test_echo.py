"""The echo: on its own, over a real socket."""

from __future__ import annotations

import json
import subprocess
import sys

from websockets.sync.client import connect

from talkamie.server import clock

SKEW = 100_000  # ns by which a busy machine may misread the distance of its two clocks


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
        asked = []
        for peer in (first, first, second):
            sent = clock.monotonic()
            peer.send(json.dumps({"action": "ping"}))
            assert json.loads(peer.recv()) == {"action": "ping", "success": True, "statusCode": 200}
            asked.append((sent, clock.monotonic()))
    said, _ = echo.communicate(timeout=10)
    pings = json.loads(said)["pings"]
    assert [ping["delay_us"] for ping in pings] == [300, 300, 2000]
    for ping, (sent, seen) in zip(pings, asked, strict=True):
        assert sent <= ping["received_ns"] + SKEW
        assert ping["received_ns"] + ping["delay_us"] * 1000 <= ping["written_ns"]
        assert ping["written_ns"] <= ping["answered_ns"] + SKEW
        assert ping["answered_ns"] <= seen + SKEW
