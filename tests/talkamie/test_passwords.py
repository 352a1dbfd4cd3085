"""Passwords: right or wrong whatever their Unicode form, and never hashed without bound."""

from __future__ import annotations

import asyncio

import pytest

from talkamie.server import security
from talkamie.server.security import Passwords
from talkamie.server.service import Problem


def test_passwords_are_right_or_wrong() -> None:
    """Unicode forms of one password are one password; an unknown user is never right."""

    async def check() -> None:
        passwords = Passwords("light")
        stored = await passwords.hash("Ångström pass")
        assert stored.startswith("$argon2id$")
        assert await passwords.verify(stored, "A\u030angstro\u0308m pass")
        assert not await passwords.verify(stored, "angstrom pass")
        assert not await passwords.verify(None, "Ångström pass")
        passwords.close()

    asyncio.run(check())


def test_too_many_passwords_at_once_are_sent_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """503 with a time to come back, for exactly those beyond the bound."""
    monkeypatch.setattr(security, "MAX_WAITING", 3)

    async def crowd() -> list[object]:
        passwords = Passwords("light")
        found = await asyncio.gather(*(passwords.hash("x") for _ in range(5)), return_exceptions=True)
        passwords.close()
        return list(found)

    refused = [one for one in asyncio.run(crowd()) if isinstance(one, Problem)]
    assert [(one.status, one.retry_after_s) for one in refused] == [(503, 1)] * 2
