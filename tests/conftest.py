"""Tests of code that runs under gevent live in `patched/`, in a process of their own that is patched first:

    python -m gevent.monkey --module pytest tests/patched

`make test` runs both. Everything else runs unpatched, as the code it tests does.
"""

from __future__ import annotations

import sys

import pytest


def _patched() -> bool:
    gevent = sys.modules.get("gevent.monkey")
    return gevent is not None and gevent.is_module_patched("socket")


collect_ignore = [] if _patched() else ["patched"]


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to run patched tests unpatched by accident: they would hang."""
    if not _patched() and any("patched" in str(each) for each in config.args):
        raise pytest.UsageError("run them with: python -m gevent.monkey --module pytest tests/patched")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long: nobody waits for it in the end."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
