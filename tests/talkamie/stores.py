"""The two stores that the tests run on, and a PostgreSQL server of their own.

The server is a throw-away cluster in a temporary folder. Its collation is a language's and not the code
points' order, so that a query that relies on the latter shows.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from talkamie.server.postgresql import PostgresStore
from talkamie.server.sqlite import SqliteStore
from talkamie.server.store import Store, schema

BINARIES = Path("/usr/lib/postgresql")  # Debian's place for them, one folder a version
USER = "talkamie"
TABLES = re.findall(r"create table if not exists (\w+)", schema())


class Backend(ABC):
    """Where the databases of the tests come from."""

    name: str

    @abstractmethod
    def options(self) -> tuple[str, ...]:
        """Return what a server process is told to use this store, empty, for itself."""

    @abstractmethod
    def runner(self) -> asyncio.Runner:
        """Return an event loop to use `store` in."""

    @abstractmethod
    def store(self, runner: asyncio.Runner) -> Store:
        """Return an empty store; on PostgreSQL always the same one, so one at a time."""

    @abstractmethod
    def release(self, runner: asyncio.Runner, stores: list[Store]) -> None:
        """Take both back."""


class Sqlite(Backend):
    name = "sqlite"

    def options(self) -> tuple[str, ...]:
        return ()

    def runner(self) -> asyncio.Runner:
        return asyncio.Runner()

    def store(self, runner: asyncio.Runner) -> Store:
        return SqliteStore(":memory:")

    def release(self, runner: asyncio.Runner, stores: list[Store]) -> None:
        for store in stores:
            runner.run(store.close())
        runner.close()


@dataclass
class Postgresql(Backend):
    """A running cluster; `password` is USER's over TCP, over the socket in `folder` none is asked."""

    folder: Path
    port: int
    password: str
    name = "postgresql"
    _runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    _store: PostgresStore | None = None

    def url(self, database: str) -> str:
        """Return the address of a new database."""

        self.execute(f"create database {database}")
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def execute(self, sql: str, *, missing: str | None = None) -> None:
        """Run one statement as the cluster's owner; only if there is no database or role called `missing`."""
        there = "select 1 from pg_database where datname = $1 union select 1 from pg_roles where rolname = $1"

        async def run() -> None:
            place = {"host": str(self.folder), "port": self.port, "user": USER, "database": "postgres"}
            connection = await asyncpg.connect(**place)
            if missing is None or await connection.fetchval(there, missing) is None:
                await connection.execute(sql)
            await connection.close()

        self._runner.run(run())

    def options(self) -> tuple[str, ...]:
        return ("--db", self.url(f"server_{secrets.token_hex(4)}"))

    def runner(self) -> asyncio.Runner:
        return self._runner

    def store(self, runner: asyncio.Runner) -> Store:
        if self._store is None:
            self._store = runner.run(PostgresStore.open(self.url("worlds")))
        store = self._store
        # One statement a table, because `truncate` of small tables costs ten times as much.
        for table in reversed(TABLES):  # what refers comes after what it refers to
            runner.run(store.session().all(f"delete from {table}"))
        return store

    def release(self, runner: asyncio.Runner, stores: list[Store]) -> None:
        """Keep them for the next."""

    def close(self) -> None:
        if self._store is not None:
            self._runner.run(self._store.close())
        self._runner.close()


def binaries() -> Path | None:
    """Return the folder of the newest PostgreSQL here, or nothing."""
    found = shutil.which("initdb")
    versions = sorted(BINARIES.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else Path(found).parent if found else None


@contextmanager
def postgresql(programs: Path) -> Iterator[Postgresql]:
    """Start a cluster, and remove it in the end. As root it runs as somebody else, as PostgreSQL demands."""
    owner = _unprivileged() if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="talkamie-pg-"))
    password = secrets.token_hex(8)
    (folder / "password").write_text(password)
    if owner is not None:
        for path in (folder, folder / "password"):
            shutil.chown(path, owner)

    def run(program: str, *arguments: str) -> None:
        done = subprocess.run(
            [programs / program, "-D", folder / "data", *arguments],
            user=owner,
            extra_groups=None if owner is None else [],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=(folder / "output").open("ab"),
            stderr=subprocess.STDOUT,
        )
        said = "".join(each.read_text() for each in (folder / "output", folder / "log") if each.exists())
        assert done.returncode == 0, said

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {
        "fsync": "off",
        "deadlock_timeout": "20ms",
        "full_page_writes": "off",
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": folder,
        "max_connections": 60,
    }
    try:
        run(
            *("initdb", "--no-sync", "--username", USER, "--pwfile", str(folder / "password")),
            *("--auth-local", "trust", "--auth-host", "scram-sha-256", "--encoding", "UTF8"),
            *("--locale", "C.UTF-8", "--locale-provider", "icu", "--icu-locale", "en"),
        )
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        run("pg_ctl", "start", "-w", "-o", options, "-l", str(folder / "log"))
        cluster = Postgresql(folder, port, password)
        try:
            yield cluster
        finally:
            cluster.close()
            run("pg_ctl", "stop", "-w", "-m", "immediate")
    finally:
        shutil.rmtree(folder)


def _unprivileged() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)
