"""The store: SQL in the common subset of SQLite and PostgreSQL, with `$1` parameters, behind an async face.

What both stores promise, so that a handler need not know which it has:

- A statement is all or nothing, and so is a transaction, which runs as if it were alone.
- A transaction that lost a race raises `Conflict`: nothing of it has happened, and the request is run again
  (`service.settled`). So a handler has one transaction at most, and tells nobody before it is over.
- Rows are read by name or by place, and text compares by code point.

Between two statements that are in no transaction anything may happen: SQLite, which is called inline on the
event loop, hides this; PostgreSQL does not. So a statement that relies on what was read before says so in
its `where`, and finds out by `returning`.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from importlib.resources import files
from typing import Any, ClassVar, Protocol

from talkamie.server import clock


class Row(Protocol):
    """One row of an answer: columns by name or by place."""

    def __getitem__(self, key: Any, /) -> Any: ...
    def keys(self) -> Any: ...


class StoreError(Exception):
    """The database cannot be used; the text says which and what to do."""


class Conflict(Exception):
    """Somebody else was faster: nothing of the transaction has happened, and it may be tried again."""


def schema() -> str:
    """Return the statements that make every table that is missing."""
    return files("talkamie.server").joinpath("schema.sql").read_text()


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


class Session(ABC):
    """The statements of one request; `spent` is the time they took, in nanoseconds."""

    __slots__ = ("_ids", "spent")

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self.spent = 0

    async def all(self, sql: str, *args: Any) -> list[Row]:
        """Return every row."""
        started = clock.monotonic()
        try:
            return await self._execute(sql, args)
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

    @abstractmethod
    def transaction(self) -> AbstractAsyncContextManager[None]:
        """Make the statements inside all true or none. Await nothing but this session inside."""

    @abstractmethod
    async def _execute(self, sql: str, args: tuple[Any, ...]) -> list[Row]: ...

    def new_id(self, now: int) -> str:
        return self._ids.new(now)


class Store(ABC):
    """One open database."""

    name: ClassVar[str]

    def __init__(self) -> None:
        self.ids = Ids()

    @abstractmethod
    def session(self) -> Session: ...

    @abstractmethod
    async def close(self) -> None: ...


async def open_store(url: str, *, durable: bool = False) -> Store:
    """Open `sqlite:///FILE` or `postgresql://…`, making what tables are missing. Raises StoreError."""
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/") and rest != "/":
        from talkamie.server.sqlite import SqliteStore

        return SqliteStore(rest.removeprefix("/"), durable=durable)
    if scheme in ("postgresql", "postgres"):
        # Because asyncpg is an extra: whoever keeps to SQLite need not have it.
        from talkamie.server.postgresql import PostgresStore

        return await PostgresStore.open(url, durable=durable)
    raise StoreError(
        f"{scheme}: is no database known here. Use sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME."
    )
