"""What both stores promise: all or nothing, one winner, text as it is, and a sentence when they cannot."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talkamie.server.postgresql import PostgresStore, escaped, unescaped
from talkamie.server.service import Problem, settled
from talkamie.server.sqlite import SqliteStore
from talkamie.server.store import Conflict, Ids, Store, StoreError, open_store
from tests.talkamie.conftest import ON_POSTGRESQL, ON_SQLITE
from tests.talkamie.stores import Backend, Postgresql

INSERT = "insert into otps (email, code, status, tries, issued) values ($1, $2, 'issued', $3, 0)"


@pytest.fixture
def runner(backend: Backend) -> Iterator[asyncio.Runner]:
    runner = backend.runner()
    yield runner
    backend.release(runner, [])


@pytest.fixture
def store(backend: Backend, runner: asyncio.Runner) -> Store:
    return backend.store(runner)


def test_ids_sort_by_time_and_never_repeat() -> None:
    """Also within a millisecond, and when the clock steps back."""
    ids = Ids()
    made = [ids.new(now) for now in (5, 5, 5, 9, 9, 3, 3, 10)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_a_failed_transaction_leaves_nothing(store: Store, runner: asyncio.Runner) -> None:
    """What was written before the failure is taken back."""

    async def fail() -> None:
        db = store.session()
        async with db.transaction():
            await db.all(INSERT, "a", "1", 0)
            raise Problem(409, "no")

    with pytest.raises(Problem):
        runner.run(fail())
    assert runner.run(store.session().value("select count(*) from otps")) == 0


def test_a_session_knows_what_its_statements_cost(store: Store, runner: asyncio.Runner) -> None:
    """The times of single statements and of a transaction's add up."""
    db = store.session()
    runner.run(db.all("select 1"))
    first = db.spent
    assert first > 0

    async def write() -> None:
        async with db.transaction():
            await db.all(INSERT, "a", "1", 0)

    runner.run(write())
    assert db.spent > first


@pytest.mark.parametrize(
    "text", ["\x00", "a\x00b", "\x01a\x00\x01b", "", "👩‍👩‍👧‍👦", "'; drop table otps; --", "\\0"]
)
def test_a_text_comes_back_as_it_was(store: Store, runner: asyncio.Runner, text: str) -> None:
    """Every character of Unicode, in columns and in keys."""
    db = store.session()
    runner.run(db.all(INSERT, text, "1" + text, 0))
    (row,) = runner.run(db.all("select email, code from otps where email = $1", text))
    assert dict(row) == {"email": text, "code": "1" + text}


@given(text=st.text(st.sampled_from("\x00\x01abc")))
def test_escaping_is_undone(text: str) -> None:
    """Whatever a text holds, no U+0000 is left of it, and nothing is lost."""
    assert "\x00" not in escaped(text)
    assert unescaped(escaped(text)) == text


def test_text_compares_by_code_point(store: Store, runner: asyncio.Runner) -> None:
    """Whatever language the database was made for: pages are cut by comparing ids."""
    db = store.session()
    words = ["~", "a", "B", "é", "z", "Z", "_", "0", "f"]
    for word in words:
        runner.run(db.all(INSERT, word, "1", 0))
    rows = runner.run(db.all("select email from otps order by email"))
    assert [row["email"] for row in rows] == sorted(words)
    assert runner.run(db.value("select count(*) from otps where email < $1", "~")) == 7


def test_of_transactions_at_once_none_is_lost(store: Store, runner: asyncio.Runner) -> None:
    """Reading, then writing what follows from it, is as if each were alone."""

    async def increment() -> None:
        db = store.session()
        async with db.transaction():
            tries = await db.value("select tries from otps where email = 'a'")
            await db.all("update otps set tries = $1 where email = 'a'", tries + 1)

    async def all_at_once() -> None:
        await asyncio.gather(*(settled(increment) for _ in range(8)))

    runner.run(store.session().all(INSERT, "a", "1", 0))
    runner.run(all_at_once())
    assert runner.run(store.session().value("select tries from otps")) == 8


def test_what_was_read_is_still_true_at_the_commit(store: Store, runner: asyncio.Runner) -> None:
    """Of two who each see nobody and write themselves down, one sees the other when it tries again."""

    async def take(name: str) -> bool:
        db = store.session()
        async with db.transaction():
            if await db.value("select count(*) from otps") > 0:
                return False
            await db.all(INSERT, name, "1", 0)
            return True

    async def both() -> list[bool]:
        return await asyncio.gather(*(settled(partial(take, name)) for name in "ab"))

    assert sorted(runner.run(both())) == [False, True]


