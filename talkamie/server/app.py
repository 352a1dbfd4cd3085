"""The application: every row of the contract at its path, the socket at any path, health, metrics, docs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from starlette.routing import BaseRoute, Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from talkamie.contract import DIALECTS, VERSION_PREFIX
from talkamie.server import (
    accounts,
    alerts,
    availability,
    calls,
    catalogue,
    chats,
    documents,
    extras,
    messages,
    otp,
    profiles,
    registry,
    relations,
    reviews,
    scheduling,
    signals,
)
from talkamie.server.actions import SocketEndpoint
from talkamie.server.bus import Bus
from talkamie.server.hub import Hub
from talkamie.server.metrics import Metrics
from talkamie.server.operations import MISBEHAVES, Endpoint, PathEndpoint, cross_origin, not_found, respond
from talkamie.server.paths import Paths
from talkamie.server.security import Passwords
from talkamie.server.service import Service, Settings
from talkamie.server.store import Store

# Importing them registered their handlers.
DOMAINS = (
    *(accounts, alerts, availability, calls, catalogue, chats, extras, messages, otp),
    *(profiles, relations, reviews, scheduling, signals),
)


def make_service(settings: Settings, store: Store, *, bus: Bus | None = None, number: int = 0) -> Service:
    """Put the parts of a server together; `bus` leads to its other processes, of which this is `number`."""
    metrics = Metrics()
    hub = Hub(metrics, names=DIALECTS[settings.dialect], bus=bus, number=number)
    return Service(settings, store, hub, Passwords(settings.password_cost), metrics)


def make_app(service: Service) -> ASGIApp:
    """Return the ASGI application. Raises RegistryError unless handlers and contract agree."""
    registry.verify()
    paths: dict[str, dict[str, Endpoint]] = {}
    for name, row in registry.operations(extras=service.settings.extras).items():
        endpoint = Endpoint(service, row, registry.operation_handler(name))
        paths.setdefault(VERSION_PREFIX + row.path, {})[row.method] = endpoint
    routes: list[BaseRoute] = []

    async def health(scope: Scope, receive: Receive, send: Send) -> None:
        siblings = service.siblings
        body = service.health() if siblings is None else await siblings.health()
        headers = cross_origin(dict(scope["headers"]))
        if body["faults"]:
            headers.append(MISBEHAVES)
        await respond(send, 200, msgspec.json.encode(body), headers=headers)

    async def metrics(scope: Scope, receive: Receive, send: Send) -> None:
        kind = b"text/plain; version=0.0.4; charset=utf-8"
        siblings = service.siblings
        text = service.metrics.text() if siblings is None else await siblings.metrics()
        await respond(send, 200, text, headers=[], content_type=kind)

    if service.settings.extras:
        routes += extras.routes(service)
    routes += [
        Route("/health", asgi(health)),
        Route("/metrics", asgi(metrics)),
        *documents.routes(extras=service.settings.extras),
        WebSocketRoute("/{path:path}", asgi(SocketEndpoint(service))),
    ]
    rest = Router(routes=routes, default=not_found, redirect_slashes=False)
    return Paths({path: PathEndpoint(methods) for path, methods in paths.items()}, rest)


class asgi:
    """Marks a function as an ASGI application: Starlette takes a plain one for a request handler."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]] | ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
