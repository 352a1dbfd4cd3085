"""Files: pictures, videos and certificates, put where a signed address says, beside the API.

An address is good once, for a quarter of an hour, for one file of the kind it was asked for. What may be
uploaded is a short list, because the files come back from our own origin: nothing that a browser would run.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from talkamie.contract import FilesWish, FileWish, SignedUrl, SignedUrls
from talkamie.server import clock
from talkamie.server.operations import ALLOWED_HEADERS, cross_origin
from talkamie.server.registry import operation
from talkamie.server.security import token_hash
from talkamie.server.service import Call, Problem, Service, given
from talkamie.server.store import Row

VALID_MS = 15 * 60 * 1000
STORE_BYTES = 512 << 20
_IMAGES = {"image/png", "image/jpeg", "image/webp", "image/gif"}
MIME_TYPES = {
    "picture": _IMAGES,
    "video": {"video/mp4", "video/webm", "video/quicktime"},
    "certificate": {"application/pdf", *_IMAGES},
}
MAX_BYTES = {"picture": 10 << 20, "video": 40 << 20, "certificate": 10 << 20}


@operation("get-signed-urls")
async def get_signed_urls(call: Call, *, body: FilesWish) -> SignedUrls:
    """Return, for each file, where to PUT it and where it will be."""
    items = {key: await _sign(call, wish) for key, wish in body.items.items()}
    return SignedUrls(file_dir_path=given(body.file_dir_path) or f"users/{call.me}", items=items)


def routes(service: Service) -> list[BaseRoute]:
    """Return where files are put and got; both may be asked from a browser's page."""

    async def put(request: Request) -> Response:
        status, message = await _take(service, request)
        return Response(message, status_code=status, headers=_headers(request))

    async def get(request: Request) -> Response:
        row = await _find(service, request.path_params["id"])
        if row is None or row["size"] is None:
            return Response("There is no such file.", status_code=404, headers=_headers(request))
        return FileResponse(_path(service, row["id"]), media_type=row["mime_type"], headers=_headers(request))

    async def preflight(request: Request) -> Response:
        allowed = {
            "access-control-allow-methods": "GET, PUT, OPTIONS",
            "access-control-allow-headers": ALLOWED_HEADERS.decode(),
        }
        return Response(status_code=204, headers=_headers(request) | allowed)

    return [
        Route("/files/{id}", put, methods=["PUT"]),
        Route("/files/{id}", get, methods=["GET"]),
        Route("/files/{id}", preflight, methods=["OPTIONS"]),
    ]


async def _sign(call: Call, wish: FileWish) -> SignedUrl:
    if wish.mime_type not in MIME_TYPES[wish.object_type]:
        known = ", ".join(sorted(MIME_TYPES[wish.object_type]))
        raise Problem(400, f"body: a {wish.object_type} is one of {known}")
    identity, token = call.db.new_id(call.now), secrets.token_urlsafe(24)
    await call.db.all(
        """insert into files (id, user_id, object_type, mime_type, token_hash, expires, created)
        values ($1, $2, $3, $4, $5, $6, $7)""",
        identity,
        call.me,
        wish.object_type,
        wish.mime_type,
        token_hash(token),
        call.now + VALID_MS,
        call.now,
    )
    url = f"{call.service.settings.origin}/files/{identity}"
    return SignedUrl(file_url=url, upload_url=f"{url}?token={token}")


async def _take(service: Service, request: Request) -> tuple[int, str]:
    """Store the body of a PUT; return the status and what to say."""
    row = await _find(service, request.path_params["id"])
    token = token_hash(request.query_params.get("token", ""))
    if row is None or not secrets.compare_digest(row["token_hash"], token) or row["expires"] <= clock.now():
        return 403, "The address is not good, or not any more."
    if request.headers.get("content-type", "") != row["mime_type"]:
        return 415, f"The address is for {row['mime_type']}."
    db = service.store.session()
    limit = MAX_BYTES[row["object_type"]]
    stored: int = await db.value("select coalesce(sum(size), 0) from files")
    if stored + limit > STORE_BYTES:
        return 507, "There is no more room for files."
    # Taken before the body comes, so that of two uploads to one address one is stored.
    sql = "update files set size = $2 where id = $1 and size is null returning id"
    if await db.value(sql, row["id"], limit) is None:
        return 409, "The file is here already."
    try:
        size = await _write(_path(service, row["id"]), request, limit)
    except (ClientDisconnect, OSError):
        size = None
    await db.all("update files set size = $2 where id = $1", row["id"], size)
    if size is None:
        _path(service, row["id"]).unlink(missing_ok=True)
        return 413, f"A {row['object_type']} may have {limit} bytes, and must arrive whole."
    return 200, ""


async def _write(path: Path, request: Request, limit: int) -> int | None:
    """Write the body to a file and return its size; nothing for one over the limit."""
    size = 0
    with path.open("wb") as file:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                return None
            file.write(chunk)
    return size


async def _find(service: Service, identity: str) -> Row | None:
    return await service.store.session().one("select * from files where id = $1", identity)


def _path(service: Service, identity: str) -> Path:
    """Return where a file is kept: under its id, which is ours and has no dots or slashes."""
    return Path(service.settings.files) / f"upload-{identity}"


def _headers(request: Request) -> dict[str, str]:
    raw = cross_origin(dict(request.scope["headers"]))
    return dict(Headers(raw=raw)) | {"x-content-type-options": "nosniff"}
