"""SQLite, called inline on the event loop: two look-ups cost 20 µs there and 130 µs by way of a thread.

So no statement suspends, and a transaction is atomic as long as nothing else is awaited inside it; a
statement of another session during a transaction is a bug in a handler, and raises.

Where several processes have the database, one may find it locked by another's write: then, and only then, a
statement that begins or is a transaction suspends, until it is free. SQLite's own way would stop the loop.
"""

from __future__ import annotations

import asyncio
import functools
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from talkamie.server.store import Conflict, Row, Session, Store, StoreError, schema

TRIES = 2000  # the first ones at once, because a write takes less than the shortest sleep, then by the ms
AT_ONCE = 20


@functools.lru_cache(maxsize=1024)
def _dialect(sql: str) -> str:
    return re.sub(r"\$(\d+)", r"?\1", sql)


class SqliteStore(Store):
    """One database in WAL mode, opened once."""

    name = "sqlite"

    def __init__(self, path: str, *, durable: bool = False) -> None:
        """Open or create the database at `path`. Raises StoreError."""
        super().__init__()
        self.owner: SqliteSession | None = None  # the session in a transaction
        # Because a throw-away target must not add its own fsync spikes to somebody's tail.
        synchronous = "normal" if durable else "off"
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, cached_statements=512)
            self._connection.row_factory = sqlite3.Row
            self._connection.executescript(
                f"pragma journal_mode = wal; pragma synchronous = {synchronous}; pragma busy_timeout = 2000;"
                "pragma temp_store = memory; pragma cache_size = -16000; pragma foreign_keys = on;"
            )
            self._connection.executescript(schema())
            self._connection.execute("pragma busy_timeout = 0")  # from here on it is waited in `_execute`
        except sqlite3.Error as error:
            raise StoreError(
                f"cannot use the database {path!r}: {error}. Name a file in a folder that can be written to."
            ) from error

    def session(self) -> SqliteSession:
        return SqliteSession(self)

    def execute(self, session: SqliteSession, sql: str, args: tuple[Any, ...]) -> list[Row]:
        """Run one statement and return all its rows."""
        if self.owner is not None and self.owner is not session:
            raise RuntimeError("a statement ran inside another session's transaction: do not await there")
        rows: list[Row] = self._connection.execute(_dialect(sql), args).fetchall()
        return rows

    async def close(self) -> None:
        self._connection.close()


class SqliteSession(Session):
    """The statements of one request to a SqliteStore."""

    __slots__ = ("_store",)

    def __init__(self, store: SqliteStore) -> None:
        super().__init__(store.ids)
        self._store = store

    async def _execute(self, sql: str, args: tuple[Any, ...]) -> list[Row]:
        for attempt in range(TRIES):
            try:
                return self._store.execute(self, sql, args)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
            await asyncio.sleep(0 if attempt < AT_ONCE else 0.001)
        raise Conflict

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Take the one writer's place; see Session."""
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
