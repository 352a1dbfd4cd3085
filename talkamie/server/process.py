"""The life of the process: listen, say so, serve, drain.

Everything that can refuse to start does so before the ready line. After SIGTERM or SIGINT no connection is
accepted, requests in flight are finished, sockets are closed with 1012, and what was made is removed.
"""

from __future__ import annotations

import argparse
import asyncio
import asyncio.sslproto
import contextlib
import ctypes
import errno
import gc
import ipaddress
import json
import logging
import os
import signal
import socket
import ssl
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvicorn

from talkamie.contract import MAX_MESSAGE_BYTES, VERSION_PREFIX
from talkamie.server import calls, clock, faults
from talkamie.server.app import make_app, make_service
from talkamie.server.connection import UNLIMITED_BYTES, HttpConnection, SocketConnection
from talkamie.server.faults.plan import Plan, PlanError, load
from talkamie.server.listening import configuration
from talkamie.server.service import Service, Settings
from talkamie.server.store import StoreError, open_store

TLS_BUFFER_BYTES = 16 * 1024  # a TLS record has no more
LARGE_BYTES = 128 * 1024
_M_MMAP_THRESHOLD = -3  # malloc.h
LOOPBACK = "127.0.0.1"


class StartError(Exception):
    """The server cannot start; the text says why and what to do."""


class Listener(uvicorn.Server):
    """uvicorn's server, with the signals left to us, and a word when it listens."""

    def __init__(self, config: uvicorn.Config, sock: socket.socket) -> None:
        super().__init__(config)
        self.sock = sock
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def refuse(self) -> None:
        """Listen no more: the address stays ours, and who connects is refused by the kernel."""
        host, port = self.sock.getsockname()[:2]
        for server in self.servers:
            server.close()
        self.sock = _listen(host, port)

    async def accept(self) -> None:
        """Listen again."""
        if not self.should_exit:
            await super().startup([self.sock])

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


def run(options: argparse.Namespace) -> None:
    """Serve until told to stop. Raises StartError."""
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr, format="%(asctime)s %(name)s: %(message)s")
    # Until the loop takes the signals over: what was made so far is removed on this way out too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    plan = _plan(options.faults, options.seed, options.host)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="talkamie-")))
        sock = _listen(options.host, options.port)
        stack.callback(sock.close)
        test_sock = _listen(LOOPBACK, 0) if options.test_endpoints else None
        test = f"http://{LOOPBACK}:{test_sock.getsockname()[1]}" if test_sock else ""
        settings = Settings(
            password_cost=options.password_cost,
            otp_resend_limit=options.otp_resend_limit,
            platform_limits=options.platform_limits,
            auth_deadline_s=options.auth_deadline,
            ring_timeout_s=options.ring_timeout,
            call_grace_s=options.call_grace,
            dialect=options.dialect,
            extras=options.extras,
            billing=options.billing,
            enforce_roles=options.enforce_roles,
            check_overlap=options.check_overlap,
            apigw_errors=options.apigw_errors,
            loopback=_is_loopback(options.host),
            origin=_origin(options.host, sock, plain=options.plain),
            files=str(folder),
            test=test,
        )
        runner = stack.enter_context(asyncio.Runner(loop_factory=_loop_factory()))
        try:
            url = options.db or f"sqlite:///{folder / 'talkamie.db'}"
            store = runner.run(open_store(url, durable=options.durable))
        except StoreError as error:
            raise StartError(str(error)) from error
        stack.callback(lambda: runner.run(store.close()))
        service = make_service(settings, store)
        stack.callback(service.passwords.close)
        context = None
        ready: dict[str, Any] = {"ca": None}
        if not options.plain:
            context, ready["ca"] = _certify(Path(options.ca_dir) if options.ca_dir else folder, options.host)
        ready = _addresses(settings.origin) | ready | {"pid": os.getpid()}
        listeners = [Listener(_config(make_app(service), context, settings), sock)]
        if test_sock is not None:
            from talkamie.server.testing import make_test_app

            ready["test"] = test
            listeners.append(Listener(_config(make_test_app(service), None, settings), test_sock))
        parent = os.getppid() if options.exit_with_parent else None
        runner.run(_serve(service, listeners, ready, parent, plan))


