"""The life of a server: listen, say so, serve, drain; in this process, or in several (`workers`).

Everything that can refuse to start does so before the ready line. After SIGTERM or SIGINT no connection is
accepted, requests in flight are finished, sockets are closed with 1012, and what was made is removed.
"""

from __future__ import annotations

import argparse
import asyncio
import asyncio.sslproto
import contextlib
import ctypes
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
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvicorn

from talkamie.contract import MAX_MESSAGE_BYTES
from talkamie.server import calls, clock, faults
from talkamie.server.app import make_app, make_service
from talkamie.server.bus import BusError, InProcess, make_bus
from talkamie.server.connection import UNLIMITED_BYTES, HttpConnection, SocketConnection
from talkamie.server.doors import (
    LOOPBACK,
    TLS_BUFFER_BYTES,
    Listener,
    StartError,
    addresses,
    certify,
    listen,
    origin,
)
from talkamie.server.faults.plan import Plan, PlanError, load
from talkamie.server.listening import configuration
from talkamie.server.service import Service, Settings
from talkamie.server.siblings import Siblings, address, make_whole_app
from talkamie.server.store import Store, StoreError, open_store
from talkamie.server.workers import Alone, Ended, Herald, Member, Workers

LARGE_BYTES = 128 * 1024
MOST_FILES = 65_536  # what a process asks for, where it may
_M_MMAP_THRESHOLD = -3  # malloc.h


@dataclass(frozen=True)
class Job:
    """What a process serves, and by what means; the same for all of a server."""

    settings: Settings
    folder: Path
    database: str
    durable: bool
    bus: str
    workers: int
    host: str
    sock: socket.socket
    test_sock: socket.socket | None
    context: ssl.SSLContext | None
    plan: Plan | None


def run(options: argparse.Namespace) -> None:
    """Serve until told to stop. Raises StartError, and Ended where it cannot go on."""
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr, format="%(asctime)s %(name)s: %(message)s")
    # Until the loop takes the signals over: what was made so far is removed on this way out too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    _allow_files()
    plan = _plan(options.faults, options.seed, options.host)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="talkamie-")))
        sock = stack.enter_context(listen(options.host, options.port))
        test_sock = stack.enter_context(listen(LOOPBACK, 0)) if options.test_endpoints else None
        test = f"http://{LOOPBACK}:{test_sock.getsockname()[1]}" if test_sock else ""
        settings = _settings(options, sock, folder, test)
        context, ready = None, addresses(settings.origin) | {"ca": None, "pid": os.getpid()}
        if not options.plain:
            context, ready["ca"] = certify(Path(options.ca_dir) if options.ca_dir else folder, options.host)
        if test_sock is not None:
            ready["test"] = test
        job = Job(
            settings,
            folder,
            options.db or f"sqlite:///{folder / 'talkamie.db'}",
            options.durable,
            options.bus,
            options.workers,
            options.host,
            sock,
            test_sock,
            context,
            plan,
        )
        parent = os.getppid() if options.exit_with_parent else None
        if job.workers == 1:
            _work(job, 0, Alone(ready), parent)
        else:
            _work_together(job, ready, parent)


