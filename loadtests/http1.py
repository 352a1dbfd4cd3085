"""HTTP/1.1 on the stamped engine: one virtual user's connections to one origin, kept as a browser keeps them.

The parser is llhttp (httptools, RFC 9112 read strictly). Around it these rules hold:

- One answer to one request: a connection is used again only after an answer that was whole and said so, and
  with nothing behind it. A call that was given up closes its connection, so that a late answer is nobody's.
- At most `MAX_CONNECTIONS` side by side; a call beyond them waits for one to be free.
- `arrived` is the stamp of the read that completed the answer, `first` of the one that began it, `sent` the
  instant right before the request was written: connecting, and waiting for a connection, come before it.
- No request is sent again by itself, though a browser would (RFC 9110, 9.2.2), so that one attempt on record
  is one request at the target. The end of an idle connection is read as soon as it comes, so that the race
  with a peer that closes one is seldom.
- No redirect is followed, so nothing that is meant for this origin goes elsewhere.
- Everything a peer sends is bounded: by the deadline, `MAX_HEAD`, `MAX_HEADERS`, `MAX_INTERIM`, `MAX_ANSWER`.

HEAD and CONNECT are not for this client: their answers are framed by the request.
"""

from __future__ import annotations

import re
import ssl
import zlib
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from gevent.lock import Semaphore
from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpResponseParser

from loadtests import clock
from loadtests.stream import Opened, Stream
from loadtests.waiting import Expired, Wait
from loadtests.wire import Engine, engine

MAX_CONNECTIONS = 6  # to one host: what browsers open
MAX_HEAD = 64 << 10  # bytes that come before the body, or between its parts, give or take one read
MAX_HEADERS = 256
MAX_INTERIM = 8  # answers 1xx before the one that counts
MAX_ANSWER = 8 << 20  # bytes as sent, and bytes of the body once unpacked
MAX_COOKIE_BYTES = 8 << 10  # of all cookies together

_WITH_LENGTH = frozenset({"POST", "PUT", "PATCH"})  # even without a body (RFC 9110 8.6)
_GZIP = 16 + zlib.MAX_WBITS
_SAYS_HOW_LONG = frozenset({b"content-length", b"transfer-encoding"})
_NO_AGE = re.compile(rb"max-age\s*=\s*(0|-\d+)", re.IGNORECASE)
_EXPIRES = re.compile(rb"expires\s*=\s*(.+)", re.IGNORECASE)


class BadAnswer(Exception):
    """An answer that breaks HTTP, or a limit; the message is a short and stable class."""


class Closed(ConnectionError):
    """The peer ended the connection before its answer was whole."""


class NoAnswer(Exception):
    """A request without a usable answer: `error` says why.

    That is BadAnswer or an OSError, of which Expired is the time-out. `sent` is 0 if nothing was sent.
    """

    def __init__(self, error: Exception, sent: int) -> None:
        super().__init__(str(error))
        self.error, self.sent = error, sent


class Answer(NamedTuple):
    """A whole answer, its content unpacked, and instants in ns."""

    status: int
    content: bytes
    sent: int
    first: int
    arrived: int