async def _serve(
    service: Service, listeners: list[Listener], ready: dict[str, Any], parent: int | None, plan: Plan | None
) -> None:
    """Serve on every listener until a signal, or until the parent is another one."""

    def stop() -> None:
        for listener in listeners:
            listener.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    async with asyncio.TaskGroup() as group:
        for listener in listeners:
            group.create_task(listener.serve(sockets=[listener.sock]))
        for listener in listeners:
            await listener.listening.wait()
        # What lives now lives until the end: keep the collector from walking through it at every turn.
        gc.collect()
        gc.freeze()
        service.gate = listeners[0]
        await faults.switch(service, plan)
        print(json.dumps(ready), flush=True)
        await calls.recover(service)
        deadline_s = service.settings.auth_deadline_s
        while not listeners[0].should_exit:
            await asyncio.sleep(min(0.5, deadline_s / 4))
            service.hub.sweep(
                clock.monotonic(),
                auth_deadline_s=deadline_s,
                platform_limits=service.settings.platform_limits,
            )
            await calls.sweep(service)
            if parent is not None and os.getppid() != parent:
                stop()
        await faults.switch(service, None)


def _plan(file: str | None, seed: int, host: str) -> Plan | None:
    """Return the fault plan that was asked for, and say on stderr that there is one."""
    if file is None:
        return None
    if not _is_loopback(host):
        raise StartError(f"{faults.LOOPBACK_ONLY} Leave out --host {host}, or --faults.")
    try:
        plan = load(file, seed=seed)
    except PlanError as error:
        raise StartError(str(error)) from error
    rules = f"{len(plan.rules)} rule{'s'[: len(plan.rules) != 1]}"
    print(f"talkamie.server: FAULTS ARE ON, on purpose: {file}, {rules}, seed {seed}", file=sys.stderr)
    return plan


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _loop_factory() -> Any:
    # Because a wss socket costs 300 KiB with asyncio's buffer of 256 KiB, 52 with this. uvloop has a buffer
    # of its own of that size, of which the kernel gives only as much as is used, provided that it is mapped
    # for itself: 42 KiB, 67 from the heap. glibc does so until it has seen such a buffer freed, unless told.
    asyncio.sslproto.SSLProtocol.max_size = TLS_BUFFER_BYTES
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library, or Windows
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
    try:
        import uvloop
    except ImportError:  # Windows
        return None
    return uvloop.new_event_loop


def _config(app: Any, context: ssl.SSLContext | None, settings: Settings) -> uvicorn.Config:
    return configuration(
        app,
        http=HttpConnection,
        ws=SocketConnection,
        ws_max_size=MAX_MESSAGE_BYTES if settings.platform_limits else UNLIMITED_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        ssl_context_factory=None if context is None else lambda config, default: context,
    )


def _listen(host: str, port: int) -> socket.socket:
    """Return a bound socket; what is wrong with the address is said in one sentence."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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


def _origin(host: str, sock: socket.socket, *, plain: bool) -> str:
    """Return the https address by which a client of this machine reaches us, without a path."""
    reachable = {"0.0.0.0": LOOPBACK, "::": "::1", "": LOOPBACK}.get(host, host)  # noqa: S104 - a look-up
    name = f"[{reachable}]" if ":" in reachable else reachable
    return f"http{'' if plain else 's'}://{name}:{sock.getsockname()[1]}"


def _addresses(origin: str) -> dict[str, str]:
    """Return the two addresses by which a client of this machine reaches us."""
    return {"https": origin + VERSION_PREFIX, "wss": f"ws{origin.removeprefix('http')}/socket"}


def _certify(folder: Path, host: str) -> tuple[ssl.SSLContext, str]:
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
