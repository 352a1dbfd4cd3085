"""A wss client that blocks, in one thread.

`websockets.sync` reads in a thread of its own. Over TLS on Python 3.11 that hangs about one handshake in 500,
because OpenSSL's connection is no place for two threads; its Sans-I/O core, used here, does not.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections import deque
from typing import Self
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

TIMEOUT_S = 5.0


class Client:
    """One connection; `receive_buffer` bounds what the kernel takes for a reader who does not read."""

    def __init__(
        self, address: str, tls: ssl.SSLContext | None, *, receive_buffer: int | None = None
    ) -> None:
        """Connect, and return once the server has accepted. Raises what the handshake failed with."""
        parts = urlsplit(address)
        host = parts.hostname or ""
        self._socket = socket.socket()
        self._socket.settimeout(TIMEOUT_S)
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.connect((host, parts.port or 443))
        if tls is not None:
            self._socket = tls.wrap_socket(self._socket, server_hostname=host)
        self._protocol = ClientProtocol(parse_uri(address), max_size=None)
        self._messages: deque[bytes] = deque()
        self._parts: list[bytes] = []
        self._answered = False
        self._protocol.send_request(self._protocol.connect())
        self._flush()
        while not self._answered:
            self._read(TIMEOUT_S)
        if self._protocol.handshake_exc is not None:
            raise self._protocol.handshake_exc

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, message: str | bytes | list[str]) -> None:
        """Send a text message, a binary one, or a text message in fragments."""
        if isinstance(message, str):
            self.send_text(message.encode())
        elif isinstance(message, bytes):
            self._protocol.send_binary(message)
        else:
            self._protocol.send_text(message[0].encode(), fin=False)
            for number, part in enumerate(message[1:], start=2):
                self._protocol.send_continuation(part.encode(), fin=number == len(message))
        self._flush()

    def send_text(self, payload: bytes) -> None:
        """Send a text message of these bytes, be they UTF-8 or not."""
        self._protocol.send_text(payload)
        self._flush()

    def recv(self, timeout: float = TIMEOUT_S) -> str:
        """Return the next message. Raises TimeoutError, and ConnectionClosedError with the code received."""
        while not self._messages:
            if self._protocol.close_rcvd is not None or not self._read(timeout):
                theirs, ours = self._protocol.close_rcvd, self._protocol.close_sent
                raise ConnectionClosedError(theirs, ours, True if theirs and ours else None)
        return self._messages.popleft().decode()

    def close(self) -> None:
        """Say goodbye, where anybody listens, and close."""
        with contextlib.suppress(Exception):
            self._protocol.send_close(1000)
            self._flush()
        self._socket.close()

    def _flush(self) -> None:
        data = b"".join(self._protocol.data_to_send())
        if data:
            self._socket.sendall(data)

    def _read(self, timeout: float) -> bool:
        """Take in what comes next; tell whether anything came."""
        self._socket.settimeout(timeout)
        try:
            data = self._socket.recv(65_536)
        except ConnectionResetError:
            data = b""
        if not data:
            return False
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if not isinstance(event, Frame):
                self._answered = True
            elif event.opcode in (Opcode.TEXT, Opcode.CONT):
                self._parts.append(bytes(event.data))
                if event.fin:
                    self._messages.append(b"".join(self._parts))
                    self._parts.clear()
        with contextlib.suppress(OSError):  # the answer to a close finds nobody, at times
            self._flush()
        return True