class Connection:
    """One connection: a request, its answer, the next one."""

    __slots__ = (
        "_body",
        "_complete",
        "_encoding",
        "_engine",
        "_headers",
        "_interim",
        "_parser",
        "_sized",
        "_status",
        "_stream",
        "_surroundings",
        "_total",
        "_wait",
        "cookies",
        "first",
        "keeps",
        "sent",
        "unasked",
    )

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._stream = Stream(engine, self._on_data, self._on_end)
        self._parser: Any = HttpResponseParser(self)
        self._wait: Wait[int] | None = None
        self.unasked = False  # it brought bytes that nobody asked for
        self.sent = 0

    def open(self, host: str, port: int, context: ssl.SSLContext | None, deadline: int) -> Opened:
        """Connect. Raises OSError."""
        return self._stream.open(host, port, deadline=deadline, context=context)

    def ask(self, request: bytes, deadline: int) -> Answer:
        """Send a request and return its answer. Raises BadAnswer or OSError; it is good for nothing then."""
        self._wait = wait = Wait[int](self._engine)
        self._total = self._surroundings = self._headers = self._interim = 0
        self._status = self.first = 0
        self._complete = self.keeps = False
        self.sent = clock.now()
        self._stream.write(request)
        arrived = wait.get(deadline)
        content = _unpacked(bytes(self._body), self._encoding)
        return Answer(self._status, content, self.sent, self.first, arrived)

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self._stream.is_open

    def close(self) -> None:
        """Let go of it."""
        self._stream.close()
        self._wait = None
        self._parser = None  # because it refers to us

    # --- The stream's listeners ---

    def _on_data(self, data: bytes, arrived: int) -> None:
        if self._wait is None:
            self.unasked = True
            self.close()
            return
        self.first = self.first or arrived
        self._total += len(data)
        self._surroundings += len(data)
        fault: BaseException | None = None
        try:
            self._parser.feed_data(data)
        except HttpParserCallbackError as error:
            fault = error.__context__
        except (HttpParserError, HttpParserUpgrade):
            fault = BadAnswer("not HTTP")
        if self._complete:
            if fault is not None:  # not with the answer, but with what came behind it
                self.unasked, self.keeps = True, False
            self._settle(arrived)
        elif fault is not None:
            self._fail(fault)
        elif self._surroundings > MAX_HEAD:
            self._fail(BadAnswer("head of the answer too large"))
        elif self._total > MAX_ANSWER:
            self._fail(BadAnswer("answer too large"))

    def _on_end(self, error: BaseException | None) -> None:
        if self._wait is None:
            return
        if error is None and self._status >= 200 and not self._sized:
            self._settle(clock.now())  # its end is the end of the connection (RFC 9112 6.3)
        else:
            self._fail(error or Closed("connection closed"))

    def _settle(self, arrived: int) -> None:
        assert self._wait is not None
        self._wait.set(arrived)
        self._wait = None

    def _fail(self, error: BaseException) -> None:
        assert self._wait is not None
        self._wait.fail(error)
        self._wait = None
        self._stream.close()

    # --- The parser's listeners: what they raise stops it ---

    def on_message_begin(self) -> None:
        if self._complete:
            raise BadAnswer("more than was asked for")
        self._status = 0
        self._sized = False
        self._encoding = b""
        self._body: bytes | bytearray = b""
        self.cookies: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers += 1
        if self._headers > MAX_HEADERS:
            raise BadAnswer("too many headers")
        if self._status:
            return  # behind the body: nothing there is for us
        name = name.lower()
        if name in _SAYS_HOW_LONG:
            self._sized = True
        elif name == b"content-encoding":
            self._encoding = value.strip().lower()
        elif name == b"set-cookie":
            self.cookies.append(value)

    def on_headers_complete(self) -> None:
        self._status = status = self._parser.get_status_code()
        if status < 100 or self._parser.get_http_version() not in ("1.1", "1.0"):
            raise BadAnswer("not HTTP")
        if status < 200:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise BadAnswer("too many interim answers")

    def on_body(self, data: bytes) -> None:
        self._surroundings = 0
        if not self._body:
            self._body = data
            return
        if isinstance(self._body, bytes):
            self._body = bytearray(self._body)
        self._body += data

    def on_message_complete(self) -> None:
        if self._status >= 200:
            self._complete = True
            self.keeps = self._parser.should_keep_alive()


def _unpacked(content: bytes, encoding: bytes) -> bytes:
    """Return what a content encoding stands for. Raises BadAnswer."""
    if not encoding or encoding == b"identity" or not content:
        return content
    if encoding not in (b"gzip", b"x-gzip"):
        raise BadAnswer("unknown content encoding")
    unpacker = zlib.decompressobj(_GZIP)
    try:
        plain = unpacker.decompress(content, MAX_ANSWER)
    except zlib.error:
        raise BadAnswer("broken compression") from None
    if unpacker.unconsumed_tail:
        raise BadAnswer("answer too large")
    if not unpacker.eof or unpacker.unused_data:
        raise BadAnswer("broken compression")
    return plain


