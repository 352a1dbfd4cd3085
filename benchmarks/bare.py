"""The yardstick: one Starlette route with a small JSON, under the reference server's uvicorn settings.

`python -m benchmarks.bare [FILE]` prints its port and serves until its stdin ends; FILE is a certificate and
its key, for https.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from talkamie.server.listening import BACKLOG, configuration


async def user(request: Request) -> Response:
    """Return a small JSON: no look-up, no token, no books."""
    return JSONResponse({"success": True, "data": {"id": request.path_params["id"], "name": "Ann"}})


def main(certificate: str | None = None) -> None:
    """Serve until stdin ends."""
    app = Starlette(routes=[Route("/v1/user/{id}", user)])
    config = configuration(app, loop="uvloop", http="httptools", ws="none", ssl_certfile=certificate)
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
        print(listener.getsockname()[1], flush=True)
        threading.Thread(target=_stop_with_stdin, daemon=True).start()
        uvicorn.Server(config).run(sockets=[listener])


def _stop_with_stdin() -> None:
    """End the process when whoever started it closes the pipe, or is gone."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(*sys.argv[1:2])
