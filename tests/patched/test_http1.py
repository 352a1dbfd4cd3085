"""HTTP/1.1 over the engine: whatever a peer answers ends in time, has a class, spoils nothing after it."""

from __future__ import annotations

import itertools
import ssl
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent
import pytest
import trustme
from gevent import socket
from gevent import ssl as cooperative
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests import clock, http1
from loadtests.http1 import MAX_ANSWER, MAX_CONNECTIONS, MAX_HEAD, Answer, Client, Cookies, NoAnswer
from loadtests.stream import Opened
from tests.patched.peer import listening

SHORT = clock.ns(0.3)
LONG = clock.ns(10)

Handle = Callable[[socket.socket], None]


def heard(connection: socket.socket) -> bytes:
    """Read one request: its head, and the body that this announces. Empty at the end."""
    request = b""
    while b"\r\n\r\n" not in request:
        if not (data := connection.recv(65536)):
            return b""
        request += data
    head, _, body = request.partition(b"\r\n\r\n")
    length = next((line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")), b": 0")
    while len(body) < int(length.split(b": ")[1]):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def http(body: bytes = b"ok", status: bytes = b"200 OK", extra: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s" % (status, len(body), extra, body)


class Peer:
    """A server whose n-th connection does what the n-th handler says, and answers well from then on."""

    def __init__(self, *handlers: Handle) -> None:
        self._handlers = iter((*handlers, *itertools.repeat(self.good, 100)))
        self.connections = 0
        self.requests: list[bytes] = []

    def __call__(self, connection: socket.socket) -> None:
        handle = next(self._handlers)
        self.connections += 1
        try:
            handle(connection)
        except OSError:
            pass
        finally:
            connection.close()

    def good(self, connection: socket.socket) -> None:
        """Answer every request as one should."""
        while request := heard(connection):
            self.requests.append(request)
            connection.sendall(http())


def once(answer: bytes, *, linger: bool = False) -> Handle:
    """Give this answer to the first request, then hang up, or not."""

    def handle(connection: socket.socket) -> None:
        heard(connection)
        connection.sendall(answer)
        if linger:
            connection.recv(1)

    return handle


def forever(start: bytes, part: bytes) -> Handle:
    """Begin an answer and never end it, as fast as it is taken."""

    def handle(connection: socket.socket) -> None:
        heard(connection)
        connection.sendall(start)
        while True:
            connection.sendall(part)

    return handle


@contextmanager
def client(*handlers: Handle) -> Iterator[tuple[Client, Peer]]:
    """Give a client of a peer with these handlers; at the end it holds no connection."""
    peer = Peer(*handlers)
    with listening(peer) as url:
        one = Client(url.replace("ws:", "http:"), None)
        try:
            yield one, peer
        finally:
            one.close()


def ask(one: Client, method: str = "GET", body: bytes | None = None, timeout: int = LONG) -> Answer:
    return one.request(method, "/x", b"", body, clock.now() + timeout)


def ending(one: Client, timeout: int = LONG, method: str = "GET") -> str:
    """Return how a call ended: status and content, or the class of what went wrong."""
    began = clock.now()
    try:
        answer = ask(one, method, timeout=timeout)
    except NoAnswer as failure:
        return str(failure) if isinstance(failure.error, http1.BadAnswer) else type(failure.error).__name__
    finally:
        assert clock.now() - began < timeout + clock.SECOND
    return f"{answer.status} {answer.content[:20]!r}"


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

HOSTILE: dict[str, tuple[bytes, str]] = {
    "not a byte": (b"", "Closed"),
    "another protocol": (b"SSH-2.0-OpenSSH\r\n", "not HTTP"),
    "HTTP/0.9": (b"<html>hello</html>", "not HTTP"),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "not HTTP"),
    "HTTP/2 settings": (b"\0\0\0\4\0\0\0\0\0", "not HTTP"),
    "says HTTP/2.0": (b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", "not HTTP"),
    "says HTTP/3.7": (b"HTTP/3.7 200 OK\r\nContent-Length: 0\r\n\r\n", "not HTTP"),
    "status without digits": (b"HTTP/1.1 OK\r\n\r\n", "not HTTP"),
    "status of two digits": (b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", "not HTTP"),
    "status of four digits": (b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", "not HTTP"),
    "status 000": (b"HTTP/1.1 000 ?\r\nContent-Length: 0\r\n\r\n", "not HTTP"),
    "header without colon": (b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", "not HTTP"),
    "header with a blank name": (b"HTTP/1.1 200 OK\r\n: x\r\n\r\n", "not HTTP"),
    "NUL in a header": (b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", "not HTTP"),
    "bare CR in a header": (b"HTTP/1.1 200 OK\r\nX: a\rY: b\r\n\r\n", "not HTTP"),
    "length not a number": (b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok", "not HTTP"),
    "length below zero": (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok", "not HTTP"),
    "length beyond 64 bits": (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", "not HTTP"),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "not HTTP"),
    "length and chunks": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "not HTTP",
    ),
    "length too long": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", "Closed"),
    "length too short": (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nok", "200 b'o'"),
    "no length": (b"HTTP/1.1 200 OK\r\n\r\nok", "200 b'ok'"),
    "head cut off": (b"HTTP/1.1 200 OK\r\nContent-Le", "Closed"),
    "chunk size not a number": (CHUNKED + b"zz\r\nok\r\n0\r\n\r\n", "not HTTP"),
    "chunk size beyond 64 bits": (CHUNKED + b"fffffffffffffffff\r\nok\r\n", "not HTTP"),
    "chunk longer than it says": (CHUNKED + b"1\r\nok\r\n0\r\n\r\n", "not HTTP"),
    "chunks cut off": (CHUNKED + b"2\r\nok\r\n", "Closed"),
    "chunks and trailers": (CHUNKED + b"2\r\nok\r\n0\r\nX: y\r\nSet-Cookie: t=1\r\n\r\n", "200 b'ok'"),
    "empty 200": (http(b""), "200 b''"),
    "204 with a body": (http(b"ok", b"204 No Content"), "204 b''"),
    "304 with a length": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "304 b''"),
    "an error page": (http(b"<html>oops", b"502 Bad Gateway"), "502 b'<html>oops'"),
    "elsewhere": (
        http(b"", b"302 Found", b"Location: http://127.0.0.2:1/\r\n"),
        "302 b''",
    ),
    "wait a day": (http(b"", b"429 Slow", b"Retry-After: 86400\r\n"), "429 b''"),
    "one 1xx": (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + http(), "200 b'ok'"),
    "1xx with a length": (b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n" + http(), "200 b'ok'"),
    "1xx for ever": (b"HTTP/1.1 100 Continue\r\n\r\n" * 500, "too many interim answers"),
    "another protocol at once": (
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "not HTTP",
    ),
    "thousands of headers": (b"HTTP/1.1 200 OK\r\n" + b"a:b\r\n" * 9000, "too many headers"),
    "thousands of trailers": (CHUNKED + b"2\r\nok\r\n0\r\n" + b"a:b\r\n" * 9000, "too many headers"),
    "two answers": (http() + http(b"no"), "200 b'ok'"),
    "junk behind": (http() + b"\x16\x03\x01", "200 b'ok'"),
    "answer after goodbye": (http(extra=b"Connection: close\r\n") + http(b"no"), "200 b'ok'"),
    "not packed as said": (http(b"ok", extra=b"Content-Encoding: gzip\r\n"), "broken compression"),
    "packed and cut off": (
        http(zlib.compress(b"ok", wbits=31)[:-5], extra=b"Content-Encoding: gzip\r\n"),
        "broken compression",
    ),
    "packed with junk": (
        http(zlib.compress(b"ok", wbits=31) + b"!", extra=b"Content-Encoding: gzip\r\n"),
        "broken compression",
    ),
    "packed unasked": (http(b"ok", extra=b"Content-Encoding: br\r\n"), "unknown content encoding"),
    "packed": (http(zlib.compress(b"ok", wbits=31), extra=b"content-encoding: GZIP\r\n"), "200 b'ok'"),
    "cookies of megabytes": (
        http(extra=b"".join(b"Set-Cookie: c%d=%s\r\n" % (n, b"x" * 900) for n in range(60))),
        "200 b'ok'",
    ),
    "latin headers": (http(extra=b"X: \xe9\xff\r\n"), "200 b'ok'"),
}


@pytest.mark.parametrize("linger", [False, True], ids=["hangs up", "stays"])
@pytest.mark.parametrize("name", HOSTILE)
def test_every_answer_has_its_class_and_the_next_call_works(name: str, linger: bool) -> None:
    """Whether the peer then hangs up or not. Only what waits for the end, or for more, times out."""
    answer, expected = HOSTILE[name]
    unfinished = expected == "Closed" or name == "no length"
    with client(once(answer, linger=linger)) as (one, _):
        timeout = SHORT if linger and unfinished else LONG
        assert ending(one, timeout) == ("Expired" if linger and unfinished else expected)
        one.close()  # this peer answers once a connection: if this one was kept, the next call is not its own
        assert ending(one) == "200 b'ok'"
        assert b"t=1" not in one.cookies.line  # a trailer sets none
        assert len(one.cookies.line) <= http1.MAX_COOKIE_BYTES + len(b"Cookie: \r\n")


@pytest.mark.parametrize(
    ("handle", "expected"),
    [
        (forever(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65536), "head of the answer too large"),
        (forever(b"HTTP/1.1 200 OK\r\n" + b"x" * 10_000_000, b"x"), "head of the answer too large"),
        (forever(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536), "answer too large"),
        (forever(CHUNKED, b"10000\r\n" + b"x" * 65536 + b"\r\n"), "answer too large"),
        (forever(CHUNKED, b"1\r\nx\r\n" * 10_000), "answer too large"),
        (forever(CHUNKED + b"1;", b"x" * 65536), "head of the answer too large"),
        (forever(CHUNKED + b"0\r\nX: ", b"x" * 65536), "head of the answer too large"),
        (forever(b"", b"\r\n" * 1000), "head of the answer too large"),
    ],
    ids=["header", "10 MB header", "body", "chunks", "small chunks", "extension", "trailer", "blank lines"],
)
def test_what_never_ends_is_cut_off_at_its_limit(handle: Handle, expected: str) -> None:
    """Long before its time is over, and without keeping more than the limit."""
    with client(handle) as (one, _):
        tracemalloc.start()
        try:
            assert ending(one) == expected
            assert tracemalloc.get_traced_memory()[1] < 4 * MAX_ANSWER
        finally:
            tracemalloc.stop()
        assert ending(one) == "200 b'ok'"


def test_a_bomb_is_not_unpacked() -> None:
    """300 KB that would become 300 MB stop at the limit."""
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(300)) + packer.flush()
    with client(once(http(bomb, extra=b"Content-Encoding: gzip\r\n"))) as (one, _):
        tracemalloc.start()
        try:
            assert ending(one) == "answer too large"
            assert tracemalloc.get_traced_memory()[1] < 3 * MAX_ANSWER
        finally:
            tracemalloc.stop()
        assert ending(one) == "200 b'ok'"


def test_a_trickle_ends_with_its_deadline() -> None:
    """A byte now and then keeps no call alive: neither a head nor a body."""
    for start in (b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"):

        def trickle(connection: socket.socket, start: bytes = start) -> None:
            heard(connection)
            connection.sendall(start)
            while True:
                gevent.sleep(0.02)
                connection.sendall(b"x")

        with client(trickle) as (one, _):
            assert ending(one, SHORT) == "Expired"
            assert ending(one) == "200 b'ok'"


def test_a_reset_in_the_answer_is_a_reset() -> None:
    """RST while the body comes."""

    def reset(connection: socket.socket) -> None:
        heard(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with client(reset) as (one, _):
        assert ending(one) == "ConnectionResetError"
        assert ending(one) == "200 b'ok'"


def test_an_answer_before_a_half_close_counts() -> None:
    """The peer says that it will send no more, after a whole answer: that one is good, the connection not."""

    def half(connection: socket.socket) -> None:
        heard(connection)
        connection.sendall(http())
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)

    with client(half) as (one, peer):
        assert ending(one) == "200 b'ok'"
        gevent.sleep(0.01)
        assert ending(one) == "200 b'ok'"
        assert peer.connections == 2


# --- Connections ---


def test_a_connection_serves_one_call_after_another() -> None:
    """Kept alive: two calls, one connection; each phase of it told once, in order."""
    opened: list[Opened] = []
    peer = Peer()
    with listening(peer) as url:
        one = Client(url.replace("ws:", "http:"), None, opened.append)
        first, second = ask(one), ask(one, "POST", b"{}")
        one.close()
    assert peer.connections == len(opened) == 1
    assert opened[0].began <= opened[0].connected == opened[0].secured <= first.sent
    for answer in (first, second):
        assert answer.sent <= answer.first <= answer.arrived <= clock.now()
    assert first.arrived <= second.sent
    assert peer.requests[1].endswith(b"\r\n\r\n{}")


def test_first_is_the_first_byte_and_arrived_the_last() -> None:
    """An answer in three parts: the one stamp is of the first part, the other of the last."""

    def slow(connection: socket.socket) -> None:
        heard(connection)
        for part in (b"HTTP/1.1 200 OK\r\n", b"Content-Length: 2\r\n\r\n", b"ok"):
            connection.sendall(part)
            gevent.sleep(0.03)

    with client(slow) as (one, _):
        answer = ask(one)
    assert answer.arrived - answer.first > clock.ns(0.05)


def test_what_is_said_of_a_connection_is_done() -> None:
    """After `Connection: close`, or HTTP/1.0 without a word, we let go of it though the peer does not."""
    for answer in (
        http(extra=b"Connection: close\r\n"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ):
        with client(once(answer, linger=True)) as (one, peer):
            # POST, because nothing is sent twice then.
            assert [ending(one, method="POST") for _ in range(2)] == ["200 b'ok'"] * 2
            assert peer.connections == 2


def test_bytes_that_nobody_asked_for_end_a_connection() -> None:
    """Whether they come with an answer or after it; they are never another call's answer, and are counted."""

    def late(connection: socket.socket) -> None:
        heard(connection)
        connection.sendall(http())
        gevent.sleep(0.01)
        connection.sendall(http(b"bad"))
        connection.recv(1)

    for handle in (once(http() + http(b"bad"), linger=True), late):
        with client(handle) as (one, peer):
            assert ending(one) == "200 b'ok'"
            gevent.sleep(0.03)
            assert ending(one) == "200 b'ok'"
            assert (peer.connections, one.unasked) == (2, 1)


def test_a_late_answer_is_nobodys() -> None:
    """A call that timed out takes its connection along."""

    def late(connection: socket.socket) -> None:
        heard(connection)
        gevent.sleep(0.4)
        connection.sendall(http(b"late"))

    with client(late) as (one, _):
        assert ending(one, SHORT) == "Expired"
        gevent.sleep(0.2)
        assert ending(one) == "200 b'ok'"


def hangs_up_on_the_second(connection: socket.socket) -> None:
    """Answer once, and end the connection on reading the next request."""
    heard(connection)
    connection.sendall(http())
    heard(connection)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
def test_nothing_is_sent_again(method: str) -> None:
    """A kept connection that ends without a byte is a failure: one attempt is one request at the target."""
    with client(hangs_up_on_the_second) as (one, peer):
        ask(one)
        assert ending(one, method=method) == "Closed"
        assert peer.connections == 1


def test_what_was_begun_to_be_answered_is_not_sent_again() -> None:
    """One byte of an answer says that the request was taken: the call is a failure, of GET too."""

    def breaks_off(connection: socket.socket) -> None:
        heard(connection)
        connection.sendall(http())
        heard(connection)
        connection.sendall(b"H")

    with client(breaks_off) as (one, peer):
        assert [ending(one), ending(one)] == ["200 b'ok'", "Closed"]
        assert peer.connections == 1


def test_a_new_connection_is_not_tried_twice() -> None:
    """What ends without a byte on its first call is a failure, of GET too."""
    with client(once(b"")) as (one, peer):
        assert ending(one) == "Closed"
        assert peer.connections == 1


def test_an_idle_connection_that_ended_is_not_used() -> None:
    """Its end is read as it comes, so that even a POST needs no second try."""
    with client(once(http())) as (one, peer):
        ask(one)
        gevent.sleep(0.02)
        assert ask(one, "POST", b"{}").status == 200
        assert peer.connections == 2


def test_calls_side_by_side_share_six_connections() -> None:
    """The seventh waits for one to be free; no answer gets to another's call."""

    def echo(connection: socket.socket) -> None:
        while request := heard(connection):
            gevent.sleep(0.01)
            connection.sendall(http(request.split(b" ")[1]))

    peer = Peer(*[echo] * MAX_CONNECTIONS)
    with listening(peer) as url:
        one = Client(url.replace("ws:", "http:"), None)
        targets = [f"/{number}" for number in range(20)]
        answers: dict[str, bytes] = {}

        def go(target: str) -> None:
            answers[target] = one.request("GET", target, b"", None, clock.now() + LONG).content

        gevent.joinall([gevent.spawn(go, target) for target in targets])
        one.close()
    assert answers == {target: target.encode() for target in targets}
    assert peer.connections == MAX_CONNECTIONS


def test_waiting_for_a_connection_ends_in_time() -> None:
    """It is within the deadline too, and nothing was sent then."""

    def silent(connection: socket.socket) -> None:
        while connection.recv(65536):
            pass

    with client(*[silent] * MAX_CONNECTIONS) as (one, _):
        busy = [gevent.spawn(ending, one, clock.ns(1)) for _ in range(MAX_CONNECTIONS)]
        gevent.sleep(0.05)
        with pytest.raises(NoAnswer) as failure:
            ask(one, timeout=SHORT)
        assert failure.value.sent == 0
        gevent.joinall(busy)


def test_a_killed_call_leaves_no_connection() -> None:
    """A greenlet that is killed while it waits: its connection ends, and the next call has its own answer."""
    ended = []

    def slow(connection: socket.socket) -> None:
        heard(connection)
        ended.append(connection.recv(1))

    with client(slow) as (one, _):
        call = gevent.spawn(ask, one)
        gevent.sleep(0.02)
        call.kill()
        assert ending(one) == "200 b'ok'"
        gevent.sleep(0.02)
        assert ended == [b""]


@pytest.mark.parametrize("target", ["/a b", "/a\r\nX: y", "/a\nb", "/\x7f", "/ü", "/\0"])
def test_nothing_breaks_out_of_the_request_line(target: str) -> None:
    """A target that would end its line is our own mistake, and not sent."""
    with client() as (one, peer), pytest.raises(AssertionError):
        one.request("GET", target, b"", None, clock.now() + LONG)
    assert peer.connections == 0


# --- TLS ---


def test_certificates_are_verified_and_tls_is_a_phase() -> None:
    """A stranger's certificate is refused before anything is sent; a known one is timed."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    inside = cooperative.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(inside)
    peer = Peer()

    def secured(connection: socket.socket) -> None:
        try:
            peer(inside.wrap_socket(connection, server_side=True))
        except OSError:
            connection.close()

    opened: list[Opened] = []
    with listening(secured) as url:
        origin = url.replace("ws:", "https:")
        with pytest.raises(NoAnswer) as failure:
            ask(Client(origin, ssl.create_default_context(), opened.append))
        assert isinstance(failure.value.error, ssl.SSLCertVerificationError)
        assert (failure.value.sent, opened, peer.requests) == (0, [], [])
        context = ssl.create_default_context()
        authority.configure_trust(context)
        one = Client(origin, context, opened.append)
        answers = [ask(one), ask(one)]
        one.close()
    assert [each.content for each in answers] == [b"ok"] * 2
    assert opened[0].began < opened[0].connected < opened[0].secured <= answers[0].sent
    assert len(opened) == 1


# --- Laws ---

ANSWERS = [answer for answer, expected in HOSTILE.values() if len(answer) < 1000]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(ANSWERS), st.lists(st.integers(0, 1000), max_size=6))
def test_it_does_not_matter_how_an_answer_is_cut(answer: bytes, cuts: list[int]) -> None:
    """In pieces, an answer ends as it ends in one piece."""
    edges = sorted({0, len(answer), *(cut % (len(answer) + 1) for cut in cuts)})
    pieces = [answer[start:end] for start, end in itertools.pairwise(edges)]

    def cut_up(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        heard(connection)
        for piece in pieces:
            connection.sendall(piece)
            gevent.sleep(0)

    with client(once(answer)) as (one, _):
        whole = ending(one)
    with client(cut_up) as (one, _):
        assert ending(one) == whole


@given(st.lists(st.binary(max_size=40), max_size=30))
def test_cookies_are_bounded_and_end_no_line(headers: list[bytes]) -> None:
    """Whatever is set (the parser lets no line's end through), one line comes out, of bounded length."""
    jar = Cookies()
    for header in headers:
        jar.take(header.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b""))
    assert len(jar.line) <= http1.MAX_COOKIE_BYTES + len(b"Cookie: \r\n")
    assert jar.line.count(b"\n") == bool(jar.line)


def test_cookies_are_sent_again_until_they_are_taken_back() -> None:
    """As a browser does: the last value counts; an age of 0 or a date in the past removes."""
    jar = Cookies()
    jar.take(b"access=one; HttpOnly; Path=/; Max-Age=86400")
    jar.take(b"refresh=r==; Expires=Fri, 01 Jan 2100 00:00:00 GMT")
    jar.take(b"access=two; Secure")
    assert jar.line == b"Cookie: refresh=r==; access=two\r\n"
    jar.take(b"access=; Max-Age=0")
    jar.take(b"refresh=; expires=Thu, 01 Jan 1970 00:00:00 GMT")
    assert jar.line == b""
    for nonsense in (b"", b";", b"=x", b"x", b"a=b; expires=soon"):
        jar.take(nonsense)
    assert jar.line == b"Cookie: a=b\r\n"
    jar.take(b"big=" + b"x" * MAX_HEAD)
    assert jar.line == b"Cookie: a=b\r\n"
