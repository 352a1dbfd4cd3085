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
from pathlib import Path
from typing import Any, NoReturn

import gevent
import msgspec
from locust import events
from locust.env import Environment
from locust.exception import StopUser

from loadtests import population
from loadtests import target as targets
from loadtests.app import App
from loadtests.locust_table import feed
from loadtests.recorder import Second
from loadtests.run import Run, live_line
from loadtests.users import Host, Lurker, Senior, Volunteer, Writer
from reports.artefact import ArtefactError
from scenarios import workload
from scenarios.people import Habits
from scenarios.population import Population

__all__ = ["Host", "Lurker", "Senior", "Volunteer", "Writer"]

EXIT_USAGE, EXIT_INVALID, EXIT_UNUSABLE = 2, 4, 5


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
    parser.add_argument("--population", default="", help="who has an account already, as JSON", **hidden)
    parser.add_argument("--live", action="store_true", help="print one line of JSON a second", **hidden)


@events.init.add_listener
def _prepare(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    assert options is not None
    if options.master or options.worker or options.processes:
        _refuse(EXIT_USAGE, "one process a run: leave --master, --worker and --processes out")
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
    conductor = _Conductor(environment, scenario, target, tls, seconds, people)
    environment.events.test_start.add_listener(conductor.start)
    environment.events.spawning_complete.add_listener(conductor.spawned)
    environment.events.test_stopping.add_listener(conductor.stopping)
    environment.events.test_stop.add_listener(conductor.stop)
    environment.events.user_error.add_listener(conductor.user_error)
    environment.events.quitting.add_listener(conductor.quitting)


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
    """Starts a Run when Locust starts a test, and sees it to its end."""

    def __init__(
        self,
        environment: Environment,
        scenario: workload.Scenario,
        target: Any,
        tls: Any,
        seconds: float,
        people: Population,
    ) -> None:
        self._seconds, self._people = seconds, people
        self._environment, self._scenario, self._target, self._tls = environment, scenario, target, tls
        self._run: Run | None = None
        assert environment.parsed_options is not None
        self._options = environment.parsed_options

    def start(self, **_: Any) -> None:
        runner = self._environment.runner
        assert runner is not None
        try:
            self._run = App.books = Run(
                self._scenario,
                self._target,
                self._tls,
                seed=self._options.seed,
                users=runner.target_user_count,
                seconds=self._seconds,
                root=Path(self._options.out),
                token=secrets.token_hex(4),
                population=self._people,
            )
        except ArtefactError as error:
            _refuse(EXIT_USAGE, str(error))
        self._run.listeners.append(self._show)
        self._run.on_plan_end = lambda: gevent.spawn(runner.stop if self._environment.web_ui else runner.quit)
        if self._options.live:
            _say({"run": str(self._run.folder)})

    def _show(self, second: Second) -> None:
        feed(self._environment.stats, second)
        if self._options.live and self._run is not None:
            print(live_line(self._run), flush=True)

    def spawned(self, user_count: int, **_: Any) -> None:
        if self._run is not None:
            self._run.spawned(user_count)

    def user_error(self, user_instance: Any, exception: BaseException, **_: Any) -> None:
        if self._run is not None and not isinstance(exception, StopUser):
            self._run.trouble(
                f"a {type(user_instance).__name__} broke: {type(exception).__name__}: {exception}"
            )

    def stopping(self, **_: Any) -> None:
        if self._run is not None:
            self._run.stop_people()

    def stop(self, **_: Any) -> None:
        if self._run is None:
            return
        run, self._run = self._run, None
        try:
            manifest = run.finish()
        except (ArtefactError, OSError) as error:
            self._environment.process_exit_code = EXIT_INVALID
            print(f"talkload: the run could not be sealed: {error}", file=sys.stderr)
            return
        if manifest.workers[0].errors or not run.recorder.counts["samples"]:
            self._environment.process_exit_code = EXIT_INVALID
        if not self._options.live:
            print(f"talkload: run written to {run.folder}; read it with: talkload report {run.folder.name}")

    def quitting(self, **_: Any) -> None:
        """Locust says this before it stops a test that a signal ended; after it, had it ended by itself."""
        if self._run is not None and self._environment.runner is not None:
            if not self._run.finishing:
                self._run.interrupted = "stopped before its time"
            self._environment.runner.stop()


def _say(what: dict[str, Any]) -> None:
    print(msgspec.json.encode(what).decode(), flush=True)


def _refuse(code: int, why: str) -> NoReturn:
    logging.getLogger("locust").setLevel(logging.CRITICAL)
    print(f"talkload: {why}", file=sys.stderr, flush=True)
    sys.exit(code)
