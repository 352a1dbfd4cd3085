"""What a server tells about itself: `/openapi.json`, `/asyncapi.json`, and `/docs`, a page to try them.

The page is one file with no outside reference; its policy lets the browser load nothing else.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from talkamie import specs


@functools.cache
def routes(*, extras: bool) -> tuple[Route, ...]:
    """Return the routes of both documents and of the page, made once a process."""
    page = files("talkamie.server").joinpath("docs.html").read_text(encoding="utf-8")
    policy = {"content-security-policy": _policy(page), "referrer-policy": "no-referrer"}

    async def docs(request: Request) -> Response:
        return Response(page, media_type="text/html", headers=policy)

    kept = specs.documents(extras=extras).items()
    return (Route("/docs", docs), *(_route(name, specs.text(document)) for name, document in kept))


def _route(name: str, text: str) -> Route:
    async def document(request: Request) -> Response:
        return Response(text, media_type="application/json")

    return Route(f"/{name}", document)


def _policy(page: str) -> str:
    """Return a policy that runs the page's own script and style, known by their hashes, and nothing else."""
    script, style = (
        " ".join(f"'sha256-{_hash(part)}'" for part in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL))
        for tag in ("script", "style")
    )
    return (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self' ws: wss:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash(part: str) -> str:
    return base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
