"""The system under test: where it is, whether it answers, and starting the reference one.

A target is two addresses, https and wss, since the real API lives on two origins. This module is used
before any load starts, by the command line too, so it imports neither Locust nor gevent.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
from websockets.client import ClientProtocol
from websockets.exceptions import WebSocketException
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from loadtests.usage import of_metrics
from talkamie.contract import ANONYMOUS_TOKEN, OPERATIONS

PRIVATE = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))
"""RFC 1918 and RFC 4193: nobody's on the internet."""

READY_TIMEOUT_S = 20
PREFLIGHT_TIMEOUT_S = 5


class TargetError(Exception):
    """The target can't be used; the message says why and what to do."""


class AddressError(TargetError):
    """The address itself is wrong: a mistake of usage, nothing was contacted."""


@dataclass(frozen=True, slots=True)
class Target:
    """Two addresses, who vouches for their certificates, and what is known about the server."""

    https: str
    wss: str
    ca: str | None = None
    pid: int = 0  # of the reference server when it was started here, else 0
    test: str = ""  # address of its test endpoints, if it has them
    version: str = ""
    stage: str = ""
    faults: bool = False
    password_cost: str = ""
    extras: bool = False  # it serves what is beyond the 48 operations
    metrics: str = ""  # address at which it says what its processes use, where we can't read them ourselves
    processes: int = 0  # of the target, as it tells; 0: it does not

    @property
    def host(self) -> str:
        """Return the host of the sockets."""
        return urlsplit(self.wss).hostname or ""

    @property
    def local(self) -> bool:
        """Return whether the server is a process of this machine that can be watched."""
        return self.pid > 0


def address(https: str, wss: str, ca: str | None = None, *, private: bool = False) -> Target:
    """Return the target at two addresses given by a person; `private`: others than this machine may be meant.

    Raises AddressError for what is no such address, and TargetError for a host that load must not go to.
    A host that is not this machine is given as a number, so that no name server says who gets the load.
    """
    for name, url, schemes in (("--target", https, ("https", "http")), ("--socket", wss, ("wss", "ws"))):
        try:
            parts = urlsplit(url)
            port_ok = parts.port is None or parts.port > 0
        except ValueError as error:
            raise AddressError(f"{name} {url!r:.300}: {error}") from None
        if parts.scheme not in schemes or not parts.hostname or not port_ok:
            raise AddressError(f"{name} {url!r:.300}: expected {schemes[0]}://HOST[:PORT]/…")
        if parts.username or parts.password:
            raise AddressError(f"{name}: no user or password in an address; people sign in with their own")
        if is_loopback(parts.hostname):
            continue
        if not _is_private(parts.hostname):
            raise TargetError(
                f"{name} {parts.hostname}: load goes to this machine only (127.0.0.0/8, ::1, localhost)"
                " and, with --allow-private, to addresses of private networks (10.1.2.3)"
            )
        if not private:
            raise TargetError(
                f"{name} {parts.hostname}: load goes to this machine only; this is a private network: if you"
                " may load that host, say so with --allow-private"
            )
    return Target(https.rstrip("/"), wss, ca)


