"""An event loop whose time passes only when it would sleep, and a clock that shows it."""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar
from unittest.mock import patch

from talkamie.server import clock

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Timers fire `early` ns before their time, as those of a coarser loop may."""

    def __init__(self, early: int = 0) -> None:
        self.now = 1_000_000_000_000
        self._early = early
        super().__init__(_Skipping(self))

    def time(self) -> float:
        return self.now / 1e9

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        return super().call_later(max(0.0, delay - self._early / 1e9), callback, *args, context=context)


class _Skipping(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "nothing will ever happen"
        # At least a microsecond a turn, because a turn of a real loop takes time too.
        self._loop.now += max(1000, math.ceil(timeout * 1e9))
        return super().select(0)


def run(work: Coroutine[Any, Any, T], *, early: int = 0) -> T:
    """Run `work` to its end on a virtual loop."""
    loop = VirtualLoop(early)
    with (
        asyncio.Runner(loop_factory=lambda: loop) as runner,
        patch.object(clock, "monotonic", lambda: loop.now),
    ):
        return runner.run(work)
