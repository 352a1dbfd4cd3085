"""What a plan does to pushes, between `Hub.deliver` and the sockets.

A rule sees each push to each open socket, in the order in which they are pushed; the first rule that
decides the fate of one ends its way through the plan. A delayed push keeps its place among those of its
action to its socket, so that only a reorder rule reorders.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial

from talkamie.server import clock
from talkamie.server.faults import rules
from talkamie.server.faults.active import Active, until
from talkamie.server.faults.delays import MS
from talkamie.server.hub import Connection, Hub, Push, Socket
from talkamie.server.ledger import Fate


class Silent:
    """In the place of a connection: stays open, takes everything, says nothing."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.is_open = connection.is_open
        self.abort = connection.abort
        self.reset = connection.reset
        self.deafen = connection.deafen

    def write_frame(self, frame: bytes) -> None:
        pass

    def unread(self) -> int:
        return 0

    def close_with(self, code: int, reason: str) -> None:
        pass


class Pushes:
    """The rules about pushes at work, and the pushes and sockets that they have hold of."""

    def __init__(self, hub: Hub, at: Mapping[str, list[Active]]) -> None:
        """`at` has the rules of each place, in the plan's order."""
        self._hub = hub
        self._at = at
        self._loop = asyncio.get_running_loop()
        # Pushes that wait, by socket and action: each such line is first in, first out.
        self._lines: dict[tuple[int, str], deque[tuple[int, Callable[[], None]]]] = {}
        # Pushes that wait to be overtaken; and the sockets that have one, or will once its delay is over.
        self._held: dict[tuple[Active, int], Callable[[Fate], None]] = {}
        self._owing: set[tuple[Active, int]] = set()
        self._silenced: list[Socket] = []

    def stop(self) -> None:
        """End: what waits is written, silent sockets are reset."""
        for line in tuple(self._lines.values()):
            while line:
                line.popleft()[1]()
        for release in tuple(self._held.values()):
            release(Fate.SENT)
        for socket in self._silenced:
            socket.connection.reset()

    def deliver(self, push: Push, sockets: list[Socket]) -> None:
        """Do what is planned for a push to each of these sockets."""
        for index, socket in enumerate(sockets):
            self._deliver(push, socket, index)

    def _deliver(self, push: Push, socket: Socket, index: int) -> None:
        if isinstance(socket.connection, Silent):
            self._hub.settle(push, socket, Fate.DROPPED)
            return
        if not socket.connection.is_open():
            self._hub.settle(push, socket, Fate.SENT)  # which finds it offline
            return
        now = clock.monotonic()
        wait, delaying = 0, []
        work = partial(self._write, push, socket, Fate.SENT)
        for active in self._at.get(f"{rules.PUSH}:{push.action}", ()):
            if not active.picks(now, partial(self._possible, active, socket)):
                continue
            match active.rule:
                case rules.Latency(delay=delay):
                    wait += active.draw(delay)
                    delaying.append(active)
                case rules.FanOut(delay_ms=constant, step_ms=step):
                    wait += (constant + index * step) * MS
                    delaying.append(active)
                case rules.Reorder() as rule:
                    self._owing.add((active, socket.number))
                    work = partial(self._keep_back, push, socket, active, rule)
                    break
                case rules.Misdeliver():
                    work = partial(self._write, push, self._stranger(socket), Fate.MISDELIVERED)
                    break
                case rules.Duplicate():
                    work = partial(self._write, push, socket, Fate.DUPLICATED)
                    break
                case _:
                    if isinstance(active.rule, rules.HalfOpen):
                        self.silence(socket)
                    work = partial(self._write, push, socket, Fate.DROPPED)
                    break
        self._in_turn(push, socket, now, wait, delaying, work)

    def _in_turn(
        self,
        push: Push,
        socket: Socket,
        now: int,
        wait: int,
        delaying: list[Active],
        work: Callable[[], None],
    ) -> None:
        """Do `work` after `wait`, and not before what waits for the same socket and action."""

        def done() -> None:
            work()
            achieved = clock.monotonic() - now
            for active in delaying:
                active.waited(achieved)

        key = socket.number, push.action
        line = self._lines.get(key)
        if line is None and not wait:
            done()
        elif line is None:
            self._lines[key] = deque([(now + wait, done)])
            self._work_off(key)
        else:
            line.append((now + wait, done))

    def _work_off(self, key: tuple[int, str]) -> None:
        line = self._lines[key]
        while line:
            left = line[0][0] - clock.monotonic()
            if left > 0:
                self._loop.call_later(left / 1e9, self._work_off, key)
                return
            line.popleft()[1]()
        del self._lines[key]

    def _write(self, push: Push, socket: Socket, fate: Fate) -> None:
        if not self._hub.settle(push, socket, fate) or fate is Fate.MISDELIVERED:
            return
        for active in self._at.get(f"{rules.PUSH}:{push.action}", ()):
            release = self._held.get((active, socket.number))
            if release is not None:
                release(Fate.REORDERED)

    def _keep_back(self, push: Push, socket: Socket, active: Active, rule: rules.Reorder) -> None:
        """Hold a push until one of the rule's places has overtaken it, or the time is up."""
        since = clock.monotonic()
        key = active, socket.number

        def release(fate: Fate) -> None:
            del self._held[key]
            self._owing.discard(key)
            limit.cancel()
            self._hub.settle(push, socket, fate)
            active.waited(clock.monotonic() - since)

        async def give_up() -> None:
            await until(since + rule.limit_ms * MS)
            release(Fate.SENT)

        limit = self._loop.create_task(give_up())
        self._held[key] = release

    def _possible(self, active: Active, socket: Socket) -> bool:
        """Tell whether a rule that hits can be carried out just now."""
        if isinstance(active.rule, rules.Reorder):
            return (active, socket.number) not in self._owing
        return not isinstance(active.rule, rules.Misdeliver) or self._stranger(socket) is not socket

    def _stranger(self, socket: Socket) -> Socket:
        """Return the next open socket of another user, in the order of opening; itself if there is none."""
        others = [
            each
            for each in self._hub.sockets()
            if each.user not in (None, socket.user)
            and each.connection.is_open()
            and not isinstance(each.connection, Silent)
        ]
        later = [each for each in others if each.number > socket.number]
        return (later or others or [socket])[0]

    def silence(self, socket: Socket) -> None:
        socket.connection.deafen()
        socket.connection = Silent(socket.connection)
        self._silenced.append(socket)
