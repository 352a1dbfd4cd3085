"""What a web server's access log, or a browser's HAR file, shows of the contract's operations.

Every line is known (an operation of the contract), unknown (another request) or unreadable, and is counted
as exactly one of them. A log is read line by line in bounded memory, however large. Of what it holds only
counts are kept: no address, no query value, no part of a path that is not a plain word.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple, Protocol

import msgspec
from msgspec import Raw, Struct

from talkamie.contract import ALL_OPERATIONS, VERSION_PREFIX, Page

MAX_LINE_BYTES = 64 * 1024  # a longer line is read by its beginning: what follows is headers
_BLOCK_BYTES = 1024 * 1024
MAX_HAR_BYTES = 512 * 1024 * 1024
MAX_SHAPES = 1000  # of unknown requests: scanners invent paths without end
MAX_MINUTES = 366 * 24 * 60
OTHERS = "(others)"

_CLF = re.compile(  # httpd.apache.org/docs/2.4/logs.html; Combined has two more fields, which are not read
    r'[^\[\]]{1,600}\[([^\]]{20,40})\] "([^"\\]*(?:\\.[^"\\]*)*)" (\d{3}) (?:-|\d+)(?:\s|$)',
    re.ASCII,
)
_REQUEST = re.compile(r"([A-Z]{3,10}) (?!HTTP/)(\S+)(?: HTTP/\d(?:\.\d)?)?$")
_TIME = re.compile(r"(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):[0-5]\d ([+-])(\d\d)([0-5]\d)$", re.ASCII)
_MONTHS = {name: i for i, name in enumerate("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}
_METHODS = frozenset("GET POST PUT DELETE PATCH HEAD OPTIONS CONNECT TRACE".split())
_WORD = re.compile(r"v\d{1,2}$|\.?[A-Za-z][a-z]{0,15}(?:(?:[-_.][A-Z]?|[A-Z])[a-z]{1,16}){0,3}$")
_HEX = re.compile(r"[a-f]{8,}$")
_PAGE_SIZE = next(each.encode_name for each in msgspec.structs.fields(Page) if each.name == "page_size")
_SIZE = re.compile(rf"(?:^|&){_PAGE_SIZE}=([^&]*)")


class ObservedError(Exception):
    """A file that nothing can be learnt from. The message is a sentence that names it."""


class Readable(Protocol):
    """What is needed of a binary file."""

    def read(self, size: int = -1, /) -> bytes: ...


class Request(NamedTuple):
    """One request: `minute` counts from 1970 in UTC, None where no time is told."""

    method: str
    target: str  # path and query
    status: int
    minute: int | None


@dataclass
class Observed:
    """Counts: known + unknown + unreadable = lines (of a HAR: entries)."""

    source: str
    lines: int = 0
    unreadable: int = 0
    operations: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)  # by method and path, ids replaced
    statuses: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    page_sizes: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    minutes: Counter[int] = field(default_factory=Counter)  # known requests, by minute since 1970, UTC

    @property
    def known(self) -> int:
        return self.operations.total()

    def add(self, request: Request | None) -> None:
        """Count one line: a request, or None for what can't be read."""
        self.lines += 1
        if request is None:
            self.unreadable += 1
            return
        path, _, query = re.sub(r"^\w+://[^/?]*", "", request.target).partition("?")
        name = match(request.method, path)
        if name is None:
            shape = f"{request.method if request.method in _METHODS else '?'} {_shape(path)}"
            self.unknown[shape if shape in self.unknown or len(self.unknown) < MAX_SHAPES else OTHERS] += 1
            return
        self.operations[name] += 1
        self.statuses[name][request.status] += 1
        takes = ALL_OPERATIONS[name].query
        if takes and issubclass(takes, Page):
            self.page_sizes[name][_page_size(query)] += 1
        minute = request.minute
        if minute is not None and (minute in self.minutes or len(self.minutes) < MAX_MINUTES):
            self.minutes[minute] += 1

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data, counts sorted by size."""
        return {
            "source": self.source,
            "lines": self.lines,
            "known": self.known,
            "unreadable": self.unreadable,
            "operations": [
                {
                    "name": name,
                    "count": count,
                    "statuses": {str(status): n for status, n in self.statuses[name].most_common()},
                    "page_sizes": dict(self.page_sizes.get(name, Counter[str]()).most_common()),
                }
                for name, count in self.operations.most_common()
            ],
            "unknown": dict(self.unknown.most_common()),
            "per_minute": {minute_text(minute): n for minute, n in sorted(self.minutes.items())},
        }


def read(stream: BinaryIO, name: str) -> Observed:
    """Count what a file holds: `*.har` or a log, or either as `*.gz`. Raises ObservedError."""
    plain = name.removesuffix(".gz")
    found = Observed(source=name)
    try:
        file: Readable = gzip.GzipFile(fileobj=stream) if plain != name else stream
        requests = _har(file.read(MAX_HAR_BYTES + 1), name) if plain.endswith(".har") else _log(file, name)
        for request in requests:
            found.add(request)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise ObservedError(f"{name}: this is not a whole gzip file") from None
    if not found.lines:
        raise ObservedError(f"{name}: it is empty; there is nothing to learn from it")
    if found.unreadable == found.lines:
        raise ObservedError(
            f"{name}: none of its {found.lines:,} lines is a request: expected the Common or Combined Log"
            " Format, one JSON object a line, or a HAR file named *.har"
        )
    if not found.known:
        often = ", ".join(f"{shape} ({count:,})" for shape, count in found.unknown.most_common(3))
        raise ObservedError(
            f"{name}: none of its {found.lines - found.unreadable:,} requests is one of the contract's"
            f" operations under {VERSION_PREFIX}; most often: {often}"
        )
    return found


def lines(file: Readable) -> Iterator[bytes]:
    """Yield each line without its end, of a very long one the beginning."""
    tail = b""
    while block := file.read(_BLOCK_BYTES):
        *whole, tail = (tail + block).split(b"\n")
        for line in whole:
            yield line[:MAX_LINE_BYTES].removesuffix(b"\r")
        tail = tail[:MAX_LINE_BYTES]
    if tail:
        yield tail.removesuffix(b"\r")


def parse_line(line: bytes) -> Request | None:
    """Return the request of one line of a log, None if it is unreadable."""
    if line.startswith(b"{"):
        return _from_json(line)
    found = _CLF.match(line.decode("utf-8", "replace"))
    try:
        return _request(found[2], found[3], _minute(found[1])) if found else None
    except ValueError:
        return None


def match(method: str, path: str) -> str | None:
    """Return the name of the contract's operation that a request asks for, None if there is none."""
    if not path.startswith(VERSION_PREFIX + "/"):
        return None
    parts = path[len(VERSION_PREFIX) + 1 :].split("/")
    for template, name in _TEMPLATES.get((method, len(parts)), ()):
        if all(part == wanted if wanted else part for part, wanted in zip(parts, template, strict=True)):
            return name
    return None