def _allow_files() -> None:
    """Ask for as many open files as there may be: each connection is one, and most shells give 1,024."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # Windows; more than the system keeps
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def _work_together(job: Job, ready: dict[str, Any], parent: int | None) -> None:
    """Serve in several processes; this one only watches them."""
    if not hasattr(os, "fork"):
        raise StartError("several processes need a system with fork. Leave out --workers.")
    with asyncio.Runner() as runner:  # so that the tables are there, and a bad --db is said once
        runner.run(_opened(job, runner).close())

    def serve(number: int, member: Member) -> None:
        with listen(job.host, job.sock.getsockname()[1], shared=True) as own:
            job.sock.close()  # it only kept the address
            _work(replace(job, sock=own), number, member, os.getppid())

    workers = Workers(job.workers, serve)
    try:
        try:
            workers.start()
        except Ended as error:
            raise StartError(str(error)) from error
        print(json.dumps(ready | {"workers": workers.pids}), flush=True)
        workers.watch(parent)
    finally:
        workers.stop()


def _work(job: Job, number: int, herald: Herald, parent: int | None) -> None:
    """Be process `number` of a server. Raises StartError, and Ended."""
    several = job.workers > 1
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner(loop_factory=_loop_factory()))
        store = _opened(job, runner)
        stack.callback(lambda: runner.run(store.close()))
        try:
            bus = make_bus(job.bus, number, job.workers, job.folder) if several else InProcess()
        except BusError as error:
            raise StartError(str(error)) from error
        service = make_service(job.settings, store, bus=bus, number=number)
        stack.callback(service.passwords.close)
        listeners = [
            Listener(_config(make_app(service), job.context, job.settings), job.sock, shared=several)
        ]
        listeners += _test_listeners(job, service, number, stack, runner)
        runner.run(_serve(service, listeners, herald, parent, job.plan))


def _opened(job: Job, runner: asyncio.Runner) -> Store:
    try:
        return runner.run(open_store(job.database, durable=job.durable))
    except StoreError as error:
        raise StartError(str(error)) from error


def _test_listeners(
    job: Job, service: Service, number: int, stack: ExitStack, runner: asyncio.Runner
) -> list[Listener]:
    """Return where this process says what it knows: to whoever tests, and of several to the others."""
    if job.workers == 1 and job.test_sock is None:
        return []
    from talkamie.server.testing import make_test_app

    alone = make_test_app(service)
    if job.workers == 1:
        return [Listener(_config(alone, None, job.settings), job.test_sock)]
    service.siblings = siblings = Siblings(job.folder, job.workers)
    stack.callback(lambda: runner.run(siblings.close()))
    found = [Listener(_config(alone, None, job.settings, uds=address(job.folder, number)))]
    if job.test_sock is not None and number == 0:
        found.append(Listener(_config(make_whole_app(siblings), None, job.settings), job.test_sock))
    return found


async def _serve(
    service: Service, listeners: list[Listener], herald: Herald, parent: int | None, plan: Plan | None
) -> None:
    """Serve on every listener until a signal, until the parent is another one, or until the bus fails."""
    failures: list[str] = []

    def stop(failure: str | None = None) -> None:
        if failure is not None:
            failures.append(f"the bus between the processes failed: {failure}")
        for listener in listeners:
            listener.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    bus = service.hub.elsewhere.bus
    try:
        await bus.open(service.hub.elsewhere.take, stop)
    except BusError as error:
        raise Ended(str(error)) from error
    try:
        start = await herald.joined()
        async with asyncio.TaskGroup() as group:
            for listener in listeners:
                group.create_task(listener.serve(sockets=listener.sockets))
            for listener in listeners:
                await listener.listening.wait()
            # What lives now lives until the end: keep the collector from walking through it at every turn.
            gc.collect()
            gc.freeze()
            service.gate = listeners[0]
            await faults.switch(service, plan, start)
            await calls.recover(service)
            herald.listening()
            await _tend(service, listeners[0], stop, parent)
            await faults.switch(service, None)
    finally:
        await bus.close()
    if failures:
        raise Ended(failures[0])


async def _tend(service: Service, listener: Listener, stop: Callable[[], None], parent: int | None) -> None:
    """Do what is to be done from time to time, until the listener is to stop."""
    deadline_s = service.settings.auth_deadline_s
    while not listener.should_exit:
        await asyncio.sleep(min(0.5, deadline_s / 4))
        service.hub.sweep(
            clock.monotonic(),
            auth_deadline_s=deadline_s,
            platform_limits=service.settings.platform_limits,
        )
        await calls.sweep(service)
        if parent is not None and os.getppid() != parent:
            stop()


def _settings(options: argparse.Namespace, sock: socket.socket, folder: Path, test: str) -> Settings:
    return Settings(
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
        origin=origin(options.host, sock, plain=options.plain),
        files=str(folder),
        test=test,
    )


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


def _config(app: Any, context: ssl.SSLContext | None, settings: Settings, **more: Any) -> uvicorn.Config:
    return configuration(
        app,
        http=HttpConnection,
        ws=SocketConnection,
        ws_max_size=MAX_MESSAGE_BYTES if settings.platform_limits else UNLIMITED_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        ssl_context_factory=None if context is None else lambda config, default: context,
        **more,
    )
