"""What docs/reference-server.md says is so."""

from __future__ import annotations

import re
from pathlib import Path

from talkamie.contract import DIALECTS, EXTRA_OPERATIONS, OPERATIONS
from talkamie.server.__main__ import parser

TEXT = (Path(__file__).parents[2] / "docs" / "reference-server.md").read_text(encoding="utf-8")


def test_every_option_named_exists() -> None:
    """No switch of the table is an invention."""
    known = set(parser()._option_string_actions)
    named = set(re.findall(r"`(?:python -m talkamie\.server )?(--[a-z-]+)", TEXT))
    assert named <= known
    assert named >= {"--ring-timeout", "--call-grace", "--dialect", "--extras"}
    assert named >= {"--billing", "--enforce-roles", "--check-overlap", "--apigw-errors"}


def test_the_figures_are_the_codes() -> None:
    """The defaults, the dialects and the number of operations."""
    options = parser().parse_args([])
    assert f"| {options.ring_timeout:.0f} s, then missed" in TEXT
    assert f"ends after {options.call_grace:.0f} s" in TEXT
    assert f"{len(OPERATIONS)} operations" in TEXT
    for name in DIALECTS:
        assert name == options.dialect or f"--dialect {name}`" in TEXT


def test_every_path_named_is_served() -> None:
    """Each `METHOD /path` of the text is a row."""
    rows = {(row.method, row.path) for row in (OPERATIONS | EXTRA_OPERATIONS).values()}
    named = set(re.findall(r"`(GET|POST|PUT|DELETE) (/[a-z/{}A-Z-]+)", TEXT))
    assert named
    assert named <= rows