def minute_text(minute: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%MZ")


def _templates() -> dict[tuple[str, int], list[tuple[list[str], str]]]:
    """Return (parts of the path, "" for an id; name) of each operation, by method and number of parts."""
    table = defaultdict(list)
    for row in ALL_OPERATIONS.values():
        parts = ["" if part.startswith("{") else part for part in row.path.split("/")[1:]]
        table[row.method, len(parts)].append((parts, row.name))
    for rows in table.values():
        rows.sort(key=lambda row: row[0].count(""))  # a word is nearer than an id
    return table


_TEMPLATES = _templates()


def _log(file: Readable, name: str) -> Iterator[Request | None]:
    for number, line in enumerate(lines(file)):
        if number == 0:
            if b"\0" in line:
                raise ObservedError(f"{name}: its first line has NUL bytes: expected a log, as UTF-8 text")
            line = line.removeprefix(b"\xef\xbb\xbf")
        yield parse_line(line)


def _request(line: str, status: int | str, minute: int | None) -> Request | None:
    """Return a request from its request line, such as "GET /v1/users?pageSize=25 HTTP/1.1"."""
    found = _REQUEST.match(line)
    return Request(found[1], found[2], int(status), minute) if found and 0 <= int(status) <= 999 else None


@lru_cache(4096)  # a log's neighbours share their second
def _minute(text: str) -> int:
    """Return the minute of a log's or a HAR's time. Raises ValueError."""
    if found := _TIME.match(text):
        sign = -1 if found[6] == "-" else 1
        zone = timezone(sign * timedelta(hours=int(found[7]), minutes=int(found[8])))
        month = _MONTHS.get(found[2], 0)
        at = datetime(int(found[3]), month, int(found[1]), int(found[4]), int(found[5]), tzinfo=zone)
    else:
        at = datetime.fromisoformat(text)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
    if not 1970 <= at.year < 9999:
        raise ValueError("no server has written a log then")
    return int(at.timestamp()) // 60


class _JsonLine(Struct):
    """The names that nginx's variables have; `request` or `request_method` with `request_uri`."""

    status: int | str
    request: str = ""
    request_method: str = ""
    request_uri: str = ""
    time_iso8601: str = ""
    time_local: str = ""
    time: str = ""


def _from_json(line: bytes) -> Request | None:
    try:
        row = msgspec.json.decode(line, type=_JsonLine)
        at = row.time_iso8601 or row.time_local or row.time
        asked = row.request or f"{row.request_method} {row.request_uri}"
        return _request(asked, row.status, _minute(at) if at else None)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


class _Asked(Struct):
    method: str
    url: str


class _Answered(Struct):
    status: int = 0


class _Entry(Struct, rename="camel"):
    """Of a HAR's entry what is needed: w3c.github.io/web-performance/specs/HAR/Overview.html."""

    started_date_time: str
    request: _Asked
    response: _Answered


class _Log(Struct):
    entries: list[Raw]


class _Har(Struct):
    log: _Log


def _har(data: bytes, name: str) -> Iterable[Request | None]:
    if len(data) > MAX_HAR_BYTES:
        raise ObservedError(f"{name}: larger than {MAX_HAR_BYTES:,} bytes; save it without contents")
    try:
        har = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"), type=_Har)
    except msgspec.ValidationError:
        raise ObservedError(f"{name}: this is JSON, but no HAR file: expected log.entries") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        what = (
            "this is no whole HAR file: its JSON is broken or breaks off" if data.strip() else "it is empty"
        )
        raise ObservedError(f"{name}: {what}") from None
    return map(_from_entry, har.log.entries)


def _from_entry(raw: Raw) -> Request | None:
    try:
        entry = msgspec.json.decode(raw, type=_Entry)
        asked = f"{entry.request.method} {entry.request.url.partition('#')[0]}"
        return _request(asked, entry.response.status, _minute(entry.started_date_time))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _page_size(query: str) -> str:
    """Return the page size that a query asks for; "none" where it leaves it to the server."""
    found = _SIZE.search(query)
    if found is None:
        return "none"
    text = found[1]
    fits = text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= 100
    return str(int(text)) if fits else "other"


def _shape(path: str) -> str:
    """Return a path with `{}` for every part that is not a plain word: an id, a token, somebody's address."""
    if not path.startswith("/"):
        return "{}"  # a data: address of a HAR, a CONNECT
    parts = path[:500].split("/")[:12]
    return "/".join(part if not part or _is_word(part) else "{}" for part in parts)[:120]


def _is_word(part: str) -> bool:
    return len(part) <= 32 and bool(_WORD.match(part)) and not _HEX.match(part)
