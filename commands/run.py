"""talkload run: carry out a scenario and judge it."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from commands.common import INVALID, RUNS, Seconds, fail, finite, in_place, load_options, plain_errors, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from loadtests.generator import Fleet
    from loadtests.target import Server, Target


@click.command(context_settings={"ignore_unknown_options": False})
@click.argument("scenario", default="typical")
@click.option("--users", type=click.IntRange(1, 100_000), help="People at once; default: the scenario's.")
@click.option(
    "--spawn-rate", type=click.FloatRange(0, 1e6, min_open=True), callback=finite, help="People a second."
)
@click.option(
    "--arrivals",
    type=click.FloatRange(0, 1e5),
    callback=finite,
    help="Journeys begun a second, whatever the target does; default: the scenario's, else a closed model.",
)
@click.option("--run-time", type=Seconds(), help="How long, such as 60s or 5m.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Such as load.users=20.")
@click.option(
    "--seed", type=click.IntRange(0, 2**63), default=1, show_default=True, help="Same seed, same people."
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=RUNS, show_default=True, help="Gets a folder per run."
)
@click.option(
    "--accounts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of existing accounts, CSV or JSON lines: nobody signs up.",
)
@click.option("--target", help="https address; default: start the reference server.")
@click.option("--socket", help="wss address of the same target.")
@click.option(
    "--ca", type=click.Path(exists=True, dir_okay=False), help="Authority of the target's certificate."
)
@click.option("--allow-private", is_flag=True, help="The target may be in a private network (10.1.2.3).")
@click.option("--plain", is_flag=True, help="Reference server without TLS (http and ws).")
@click.option(
    "--processes", type=click.IntRange(1, 256), help="Carry it out on so many workers of this machine."
)
@click.option("--master", is_flag=True, help="Coordinate workers of other machines: docs/distributed.md.")
@click.option("--expect-workers", type=click.IntRange(1, 1000), help="Begin when so many have come.")
@click.option(
    "--bind", default="127.0.0.1", show_default=True, metavar="ADDRESS[:PORT]", help="Where workers find it."
)
@click.option("--worker", is_flag=True, help="Be a worker of a master; what to do comes from there.")
@click.option("--master-host", metavar="HOST[:PORT]", help="Where a worker finds its master.")
@click.option(
    "--secret-file", type=click.Path(exists=True, dir_okay=False), help="What master and workers share."
)
@click.option(
    "--own-disk", is_flag=True, help="Of a worker: write here first, whatever it sees of the master's."
)
@click.option("--leave-samples", is_flag=True, help="Of a worker: leave its samples on its own disk.")
@click.option("--no-page", is_flag=True, help="Verdict only: don't build report.html.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON, nothing else.")
@click.argument("locust_options", nargs=-1, type=click.UNPROCESSED)
def run(
    scenario: str,
    users: int | None,
    spawn_rate: float | None,
    arrivals: float | None,
    run_time: float | None,
    settings: tuple[str, ...],
    seed: int,
    out: Path,
    accounts: Path | None,
    target: str | None,
    socket: str | None,
    ca: str | None,
    allow_private: bool,
    plain: bool,
    processes: int | None,
    master: bool,
    expect_workers: int | None,
    bind: str,
    worker: bool,
    master_host: str | None,
    secret_file: str | None,
    own_disk: bool,
    leave_samples: bool,
    no_page: bool,
    as_json: bool,
    locust_options: tuple[str, ...],
) -> None:
    """Run SCENARIO (a name, or a file *.toml) and judge it. What follows -- goes to Locust."""
    import msgspec
    from rich.console import Console

    from loadtests import generator, population
    from loadtests.live import LiveView
    from loadtests.sockets import A_PERSON
    from scenarios import workload

    with plain_errors():
        if worker:
            if master or not master_host:
                raise click.UsageError("a worker needs --master-host HOST, and is no master itself")
            flags = {"--own-disk": own_disk, "--leave-samples": leave_samples}
            told = ["--out", str(out), *(flag for flag, given in flags.items() if given), *locust_options]
            _serve(processes or 1, master_host, secret_file, told)
        fleet = _fleet(processes, expect_workers, bind, secret_file) if master or processes else None
    settings += () if arrivals is None else (f"load.arrivals={arrivals}",)
    with plain_errors():
        plan = workload.load(scenario, settings)
        if bool(target) != bool(socket):
            raise click.UsageError("a target is two addresses: give both --target and --socket, or neither")
        if target and plain:
            raise click.UsageError(
                "--plain is for the reference server; a target says by its address what it is"
            )
        users, seconds = users or plan.load.users, run_time or plan.load.run_time_s
        people = population.plan(plan, users, str(accounts or ""))
    options = load_options(scenario, out, users, spawn_rate or plan.load.spawn_rate, seconds)
    options += ["--seed", str(seed), *(word for each in settings for word in ("--set", each))]
    console = Console(stderr=as_json)
    server = [*plan.serve_options(), *(["--plain"] if plain else [])]
    with plain_errors(), _target(target, socket, ca, server, private=allow_private) as found:
        _fits(users * A_PERSON + plan.rooms.further, fleet, found.host)
        with _progress(console) as show:
            connections = plan.population.connections
            population.prepare(found, people, connections=connections, seed=seed, on_progress=show)
        options += ["--population", msgspec.json.encode(people).decode()]
        console.print(
            f"{plan.name}: {users} people for {seconds:g} s against {found.https} and {found.wss}",
            highlight=False,
        )
        with in_place(console) as live:
            view = LiveView(console, live, seconds)
            ended = generator.run(
                found,
                [*options, *locust_options],
                on_second=view.show,
                on_stop=view.stopping,
                fleet=fleet,
            )
    if ended.folder is None:
        fail(ended.complaint or "the generator ended before the run began", ended.exit_code or INVALID)
    if ended.complaint:
        click.echo(ended.complaint, err=True)
    sys.exit(tell(ended.folder, page=not no_page, as_json=as_json))


def _fleet(processes: int | None, expected: int | None, bind: str, secret_file: str | None) -> Fleet:
    """Return on which processes to carry a run out. Raises UsageError where others could join uninvited."""
    from loadtests import generator
    from loadtests.target import is_loopback

    host, port = _place(bind, "--bind", 0 if processes and not expected else generator.PORT)
    if not is_loopback(host) and not secret_file:
        raise click.UsageError(
            f"--bind {host}: others reach it: give --secret-file FILE, here and to workers"
        )
    return generator.Fleet(processes or 0, expected or 0, host, port, secret_file or "")


def _fits(connections: int, fleet: Fleet | None, host: str) -> None:
    """Raise UsageError where this machine has not the files or ports for its share of the connections."""
    from loadtests.doctor import misfit

    processes = fleet.processes if fleet else 1
    workers = max(fleet.expected, processes) if fleet else 1
    if processes and (wrong := misfit(processes, -(-connections * processes // workers), host)):
        raise click.UsageError(f"too many people for this machine: {wrong}")


def _serve(count: int, master: str, secret_file: str | None, options: list[str]) -> NoReturn:
    from loadtests import generator

    host, port = _place(master, "--master-host", generator.PORT)
    ended = generator.serve(count, host, port, secret_file or "", options)
    if ended.complaint:
        click.echo(ended.complaint, err=True)
    sys.exit(ended.exit_code)


def _place(text: str, option: str, port: int) -> tuple[str, int]:
    """Return host and port of HOST[:PORT]; an IPv6 address with a port is in brackets."""
    host, colon, number = text.rpartition(":") if text.count(":") == 1 or "]:" in text else (text, "", "")
    if not (host := host.strip("[]")) or (colon and not (number.isascii() and number.isdigit())):
        raise click.UsageError(f"{option} {text!r}: expected HOST or HOST:PORT")
    if colon and not 0 < int(number) < 65536:
        raise click.UsageError(f"{option} {text!r}: a port is between 1 and 65535")
    return host, int(number) if colon else port


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[int, int], None]]:
    """Show how far the preparing has come, for as long as it takes."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("accounts and connections", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _target(
    https: str | None, wss: str | None, ca: str | None, server_options: list[str], *, private: bool
) -> Iterator[Target]:
    """Give the target that was asked for, looked at; the reference server ends when the block does."""
    from loadtests import target as targets

    server: Server | None = None
    try:
        if https and wss:
            found = targets.address(https, wss, ca, private=private)
        else:
            server = targets.Server(*server_options)
            found = server.ready()
        yield targets.preflight(found)
    finally:
        if server:
            server.stop()
