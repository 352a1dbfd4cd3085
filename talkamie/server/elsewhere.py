"""What this process knows of the others: who has a socket there, and how pushes get to them.

Every process keeps who is where, told by the others in the order in which it happened. Who authenticates is
answered once all of them know (`settled`): so who sends to him afterwards, from whichever process, finds him,
as if there were one. A push that arrives after his last socket there has gone is entered as offline there.
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING

from talkamie.server import clock
from talkamie.server.bus import Answer, Arrived, Ask, Bus, Deliver, Left, Message, Revoke

if TYPE_CHECKING:
    from talkamie.server.hub import Hub, Push


class Elsewhere:
    """The other processes, as seen by the hub of this one."""

    def __init__(self, hub: Hub, bus: Bus) -> None:
        self.bus = bus
        self.of_user: dict[str, set[int]] = {}  # the processes in which he has a socket
        self._hub = hub
        self._tickets = count(1)
        self._asked: dict[int, tuple[asyncio.Future[None], set[int]]] = {}

    def deliver(self, push: Push, where: set[int]) -> bool:
        """Hand a push to the processes where its user has sockets; false if one of them did not get it."""
        message = Deliver(push.user, push.action, push.frame, push.ids, push.accepted, clock.monotonic())
        taken = [self.bus.publish(each, message) for each in where]
        return all(taken)

    def arrived(self, user: str) -> None:
        self._tell_all(Arrived(user))

    def left(self, user: str, at: int) -> None:
        self._tell_all(Left(user, at))

    def revoke(self, user: str, session: str | None, *, others: bool) -> None:
        for each in self.of_user.get(user, ()):
            self.bus.publish(each, Revoke(user, session, others))

    async def settled(self) -> None:
        """Wait until the other processes have taken in what was published so far."""
        if not self.bus.peers:
            return
        ticket = next(self._tickets)
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked[ticket] = (answered, set(self.bus.peers))
        self._tell_all(Ask(ticket))
        try:
            await answered
        finally:
            self._asked.pop(ticket, None)

    def take(self, sender: int, message: Message) -> None:
        """Do what another process says."""
        match message:
            case Deliver():
                self._hub.take_in(message)
            case Arrived(user):
                self.of_user.setdefault(user, set()).add(sender)
                self._hub.departed.pop(user, None)
            case Left(user, at):
                where = self.of_user.get(user, set())
                where.discard(sender)
                if not where:
                    self.of_user.pop(user, None)
                    self._hub.left(user, at)
            case Revoke(user, session, others):
                self._hub.end(user, session, others=others)
            case Ask(ticket):
                self.bus.publish(sender, Answer(ticket))
            case Answer(ticket):
                self._note(ticket, sender)

    def _note(self, ticket: int, sender: int) -> None:
        answered, waited_for = self._asked.get(ticket, (None, set()))
        waited_for.discard(sender)
        if answered is not None and not waited_for and not answered.done():
            answered.set_result(None)

    def _tell_all(self, message: Message) -> None:
        for peer in self.bus.peers:
            self.bus.publish(peer, message)
