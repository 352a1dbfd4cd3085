"""Every row of the contract is found at its own path, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from talkamie.server import registry
from talkamie.server.paths import Paths


async def _no_app(scope: Any, receive: Any, send: Any) -> None:
    """Stand for an application."""


ROWS = sorted({row.path for row in registry.operations(extras=True).values()})


@pytest.mark.parametrize("template", ROWS)
def test_a_row_is_found_with_the_values_of_its_path(template: str) -> None:
    """Among all others."""
    apps: dict[str, Any] = {each: lambda *_, name=each: name for each in ROWS}
    filled = template.replace("{", "a value of ").replace("}", "")
    found = Paths(apps, _no_app).find(filled)
    assert found is not None
    app, values = found
    assert app is apps[template]
    assert values == {
        part[1:-1]: f"a value of {part[1:-1]}" for part in template.split("/") if part.startswith("{")
    }


@pytest.mark.parametrize("path", ["", "/", "/user", "/user/", "/user/1/", "/user/1/2", "//user/1", "user/1"])
def test_what_is_no_row_is_not_found(path: str) -> None:
    """An empty part is no value."""
    assert Paths({"/user/{id}": _no_app, "/user/{id}/call": _no_app}, _no_app).find(path) is None


def test_a_name_goes_before_a_value() -> None:
    """As the contract means it: `/reviews/mine` is nobody's id."""
    mine, anybodys = (lambda *_: 1), (lambda *_: 2)
    paths: Any = Paths({"/reviews/{id}": anybodys, "/reviews/mine": mine}, _no_app)  # type: ignore[dict-item]
    assert paths.find("/reviews/mine") == (mine, {})
    assert paths.find("/reviews/x") == (anybodys, {"id": "x"})
