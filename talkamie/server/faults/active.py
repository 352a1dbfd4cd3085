"""One rule at work: whom it hits, how long it makes them wait, and its book."""

from __future__ import annotations

import asyncio
import random
from array import array
from collections.abc import Callable
from functools import partial

from talkamie.server import clock
from talkamie.server.faults import rules
from talkamie.server.faults.delays import MS, Distribution, stall_wait, told
from talkamie.server.faults.rules import Rule

SECOND = 1_000_000_000
ACHIEVED_KEPT = 100_000


async def until(due: int) -> None:
    """Wait until the monotonic clock shows `due` ns, or later.

    uvloop's timers go by whole milliseconds of a clock read once a turn, and fire up to one early: who wakes
    looks at the clock and waits for the rest again. With less than half a millisecond left that lets the loop
    turn without sleeping, so that others go on.
    """
    while (left := due - clock.monotonic()) > 0:
        await asyncio.sleep(left / 1e9)


class Active:
    """One rule at work. Instants and durations in nanoseconds."""

    def __init__(self, number: int, rule: Rule, seed: int, start: int, share: int = 1) -> None:
        """Of a capacity this process has one `share`-th: so many processes follow the plan."""
        self.rule = rule
        self._share = share
        self.name = f"{number}:{rule.__struct_config__.tag}"
        self.seen = 0  # events of its places in its time
        self.hits = 0
        self.achieved = array("q")
        self.begin = start + round(rule.from_s * SECOND)
        self.end = None if rule.for_s is None else self.begin + round(rule.for_s * SECOND)
        self._random = random.Random(f"{seed}:{number}")
        self._next_token = self.begin

    def picks(self, now: int, possible: Callable[[], bool] = lambda: True) -> bool:
        """Tell whether the rule hits this event. A hit that is not possible now is owed to the next event."""
        if not self.is_on(now):
            return False
        self.seen += 1
        rule, hit = self.rule, True
        if isinstance(rule, rules.Some):
            if rule.every is not None:
                hit = self.hits < self.seen // rule.every
            elif rule.rate is not None:
                hit = self._random.random() < rule.rate
        hit = hit and possible()
        self.hits += hit
        return hit

    def holds_up(self, now: int) -> int:
        """Return how long an event must wait, where the rule is one of those; 0 where it may pass."""
        rule = self.rule
        if isinstance(rule, rules.Latency | rules.SlowHandshake):
            return self.draw(rule.delay) if self.picks(now) else 0
        if not self.is_on(now):
            return 0
        wait = 0
        if isinstance(rule, rules.Stall):
            wait = self.stalled(now, rule)
        elif isinstance(rule, rules.Capacity):
            wait = self.queued(now, rule)
        self.seen += 1
        self.hits += wait > 0
        return wait

    def is_on(self, now: int) -> bool:
        return self.begin <= now and (self.end is None or now < self.end)

    def draw(self, delay: Distribution) -> int:
        return delay.quantile(self._random.random()) * MS

    def stalled(self, now: int, rule: rules.Stall) -> int:
        """Return how long who arrives now must wait for the end of the stall."""
        turn, inside = divmod(now - self.begin, round(rule.period_s * SECOND))
        return max(0, rule.stall_ms * MS - inside) if turn >= 1 else 0

    def queued(self, now: int, rule: rules.Capacity) -> int:
        """Take a token and return how long until there is one.

        The generic cell rate algorithm (ITU-T I.371), as a queue: `_next_token` is when the bucket would be
        full again, and who comes more than `burst - 1` tokens before that waits.
        """
        token = round(SECOND * self._share / rule.per_s)
        begin = max(now, self._next_token - (rule.burst - 1) * token)
        self._next_token = max(self._next_token, begin) + token
        return begin - now

    def waited(self, duration: int) -> None:
        if len(self.achieved) < ACHIEVED_KEPT:
            self.achieved.append(duration)

    def truth(self) -> dict[str, int] | None:
        """Return the quantiles, in ns, of the delays the rule asks for where it hits; of a stall, of what it
        adds for arrivals spread evenly over its period."""
        match self.rule:
            case rules.Latency(delay=delay) | rules.SlowHandshake(delay=delay):
                return told(lambda share: delay.quantile(share) * MS)
            case rules.Stall(stall_ms=ms, period_s=s) | rules.LoopBlock(block_ms=ms, period_s=s):
                return told(partial(stall_wait, stall=ms * MS, period=round(s * SECOND)))
        return None
