"""What later documentation adds to the API, served where it is asked for.

Nothing outside this package knows of it but the application, which mounts it. Importing it registers its
handlers.
"""

from __future__ import annotations

from starlette.routing import BaseRoute

from talkamie.server.extras import contacts, files, finance, lists, sessions, support
from talkamie.server.service import Service

DOMAINS = (contacts, files, finance, lists, sessions, support)


def routes(service: Service) -> list[BaseRoute]:
    """Return what is not an operation: where files are put and got, and where top-ups are paid."""
    return [*files.routes(service), *finance.routes(service)]
