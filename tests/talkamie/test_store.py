"""The store and the passwords: all or nothing, in order, and never without bound."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from talkamie.server import security
from talkamie.server.security import Passwords
from talkamie.server.service import Problem
from talkamie.server.store import Ids, Store, StoreError


def test_ids_sort_by_time_and_never_repeat() -> None:
    """Also within a millisecond, and when the clock steps back."""
    ids = Ids()
    made = [ids.new(now) for now in (5, 5, 5, 9, 9, 3, 3, 10)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_a_failed_transaction_leaves_nothing() -> None:
    """What was written before the failure is taken back."""
    store = Store(":memory:")

    async def fail() -> None:
        db = store.session()
        async with db.transaction():
            await db.all("insert into otps (email, code, status, tries, issued) values ('a', '1', 'x', 0, 0)")
            raise Problem(409, "no")

    with pytest.raises(Problem):
        asyncio.run(fail())
    assert asyncio.run(store.session().value("select count(*) from otps")) == 0


def test_a_statement_inside_anothers_transaction_is_a_bug_that_shows() -> None:
    """Otherwise it would be rolled back with the other's, silently."""
    store = Store(":memory:")

    async def mix() -> None:
        async with store.session().transaction():
            await store.session().all("select 1")

    with pytest.raises(RuntimeError, match="another session"):
        asyncio.run(mix())
    assert asyncio.run(store.session().value("select 1")) == 1


def test_a_database_is_kept(tmp_path: Path) -> None:
    """Opening it again finds what was written."""
    for _ in range(2):
        store = Store(str(tmp_path / "x.db"), durable=True)
        asyncio.run(
            store.session().all("insert into otps values ('a', '1', 'x', 0, 0, 0) on conflict do nothing")
        )
        store.close()
    with sqlite3.connect(tmp_path / "x.db") as database:
        assert database.execute("select count(*) from otps").fetchone() == (1,)


def test_a_database_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    """The file and the remedy, no traceback."""
    (tmp_path / "no.db").write_bytes(b"this is no database" * 100)
    for path in (tmp_path, tmp_path / "missing" / "x.db", tmp_path / "no.db"):
        with pytest.raises(StoreError, match="cannot use the database"):
            Store(str(path))


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