class Cookies:
    """What the origin wants to be told again: names and values (RFC 6265), for all of its paths."""

    def __init__(self) -> None:
        self._kept: dict[bytes, bytes] = {}
        self.line = b""  # the header to send, "" where there is none

    def take(self, header: bytes) -> None:
        """Take a Set-Cookie header in; one for which there is no room is left out."""
        pair, *attributes = header.split(b";")
        name, equals, value = (part.strip() for part in pair.partition(b"="))
        if not equals or not name:
            return
        self._kept.pop(name, None)
        if not any(map(_is_over, attributes)) and len(self.line) + len(pair) <= MAX_COOKIE_BYTES:
            self._kept[name] = value
        self._write()

    def clear(self) -> None:
        """Forget them all."""
        self._kept.clear()
        self._write()

    def _write(self) -> None:
        pairs = b"; ".join(b"%s=%s" % pair for pair in self._kept.items())
        self.line = b"Cookie: %s\r\n" % pairs if pairs else b""


def _is_over(attribute: bytes) -> bool:
    attribute = attribute.strip()
    if _NO_AGE.fullmatch(attribute):
        return True
    if not (found := _EXPIRES.fullmatch(attribute)):
        return False
    try:
        return parsedate_to_datetime(found[1].decode("latin-1")).timestamp() < clock.utc().timestamp()
    except (ValueError, OverflowError):
        return False


class Client:
    """One virtual user's connections to one origin. Calls may run side by side in several greenlets."""

    def __init__(
        self, origin: str, tls: ssl.SSLContext | None, on_open: Callable[[Opened], None] | None = None
    ) -> None:
        """`origin`: "https://host:port", or http. `on_open` is told of each new connection's phases."""
        parts = urlsplit(origin)
        assert parts.hostname is not None
        self._host, secure = parts.hostname, parts.scheme == "https"
        self._port = parts.port or (443 if secure else 80)
        assert tls is not None or not secure
        self._tls = tls if secure else None
        self._on_open = on_open
        self._head = b" HTTP/1.1\r\nHost: %s\r\nAccept-Encoding: gzip\r\n" % parts.netloc.encode("ascii")
        self._free = Semaphore(MAX_CONNECTIONS)
        self._idle: list[Connection] = []
        self.cookies = Cookies()
        self.unasked = 0  # connections that brought bytes nobody asked for

    def request(self, method: str, target: str, headers: bytes, body: bytes | None, deadline: int) -> Answer:
        """Send one request and return its answer. Raises NoAnswer; never later than the deadline (ns).

        `headers` are whole lines. They and the target must be free of what would end them: see `is_token`.
        """
        assert is_token(target), f"not to be written into a request: {target!r}"
        line = f"{method} {target}".encode("ascii")
        says_length = body is not None or method in _WITH_LENGTH
        length = b"Content-Length: %d\r\n" % len(body or b"") if says_length else b""
        request = b"".join((line, self._head, headers, self.cookies.line, length, b"\r\n", body or b""))
        if not self._free.acquire(blocking=False):
            wait = max(0, deadline - clock.now()) / clock.SECOND
            if not self._free.acquire(timeout=wait):
                raise NoAnswer(Expired("no connection was free"), 0)
        try:
            return self._ask(self._kept() or self._opened(deadline), request, deadline)
        finally:
            self._free.release()

    def _kept(self) -> Connection | None:
        """Return the idle connection that was used last. Those that ended meanwhile are dropped."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
            self._drop(connection)
        return None

    def _opened(self, deadline: int) -> Connection:
        connection = Connection(engine())
        try:
            opened = connection.open(self._host, self._port, self._tls, deadline)
        except OSError as error:
            raise NoAnswer(error, 0) from error
        if self._on_open is not None:
            self._on_open(opened)
        return connection

    def _ask(self, connection: Connection, request: bytes, deadline: int) -> Answer:
        try:
            answer = connection.ask(request, deadline)
        except (BadAnswer, OSError) as error:
            self._drop(connection)
            raise NoAnswer(error, connection.sent) from error
        except BaseException:
            self._drop(connection)
            raise
        for cookie in connection.cookies:
            self.cookies.take(cookie)
        if connection.keeps:
            self._idle.append(connection)
        else:
            self._drop(connection)
        return answer

    def _drop(self, connection: Connection) -> None:
        self.unasked += connection.unasked
        connection.close()

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._drop(self._idle.pop())


def is_token(text: str) -> bool:
    """Return whether text can stand in a request's head as it is: visible ASCII, no blank, no line's end."""
    return text.isascii() and text.isprintable() and " " not in text
