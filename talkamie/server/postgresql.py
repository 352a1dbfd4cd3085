"""PostgreSQL, by a pool of connections: the second store, for those whose target keeps its data there.

Three things differ from SQLite, and are made equal here. Transactions are serializable, so that what a
handler has read is still true when it commits; who lost the race gets `Conflict`. Text compares by code
point, whatever the database's collation, because pages and ids are cut by comparing. And text may hold
U+0000, which PostgreSQL cannot store: it is kept escaped.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Self
from urllib.parse import urlsplit

from talkamie.server import clock
from talkamie.server.service import Problem
from talkamie.server.store import Conflict, Row, Session, Store, StoreError, schema

try:
    import asyncpg
except ImportError as missing:
    raise StoreError(
        "PostgreSQL needs the package asyncpg, which is not installed. "
        "Install it with: pip install 'talkload[postgresql]'."
    ) from missing

CONNECTIONS = 16
OPEN_S = 10.0
STATEMENT_S = 30.0
_SCHEMA_LOCK = 0x74616C6B  # any number that is ours: two servers may start on one empty database
_ESCAPE, _ZERO, _ITSELF = "\x01", "\x01a", "\x01b"
_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InterfaceError,
)
log = logging.getLogger("talkamie")


def escaped(text: str) -> str:
    """Return `text` without U+0000; `unescaped` brings it back."""
    if "\x00" not in text and _ESCAPE not in text:
        return text
    return text.replace(_ESCAPE, _ITSELF).replace("\x00", _ZERO)


def unescaped(text: str) -> str:
    """Return what `escaped` was given."""
    return text.replace(_ZERO, "\x00").replace(_ITSELF, _ESCAPE) if _ESCAPE in text else text


class PostgresStore(Store):
    """A pool of at most CONNECTIONS connections; who finds none free waits, and that is `db` time."""

    name = "postgresql"

    def __init__(self, pool: asyncpg.Pool) -> None:
        super().__init__()
        self.pool = pool
        self._away = False

    @classmethod
    async def open(cls, url: str, *, durable: bool = False) -> Self:
        """Connect to the database and make what tables are missing. Raises StoreError."""
        place = _place(url)
        try:
            pool = await asyncpg.create_pool(
                url,
                min_size=1,
                max_size=CONNECTIONS,
                init=_init,
                reset=_reset,
                timeout=OPEN_S,
                command_timeout=STATEMENT_S,
                statement_cache_size=512,
                server_settings={
                    "application_name": "talkamie.server",
                    # As with SQLite: a throw-away target must not add its own fsync spikes.
                    "synchronous_commit": "on" if durable else "off",
                    "jit": "off",
                },
            )
        except (*_AWAY, asyncpg.PostgresError, ValueError) as error:
            raise StoreError(f"cannot use the database {place}: {_reason(error, url)}") from error
        try:
            await _make_tables(pool)
        except (*_AWAY, asyncpg.PostgresError, StoreError) as error:
            pool.terminate()
            raise StoreError(f"cannot use the database {place}: {_reason(error, url)}") from error
        return cls(pool)

    def session(self) -> PostgresSession:
        return PostgresSession(self)

    async def close(self) -> None:
        try:
            await asyncio.wait_for(self.pool.close(), OPEN_S)
        except TimeoutError:
            self.pool.terminate()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn a lost race into Conflict, and a lost database into 503; each loss is logged once."""
        try:
            yield
        except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError) as error:
            raise Conflict from error
        except _AWAY as error:
            if isinstance(error, ValueError):  # asyncpg's DataError: an argument of ours was wrong
                raise
            if not self._away:
                log.error("the database is away: %s", error or type(error).__name__)
            self._away = True
            raise Problem(503, "The database cannot be reached. Try again.", retry_after_s=1) from error
        self._away = False


class PostgresSession(Session):
    """The statements of one request: each on whatever connection is free, a transaction's on one."""

    __slots__ = ("_connection", "_store")

    def __init__(self, store: PostgresStore) -> None:
        super().__init__(store.ids)
        self._store = store
        self._connection: Any = None

    async def _execute(self, sql: str, args: tuple[Any, ...]) -> list[Row]:
        with self._store.translated():
            rows: list[Row] = await (self._connection or self._store.pool).fetch(sql, *args)
            return rows

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Hold one connection; see Session."""
        pool = self._store.pool
        connection = await self._timed(pool.acquire)
        try:
            transaction = connection.transaction(isolation="serializable")
            await self._timed(transaction.start)
            self._connection = connection
            try:
                yield
            except BaseException:
                with suppress(Problem):  # a connection that was lost has rolled back by itself
                    await self._timed(transaction.rollback)
                raise
            finally:
                self._connection = None
            await self._timed(transaction.commit)
        finally:
            await pool.release(connection)

    async def _timed(self, work: Callable[[], Awaitable[Any]]) -> Any:
        started = clock.monotonic()
        try:
            with self._store.translated():
                return await work()
        finally:
            self.spent += clock.monotonic() - started


async def _init(connection: Any) -> None:
    """Prepare a new connection."""
    await connection.set_type_codec(
        "text", schema="pg_catalog", encoder=escaped, decoder=unescaped, format="text"
    )


async def _reset(connection: Any) -> None:
    """Leave a connection as it is: we never change its settings, and asyncpg's own way is a round trip."""


async def _make_tables(pool: asyncpg.Pool) -> None:
    script = re.sub(r"^(    \w+ text)\b", r'\1 collate "C"', schema(), flags=re.MULTILINE)
    async with pool.acquire() as connection:
        encoding = await connection.fetchval("show server_encoding")
        if encoding != "UTF8":
            raise StoreError(
                f"its encoding is {encoding}. Create one with: createdb -T template0 -E UTF8 NAME."
            )
        async with connection.transaction():
            await connection.execute("select pg_advisory_xact_lock($1)", _SCHEMA_LOCK)
            await connection.execute(script)


def _place(url: str) -> str:
    """Return where a database is, without the password."""
    address = url.rpartition("@")[2] or url.partition("://")[2]
    return repr("postgresql://" + address.partition("?")[0])


def _reason(error: BaseException, url: str) -> str:
    """Return what is wrong and what to do, in one sentence each."""
    user = urlsplit(url).username if "@" in url else None
    match error:
        case StoreError():
            return str(error)
        case asyncpg.InvalidAuthorizationSpecificationError():  # a wrong password is one of these
            return f"user {user!r} is denied. Correct the user or the password in --db."
        case asyncpg.InvalidCatalogNameError():
            return f"{error}. Create it with: createdb -E UTF8 NAME."
        case asyncpg.InsufficientPrivilegeError():
            return f"{error}. Let the user create tables: grant create on schema public to USER."
        case asyncpg.TooManyConnectionsError():
            return f"{error}. Raise max_connections, or end other connections."
        case asyncpg.PostgresError():
            return f"{error}. Look into PostgreSQL's log."
        case TimeoutError():
            return f"no answer within {OPEN_S:g} s. Is PostgreSQL running there?"
        case OSError():
            return f"{error}. Start PostgreSQL there, or correct --db."
        case _:
            return "the address is malformed. Use postgresql://USER:PASSWORD@HOST:PORT/NAME."
