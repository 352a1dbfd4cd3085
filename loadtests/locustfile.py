"""Locust's way in. Only wiring: options in, a Run while a test is on, its seal and an exit code at the end.

`talkload run` starts this with a target that it has looked at; plain `locust` in the repository works too,
and starts the reference server when no target is given.
"""

from __future__ import annotations

import atexit
import logging
import math
import secrets
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import gevent
import msgspec
from locust import events, runners
from locust.env import Environment
from locust.exception import StopUser

from loadtests import channel, clock, population, statement
from loadtests import target as targets
from loadtests.app import App
from loadtests.cast import Casting, Dispatcher, Kind
from loadtests.fleet import Spec
from loadtests.head import Head, hello
from loadtests.locust_table import feed
from loadtests.master import Master, MasterError
from loadtests.order import ALONE, Order, plan_hash
from loadtests.recorder import Second
from loadtests.run import Run
from loadtests.storm import schedule
from loadtests.users import Host, Lurker, Senior, Volunteer, Writer
from loadtests.worker import Worker
from reports.artefact import ArtefactError, imbalance
from scenarios import workload
from scenarios.people import Habits
from scenarios.population import Population

__all__ = ["Host", "Lurker", "Senior", "Volunteer", "Writer"]

EXIT_USAGE, EXIT_INVALID, EXIT_UNUSABLE = 2, 4, 5

channel.install()


@events.init_command_line_parser.add_listener
def _options(parser: Any) -> None:
    hidden = {"include_in_web_ui": False}
    parser.add_argument(
        "--scenario", default="typical", help="name of a scenario, or a file *.toml", **hidden
    )
    parser.add_argument(
        "--target", default="", help="https address; default: start the reference server", **hidden
    )
    parser.add_argument("--socket", default="", help="wss address of the same target", **hidden)
    parser.add_argument(
        "--ca", default=None, help="file with the authority of the target's certificate", **hidden
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        help="table.key=value, put into the scenario; can be repeated",
        **hidden,
    )
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same people", **hidden)
    parser.add_argument("--out", default="reports/runs", help="folder that gets a folder per run", **hidden)
    parser.add_argument(
        "--looked-at", default="", help="a target that was looked at already, as JSON", **hidden
    )
    parser.add_argument(
        "--secret-file",
        default="",
        type=_secret,
        help="what master and workers know, and nobody else",
        **hidden,
    )
    parser.add_argument(
        "--leave-samples", action="store_true", help="of a worker: leave samples on its disk", **hidden
    )
    parser.add_argument(
        "--own-disk", action="store_true", help="of a worker: don't write to the master's folder", **hidden
    )
    parser.add_argument("--population", default="", help="who has an account already, as JSON", **hidden)
    parser.add_argument("--live", action="store_true", help="print one line of JSON a second", **hidden)


