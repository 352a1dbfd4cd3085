"""Where connections come in: the bound socket, uvicorn's server upon it, and its certificate."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn

from talkamie.contract import VERSION_PREFIX
from talkamie.server.connection import HttpConnection, SocketConnection

TLS_BUFFER_BYTES = 16 * 1024  # a TLS record has no more
LOOPBACK = "127.0.0.1"


class StartError(Exception):
    """The server cannot start; the text says why and what to do."""


class Listener(uvicorn.Server):
    """uvicorn's server, with the signals left to us, and a word when it listens."""

    def __init__(
        self, config: uvicorn.Config, sock: socket.socket | None = None, *, shared: bool = False
    ) -> None:
        """`shared`: other processes listen on the same address. Without a socket the config says where."""
        super().__init__(config)
        self.sockets = None if sock is None else [sock]
        self._shared = shared
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def refuse(self) -> None:
        """Listen no more: the address stays ours, and who connects is refused by the kernel."""
        assert self.sockets is not None
        host, port = self.sockets[0].getsockname()[:2]
        for server in self.servers:
            server.close()
        self.sockets = [listen(host, port, shared=self._shared)]

    async def accept(self) -> None:
        """Listen again."""
        if not self.should_exit:
            await super().startup(self.sockets)

    def cut(self) -> int:
        """Reset every connection; return how many there were."""
        connections = tuple(self.server_state.connections)
        for connection in connections:
            assert isinstance(connection, HttpConnection | SocketConnection)
            connection.reset()
        return len(connections)


class _SmallReads(ssl.SSLObject):
    """Reads a record at a time: uvloop asks for 256 KiB, and each read would allocate as much."""

    def read(self, len: int = TLS_BUFFER_BYTES, buffer: Any = None) -> Any:
        return super().read(min(len, TLS_BUFFER_BYTES), buffer)


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Return a bound socket; `shared` with other processes that say so too. Raises StartError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"port {port} of {host} is in use. Stop what listens there, or use --port 0."
            ) from error
        raise StartError(f"cannot listen on {host} port {port}: {error.strerror or error}.") from error
    return sock


def origin(host: str, sock: socket.socket, *, plain: bool) -> str:
    """Return the https address by which a client of this machine reaches us, without a path."""
    reachable = {"0.0.0.0": LOOPBACK, "::": "::1", "": LOOPBACK}.get(host, host)  # noqa: S104 - a look-up
    name = f"[{reachable}]" if ":" in reachable else reachable
    return f"http{'' if plain else 's'}://{name}:{sock.getsockname()[1]}"


def addresses(origin: str) -> dict[str, str]:
    """Return the two addresses by which a client of this machine reaches us."""
    return {"https": origin + VERSION_PREFIX, "wss": f"ws{origin.removeprefix('http')}/socket"}


def certify(folder: Path, host: str) -> tuple[ssl.SSLContext, str]:
    """Make a CA that nobody else trusts and a certificate for us; return the context and the CA's file."""
    import trustme

    names = dict.fromkeys(["127.0.0.1", "::1", "localhost", host or LOOPBACK])
    authority = trustme.CA(organization_name="talkamie reference server")
    try:
        leaf = authority.issue_cert(*names, common_name="talkamie reference server")
        folder.mkdir(parents=True, exist_ok=True)
        ca, key = folder / "ca.pem", folder / "server.pem"
        authority.cert_pem.write_to_path(str(ca))
        key.unlink(missing_ok=True)
        with open(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(leaf.private_key_and_cert_chain_pem.bytes())
    except (OSError, ValueError) as error:
        raise StartError(
            f"cannot put the certificate into {folder}: {error}. Choose another --ca-dir."
        ) from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = _SmallReads
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(key)
    return context, str(ca.resolve())