def is_loopback(host: str) -> bool:
    """Return whether an address is this machine's own, and nobody else's."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_private(host: str) -> bool:
    try:
        place = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(place in network for network in PRIVATE)


def tls_context(target: Target, *, authority: str = "") -> ssl.SSLContext | None:
    """Return the one context of this process: certificates are verified, by the target's CA if it has one.

    `authority` is that CA's PEM, where its file is on another host. Raises AddressError.
    """
    if not target.https.startswith("https") and not target.wss.startswith("wss"):
        return None
    try:
        if authority:
            return ssl.create_default_context(cadata=authority)
        return ssl.create_default_context(cafile=target.ca)
    except (OSError, ssl.SSLError) as error:
        raise AddressError(f"--ca {target.ca}: not a file with certificates (PEM): {error}") from None


def preflight(target: Target) -> Target:
    """Ask both halves one harmless thing each; return the target with what it tells of itself.

    Raises TargetError if either half doesn't answer: no load is started against it.
    """
    context = tls_context(target)
    with httpx.Client(
        verify=context or True, timeout=PREFLIGHT_TIMEOUT_S, trust_env=False, follow_redirects=False
    ) as client:
        try:
            answer = client.get(
                target.https + OPERATIONS["get-user-by-token"].path,
                headers={"Authorization": f"Bearer {ANONYMOUS_TOKEN}"},
            )
            said = answer.json()
            if answer.status_code >= 500 or not isinstance(said, dict) or "success" not in said:
                raise TargetError(_not_the_api(target.https, answer.status_code))
            health = _health(client, target)
            metrics = "" if target.pid else _metrics(client, target)
        except ValueError:
            raise TargetError(_not_the_api(target.https, answer.status_code)) from None
        except (httpx.HTTPError, OSError) as error:
            raise TargetError(_why(target.https, error)) from None
    try:
        if _ping(target.wss, context).get("action") != "ping":
            raise TargetError(f"{target.wss} does not answer a ping: is it the socket of the API?")
    except (OSError, WebSocketException, ValueError, AttributeError) as error:
        raise TargetError(_why(target.wss, error)) from None
    return Target(
        target.https,
        target.wss,
        target.ca,
        target.pid,
        target.test or _test_address(health),
        version=str(health.get("version", "")),
        stage=str(health.get("stage", "")),
        faults=bool(health.get("faults", False)),
        password_cost=str(health.get("passwordCost", "")),
        extras=bool(health.get("extras", False)),
        metrics=metrics,
        processes=workers if isinstance(workers := health.get("workers"), int) and workers > 0 else 0,
    )


def _ping(url: str, context: ssl.SSLContext | None) -> Any:
    """Open a socket, send one application ping, return its answer.

    By hand on the library's Sans-I/O core: its ready-made blocking client reads TLS in a second thread, and
    one handshake in some hundreds hangs.
    """
    uri = parse_uri(url)
    protocol = ClientProtocol(uri)
    protocol.send_request(protocol.connect())
    with socket.create_connection((uri.host, uri.port), timeout=PREFLIGHT_TIMEOUT_S) as plain:
        wrapped = context.wrap_socket(plain, server_hostname=uri.host) if context and uri.secure else plain
        with wrapped as connection:
            answer: Any = None
            while answer is None:
                connection.sendall(b"".join(protocol.data_to_send()))
                data = connection.recv(65536)
                protocol.receive_data(data) if data else protocol.receive_eof()
                if protocol.handshake_exc:
                    raise protocol.handshake_exc
                if not data:
                    raise ConnectionError("the socket was closed before it answered")
                for event in protocol.events_received():
                    if isinstance(event, Response):
                        protocol.send_text(b'{"action":"ping"}')
                    elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                        answer = json.loads(bytes(event.data))
            protocol.send_close(CloseCode.NORMAL_CLOSURE)
            connection.sendall(b"".join(protocol.data_to_send()))
            return answer


def _health(client: httpx.Client, target: Target) -> dict[str, Any]:
    """Return what the reference server tells of itself; another server has no such page, and that is fine."""
    try:
        answer = client.get(_origin(target) + "/health")
        said = answer.json() if answer.status_code == 200 else {}
        return said if isinstance(said, dict) else {}
    except (httpx.HTTPError, ValueError):
        return {}


def _metrics(client: httpx.Client, target: Target) -> str:
    """Return the address of its metrics, "" where it has none that tell what its processes use."""
    url = _origin(target) + "/metrics"
    with contextlib.suppress(httpx.HTTPError):
        answer = client.get(url)
        if answer.status_code == 200 and of_metrics(answer.content):
            return url
    return ""


def _origin(target: Target) -> str:
    parts = urlsplit(target.https)
    return f"{parts.scheme}://{parts.netloc}"


def _test_address(health: dict[str, Any]) -> str:
    """Return where a server says that its test endpoints are; elsewhere than on this machine is nowhere."""
    told = str(health.get("test", ""))
    try:
        parts = urlsplit(told)
        return told if parts.scheme == "http" and is_loopback(parts.hostname or "") else ""
    except ValueError:
        return ""


def _not_the_api(url: str, status: int) -> str:
    return (
        f"{url} answers {status}, but not as the Talkamie API: is the address right, version prefix included?"
    )


def _why(url: str, error: BaseException) -> str:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return (
                f"{url}: its certificate is not trusted ({seen.verify_message}). "
                "Give the authority that signed it with --ca FILE."
            )
        if isinstance(seen, ConnectionRefusedError):
            return (
                f"{url}: nobody listens there (connection refused). Start the server, or correct the address."
            )
        if isinstance(seen, TimeoutError | httpx.TimeoutException):
            return (
                f"{url}: no answer within {PREFLIGHT_TIMEOUT_S} s. Is the server up, and reachable from here?"
            )
        seen = seen.__cause__ or seen.__context__
    return f"{url}: {str(error) or type(error).__name__}"


class Started:
    """A server that a command starts; ended with `stop`, with all that it started itself."""

    def __init__(self, command: Sequence[str], name: str) -> None:
        """Start it without waiting; `name` is what complaints call it. Raises TargetError."""
        self._name = name
        self._said = tempfile.TemporaryFile(  # noqa: SIM115  open for as long as the server lives
            "w+", encoding="utf-8", errors="replace"
        )
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._said,  # a file: nobody reads along, and a full pipe would stop the server
                text=True,
                start_new_session=True,  # Ctrl-C at the terminal is for us: we stop it when the run is over
            )
        except OSError as error:
            raise TargetError(f"{name} can't be started: {error.strerror}: {command[0]!r}") from None

    def ready(self) -> Target:
        """Wait for its ready line, JSON with https, wss, ca and pid; return where it listens.

        Raises TargetError when it ends, or says something else, or nothing for READY_TIMEOUT_S.
        """
        assert self._process.stdout is not None
        watchdog = threading.Timer(READY_TIMEOUT_S, self._end)
        watchdog.start()
        line = self._process.stdout.readline()
        watchdog.cancel()
        try:
            said = json.loads(line)
            ca = None if said["ca"] is None else str(said["ca"])
            found = Target(
                str(said["https"]), str(said["wss"]), ca, int(said["pid"]), str(said.get("test", ""))
            )
        except (ValueError, KeyError, TypeError):
            self._end()
            self._said.seek(0)
            complaint = self._said.read().strip().splitlines()
            self.stop()
            raise TargetError(f"{self._name} did not start: {complaint[-1] if complaint else line}") from None
        # What it prints from here on is not for us, but somebody has to take it.
        threading.Thread(target=deque(maxlen=0).extend, args=(self._process.stdout,), daemon=True).start()
        return found

    def stop(self) -> None:
        """Let it drain, and end it and what it started."""
        self._end()
        self._said.close()

    def _end(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is None:
                with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                    os.killpg(self._process.pid, number)
                    self._process.wait(READY_TIMEOUT_S)


class Server(Started):
    """The reference server as a process of its own, ended with `stop` or when this process ends."""

    def __init__(self, *options: str) -> None:
        """Start it without waiting; `options` are those of `talkload serve`."""
        command = [sys.executable, "-m", "talkamie.server", "--port", "0", "--exit-with-parent", *options]
        super().__init__(command, "the reference server")
