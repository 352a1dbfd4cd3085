"""The store: SQL with `$1` parameters in the common subset of SQLite and PostgreSQL, behind an async face.

SQLite is called inline on the event loop, because two look-ups cost 20 µs there and 130 µs by way of a
thread. So no statement suspends, and a transaction is atomic as long as nothing else is awaited inside it;
a statement of another session during a transaction is a bug in a handler, and raises.
"""

from __future__ import annotations

import functools
import re
import secrets
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from talkamie.server import clock

Row = sqlite3.Row


class StoreError(Exception):
    """The database cannot be opened; the text says which and what to do."""


@functools.lru_cache(maxsize=1024)
def _dialect(sql: str) -> str:
    return re.sub(r"\$(\d+)", r"?\1", sql)


def marks(count: int, *, first: int) -> str:
    """Return `$first, $first+1, …`, `count` of them, for an `in (…)`."""
    return ", ".join(f"${n}" for n in range(first, first + count))


class Ids:
    """Makes ids that sort by time: strictly increasing within a process, unguessable at the end."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = 0

    def new(self, now: int) -> str:
        """Return 24 hexadecimal digits: 48 bits of milliseconds, 16 of sequence, 32 of chance."""
        self._last = max(self._last + 1, now << 16)
        return f"{self._last:016x}{secrets.token_hex(4)}"


class Store:
    """One SQLite database in WAL mode, opened once."""

    __slots__ = ("_connection", "ids", "owner")

    def __init__(self, path: str, *, durable: bool = False) -> None:
        """Open or create the database at `path`. Raises StoreError."""
        self.ids = Ids()
        self.owner: Session | None = None  # the session in a transaction
        # Because a throw-away target must not add its own fsync spikes to somebody's tail.
        synchronous = "normal" if durable else "off"
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, cached_statements=512)
            self._connection.row_factory = sqlite3.Row
            self._connection.executescript(
                f"pragma journal_mode = wal; pragma synchronous = {synchronous}; pragma busy_timeout = 2000;"
                "pragma temp_store = memory; pragma cache_size = -16000; pragma foreign_keys = on;"
            )
            self._connection.executescript(files("talkamie.server").joinpath("schema.sql").read_text())
        except sqlite3.Error as error:
            raise StoreError(
                f"cannot use the database {path!r}: {error}. Name a file in a folder that can be written to."
            ) from error

    def session(self) -> Session:
        return Session(self)

    def execute(self, session: Session, sql: str, args: tuple[Any, ...]) -> list[Row]:
        """Run one statement and return all its rows."""
        if self.owner is not None and self.owner is not session:
            raise RuntimeError("a statement ran inside another session's transaction: do not await there")
        return self._connection.execute(_dialect(sql), args).fetchall()

    def close(self) -> None:
        self._connection.close()


class Session:
    """The statements of one request; `spent` is the time they took, in nanoseconds."""

    __slots__ = ("_store", "spent")

    def __init__(self, store: Store) -> None:
        self._store = store
        self.spent = 0

    async def all(self, sql: str, *args: Any) -> list[Row]:
        """Return every row."""
        started = clock.monotonic()
        try:
            return self._store.execute(self, sql, args)
        finally:
            self.spent += clock.monotonic() - started

    async def one(self, sql: str, *args: Any) -> Row | None:
        """Return the first row, or nothing."""
        rows = await self.all(sql, *args)
        return rows[0] if rows else None

    async def value(self, sql: str, *args: Any) -> Any:
        """Return the first column of the first row, or nothing."""
        rows = await self.all(sql, *args)
        return rows[0][0] if rows else None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Make the statements inside all true or none. Await nothing but this session inside."""
        await self.all("begin immediate")
        self._store.owner = self
        try:
            yield
        except BaseException:
            self._store.owner = None
            await self.all("rollback")
            raise
        self._store.owner = None
        await self.all("commit")

    def new_id(self, now: int) -> str:
        return self._store.ids.new(now)
