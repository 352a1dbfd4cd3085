"""The faults at work: what a plan does to requests, pushes and connections, and the book it keeps of that.

They sit in two places, right around the handlers of operations and actions, and in `Hub.deliver`; a third
holds up handshakes. Off is `hub.faults is None`, one test in each. What a fault did is entered where the rest
is: the fate of a push in the ledger, what held up a request in the ring of requests; and each rule counts
what it has seen and hit, and lists every delay it has achieved.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Protocol

import msgspec
from starlette.types import Message, Receive, Scope, Send

from talkamie.server import clock
from talkamie.server.faults import rules
from talkamie.server.faults.active import SECOND, Active, until
from talkamie.server.faults.delays import MS
from talkamie.server.faults.plan import Plan
from talkamie.server.faults.pushes import Pushes, Silent
from talkamie.server.hub import Hub
from talkamie.server.service import Call, Problem, Service

log = logging.getLogger("talkamie")
LOOPBACK_ONLY = "Faults are for this machine alone: the server must listen on 127.0.0.1, ::1 or localhost."
CUT_AGAIN = 20 * MS


class Gate(Protocol):
    """Where connections come in. `cut` resets those there are and returns how many."""

    async def refuse(self) -> None: ...
    async def accept(self) -> None: ...
    def cut(self) -> int: ...


async def switch(service: Service, plan: Plan | None, start: int | None = None) -> None:
    """End the faults at work, and begin with those of `plan`, all counters at 0.

    `start`, monotonic ns, is from when its times count; several processes are given the same. Default: now.
    """
    old, service.hub.faults = service.hub.faults, None
    if old is not None:
        await old.stop()
    if plan is not None:
        service.hub.faults = Faults(plan, service.hub, service.gate, start)


class Faults:
    """A plan at work from the moment it is made until `stop`. Needs a running loop."""

    def __init__(self, plan: Plan, hub: Hub, gate: Gate | None = None, start: int | None = None) -> None:
        self.plan = plan
        self._hub = hub
        self._gate = gate
        start = clock.monotonic() if start is None else start
        share = 1 + len(hub.elsewhere.bus.peers)
        self._active = [Active(n, rule, plan.seed, start, share) for n, rule in enumerate(plan.rules, 1)]
        self._at: dict[str, list[Active]] = {}
        for active, places in zip(self._active, plan.places, strict=True):
            for place in places:
                self._at.setdefault(place, []).append(active)
        self._pushes = Pushes(hub, self._at)
        self.deliver = self._pushes.deliver
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(_logged(work)) for each in self._active if (work := self._timed(each))
        ]

    async def stop(self) -> None:
        """End: what waits is written, silent sockets are reset, connections are accepted."""
        self._pushes.stop()  # first, so that what is pushed from now on does not overtake
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def report(self) -> dict[str, Any]:
        """Return the plan, what each rule has done, and the truth about its delays."""
        book = [
            {
                "number": number,
                "rule": msgspec.to_builtins(active.rule),
                "places": places,
                "seen": active.seen,
                "hits": active.hits,
                "achieved_ns": active.achieved.tolist(),
                "truth_ns": active.truth(),
            }
            for number, (active, places) in enumerate(zip(self._active, self.plan.places, strict=True), 1)
        ]
        return {"on": True, "plan": self.plan.name, "seed": self.plan.seed, "rules": book}

    async def operation(self, name: str, call: Call, scope: Scope, receive: Receive, send: Send) -> Send:
        """Do what is planned for a request before its handler; return what to answer with.

        Raises Problem for a planned failure, with status 0 where there is no connection left to answer on.
        """
        for active in await self._hold(f"{rules.HTTPS}:{name}", call):
            match active.rule:
                case rules.Error(status=status):
                    raise Problem(status, "A fault that was planned.")
                case rules.Reset():
                    scope["extensions"]["talkamie.received"]["by"].reset()
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    raise Problem(0, "")
                case rules.Trickle() as rule:
                    send = _trickle(send, active, rule, call)
        return send

    async def action(self, name: str, call: Call) -> bool:
        """Do what is planned for an action before its handler; tell whether it is to be answered.

        Raises Problem for a planned failure.
        """
        socket = call.socket
        assert socket is not None
        if isinstance(socket.connection, Silent):  # it came in before the silence
            return False
        for active in await self._hold(f"{rules.ACTION}:{name}", call):
            match active.rule:
                case rules.Error(status=status):
                    raise Problem(status, "A fault that was planned.")
                case rules.Reset():
                    socket.connection.reset()
                case rules.HalfOpen():
                    self._pushes.silence(socket)
            return False
        return True

    async def handshake(self) -> None:
        """Hold up the opening of a socket."""
        await self._hold(rules.HANDSHAKE, None)

    async def _hold(self, place: str, call: Call | None) -> list[Active]:
        """Wait as planned; return the other rules that hit, none after one that ends the request."""
        hit: list[Active] = []
        for active in self._at.get(place, ()):
            now = clock.monotonic()
            achieved = 0
            if isinstance(active.rule, rules.WAITS):
                wait = active.holds_up(now)
                if not wait:
                    continue
                await until(now + wait)
                achieved = clock.monotonic() - now
                active.waited(achieved)
            elif active.picks(now):
                hit.append(active)
            else:
                continue
            if call is not None:
                call.held += achieved
                call.faults.append(active.name)
            if hit and not isinstance(active.rule, rules.WAITS | rules.Trickle):
                break
        return hit

    def _timed(self, active: Active) -> Coroutine[Any, Any, None] | None:
        match active.rule:
            case rules.LoopBlock() as rule:
                return self._block(active, rule)
            case rules.DisconnectAll() as rule:
                return self._disconnect(active, rule)
            case rules.Outage() as rule:
                return self._go_out(active, rule)
        return None

    async def _times(self, active: Active, period_s: float) -> AsyncIterator[None]:
        """Come back every `period_s` in the rule's time."""
        period = round(period_s * SECOND)
        due = active.begin + period
        while active.is_on(due):
            await until(due)
            yield
            due += period

    async def _block(self, active: Active, rule: rules.LoopBlock) -> None:
        async for _ in self._times(active, rule.period_s):
            now = clock.monotonic()
            clock.block(rule.block_ms * MS)
            active.seen += 1
            active.hits += 1
            active.waited(clock.monotonic() - now)

    async def _disconnect(self, active: Active, rule: rules.DisconnectAll) -> None:
        """`seen` counts the storms, `hits` the sockets that were reset."""
        if rule.period_s is None:
            await until(active.begin)
            self._reset_all(active)
            return
        async for _ in self._times(active, rule.period_s):
            self._reset_all(active)

    def _reset_all(self, active: Active) -> None:
        active.seen += 1
        active.hits += self._hub.reset_all()

    async def _go_out(self, active: Active, rule: rules.Outage) -> None:
        """`seen` counts the outage, `hits` the connections that were reset."""
        await until(active.begin)
        if self._gate is None:
            return
        begin = clock.monotonic()
        end = begin + round(rule.for_s * SECOND)
        active.seen += 1
        try:
            await self._gate.refuse()
            while (now := clock.monotonic()) < end:
                # Again and again, because a TLS handshake that was under way ends in a connection.
                active.hits += self._gate.cut()
                await until(min(end, now + CUT_AGAIN))
        finally:
            await self._gate.accept()
            active.waited(clock.monotonic() - begin)


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    # Because nobody waits for it: a fault that fails must not do so in silence.
    try:
        await work
    except Exception:
        log.exception("a fault failed")


def _trickle(send: Send, active: Active, rule: rules.Trickle, call: Call) -> Send:
    """Return a way to send that writes a body in pieces."""

    async def trickle(message: Message) -> None:
        body = message.get("body", b"")
        begin = clock.monotonic()
        for number, start in enumerate(range(0, len(body), rule.piece_bytes)):
            await until(begin + number * rule.pause_ms * MS)
            stop = start + rule.piece_bytes
            await send({**message, "body": body[start:stop], "more_body": stop < len(body)})
        if not body:
            await send(message)
            return
        took = clock.monotonic() - begin
        active.waited(took)
        call.held += took

    return trickle
