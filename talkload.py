"""The front door: parse, call, print, exit. Everything that can be imported late is, so that help is quick.

Exit codes: 0 pass · 1 failed · 2 usage or configuration · 3 inconclusive · 4 invalid · 5 target unusable.
"""

from __future__ import annotations

import math
import os
import shlex
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analysis.calibration import Cell
    from loadtests.calibrate import Bench
    from loadtests.target import Server, Target
    from scenarios.calibration import Case

FAILED, USAGE, INVALID, UNUSABLE = 1, 2, 4, 5
RUNS = Path("reports/runs")


class _Seconds(click.ParamType[float]):
    """A time with its unit: 90s, 5m, 1h."""

    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        text = str(value)
        number, unit = text[:-1], text[-1:]
        scale = {"s": 1, "m": 60, "h": 3600}.get(unit)
        if (
            scale is None
            or not number.isascii()
            or not number.replace(".", "", 1).isdigit()
            or not float(number)
        ):
            self.fail(f"{text!r} is not a time: write for example 90s, 5m or 1h", param, ctx)
        return min(float(number) * scale, 1e6)


def _finite(_ctx: click.Context, _param: click.Parameter, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a number to work with")
    return value


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="talkload")
def main() -> None:
    """Load testing and realtime benchmarking for the Talkamie API."""


@main.command(context_settings={"ignore_unknown_options": False})
@click.argument("scenario", default="typical")
@click.option("--users", type=click.IntRange(1, 100_000), help="People at once; default: the scenario's.")
@click.option(
    "--spawn-rate", type=click.FloatRange(0, 1e6, min_open=True), callback=_finite, help="People a second."
)
@click.option("--run-time", type=_Seconds(), help="How long, such as 60s or 5m.")
@click.option(
    "--seed", type=click.IntRange(0, 2**63), default=1, show_default=True, help="Same seed, same people."
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=RUNS, show_default=True, help="Gets a folder per run."
)
@click.option("--target", help="https address; default: start the reference server.")
@click.option("--socket", help="wss address of the same target.")
@click.option(
    "--ca", type=click.Path(exists=True, dir_okay=False), help="Authority of the target's certificate."
)
@click.option("--plain", is_flag=True, help="Reference server without TLS (http and ws).")
@click.option("--no-page", is_flag=True, help="Verdict only: don't build report.html.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON, nothing else.")
@click.argument("locust_options", nargs=-1, type=click.UNPROCESSED)
def run(
    scenario: str,
    users: int | None,
    spawn_rate: float | None,
    run_time: float | None,
    seed: int,
    out: Path,
    target: str | None,
    socket: str | None,
    ca: str | None,
    plain: bool,
    no_page: bool,
    as_json: bool,
    locust_options: tuple[str, ...],
) -> None:
    """Run SCENARIO (a name, or a file *.toml) and judge it. What follows -- goes to Locust."""
    from rich.console import Console

    from loadtests import generator
    from loadtests.live import LiveView
    from scenarios import workload

    with _plain_errors():
        plan = workload.load(scenario)
        if bool(target) != bool(socket):
            raise click.UsageError("a target is two addresses: give both --target and --socket, or neither")
        if target and plain:
            raise click.UsageError(
                "--plain is for the reference server; a target says by its address what it is"
            )
    users, seconds = users or plan.load.users, run_time or plan.load.run_time_s
    options = ["--scenario", scenario, "--seed", str(seed), "--out", str(out), "--users", str(users)]
    options += [
        "--spawn-rate",
        str(spawn_rate or plan.load.spawn_rate),
        "--run-time",
        f"{max(1, round(seconds))}s",
    ]
    console = Console(stderr=as_json)
    with _plain_errors(), _target(target, socket, ca, plain=plain) as found:
        console.print(
            f"{plan.name}: {users} people for {seconds:g} s against {found.https} and {found.wss}",
            highlight=False,
        )
        with LiveView(console, seconds) as view:
            ended = generator.run(
                found, [*options, *locust_options], on_second=view.show, on_stop=view.stopping
            )
    if ended.folder is None:
        _fail(ended.complaint or "the generator ended before the run began", ended.exit_code or INVALID)
    if ended.complaint:
        click.echo(ended.complaint, err=True)
    sys.exit(_tell(ended.folder, page=not no_page, as_json=as_json))


@main.command()
@click.argument("folder", default="latest", metavar="RUN")
@click.option(
    "--out", type=click.Path(path_type=Path), default=RUNS, show_default=True, help="Where runs are."
)
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON, nothing else.")
def report(folder: str, out: Path, as_json: bool) -> None:
    """Judge RUN (a folder, an id, or "latest") again and build its page."""
    with _plain_errors():
        from reports.artefact import Run

        path = Run.open(folder, root=out, recover=True).path
    sys.exit(_tell(path, page=True, as_json=as_json))


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def serve(options: tuple[str, ...]) -> None:
    """Start the reference server; it prints one line of JSON when it is ready. See serve --help."""
    # Its own process from the start: nothing of ours is loaded into it.
    os.execv(sys.executable, [sys.executable, "-m", "talkamie.server", *options])