def test_who_loses_every_race_is_sent_back() -> None:
    """503 with a time to come back, after a bounded number of tries."""
    tries = []

    async def lose() -> None:
        tries.append(1)
        raise Conflict

    with pytest.raises(Problem) as problem:
        asyncio.run(settled(lose))
    assert (problem.value.status, problem.value.retry_after_s) == (503, 1)
    assert 1 < len(tries) < 100


@ON_SQLITE
def test_a_statement_inside_anothers_transaction_is_a_bug_that_shows(
    store: Store, runner: asyncio.Runner
) -> None:
    """Otherwise it would be rolled back with the other's, silently."""

    async def mix() -> None:
        async with store.session().transaction():
            await store.session().all("select 1")

    with pytest.raises(RuntimeError, match="another session"):
        runner.run(mix())
    assert runner.run(store.session().value("select 1")) == 1


def test_a_file_is_kept(tmp_path: Path) -> None:
    """Opening it again finds what was written."""

    async def write() -> None:
        store = await open_store(f"sqlite:///{tmp_path}/x.db", durable=True)
        await store.session().all("insert into otps values ('a', '1', 'x', 0, 0, 0) on conflict do nothing")
        await store.close()

    for _ in range(2):
        asyncio.run(write())
    with sqlite3.connect(tmp_path / "x.db") as database:
        assert database.execute("select count(*) from otps").fetchone() == (1,)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    """The file and the remedy, no traceback."""
    (tmp_path / "no.db").write_bytes(b"this is no database" * 100)
    for path in (tmp_path, tmp_path / "missing" / "x.db", tmp_path / "no.db"):
        with pytest.raises(StoreError, match="cannot use the database"):
            SqliteStore(str(path))


@ON_POSTGRESQL
def test_a_database_is_kept(backend: Postgresql, runner: asyncio.Runner) -> None:
    """Opening it again finds what was written; two who open an empty one at once do not collide."""
    url = backend.url("kept")

    async def open_twice() -> Any:
        stores = await asyncio.gather(*(PostgresStore.open(url, durable=True) for _ in range(2)))
        await stores[0].session().all(INSERT, "a", "1", 0)
        count = await stores[1].session().value("select count(*) from otps")
        for store in stores:
            await store.close()
        return count

    assert runner.run(open_twice()) == 1


@ON_POSTGRESQL
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("{password}", "wrong"), "denied"),
        (("{user}:", "nobody:"), "denied"),
        (("/postgres", "/missing"), "does not exist. Create it"),
        (("{port}", "1"), "Start PostgreSQL there"),
        (("127.0.0.1", "no.such.host.invalid"), "Start PostgreSQL there"),
        ((":{port}", ":port"), "malformed"),
        (("/postgres", "/ascii"), "encoding is SQL_ASCII"),
        (("{user}:{password}", "guest:guest"), "Let the user create tables"),
    ],
)
def test_a_database_that_cannot_be_used_is_told(
    backend: Postgresql, runner: asyncio.Runner, change: tuple[str, str], sentence: str
) -> None:
    """What happened and what to do, without the password."""
    names = {"user": "talkamie", "password": backend.password, "port": backend.port}
    old, new = (one.format(**names) for one in change)
    backend.execute(
        "create database ascii template template0 encoding SQL_ASCII locale_provider libc locale 'C'",
        missing="ascii",
    )
    backend.execute("create role guest login password 'guest'", missing="guest")
    url = "postgresql://{user}:{password}@127.0.0.1:{port}/postgres".format(**names)
    assert old in url
    with pytest.raises(StoreError, match=sentence) as error:
        runner.run(PostgresStore.open(url.replace(old, new)))
    assert backend.password not in str(error.value)
    assert "\n" not in str(error.value)


@ON_POSTGRESQL
def test_a_database_that_goes_away_is_503_until_it_is_back(
    store: PostgresStore, runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    """What was under way fails and is logged, and what comes next finds a new connection."""

    async def lose() -> None:
        db = store.session()
        async with db.transaction():
            await db.all("select pg_terminate_backend(pg_backend_pid())")

    for _ in range(2):
        with pytest.raises(Problem) as problem:
            runner.run(lose())
        assert problem.value.status == 503
    assert [record.message.split(":")[0] for record in caplog.records] == ["the database is away"] * 2
    assert runner.run(store.session().value("select 1")) == 1


def test_without_the_driver_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncpg is an extra."""
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    monkeypatch.delitem(sys.modules, "talkamie.server.postgresql")
    with pytest.raises(StoreError, match=r"pip install 'talkload\[postgresql\]'"):
        asyncio.run(open_store("postgresql://somewhere/x"))


@pytest.mark.parametrize("url", ["", "x", "mysql://x", "sqlite:///", "sqlite://x", "SQLITE:///x"])
def test_an_unknown_database_is_told(url: str) -> None:
    """Which are known."""
    with pytest.raises(StoreError, match="Use sqlite:///FILE or postgresql://"):
        asyncio.run(open_store(url))
