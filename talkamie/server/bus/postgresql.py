"""PostgreSQL's LISTEN and NOTIFY: a channel for each process, for those whose target has no other bus.

A payload is text of less than 8,000 bytes, so packets are small and in base64. What waits goes in one
statement, because every notifying transaction of a database waits for the one before.
"""

from __future__ import annotations

import base64
from typing import Any

from talkamie.server.bus import BusError
from talkamie.server.bus.packets import SenderBus

try:
    import asyncpg
except ImportError as missing:
    raise BusError(
        "PostgreSQL needs the package asyncpg, which is not installed. "
        "Install it with: pip install 'talkload[postgresql]'."
    ) from missing

OPEN_S = 10.0
_NOTIFY = "select pg_notify($1, packet) from unnest($2::text[]) as packet"


class PostgresBus(SenderBus):
    """One connection to hear, and one to speak, that neither waits for the other."""

    limit = 5_900  # 7,872 in base64

    def __init__(self, number: int, count: int, url: str, group: str) -> None:
        super().__init__(number, count)
        self._url = url
        self._channel = f"{group}_"
        self._connections: list[Any] = []

    async def _open(self) -> None:
        try:
            for _ in range(2):
                connection = await asyncpg.connect(self._url, timeout=OPEN_S)
                self._connections.append(connection)
                connection.add_termination_listener(self._terminated)
            await self._connections[0].add_listener(f"{self._channel}{self.number}", self._hear)
            await self._connections[1].execute("set synchronous_commit = off")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError) as error:
            place = self._url.rpartition("@")[2]
            why = str(error) or "no answer"
            raise BusError(
                f"cannot use the bus {place!r}: {why}. Start PostgreSQL there, or correct --bus."
            ) from error
        self._begin()

    async def _ship(self, to: int, packets: list[bytes]) -> None:
        payloads = [base64.b64encode(packet).decode() for packet in packets]
        await self._connections[1].fetch(_NOTIFY, f"{self._channel}{to}", payloads)

    def _hear(self, connection: Any, pid: int, channel: str, payload: str) -> None:
        self._take(base64.b64decode(payload))

    def _terminated(self, connection: Any) -> None:
        self._fail("PostgreSQL has closed the connection")

    async def _close(self) -> None:
        await super()._close()
        for connection in self._connections:
            try:
                await connection.close(timeout=OPEN_S)
            except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                connection.terminate()
