"""Locust's way into a calibration: devices that do one thing each at fixed instants, whatever becomes of it.

The wiring is that of `loadtests.locustfile`, and so are the app, its books and the end of the run: only who
acts is another. The faults begin when all devices are ready, so that instants of the plan and of the drill
are those of one clock.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import gevent
import httpx
import msgspec
from gevent.event import Event as Bell
from locust import constant, events, task
from locust.env import Environment
from locust.exception import StopUser

import loadtests.locustfile  # noqa: F401 - because it listens to Locust's events: all the wiring
from loadtests import clock, stream
from loadtests.app import App
from loadtests.link import Link
from loadtests.wire import TIMESPEC
from reports.sample import Kind
from scenarios.actor import Finished, Unhappy
from scenarios.calibration import Account, Orders, Stream
from talkamie.contract import (
    Action,
    CallStep,
    Chat,
    GetMessages,
    ReadMark,
    UpdateAlerts,
    User,
    WeeklyInput,
)

NOBODY = "none"
NOT_FOUND = 404


class Stage:
    """What the devices of one drill share."""

    def __init__(self, orders: Orders, environment: Environment) -> None:
        self.orders, self._environment = orders, environment
        self.begun = Bell()
        self.begin = 0
        drill = orders.drill
        self.seats: list[tuple[Account, Stream | None, list[int]]] = [
            # Streams of one rate take turns, so that none meets another at the target.
            (orders.me, stream, drill.starts(stream, number, turn / len(drill.streams)))
            for turn, stream in enumerate(drill.streams)
            for number in range(stream.devices)
        ]
        self.seats += [(orders.partner, None, [])] * drill.listeners
        self._waited_for = len(self.seats)
        self._busy = len(self.seats) - drill.listeners

    def ready(self, device: Device) -> None:
        """Wait for all others; the last one lets the faults begin."""
        self._waited_for -= 1
        if not self._waited_for:
            self._start(device)
        self.begun.wait()

    def _start(self, device: Device) -> None:
        orders, drill, books = self.orders, self.orders.drill, device.books
        faults = books.target.test + "/faults"
        with httpx.Client(trust_env=False, timeout=10) as client:
            if orders.plan:
                client.put(faults, params={"name": orders.name}, content=orders.plan).raise_for_status()
            else:
                client.delete(faults).raise_for_status()
        now = clock.now()
        self.begin = now + clock.ns(drill.lead_s)
        books.event("drill", faults_ns=now, begin_ns=self.begin)
        for at, seconds in drill.clock_steps:
            gevent.spawn_later(at, set_wall_clock, seconds)
        if drill.kill_at_s:
            gevent.spawn_later(drill.kill_at_s, os.kill, os.getpid(), signal.SIGKILL)
        if drill.busy_ms:
            gevent.spawn(_be_busy, drill.busy_ms, lambda: books.finishing)
        self.begun.set()

    def done(self) -> None:
        """One device has done what it had to; the last one ends the run."""
        self._busy -= 1
        if not self._busy:
            runner = self._environment.runner
            assert runner is not None
            gevent.spawn(runner.quit)


class Device(App):
    """One client. What it does next never waits for what it did before, unless its stream says so."""

    wait_time = constant(1)
    stage: ClassVar[Stage]

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._over = Bell()

    def pushed(self, action: str, push: Any, arrived: int) -> None:
        """See App: it is on record, and nobody looks at it."""

    def wake(self) -> None:
        """See App."""
        if self.books.finishing:
            self._over.set()

    def keep_pinging(self, link: Link, interval_s: float, in_use: Callable[[], bool]) -> None:
        """See App: nothing happens here of its own accord."""

    @task
    def live(self) -> None:
        """Take part in the drill."""
        account, stream, starts = self.stage.seats[self.number]
        self.user, self.api.token = User(id=account.id), account.token
        if stream is None or stream.on_socket:
            self.open_socket()
        else:
            self.books.arrived_online(self.number)
        self.stage.ready(self)
        if stream is None:
            self._over.wait()
        else:
            with self.journey(str(self.number)):
                self._follow(stream, starts)
            self.stage.done()
        raise StopUser

    def _follow(self, stream: Stream, starts: list[int]) -> None:
        act = self._act_of(stream.what)
        under_way = []
        for due in (self.stage.begin + start for start in starts):
            gevent.sleep(max(0, due - clock.now()) / clock.SECOND)
            doing = gevent.spawn(self._do, act, due)
            under_way.append(doing)
            if stream.one_by_one:
                doing.join()
        gevent.joinall(under_way)

    def _do(self, act: Callable[[], Any], due: int) -> None:
        self._intended = due
        with contextlib.suppress(Unhappy, Finished):  # they are on record
            act()

    def _ping(self) -> None:
        link, timeout = self._link, self.books.scenario.client.timeout_s
        assert link is not None
        self.attempt(Kind.PING, "wss.ping", self._take_intended(), lambda: link.ping(timeout=timeout))

    def _act_of(self, what: str) -> Callable[[], Any]:
        """Return what does one thing: nothing may wait between its call and the taking of `intended`."""
        orders = self.stage.orders
        chat = Chat(id=orders.chat, user=User(id=orders.partner.id))
        texts = itertools.count()
        unknown: dict[str, Action] = {  # what is not found is answered as fast, and nobody is told
            "wss.update-alerts": UpdateAlerts(
                action="update-alerts", alerts_map={NOBODY: ReadMark(status="read")}
            ),
            "wss.accept-call": CallStep(action="accept-call", call_id=NOBODY),
            "wss.end-call": CallStep(action="end-call", call_id=NOBODY),
        }
        match what:
            case "wss.ping":
                return self._ping
            case "wss.send-message":
                return lambda: self.say(chat, f"number {next(texts)}")
            case "wss.get-messages":
                return lambda: self.ask(GetMessages(action="get-messages", chat_id=orders.chat))
            case _ if what in unknown:
                return lambda: self.ask(unknown[what], expect=(NOT_FOUND,))
            case "get-user":
                return lambda: self.call(what, id=orders.partner.id)
            case "set-weekly-availability":
                return lambda: self.call(what, WeeklyInput())
            case _:
                return lambda: self.call(what)


def set_wall_clock(seconds: int) -> None:
    """Let this process believe that the wall clock was set by so much.

    Nobody may set the real one. It is read in two places, and by nobody else: where its distance to the
    monotonic clock is taken, and where the kernel's receive stamps, which are its instants, are unpacked.
    """
    real: Any = vars(clock)["time"].time_ns
    stepped = SimpleNamespace(time_ns=lambda: real() + seconds * clock.SECOND, monotonic_ns=clock.now)
    vars(clock)["time"] = stepped
    timespec: Any = TIMESPEC

    def unpack(stamp: bytes) -> tuple[int, int]:
        whole, ns = timespec.unpack(stamp)
        return whole + seconds, ns

    vars(stream)["TIMESPEC"] = SimpleNamespace(unpack=unpack, size=timespec.size)


def _be_busy(ms: int, over: Callable[[], bool]) -> None:
    while not over():
        until = clock.now() + ms * clock.MILLISECOND
        while clock.now() < until:
            pass
        gevent.sleep(0.001)


@events.init_command_line_parser.add_listener
def _options(parser: Any) -> None:
    parser.add_argument("--orders", required=True, help="file with what to do", include_in_web_ui=False)


@events.init.add_listener
def _prepare(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    assert options is not None
    orders = msgspec.json.decode(Path(options.orders).read_bytes(), type=Orders)
    Device.stage = Stage(orders, environment)
