"""The cheapest client there is: one blocking connection, https or wss, that reads answers and no more.

It checks neither header nor mask, because what it costs is not what is measured, and must not be in the way.
"""

from __future__ import annotations

import socket
import ssl
import struct
from urllib.parse import urlsplit

TIMEOUT_S = 20
_CHUNK = 1 << 16
_TEXT = 0x81
_UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class LineError(Exception):
    """The other side said something else than it should."""


class Line:
    """A connection to one address."""

    def __init__(self, url: str, context: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._path, self._host = parts.path, parts.netloc
        self._buffer = b""
        self._socket = socket.create_connection((parts.hostname, parts.port), TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            self._socket = context.wrap_socket(self._socket, server_hostname=parts.hostname)
        self.send = self._socket.sendall

    def upgrade(self) -> None:
        """Make it a WebSocket."""
        self.send(_UPGRADE.format(path=self._path, host=self._host).encode())
        head = self._head()
        if not head.startswith(b"HTTP/1.1 101"):
            raise LineError(f"no upgrade: {head[:100]!r}")

    def answer(self) -> bytes:
        """Return the body of the next http response, which must be a 200."""
        head = self._head()
        if not head.startswith(b"HTTP/1.1 200"):
            raise LineError(f"no 200: {head[:100]!r}")
        _, _, rest = head.lower().partition(b"content-length:")
        return self._take(int(rest.partition(b"\r\n")[0]))

    def frame(self) -> bytes:
        """Return the payload of the next frame, which must be a whole text."""
        head = self._take(2)
        if head[0] != _TEXT:
            raise LineError(f"no text frame: {head!r}")
        size = head[1]
        if size == 126:
            size = struct.unpack("!H", self._take(2))[0]
        elif size == 127:
            size = struct.unpack("!Q", self._take(8))[0]
        return self._take(size)

    def fileno(self) -> int:
        """Return the descriptor, to wait for several connections at once."""
        return self._socket.fileno()

    @property
    def pending(self) -> bool:
        """Tell whether something was read that nobody has taken; waiting would not tell."""
        return bool(self._buffer) or (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0)

    def close(self) -> None:
        """Hang up, with no word."""
        self._socket.close()

    def _head(self) -> bytes:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            self._read()
        return self._take(end + 4)

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._read()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _read(self) -> None:
        data = self._socket.recv(_CHUNK)
        if not data:
            raise LineError("the server hung up")
        self._buffer += data


def request(path: str, token: str, body: bytes = b"") -> bytes:
    """Return a GET as a client of the API sends it, or a POST of JSON where there is a body."""
    content = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    return (
        f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"
        f"Authorization: Bearer {token}\r\n{content}\r\n"
    ).encode() + body


def text(payload: bytes) -> bytes:
    """Return a client's text frame. Its mask is zero: what the server does to take it off is the same."""
    size = len(payload)
    if size < 126:
        return bytes((_TEXT, 0x80 | size)) + bytes(4) + payload
    return bytes((_TEXT, 0x80 | 126)) + struct.pack("!H", size) + bytes(4) + payload
