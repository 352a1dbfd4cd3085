"""What a target says of its processes, asked for beside the load: whatever it answers, nothing breaks."""

from __future__ import annotations

import gevent
from gevent import socket

from loadtests import clock
from loadtests.scrape import Scraper
from tests.patched.peer import listening

PAGE = b"process_cpu_seconds_total %d\nprocess_resident_memory_bytes 4096\n"


class Target:
    """Answers each request with the next of some answers, on one connection after the other."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []

    def __call__(self, connection: socket.socket) -> None:
        while request := connection.recv(65536):
            self.requests.append(request)
            if not self.answers:
                return
            body = self.answers.pop(0)
            if not body:
                return  # it hangs up
            status = b"503 Busy" if body == b"busy" else b"200 OK"
            connection.sendall(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))


def metrics(address: str) -> str:
    return address.replace("ws", "http", 1) + "metrics"


def test_the_latest_page_counts_and_what_fails_is_left_out() -> None:
    """A page, a refusal, nonsense, an end of the connection, a page: the last one is what is known."""
    target = Target(PAGE % 1, b"busy", b"nonsense", b"", PAGE % 3)
    with listening(target) as address:
        scraper = Scraper(metrics(address), None)
        assert scraper.latest() is None
        known = []
        for _ in range(5):
            scraper._scrape()
            reading = scraper.latest()
            assert reading is not None
            known.append(reading.used.user // clock.SECOND)
        scraper.stop()
    assert known == [1, 1, 1, 1, 3]
    assert all(request.startswith(b"GET /metrics HTTP/1.1\r\n") for request in target.requests)


def test_a_target_that_is_not_there_tells_nothing() -> None:
    """No exception, no reading; the one who asks is ended by `stop`."""
    with listening(Target()) as address:
        pass
    scraper = Scraper(metrics(address), None)
    scraper._scrape()
    assert scraper.latest() is None
    scraper.stop()
    gevent.sleep(0)
