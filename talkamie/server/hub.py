"""The hub: who is connected, and how one frame reaches all of somebody's sockets.

A frame is encoded once and written to each socket's buffer; nobody is waited for. A socket that has more
than `EVICT_BYTES` unread is cut off, so that one stalled reader never stalls a room.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from talkamie.contract import (
    CLOSE_NOT_AUTHENTICATED,
    CLOSE_TOKEN_REVOKED,
    IDLE_TIMEOUT_S,
    MAX_CONNECTION_S,
    Frame,
)
from talkamie.server import clock
from talkamie.server.bus import Bus, Deliver, InProcess
from talkamie.server.elsewhere import Elsewhere
from talkamie.server.ledger import Fate, Ledger
from talkamie.server.metrics import Metrics

if TYPE_CHECKING:
    from talkamie.server.faults import Faults

EVICT_BYTES = 1 << 20
GOING_AWAY = 1001
_SECOND = 1_000_000_000
_encode = msgspec.json.Encoder().encode


class Connection(Protocol):
    """What the hub needs of a transport."""

    def write_frame(self, frame: bytes) -> None: ...
    def unread(self) -> int: ...
    def is_open(self) -> bool: ...
    def close_with(self, code: int, reason: str) -> None: ...
    def abort(self) -> None: ...
    def reset(self) -> None: ...
    def deafen(self) -> None: ...


class Push(NamedTuple):
    """One frame for one user, and what the ledger wants to know of it."""

    user: str
    action: str
    frame: bytes
    ids: str
    accepted: int
    crossed: int = 0  # ns that it took from another process to this; 0 where it began here


@dataclass(slots=True, eq=False)
class Socket:
    """One connection; `user` and `session` once it has authenticated. Instants in monotonic ns."""

    number: int
    connection: Connection
    opened: int
    last_seen: int
    user: str | None = None
    session: str | None = None


def text_frame(payload: bytes) -> bytes:
    """Return `payload` as one unmasked text frame, as a server sends it (RFC 6455, 5.2)."""
    size = len(payload)
    if size < 126:
        return b"\x81" + bytes((size,)) + payload
    if size < 1 << 16:
        return b"\x81\x7e" + struct.pack("!H", size) + payload
    return b"\x81\x7f" + struct.pack("!Q", size) + payload


def success(action: str, data: Any = msgspec.UNSET, pagination: Any = msgspec.UNSET) -> bytes:
    """Return the frame that says `action` went well, ready to be written."""
    frame: Frame[Any] = Frame(action=action, success=True, status_code=200, data=data, pagination=pagination)
    return text_frame(_encode(frame))


def failure(action: str | None, status: int, message: str) -> bytes:
    """Return the frame that says `action` failed; without a name where none could be read."""
    frame: Frame[Any] = Frame(
        action=msgspec.UNSET if action is None else action, success=False, status_code=status, message=message
    )
    return text_frame(_encode(frame))


class Hub:
    """All open sockets, those of each user, and the ledger of what was pushed to them."""

    def __init__(
        self,
        metrics: Metrics,
        ledger: Ledger | None = None,
        *,
        names: Mapping[str, str] | None = None,
        bus: Bus | None = None,
        number: int = 0,
    ) -> None:
        """`names` are the dialect's: what a push is called on the wire, where it is not its row's name.

        Of several processes this is the one with this `number`, and `bus` leads to the others.
        """
        self._names = names or {}
        self.ledger = ledger or Ledger()
        self._metrics = metrics
        self._sockets: set[Socket] = set()
        self._of_user: dict[str, list[Socket]] = {}
        self.elsewhere = Elsewhere(self, bus or InProcess())
        # Sockets are numbered from 1, and no two processes give the same number.
        self._processes = 1 + len(self.elsewhere.bus.peers)
        self._opened = number + 1 - self._processes
        # When somebody's last socket closed, in ms since 1970, until he is back or his calls have ended.
        self.departed: dict[str, int] = {}
        self.faults: Faults | None = None  # None: everything goes as it should

    def __len__(self) -> int:
        return len(self._sockets)

    def open(self, connection: Connection, now: int) -> Socket:
        """Take in a new connection, nobody's yet; `now` in monotonic ns."""
        self._opened += self._processes
        socket = Socket(self._opened, connection, opened=now, last_seen=now)
        self._sockets.add(socket)
        self._metrics.sockets.set(len(self._sockets))
        return socket

    def authenticate(self, socket: Socket, user: str, session: str) -> None:
        """Make the socket `user`'s: from here on it is pushed to."""
        self._forget(socket)
        socket.user, socket.session = user, session
        self.departed.pop(user, None)
        if (sockets := self._of_user.get(user)) is not None:
            sockets.append(socket)
            return
        self._of_user[user] = [socket]
        self.elsewhere.arrived(user)

    def sockets(self) -> list[Socket]:
        """Return all open sockets in the order in which they were opened."""
        return sorted(self._sockets, key=lambda socket: socket.number)

    def reset_all(self) -> int:
        """Cut every socket off with a reset; return how many there were."""
        sockets = self.sockets()
        for socket in sockets:
            socket.connection.reset()
        return len(sockets)

    def close(self, socket: Socket) -> None:
        """Forget a connection that ended. Twice does no harm."""
        self._forget(socket)
        self._sockets.discard(socket)
        self._metrics.sockets.set(len(self._sockets))

    def online(self, user: str) -> bool:
        """Tell whether a push to `user` would find a socket."""
        here = any(socket.connection.is_open() for socket in self._of_user.get(user, ()))
        return here or user in self.elsewhere.of_user

    def deliver(
        self,
        user: str,
        action: str,
        frame: bytes,
        ids: Iterable[str],
        *,
        accepted: int,
        besides: Socket | None = None,
    ) -> None:
        """Write `frame` to every socket of `user` but `besides`, and enter each into the ledger.

        `accepted` is when the cause of this push arrived (monotonic ns). This is the only way a push leaves.
        """
        joined = ",".join(ids)
        sockets = self._of_user.get(user)
        if where := self.elsewhere.of_user.get(user):
            push = Push(user, action, frame, joined, accepted)
            if not self.elsewhere.deliver(push, where):
                self._record(joined, action, user, accepted, socket=0, fate=Fate.LOST)
        elif not sockets:
            self._record(joined, action, user, accepted, socket=0, fate=Fate.OFFLINE)
        if not sockets:
            return
        if self.faults is not None:
            self.faults.deliver(
                Push(user, action, frame, joined, accepted), [each for each in sockets if each is not besides]
            )
            return
        for socket in tuple(sockets):
            if socket is not besides:
                fate = self._write(socket, frame)
                self._record(joined, action, user, accepted, socket=socket.number, fate=fate)

    def take_in(self, message: Deliver) -> None:
        """Deliver a push that began in another process to the sockets that are here."""
        crossed = max(1, clock.monotonic() - message.sent)
        push = Push(message.user, message.action, message.frame, message.ids, message.accepted, crossed)
        self._metrics.crossing(push.action, crossed)
        sockets = self._of_user.get(push.user)
        if not sockets:  # the last one has gone meanwhile
            self._enter(push, 0, Fate.OFFLINE)
        elif self.faults is not None:
            self.faults.deliver(push, list(sockets))
        else:
            for socket in tuple(sockets):
                self._enter(push, socket.number, self._write(socket, push.frame))

    def settle(self, push: Push, socket: Socket, fate: Fate) -> bool:
        """Do to one push what its `fate` says, and enter it; tell whether it was written."""
        written = fate
        if fate is not Fate.DROPPED and (found := self._write(socket, push.frame)) is not Fate.SENT:
            written = found
        elif fate is Fate.DUPLICATED:
            self._write(socket, push.frame)
        self._enter(push, socket.number, written)
        return written is fate is not Fate.DROPPED

    def push(self, user: str, action: str, data: Any, ids: Iterable[str], *, accepted: int) -> None:
        """Deliver `data` to every socket of `user`, under the name that the dialect has for `action`."""
        frame = success(self._names.get(action, action), data)
        self.deliver(user, action, frame, ids, accepted=accepted)

    def answer(self, socket: Socket, frame: bytes) -> None:
        """Write a frame to the one socket that asked. No push, so not in the ledger."""
        self._write(socket, frame)

    def revoke(self, user: str, session: str) -> None:
        """End every socket that was opened with a token of `session`."""
        self.end(user, session, others=False)
        self.elsewhere.revoke(user, session, others=False)

    def revoke_others(self, user: str, session: str | None) -> None:
        """End every socket of `user` that was opened with a token of any session but this."""
        self.end(user, session, others=True)
        self.elsewhere.revoke(user, session, others=True)

    def end(self, user: str, session: str | None, *, others: bool) -> None:
        """End the sockets that `user` has here and that came with `session`, or, if `others`, did not."""
        for socket in tuple(self._of_user.get(user, ())):
            if (socket.session == session) is not others:
                self.refuse(socket)

    def left(self, user: str, at: int) -> None:
        """Note that he has left all other processes: unless he has a socket here, he has departed."""
        if user not in self._of_user:
            self.departed[user] = at

    def refuse(self, socket: Socket) -> None:
        """Tell a socket that its token is no good, and close it."""
        self.answer(socket, failure("authenticate", 401, "The token is not valid."))
        self._forget(socket)
        socket.connection.close_with(CLOSE_TOKEN_REVOKED, "token not valid")

    def sweep(self, now: int, *, auth_deadline_s: float, platform_limits: bool) -> None:
        """Close the sockets whose time is up; `now` in monotonic ns."""
        for socket in tuple(self._sockets):
            age, idle = now - socket.opened, now - socket.last_seen
            if socket.user is None and age > auth_deadline_s * _SECOND:
                socket.connection.close_with(CLOSE_NOT_AUTHENTICATED, "not authenticated in time")
            elif platform_limits and idle > IDLE_TIMEOUT_S * _SECOND:
                socket.connection.close_with(GOING_AWAY, "idle for too long")
            elif platform_limits and age > MAX_CONNECTION_S * _SECOND:
                socket.connection.close_with(GOING_AWAY, "connected for too long")

    def _write(self, socket: Socket, frame: bytes) -> Fate:
        connection = socket.connection
        if not connection.is_open():
            return Fate.OFFLINE
        if connection.unread() > EVICT_BYTES:
            connection.abort()
            self.close(socket)
            return Fate.EVICTED
        connection.write_frame(frame)
        return Fate.SENT

    def _enter(self, push: Push, socket: int, fate: Fate) -> None:
        self._record(
            *(push.ids, push.action, push.user, push.accepted), socket=socket, fate=fate, crossed=push.crossed
        )

    def _record(
        self, ids: str, action: str, user: str, accepted: int, *, socket: int, fate: Fate, crossed: int = 0
    ) -> None:
        written = clock.monotonic()
        self.ledger.add(
            ids, action, user, socket=socket, accepted=accepted, written=written, fate=fate, crossed=crossed
        )
        self._metrics.delivery(action, fate.value)

    def _forget(self, socket: Socket) -> None:
        user = socket.user
        if user is None:
            return
        sockets = self._of_user.get(user, [])
        if socket in sockets:
            sockets.remove(socket)
        if not sockets and self._of_user.pop(user, None) is not None:
            now = clock.now()
            self.elsewhere.left(user, now)
            if user not in self.elsewhere.of_user:
                self.departed[user] = now
        socket.user = socket.session = None