@main.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=RUNS, show_default=True, help="Where runs would go."
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(out: Path, as_json: bool) -> None:
    """Check whether this machine can run a load test that is to be believed."""
    from loadtests.doctor import examine

    checks = examine(out)
    if as_json:
        import json

        click.echo(json.dumps([check._asdict() for check in checks], indent=2))
    else:
        for check in checks:
            mark = {True: "ok", None: "warning", False: "FAILED"}[check.ok]
            click.echo(f"{mark:8} {check.name:22} {check.found}")
            if check.ok is not True and check.remedy:
                click.echo(f"{'':8} {'':22} → {check.remedy}")
    sys.exit(USAGE if any(check.ok is False for check in checks) else 0)


@main.command()
@click.option("--case", "names", multiple=True, metavar="NAME", help="Only this one; may be given again.")
@click.option(
    "--attempts",
    type=click.IntRange(1, 10),
    default=3,
    show_default=True,
    help="At a case that something else on this machine disturbs.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Keep the runs there; default: nowhere.")
@click.option("--json", "as_json", is_flag=True, help="Print the cells as JSON, nothing else.")
def calibrate(names: tuple[str, ...], attempts: int, out: Path | None, as_json: bool) -> None:
    """Let the suite prove itself: find what is injected into the reference server, exactly."""
    from contextlib import nullcontext
    from tempfile import TemporaryDirectory

    from scenarios.calibration import CASES

    if unknown := [name for name in names if name not in CASES]:
        raise click.UsageError(f"there is no case {unknown[0]!r}: expected one of {', '.join(CASES)}")
    if out is not None and not out.is_dir():
        raise click.UsageError(f"--out {out}: there is no such folder")
    with (
        _plain_errors(),
        nullcontext(str(out)) if out else TemporaryDirectory(prefix="talkload-") as folder,
    ):
        cases = [CASES[name] for name in names or CASES]
        sys.exit(_calibrate(cases, Path(folder), attempts=attempts, as_json=as_json))


def _calibrate(cases: list[Case], folder: Path, *, attempts: int, as_json: bool) -> int:
    """Carry the cases out, print the matrix; return the exit code."""
    import msgspec

    from analysis import calibration
    from loadtests.calibrate import Bench

    cells: list[calibration.Cell] = []
    codes = {0}
    with Bench(folder) as bench:
        for number, case in enumerate(cases, 1):
            click.echo(f"[{number}/{len(cases)}] {case.name}: {case.about} … ", nl=False, err=True)
            for _ in range(attempts):
                found, disturbed = _try(case, bench, folder)
                missed = sum(not cell.detected for cell in found)
                if not (missed and disturbed):
                    break
                click.echo(f"{missed} missed, on a busy machine … ", nl=False, err=True)
            click.echo(f"{missed} of {len(found)} missed" if missed else f"{len(found)} detected", err=True)
            codes.add((INVALID if disturbed else FAILED) if missed else 0)
            cells += found
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(cells)).decode())
    else:
        click.echo("\n".join(["", *calibration.table(cells)]))
    if INVALID in codes:
        click.echo("talkload: the machine was too busy for some of it: repeat it on a quiet one", err=True)
    return FAILED if FAILED in codes else max(codes)


def _try(case: Case, bench: Bench, folder: Path) -> tuple[list[Cell], bool]:
    """Carry a case out; return its cells, and whether something else disturbed its times."""
    from analysis import calibration, merging
    from reports.artefact import Run

    if case.drill is None:
        return merging.cells(case.name, folder), False
    path, truth = bench.carry_out(case)
    run = Run.open(path, recover=True)
    return calibration.judge(case, run, truth), calibration.disturbed(case, run)


def _tell(folder: Path, *, page: bool, as_json: bool) -> int:
    """Judge a run, build its page, print what a person wants to know; return the exit code."""
    from rich.console import Console

    with _plain_errors():
        from analysis import summary, verdict
        from reports.artefact import Run

        run_ = Run.open(folder, recover=True)
        judged = verdict.judge(run_)
        written = verdict.write(run_, judged)
        if as_json:
            click.echo(written.read_text())
        elif (console := Console()).is_terminal:
            console.print(summary.summary(judged))
        else:
            click.echo("\n".join(summary.summary_lines(judged)))
        if page:
            from analysis.page import build

            with Console(stderr=True).status("building the page"):
                html = build(folder)
            if not as_json:
                click.echo(f"\nreport: {html}\nopen:   {_opener()} {shlex.quote(str(html))}")
        return judged.exit_code


def _opener() -> str:
    return {"darwin": "open", "win32": "start"}.get(sys.platform, "xdg-open")


@contextmanager
def _target(https: str | None, wss: str | None, ca: str | None, *, plain: bool) -> Iterator[Target]:
    """Give the target that was asked for, looked at; the reference server ends when the block does."""
    from loadtests import target as targets

    server: Server | None = None
    try:
        if https and wss:
            found = targets.address(https, wss, ca)
        else:
            server = targets.Server(*(["--plain"] if plain else []))
            found = server.ready()
        yield targets.preflight(found)
    finally:
        if server:
            server.stop()


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Turn what a person can do wrong into one sentence and the right exit code; no traceback."""
    try:
        yield
    except click.ClickException:
        raise
    except Exception as error:
        from loadtests.target import AddressError, TargetError
        from reports.manifest import ArtefactError
        from scenarios.workload import WorkloadError

        if isinstance(error, TargetError) and not isinstance(error, AddressError):
            _fail(str(error), UNUSABLE)
        if isinstance(error, AddressError | ArtefactError | WorkloadError | OSError):
            _fail(str(error), USAGE)
        raise


def _fail(why: str, code: int) -> NoReturn:
    click.echo(why if why.startswith("talkload:") else f"talkload: {why}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