@events.init.add_listener
def _prepare(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    assert options is not None
    if options.worker:
        _serve_a_master(environment, options)
        return
    if options.master and not options.secret_file and not targets.is_loopback(options.master_bind_host):
        _refuse(
            EXIT_USAGE, f"--master-bind-host {options.master_bind_host}: others reach it: give --secret-file"
        )
    try:
        scenario = workload.load(options.scenario, options.set)
        target = _target(options, scenario)
        tls = targets.tls_context(target)
        if scenario.storm.at_s and not target.test:
            _refuse(EXIT_USAGE, "a storm needs a target with test endpoints: talkload serve --test-endpoints")
        options.num_users = options.num_users or scenario.load.users
        if complaint := scenario.misfit(options.num_users):
            _refuse(EXIT_USAGE, complaint)
        people = _population(options, scenario, target)
    except (workload.WorkloadError, targets.AddressError) as error:
        _refuse(EXIT_USAGE, str(error))
    except targets.TargetError as error:
        _refuse(EXIT_UNUSABLE, str(error))
    options.spawn_rate = options.spawn_rate or scenario.load.spawn_rate
    seconds = options.run_time = options.run_time or int(scenario.load.run_time_s)
    if scenario.load.arrivals:
        # The end of the plan ends an open run; this is for one whose people never get online.
        options.run_time += math.ceil(scenario.load.warm_up_s) + 1
    if options.live:
        # Whoever watches has better tables.
        logging.getLogger("locust.stats_logger").setLevel(logging.CRITICAL)
    _cast(environment, scenario)
    kinds = tuple(Kind(each.__name__, each.weight, each.fixed_count) for each in environment.user_classes)

    def order(users: int) -> Order:
        tag = secrets.token_hex(4)
        return Order(tag=tag, seed=options.seed, seconds=seconds, kinds=kinds, users=users, population=people)

    conductor: _Conductor
    if options.master:
        conductor = _Coordinator(environment, scenario, target, order)
    else:
        conductor = _Soloist(environment, scenario, target, order, tls)
    environment.dispatcher_class = partial(  # type: ignore[assignment]  # it is only called
        Dispatcher, casting=Casting(kinds), index=conductor.index
    )
    environment.events.test_start.add_listener(conductor.start)
    environment.events.spawning_complete.add_listener(conductor.spawned)
    environment.events.test_stopping.add_listener(conductor.stopping)
    environment.events.test_stop.add_listener(conductor.stop)
    environment.events.user_error.add_listener(conductor.user_error)
    environment.events.quitting.add_listener(conductor.quitting)


def _secret(path: str) -> str:
    try:
        return channel.use_secret(path)
    except channel.SecretError as error:
        _refuse(EXIT_USAGE, str(error))


def _population(options: Any, scenario: workload.Scenario, target: targets.Target) -> Population:
    """Return who has an account; nobody has prepared them where no command has started us."""
    if options.population:
        return msgspec.json.decode(options.population, type=Population)
    if not scenario.population.accounts:
        return Population()
    people = population.plan(scenario, options.num_users)
    connections = scenario.population.connections
    population.prepare(target, people, connections=connections, seed=options.seed)
    return people


def _target(options: Any, scenario: workload.Scenario) -> targets.Target:
    if options.looked_at:
        return msgspec.json.decode(options.looked_at, type=targets.Target)
    if options.target or options.socket:
        return targets.preflight(targets.address(options.target, options.socket, options.ca))
    server = targets.Server(*scenario.serve_options())
    atexit.register(server.stop)
    return targets.preflight(server.ready())


def _cast(environment: Environment, scenario: workload.Scenario) -> None:
    """Give each kind of person its share and its habits."""
    people = scenario.people
    for kind, share, mix in (
        (Senior, people.senior, msgspec.to_builtins(scenario.senior)),
        (Volunteer, people.volunteer, msgspec.to_builtins(scenario.volunteer)),
        (Lurker, people.lurker, {}),
    ):
        kind.weight = share
        kind.habits = Habits(
            mix={what: weight for what, weight in mix.items() if weight},
            newcomers=people.newcomers,
            leavers=people.leavers,
            signs_out=people.signs_out,
            answers=people.answers,
            accepts=people.accepts,
            picks_up=people.picks_up,
            declines=people.declines,
        )
    for occupant in (Host, Writer):
        occupant.weight, occupant.fixed_count = 0, len(scenario.rooms.devices)
        occupant.habits = Habits(mix={}, answers=0.0, accepts=1.0)
    environment.user_classes = [kind for kind in environment.user_classes if kind.weight or kind.fixed_count]


class _Conductor:
    """Starts a run when Locust starts a test, and sees it to its end."""

    def __init__(
        self,
        environment: Environment,
        scenario: workload.Scenario,
        target: targets.Target,
        order: Callable[[int], Order],
    ) -> None:
        self._environment, self._scenario, self._target, self._order = environment, scenario, target, order
        options: Any = environment.parsed_options
        self._root, self._live = Path(options.out), bool(options.live)
        self._runner: Any = environment.runner
        self._interrupted = ""
        self._over = True

    def index(self) -> Mapping[str, int]:
        """Return the place of each worker by its id at Locust."""
        raise NotImplementedError

    def begin(self) -> None:
        """Begin a run."""
        raise NotImplementedError

    def end(self, interrupted: str) -> tuple[Path, bool]:
        """Seal the run; return its folder, and whether what is on record can be believed."""
        raise NotImplementedError

    def start(self, **_: Any) -> None:
        """See Locust's events."""
        try:
            self.begin()
        except (ArtefactError, MasterError, OSError) as error:
            self._environment.process_exit_code = EXIT_USAGE
            if isinstance(self, _Coordinator):
                self._runner.quit()
            _refuse(EXIT_USAGE, str(error))
        self._over, self._interrupted = False, ""

    def spawned(self, user_count: int, **_: Any) -> None:
        """See Locust's events."""

    def stopping(self, **_: Any) -> None:
        """See Locust's events."""

    def user_error(self, user_instance: Any, exception: BaseException, **_: Any) -> None:
        """See Locust's events."""

    def stop(self, **_: Any) -> None:
        """See Locust's events."""
        if self._over:
            return
        self._over = True
        try:
            folder, believed = self.end(self._interrupted)
        except (ArtefactError, OSError) as error:
            self._environment.process_exit_code = EXIT_INVALID
            print(f"talkload: the run could not be sealed: {error}", file=sys.stderr)
            return
        if not believed:
            self._environment.process_exit_code = EXIT_INVALID
        if not self._live:
            print(f"talkload: run written to {folder}; read it with: talkload report {folder.name}")

    def quitting(self, **_: Any) -> None:
        """Locust says this before it stops a test that a signal ended; after it, had it ended by itself."""
        if not self._over:
            self._interrupted = self._interrupted or "stopped before its time"
            self._runner.stop()
            self.stop()

    def say(self, what: dict[str, Any]) -> None:
        """Tell whoever watches from outside."""
        if self._live:
            print(msgspec.json.encode(what).decode(), flush=True)


class _Soloist(_Conductor):
    """A run on this process alone."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given[:-1])
        self._tls = given[-1]
        self._run: Run | None = None
        self._stopped = 0

    def index(self) -> Mapping[str, int]:
        return {ALONE: 0}

    def begin(self) -> None:
        order = self._order(self._runner.target_user_count)
        self._head = Head(
            self._scenario,
            self._target,
            seed=order.seed,
            users=order.users,
            plan_hash=plan_hash(self._scenario, order),
            root=self._root,
            tag=order.tag,
        )
        run = self._run = App.books = Run(order, self._scenario, self._target, self._tls, self._head.folder)
        self._head.enlist([run.statement().worker])
        run.listeners.append(self._show)
        run.on_settled = self._settled
        run.on_plan_end = lambda: gevent.spawn(
            self._runner.stop if self._environment.web_ui else self._runner.quit
        )
        gevent.spawn_later(self._scenario.load.warm_up_s, lambda: run.arrive_from(clock.now()))
        self.say({"run": str(self._head.folder)})

    def _settled(self, users: int) -> None:
        assert self._run is not None
        now = self._run.steady_from = clock.now()
        run, storms = self._run, self._scenario.storm.at_s
        self._head.steady(now, users)
        schedule(storms, run.folder, self._target.test, over=lambda: run.finishing)
        self._run.arrive_from(now)

    def _show(self, second: Second) -> None:
        feed(self._environment.stats, second)
        run = self._run
        if run is not None:
            self._head.online(run.online)
        if self._live and run is not None:
            phase = self._head.phase(stopping=run.finishing)
            self.say(statement.picture([run.statement()], elapsed_s=self._head.elapsed_s(), phase=phase))

    def spawned(self, user_count: int, **_: Any) -> None:
        if self._run is not None:
            self._run.spawned(user_count)

    def user_error(self, user_instance: Any, exception: BaseException, **_: Any) -> None:
        _note_error(self._run, user_instance, exception)

    def stopping(self, **_: Any) -> None:
        if self._run is not None:
            self._run.stop_people()

    def end(self, interrupted: str) -> tuple[Path, bool]:
        run, self._run = self._run, None
        assert run is not None
        run.stop_people()
        stopped = clock.now()
        run.listen()
        said = run.close()
        self._head.interrupted = interrupted
        self._head.close([said], stopped=stopped)
        return run.folder, bool(said.worker.rows["samples"]) and not said.worker.errors


class _Coordinator(_Conductor):
    """A run on the workers of this master."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        # A worker that is gone for long stays on the list: else Locust would deal everybody out anew.
        runners.HEARTBEAT_DEAD_INTERNAL = -(10**9)
        options: Any = self._environment.parsed_options
        self._master = Master(
            *given,
            hello=hello(),
            root=self._root,
            expected=options.expect_workers if options.headless else 1,
            say=self.say,
        )
        self.say({"port": self._runner.server.port})

    def index(self) -> Mapping[str, int]:
        return self._master.index

    def begin(self) -> None:
        self._master.start()

    def spawned(self, user_count: int, **_: Any) -> None:
        self._master.spawned(user_count)

    def stopping(self, **_: Any) -> None:
        self._master.stop()

    def end(self, interrupted: str) -> tuple[Path, bool]:
        folder = self._master.folder
        sealed = self._master.seal(interrupted)
        if self._environment.web_ui is None:
            # Whoever is the last to go missing makes Locust stop, but not quit.
            gevent.spawn(self._runner.quit)
        assert sealed is not None
        assert folder is not None
        whole = all(each.closed and not each.errors and not imbalance(each) for each in sealed.workers)
        return folder, whole and any(each.found.get("samples") for each in sealed.workers)


def _serve_a_master(environment: Environment, options: Any) -> None:
    """Be a worker: what to do comes from the master."""

    def cast(spec: Spec) -> None:
        _cast(environment, spec.scenario)

    def begin(run: Run) -> None:
        App.books = run
        run.listeners.append(lambda second: feed(environment.stats, second))

    worker = Worker(
        environment,
        hello=hello(),
        root=Path(options.out),
        own_disk=options.own_disk,
        leave_samples=options.leave_samples,
        cast=cast,
        begin=begin,
    )

    def stopping(**_: Any) -> None:
        if worker.run is not None:
            worker.run.stop_people()

    def user_error(user_instance: Any, exception: BaseException, **_: Any) -> None:
        _note_error(worker.run, user_instance, exception)

    environment.events.test_stopping.add_listener(stopping)
    environment.events.test_stop.add_listener(lambda **_: worker.quiet())
    environment.events.user_error.add_listener(user_error)
    environment.events.quitting.add_listener(lambda **_: worker.abandon("it was stopped before its time"))


def _note_error(run: Run | None, user: Any, error: BaseException) -> None:
    if run is not None and not isinstance(error, StopUser):
        run.trouble(f"a {type(user).__name__} broke: {type(error).__name__}: {error}")


def _refuse(code: int, why: str) -> NoReturn:
    logging.getLogger("locust").setLevel(logging.CRITICAL)
    print(f"talkload: {why}", file=sys.stderr, flush=True)
    sys.exit(code)
