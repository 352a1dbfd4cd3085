"""All processes of a server as one: what each of them says by itself, added up.

Each serves what it knows alone on a Unix socket in the server's folder: the test endpoints, `/health` and
`/metrics`. Whoever is asked for the whole asks all of them, itself too.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from pathlib import Path
from typing import Any

import httpx
import msgspec
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router

from talkamie.server import clock
from talkamie.server.faults.active import ACHIEVED_KEPT
from talkamie.server.ledger import PAGE
from talkamie.server.service import REQUESTS_KEPT, Request

TIMEOUT_S = 30.0
_NOT_ADDED = ("process_start_time_seconds", "process_max_fds")  # the least one says more
_encode = msgspec.json.Encoder().encode


def address(folder: Path, number: int) -> str:
    """Return where process `number` says what it knows."""
    return str(folder / f"worker-{number}")


class Siblings:
    """A way to ask every process."""

    def __init__(self, folder: Path, count: int) -> None:
        self.count = count
        self._clients = [
            httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(uds=address(folder, number), verify=False),
                base_url="http://worker",
                timeout=TIMEOUT_S,
            )
            for number in range(count)
        ]

    async def one(self, number: int, path: str, method: str = "GET", **more: Any) -> httpx.Response:
        return await self._clients[number].request(method, path, **more)

    async def all(self, path: str, method: str = "GET", **more: Any) -> list[httpx.Response]:
        asked = (self.one(number, path, method, **more) for number in range(self.count))
        return await asyncio.gather(*asked)

    async def health(self) -> dict[str, Any]:
        bodies = [answer.json() for answer in await self.all("/health")]
        whole: dict[str, Any] = bodies[0] | {
            "faults": any(body["faults"] for body in bodies),
            "sockets": sum(body["sockets"] for body in bodies),
            "workers": self.count,
        }
        return whole

    async def metrics(self) -> bytes:
        return added([answer.text for answer in await self.all("/metrics")])

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()


def added(texts: list[str]) -> bytes:
    """Return metrics in Prometheus's text format as those of one process: what has one name is added up."""
    comments: dict[str, None] = {}
    families: dict[str, dict[str, float]] = {}
    for text in texts:
        family = ""
        for line in text.splitlines():
            if line.startswith("#"):
                comments[line] = None
                family = line.split()[2]
                families.setdefault(family, {})
                continue
            name, _, value = line.rpartition(" ")
            values = families[family]
            before = values.get(name)
            if before is None:
                values[name] = float(value)
            elif name in _NOT_ADDED:
                values[name] = min(before, float(value))
            else:
                values[name] = before + float(value)
    lines: list[str] = []
    for family, values in families.items():
        lines += [comment for comment in comments if comment.split()[2] == family]
        lines += [f"{name} {value!r}" for name, value in values.items()]
    return "\n".join([*lines, ""]).encode()


class Order:
    """One numbering of the rows of several ledgers: a row keeps its number while all of them grow."""

    def __init__(self, count: int) -> None:
        self._starts: list[int] = []
        self._pieces: list[tuple[int, int]] = []  # whose, and his number of the first row of the piece
        self._seen = [0] * count
        self.total = 0

    def grow(self, totals: list[int]) -> None:
        """Number the rows that are new since the last time."""
        for number, total in enumerate(totals):
            if total < self._seen[number]:
                raise ValueError("a ledger has begun anew")
            if total > self._seen[number]:
                self._starts.append(self.total)
                self._pieces.append((number, self._seen[number]))
                self.total += total - self._seen[number]
                self._seen[number] = total

    def pieces(self, since: int, limit: int) -> list[tuple[int, int, int]]:
        """Return where rows `since` … are: (whose, his first, how many), in order."""
        found, until = [], min(since + limit, self.total)
        while since < until:
            at = bisect_right(self._starts, since) - 1
            end = self._starts[at + 1] if at + 1 < len(self._starts) else self.total
            whose, first = self._pieces[at]
            size = min(until, end) - since
            found.append((whose, first + since - self._starts[at], size))
            since += size
        return found


class Books(msgspec.Struct):
    columns: list[str]
    rows: list[msgspec.Raw]
    total: int = 0
    dropped: int = 0


