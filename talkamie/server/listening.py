"""How uvicorn listens: what the reference server and the yardstick of its benchmark have in common.

It imports nothing else of the server, because the yardstick is to stay as bare as it is.
"""

from __future__ import annotations

from typing import Any

import uvicorn

BACKLOG = 4096
KEEP_ALIVE_S = 75
DRAIN_S = 3


def configuration(app: Any, **more: Any) -> uvicorn.Config:
    """Return the settings under which an ASGI application is served; `more` are uvicorn's own names."""
    return uvicorn.Config(
        app,
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
        **more,
    )
