"""Unix datagrams: nothing to install. The kernel loses none, and says when a receiver has no more room.

Then what is to be sent waits here, and shares packets, until he has read; the kernel holds as few as ten for
him (`net.unix.max_dgram_qlen`), so that is no rare event and no failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

from talkamie.server.bus.packets import PacketBus

AT_ONCE = 64  # packets read in one turn of the loop, that others get theirs


class UnixBus(PacketBus):
    """One datagram socket to hear, one to each peer to speak."""

    limit = 60_000

    def __init__(self, number: int, count: int, folder: Path) -> None:
        super().__init__(number, count)
        self._folder = folder
        self._ear = _datagrams()
        self._to: dict[int, socket.socket] = {}
        self._held: set[int] = set()  # peers whose queue is full

    async def _open(self) -> None:
        self._ear.bind(str(self._path(self.number)))
        asyncio.get_running_loop().add_reader(self._ear, self._hear)

    def _send(self, to: int) -> None:
        if to not in self._held:
            self._write(to)

    def _write(self, to: int) -> None:
        out = self._out[to]
        loop = asyncio.get_running_loop()
        while (packet := out.first()) is not None and not self._closing:
            try:
                self._connected(to).send(packet)
            except BlockingIOError:
                if to not in self._held:
                    self._held.add(to)
                    loop.add_writer(self._to[to], self._write, to)
                return
            except OSError as error:
                self._fail(f"process {to} cannot be reached: {error.strerror}")
                return
            out.went()
        if to in self._held:
            self._held.discard(to)
            loop.remove_writer(self._to[to])

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for _ in range(AT_ONCE):
                self._take(self._ear.recv(self.limit))

    async def _close(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._ear)
        for peer in self._held:
            loop.remove_writer(self._to[peer])
        for each in (self._ear, *self._to.values()):
            each.close()
        self._path(self.number).unlink(missing_ok=True)

    def _connected(self, to: int) -> socket.socket:
        # To each peer a socket of its own, because only a connected one tells when he has room again.
        found = self._to.get(to)
        if found is None:
            found = self._to[to] = _datagrams()
            found.connect(str(self._path(to)))
        return found

    def _path(self, number: int) -> Path:
        return self._folder / f"bus-{number}"


def _datagrams() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.setblocking(False)
    return made