def make_whole_app(siblings: Siblings) -> Router:
    """Return the test endpoints of a server of several processes."""
    order = Order(siblings.count)

    async def ledger(request: HttpRequest) -> Response:
        nonlocal order
        if request.method == "DELETE":
            await siblings.all("/ledger", "DELETE")
            order = Order(siblings.count)
            return Response(status_code=204)
        try:
            since = max(int(request.query_params.get("since", "0")), 0)
            limit = min(max(int(request.query_params.get("limit", str(PAGE))), 0), PAGE)
        except ValueError:
            return _json({"error": "since and limit are whole numbers"}, status=400)
        heads = [_books(answer) for answer in await siblings.all("/ledger?limit=0")]
        order.grow([head.total for head in heads])
        rows: list[msgspec.Raw] = []
        for whose, first, size in order.pieces(since, limit):
            rows += _books(await siblings.one(whose, f"/ledger?since={first}&limit={size}")).rows
        return _json(
            {
                "columns": heads[0].columns,
                "since": min(since, order.total),
                "rows": rows,
                "total": order.total,
                "dropped": sum(head.dropped for head in heads),
            }
        )

    async def summary(request: HttpRequest) -> Response:
        parts = [answer.json() for answer in await siblings.all("/ledger/summary")]
        fates: dict[str, dict[str, int]] = {}
        for part in parts:
            for action, counts in part["fates"].items():
                row = fates.setdefault(action, {})
                for fate, count in counts.items():
                    row[fate] = row.get(fate, 0) + count
        whole = {name: sum(part[name] for part in parts) for name in ("total", "dropped", "crossed")}
        return _json(whole | {"fates": fates})

    async def ring(request: HttpRequest) -> Response:
        start = Request._fields.index("start_ns")
        rows = [row for answer in await siblings.all(request.url.path) for row in answer.json()["rows"]]
        rows.sort(key=lambda row: int(row[start]))
        return _json({"columns": Request._fields, "rows": rows[-REQUESTS_KEPT:]})

    async def in_database(request: HttpRequest) -> Response:
        return _passed(await siblings.one(0, request.url.path, "POST", content=await request.body()))

    async def sockets(request: HttpRequest) -> Response:
        answers = await siblings.all("/sockets", "DELETE")
        return _json({"sockets": sum(answer.json()["sockets"] for answer in answers)})

    async def faults(request: HttpRequest) -> Response:
        params: dict[str, Any] = dict(request.query_params)
        if request.method == "PUT":
            params["start"] = clock.monotonic()
        body = await request.body()
        answers = await siblings.all("/faults", request.method, params=params, content=body)
        for answer in answers:
            if answer.status_code != 200:
                return _passed(answer)
        return _json(_added_faults([answer.json() for answer in answers]))

    routes: list[BaseRoute] = [
        Route("/ledger", ledger, methods=["GET", "DELETE"]),
        Route("/ledger/summary", summary),
        Route("/requests", ring),
        Route("/actions", ring),
        Route("/accounts", in_database, methods=["POST"]),
        Route("/connections", in_database, methods=["POST"]),
        Route("/sockets", sockets, methods=["DELETE"]),
        Route("/faults", faults, methods=["GET", "PUT", "DELETE"]),
    ]
    return Router(routes=routes, redirect_slashes=False)


def _added_faults(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the reports of several processes that follow one plan as one."""
    whole = reports[0]
    for number, rule in enumerate(whole.get("rules", [])):
        same = [report["rules"][number] for report in reports]
        achieved = [each for one in same for each in one["achieved_ns"]]
        rule["achieved_ns"] = achieved[:ACHIEVED_KEPT]
        rule["seen"], rule["hits"] = (sum(one[name] for one in same) for name in ("seen", "hits"))
    return whole


def _books(answer: httpx.Response) -> Books:
    return msgspec.json.decode(answer.content, type=Books)


def _passed(answer: httpx.Response) -> Response:
    return Response(answer.content, status_code=answer.status_code, media_type="application/json")


def _json(body: Any, *, status: int = 200) -> Response:
    return Response(_encode(body), status_code=status, media_type="application/json")
