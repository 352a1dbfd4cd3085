"""A log's lines are known, unknown or unreadable, each exactly one of them; nothing secret is kept."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios import observed
from scenarios.observed import MAX_LINE_BYTES, MAX_SHAPES, Observed, ObservedError
from talkamie.contract import ALL_OPERATIONS, VERSION_PREFIX

ID = "8f14e45f-ceea-467f-a8f5-5f2b1c2d3e4f"
TIME = "22/Nov/2026:20:00:01 +0000"


def line(request: str = "GET /v1/chats?pageSize=25", time: str = TIME, size: str = "512") -> str:
    """Return one line in the Common Log Format."""
    return f'192.0.2.7 - - [{time}] "{request} HTTP/1.1" 200 {size}'


def read(*rows: str, name: str = "access.log", end: str = "\n") -> Observed:
    """Read a log with these lines."""
    return observed.read(io.BytesIO("".join(row + end for row in rows).encode()), name)


def har(*entries: Any) -> bytes:
    """Return a HAR file with these entries."""
    return json.dumps({"log": {"version": "1.2", "creator": {}, "entries": entries}}).encode()


def entry(method: str, url: str, at: str = "2026-11-22T20:00:01.123Z") -> dict[str, Any]:
    """Return an entry of a HAR as browsers write it; sizes of -1 mean that they are not known."""
    response = {"status": 200, "headersSize": -1, "bodySize": -1, "content": {"size": -1, "text": "x"}}
    return {"startedDateTime": at, "request": {"method": method, "url": url}, "response": response}


@pytest.mark.parametrize("row", ALL_OPERATIONS.values(), ids=lambda row: row.name)
def test_every_operation_of_the_contract_is_known_by_its_path(row: Any) -> None:
    """Ids stand where the contract has them; the query is no part of the path."""
    path = "/".join(ID if part.startswith("{") else part for part in row.path.split("/"))
    assert observed.match(row.method, VERSION_PREFIX + path) == row.name
    assert observed.match(row.method, path) is None
    assert observed.match("BREW", VERSION_PREFIX + path) is None


@pytest.mark.parametrize(
    "text",
    [
        line(),
        line() + ' "-" "Mozilla/5.0 \\"x\\" [en]"',
        line().replace("192.0.2.7", "shop.test:443 2001:db8::1").replace("- -", "- Anna Maria"),
        line("GET https://api.test/v1/chats?pageSize=25"),
        line() + " " + "x" * 1_000_000,
        '{"time_iso8601": "2026-11-22T20:00:01+00:00", "request": "GET /v1/chats?pageSize=25 HTTP/2.0",'
        ' "status": "200", "body_bytes_sent": -1}',
        '{"time_local": "22/Nov/2026:20:00:01 +0000", "request_method": "GET",'
        ' "request_uri": "/v1/chats?pageSize=25", "status": 200}',
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_usual_formats_are_read(text: str, end: str) -> None:
    """Common, Combined, with a virtual host, with an absolute address, with a long tail, as JSON."""
    seen = read("\ufeff" + text, text, end=end)
    assert seen.operations == {"get-chats": 2}
    assert seen.statuses["get-chats"] == {200: 2}
    assert seen.page_sizes["get-chats"] == {"25": 2}
    assert {observed.minute_text(minute) for minute in seen.minutes} == {"2026-11-22T20:00Z"}


def test_the_page_size_is_what_was_asked_for() -> None:
    """Left to the server, or nothing that a server would take, is said so; a look-alike key is another."""
    asked = ("", "?pageSize=7", "?keyword=a&pageSize=07", "?pageSize=101", "?pageSize=secret", "?xpageSize=9")
    seen = read(*(line(f"GET /v1/chats{query}") for query in asked))
    assert seen.page_sizes["get-chats"] == {"none": 2, "7": 2, "other": 2}


def test_times_have_zones_and_no_order() -> None:
    """The curve is in UTC, whatever the order of the lines."""
    times = ("23/Nov/2026:01:30:59 +0530", "22/Nov/2026:19:59:00 -0001", "22/Nov/2026:12:00:00 -0800")
    seen = read(*(line(time=time) for time in times))
    assert {observed.minute_text(minute): n for minute, n in seen.minutes.items()} == {"2026-11-22T20:00Z": 3}


@pytest.mark.parametrize(
    "text",
    [
        "", "nonsense", "#Fields: date time", line(size="-5"), line(time="31/Feb/2026:20:00:01 +0000"),
        line(time="22/Okt/2026:20:00:01 +0000"), line(time="22/Nov/2026:20:00:01 +9900"),
        line("\\x16\\x03\\x01"), line("GET"), "[" * 70_000, "{", '{"status": 200}', '{"a":' * 30_000,
        '{"status": "x", "request": "GET /v1/chats"}', '{"status": 1e99, "request": "GET /v1/chats"}',
        '{"status": 200, "request": "GET /v1/chats", "time": "0001-01-01T00:00:00+14:00"}',
        '{"status": 200, "request": "GET /v1/chats", "time": "yesterday"}',
    ],
)  # fmt: skip
def test_what_is_no_line_of_a_log_is_counted_as_unreadable(text: str) -> None:
    """It is neither dropped nor guessed at."""
    seen = read(line(), text)
    assert (seen.lines, seen.known, seen.unreadable) == (2, 1, 1)


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v2/users/12/photo", "/v2/users/{}/photo"),
        (f"/v1/users/{ID}", "/v1/users/{}"),
        ("/wp-login.php", "/wp-login.php"),
        ("/.env", "/.env"),
        ("/anna@example.test/deadbeefcafe/eyJhbGciOiJIUzI1NiJ9.e30.x", "/{}/{}/{}"),
        ("/v1/users/", "/v1/users/"),
        ("*", "{}"),
        ("data:text/plain,hello/secret", "{}"),
    ],
)
def test_unknown_paths_are_told_without_ids(path: str, shape: str) -> None:
    """What is not a plain word stands as {}."""
    assert read(line(), line(f"OPTIONS {path}?token=secret")).unknown == {f"OPTIONS {shape}": 1}


def test_scanners_fill_no_memory() -> None:
    """So many kinds of unknown requests are told apart; the rest is counted together."""
    letters = "abcdefghij"
    paths = [f"/{a}{b}/{c}/{d}" for a in letters for b in letters for c in letters for d in "klm"]
    seen = read(line(), *(line(f"GET {path}") for path in paths))
    assert len(seen.unknown) == MAX_SHAPES + 1
    assert seen.unknown.total() == len(paths)


def test_a_har_is_read_entry_by_entry() -> None:
    """Requests to other services are unknown, broken entries unreadable; sizes of -1 are usual."""
    data = har(
        entry("GET", "https://api.test/v1/chats?pageSize=25#top"),
        entry("GET", "https://cdn.test/logo.svg"),
        entry("GET", "https://api.test/v1/chats", at="never"),
        {"request": None},
    )
    for name, file in (
        ("a.har", data),
        ("a.har", b"\xef\xbb\xbf" + data),
        ("a.har.gz", gzip.compress(data, mtime=0)),
    ):
        seen = observed.read(io.BytesIO(file), name)
        assert (seen.lines, seen.known, seen.unreadable) == (4, 1, 2)
        assert seen.unknown == {"GET /logo.svg": 1}
        assert seen.page_sizes["get-chats"] == {"25": 1}


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.log", b"", "it is empty"),
        ("a.log", b"\n\n\n", "none of its 3 lines is a request"),
        ("a.log", b"just\nprose", "none of its 2 lines is a request"),
        ("a.log", b"\x7fELF\0\0\1", "NUL bytes"),
        ("a.log", line().encode("utf-16"), "NUL bytes"),
        ("a.log", b"x" * 1_000_000, "none of its 1 lines is a request"),
        ("a.log", line("GET /v9/cats/7").encode(), "most often: GET /v9/cats/{} (1)"),
        ("a.log.gz", line().encode(), "not a whole gzip file"),
        ("a.log.gz", gzip.compress(line().encode(), mtime=0)[:-12], "not a whole gzip file"),
        ("a.har", b"", "it is empty"),
        ("a.har", har(), "it is empty"),
        ("a.har", har(entry("GET", "https://api.test/v1/chats"))[:-20], "breaks off"),
        ("a.har", b'{"log": {}}', "no HAR file"),
        ("a.har", b"[" * 100_000, "HAR file"),
        ("a.har", b"\xff\xfe{", "HAR file"),
        ("a.har", har(entry("GET", "https://other.test/cats/7")), "none of its 1 requests"),
    ],
)
def test_a_file_that_teaches_nothing_is_refused_in_a_sentence(name: str, data: bytes, says: str) -> None:
    """It names the file, and what was expected."""
    with pytest.raises(ObservedError, match=r"^a\.(log|har)(\.gz)?: ") as error:
        observed.read(io.BytesIO(data), name)
    assert says in str(error.value)


@given(st.lists(st.sampled_from([line(), line("GET /x/1"), "", "{", "x" * 200_000]), max_size=30))
def test_lines_are_cut_where_they_end(rows: list[str]) -> None:
    """Whatever the blocks they are read in; of a long one comes the beginning."""
    file = io.BytesIO("\n".join(rows).encode())
    expected = [row[:MAX_LINE_BYTES].encode() for row in rows]
    assert list(observed.lines(file)) == (expected[:-1] if rows and not rows[-1] else expected)


_TEXT = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([line(), line("GET /x"), line("PUT /v1/user/1")]).map(str.encode),
    st.builds(lambda path, time: line(f"GET {path}", time).encode(), st.text(), st.text()),
    st.dictionaries(
        st.sampled_from(["status", "request", "time", "request_uri", "request_method"]),
        st.one_of(st.text(), st.integers(), st.none(), st.floats(allow_nan=False)),
    ).map(lambda row: json.dumps(row).encode()),
)  # fmt: skip


@given(st.lists(_TEXT))
def test_known_and_unknown_and_unreadable_are_all_lines(rows: list[bytes]) -> None:
    """Whatever a line holds."""
    seen = Observed("x")
    for row in rows:
        seen.add(observed.parse_line(row))
    assert seen.known + seen.unknown.total() + seen.unreadable == seen.lines == len(rows)
    assert seen.minutes.total() <= seen.known
    json.dumps(seen.as_data())
