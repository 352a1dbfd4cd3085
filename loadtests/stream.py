"""One connection on the engine, plain or TLS: bytes in both directions, each read with its instant.

Cipher text is read and written by us and turned in memory, because the kernel stamps what it received and
not what OpenSSL made of it. Nothing waits but `open`; what a peer does not take is kept, up to `MAX_UNSENT`.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from loadtests import clock
from loadtests.sockets import IP_BIND_ADDRESS_NO_PORT
from loadtests.waiting import Wait
from loadtests.wire import (
    ANCILLARY_BYTES,
    READ,
    SO_TIMESTAMPNS,
    TIMESPEC,
    WRITE,
    Address,
    Engine,
    PlainSocket,
)

READ_BYTES = 65536
RECORD_BYTES = 16384  # a TLS record has no more (RFC 8446, 5.1)
MAX_UNSENT = 4 << 20


class Unread(ConnectionError):
    """The peer does not take what it is sent."""


class Opened(NamedTuple):
    """Instants of a connection's birth, ns: begun, TCP connected, TLS agreed (= connected where plain)."""

    began: int
    connected: int
    secured: int


def _nothing(*_: Any) -> None:
    """Listen to nothing: what a stream that is over refers to."""


class Stream:
    """One connection, plain or TLS: bytes in both directions, each read with its instant.

    `on_data(data, arrived)` gets every read (decrypted), `on_end(error)` the end unless we closed it: None
    for the peer's regular end, else what broke. Both run in the loop's callback: they must not wait.
    """

    __slots__ = (
        "_arrived",
        "_connecting",
        "_engine",
        "_fd",
        "_incoming",
        "_outgoing",
        "_recvmsg",
        "_send",
        "_shaking",
        "_socket",
        "_tls",
        "_unsent",
        "_unsent_bytes",
        "on_data",
        "on_end",
    )

    def __init__(
        self,
        engine: Engine,
        on_data: Callable[[bytes, int], None],
        on_end: Callable[[BaseException | None], None],
    ) -> None:
        self._engine = engine
        self.on_data = on_data
        self.on_end = on_end
        self._socket: socket.socket | None = None
        self._tls: ssl.SSLObject | None = None
        self._connecting: Wait[None] | None = None
        self._shaking: Wait[None] | None = None
        self._unsent: deque[bytes] | None = None
        self._unsent_bytes = 0
        self._arrived = 0

    # --- Opening ---

    def open(self, host: str, port: int, *, deadline: int, context: ssl.SSLContext | None = None) -> Opened:
        """Connect, and agree on TLS where there is a `context`. Raises OSError: Expired from `deadline` on.

        Whatever it raises, the stream is closed and `on_end` was not called.
        """
        began = clock.now()
        try:
            self._connect(host, port, deadline)
            connected = secured = clock.now()
            if context is not None:
                self._secure(context, host, deadline)
                secured = clock.now()
        except BaseException:
            self.close()
            raise
        return Opened(began, connected, secured)

    def _connect(self, host: str, port: int, deadline: int) -> None:
        failure: OSError | None = None
        for family, address in self._engine.addresses(host, port):
            try:
                self._connect_to(family, address, deadline)
            except OSError as error:
                failure = failure or error
                self._shut()
            else:
                return
        raise failure or OSError(f"{host} has no address")

    def _connect_to(self, family: int, address: Address, deadline: int) -> None:
        one = self._socket = PlainSocket(family, socket.SOCK_STREAM)
        one.setblocking(False)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._engine.stamps == "wire":
            one.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        if source := self._engine.source(address[0]):
            one.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            one.bind((source, 0))
        self._fd, self._recvmsg, self._send = one.fileno(), one.recvmsg, one.send
        if (number := one.connect_ex(address)) not in (0, errno.EINPROGRESS):
            one.close()
            self._socket = None
            raise OSError(number, os.strerror(number))
        self._connecting = Wait(self._engine)
        self._engine.watch.add(self._fd, self, WRITE)
        try:
            self._connecting.get(deadline)
        finally:
            self._connecting = None
        if number := one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(number, os.strerror(number))
        self._engine.watch.change(self._fd, READ)

    def _secure(self, context: ssl.SSLContext, host: str, deadline: int) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._shaking = Wait(self._engine)
        self._shake()
        try:
            self._shaking.get(deadline)
        finally:
            self._shaking = None

    def _shake(self) -> None:
        """Go on with the TLS handshake as far as what has come allows."""
        assert self._tls is not None
        assert self._shaking is not None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except OSError as error:
            self._transmit(self._outgoing.read())  # the alert that tells the peer why
            self._shaking.fail(error)
            return
        else:
            self._shaking.set(None)
        self._transmit(self._outgoing.read())

    # --- Reading ---

    def ready(self, events: int, woke: int) -> None:
        """The connection can be read or written: called by the engine."""
        if events != READ:
            if self._connecting is not None:
                self._connecting.set(None)
                return
            if events & WRITE:
                self._write_on()
            if not events & ~WRITE or self._socket is None:  # a hang-up or an error is read as one
                return
        recvmsg = self._recvmsg  # not called as a method: the interpreter finds those slowly among slots
        try:
            data, ancillary, _, _ = recvmsg(READ_BYTES, ANCILLARY_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error)
            return
        if not data:
            self._end(None if self._shaking is None else EOFError("closed"))
            return
        if events != READ or len(data) == READ_BYTES:  # there may be more: we would not be told again
            self._engine.watch.change(self._fd, READ if self._unsent is None else READ | WRITE)
        engine = self._engine
        engine.reads += 1
        if ancillary:
            seconds, nanoseconds = TIMESPEC.unpack(ancillary[0][2])
            arrived = seconds * clock.SECOND + nanoseconds - engine.realtime.offset
            # What is not between the read before and now was stamped by a clock that has been set since.
            if arrived < self._arrived or (arrived > woke and arrived > clock.now()):
                engine.unstamped += 1
                arrived = woke
        else:
            engine.unstamped += 1
            arrived = woke
        self._arrived = arrived
        on_data = self.on_data
        try:
            if self._tls is None:
                on_data(data, arrived)
            else:
                self._decrypt(self._tls, data, arrived)
        except OSError as error:
            self._end(error)

    def _decrypt(self, tls: ssl.SSLObject, data: bytes, arrived: int) -> None:
        incoming, read = self._incoming, tls.read
        incoming.write(data)
        if self._shaking is not None and not self._shaking.over:
            self._shake()
            if not self._shaking.over:
                return
        try:
            while incoming.pending and self._socket is not None:
                if not (plain := read(RECORD_BYTES)):  # a whole record, so that none of it is left in `tls`
                    self._end(None)
                    return
                self.on_data(plain, arrived)
        except ssl.SSLWantReadError:
            pass
        if self._outgoing.pending:
            self._transmit(self._outgoing.read())

    # --- Writing ---

    def write(self, data: bytes) -> None:
        """Send, now or as soon as the peer takes it. A connection that breaks over it says so by `on_end`."""
        if self._socket is None:
            return
        if self._tls is not None:
            self._tls.write(data)
            data = self._outgoing.read()
        self._transmit(data)

    def _transmit(self, data: bytes) -> None:
        if self._socket is None or not data:
            return
        if self._unsent is None:
            try:
                sent = self._send(data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._end(error)
                return
            if sent == len(data):
                return
            data = data[sent:]
            self._unsent = deque()
            self._engine.watch.change(self._fd, READ | WRITE)
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if self._unsent_bytes > MAX_UNSENT:
            self._end(Unread(f"{self._unsent_bytes} bytes not taken"))

    def _write_on(self) -> None:
        """Send what had to wait."""
        unsent, self._unsent, self._unsent_bytes = self._unsent, None, 0
        if unsent is None:
            return
        self._engine.watch.change(self._fd, READ)
        for data in unsent:
            self._transmit(data)

    # --- Ending ---

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._socket is not None

    def finish(self) -> None:
        """Tell the peer that nothing more will come; go on reading."""
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError as error:
                self._end(error)

    def close(self) -> None:
        """Let go of the connection. Twice does no harm."""
        self._shut()
        self.on_data = self.on_end = _nothing  # because they refer to whoever refers to us

    def _shut(self) -> None:
        one, self._socket = self._socket, None
        if one is not None:
            self._engine.watch.remove(self._fd)
            one.close()

    def _end(self, error: BaseException | None) -> None:
        """The connection is over, not by us."""
        if self._socket is None:
            return
        on_end, shaking = self.on_end, self._shaking
        self._shut()
        if shaking is not None and not shaking.over:
            shaking.fail(error or EOFError("closed"))
        else:
            self.close()
            on_end(error)
