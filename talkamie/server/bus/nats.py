"""NATS: a subject for each process. It delivers at most once: what it drops shows as a gap, and is the end.

Nothing here reconnects, because what was said meanwhile would be lost.
"""

from __future__ import annotations

import contextlib
from typing import Any

from talkamie.server.bus import BusError
from talkamie.server.bus.packets import SenderBus

try:
    import nats as client
    from nats.errors import Error
except ImportError as missing:
    raise BusError(
        "NATS needs the package nats-py, which is not installed. "
        "Install it with: pip install 'talkload[nats]'."
    ) from missing

OPEN_S = 5


class NatsBus(SenderBus):
    """One connection to hear and to speak."""

    limit = 500_000  # NATS takes 1 MiB unless told otherwise

    def __init__(self, number: int, count: int, url: str, group: str) -> None:
        super().__init__(number, count)
        self._url = url
        self._subject = f"talkamie.{group}"
        self._connection: Any = None

    async def _open(self) -> None:
        try:
            self._connection = await client.connect(
                self._url,
                allow_reconnect=False,
                max_reconnect_attempts=1,  # the first is one too, and of 60 each comes 2 s later
                reconnect_time_wait=0,
                connect_timeout=OPEN_S,
                error_cb=self._complain,
                closed_cb=self._closed,
            )
            # Without bounds of its own, because it would drop what is over them; the server's remains.
            await self._connection.subscribe(
                f"{self._subject}.{self.number}", cb=self._hear, pending_msgs_limit=0, pending_bytes_limit=0
            )
            await self._connection.flush(OPEN_S)
        except (Error, OSError, ValueError) as error:
            place = self._url.rpartition("@")[2]
            raise BusError(
                f"cannot use the bus {place!r}: {error}. Start nats-server there, or correct --bus."
            ) from error
        self._begin()

    async def _ship(self, to: int, packets: list[bytes]) -> None:
        for packet in packets:
            await self._connection.publish(f"{self._subject}.{to}", packet)

    async def _hear(self, message: Any) -> None:
        self._take(message.data)

    async def _complain(self, error: Exception) -> None:
        if self._connection is not None:
            self._fail(f"NATS: {error or type(error).__name__}")

    async def _closed(self) -> None:
        self._fail("NATS has closed the connection")

    async def _close(self) -> None:
        await super()._close()
        if self._connection is not None:
            with contextlib.suppress(Error, OSError):
                await self._connection.close()
