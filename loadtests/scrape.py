"""Asks a target once a second, beside the load, what its processes have used: by Prometheus's names for it.

It has a connection of its own on the engine that carries the load, so that it waits in nobody's way, and no
sample tells of it. An answer that does not come, or says nothing, is left out: the counters go on, so the
next one tells of a longer time.
"""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

from loadtests import clock, usage
from loadtests.health import every_second
from loadtests.http1 import Client, NoAnswer

TIMEOUT = clock.SECOND  # not more: the next one is due
_HEADERS = b"Accept: text/plain\r\nUser-Agent: talkload\r\n"


class Scraper:
    """Knows the latest of what a page of metrics said, from the first second on until `stop`."""

    def __init__(self, url: str, tls: ssl.SSLContext | None) -> None:
        self._client, self._path = Client(url, tls), urlsplit(url).path
        self._latest: usage.Reading | None = None
        self._greenlet = every_second(self._scrape)

    def latest(self) -> usage.Reading | None:
        """Return it: the instant is the middle of the time in which the target can have read its counters."""
        return self._latest

    def _scrape(self) -> None:
        try:
            answer = self._client.request("GET", self._path, _HEADERS, None, clock.now() + TIMEOUT)
        except NoAnswer:
            return
        used = usage.of_metrics(answer.content) if answer.status == 200 else None
        if used is not None:
            self._latest = usage.Reading((answer.sent + answer.first) // 2, used)

    def stop(self) -> None:
        self._greenlet.kill()
        self._client.close()
