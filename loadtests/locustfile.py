"""Locust's way in. Only wiring: options in, a Run while a test is on, its seal and an exit code at the end.

`talkload run` starts this with a target that it has looked at; plain `locust` in the repository works too,
and starts the reference server when no target is given.
"""

from __future__ import annotations

import atexit
import logging
import math
import secrets
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from locust import events
from locust.env import Environment

from loadtests import channel, population, sockets
from loadtests import target as targets
from loadtests.app import App
from loadtests.cast import Casting, Dispatcher, Kind
from loadtests.conductor import EXIT_UNUSABLE, EXIT_USAGE, Conductor, Coordinator, Soloist, note_error, refuse
from loadtests.fleet import Spec
from loadtests.head import hello
from loadtests.locust_table import feed
from loadtests.order import Order
from loadtests.run import Run
from loadtests.users import Host, Lurker, Senior, Volunteer, Writer
from loadtests.worker import Worker
from scenarios import workload
from scenarios.people import Habits
from scenarios.population import Population

__all__ = ["Host", "Lurker", "Senior", "Volunteer", "Writer"]

channel.install()
sockets.allow_files()


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
        "--allow-private", action="store_true", help="the target may be in a private network", **hidden
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
        refuse(
            EXIT_USAGE, f"--master-bind-host {options.master_bind_host}: others reach it: give --secret-file"
        )
    try:
        scenario = workload.load(options.scenario, options.set)
        target = _target(options, scenario)
        tls = targets.tls_context(target)
        if scenario.storm.at_s and not target.test:
            refuse(EXIT_USAGE, "a storm needs a target with test endpoints: talkload serve --test-endpoints")
        options.num_users = options.num_users or scenario.load.users
        if complaint := scenario.misfit(options.num_users):
            refuse(EXIT_USAGE, complaint)
        people = _population(options, scenario, target)
    except (workload.WorkloadError, targets.AddressError) as error:
        refuse(EXIT_USAGE, str(error))
    except targets.TargetError as error:
        refuse(EXIT_UNUSABLE, str(error))
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

    conductor: Conductor
    if options.master:
        conductor = Coordinator(environment, scenario, target, order)
    else:
        conductor = Soloist(environment, scenario, target, order, tls)
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
        refuse(EXIT_USAGE, str(error))


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
        return targets.preflight(_address(options))
    server = targets.Server(*scenario.serve_options())
    atexit.register(server.stop)
    return targets.preflight(server.ready())


def _address(options: Any) -> targets.Target:
    return targets.address(options.target, options.socket, options.ca, private=options.allow_private)


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
        note_error(worker.run, user_instance, exception)

    environment.events.test_stopping.add_listener(stopping)
    environment.events.test_stop.add_listener(lambda **_: worker.quiet())
    environment.events.user_error.add_listener(user_error)
    environment.events.quitting.add_listener(lambda **_: worker.abandon("it was stopped before its time"))
