"""The front door: parse, call, print, exit. Everything that can be imported late is, so that help is quick.

Exit codes: 0 pass · 1 failed · 2 usage or configuration · 3 inconclusive · 4 invalid · 5 target unusable.
"""

from __future__ import annotations

import math
import os
import shlex
import sys
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from analysis.calibration import Cell
    from loadtests.calibrate import Bench
    from loadtests.target import Server, Target
    from scenarios.calibration import Case
    from scenarios.observed import Observed

FAILED, USAGE, INVALID, UNUSABLE = 1, 2, 4, 5
LARGE_BYTES = 10_000_000  # a log that takes a second or more to read
RUNS = Path("reports/runs")
GATES = Path("reports/gates")


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


class _Several(click.Command):
    """Reads `--runs A B C` as `--runs A --runs B --runs C`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread, name = [], ""
        for each in args:
            if each.startswith("-"):
                name = each if each in ("--runs", "--against") else ""
                spread += [] if name else [each]
            else:
                spread += [name, each] if name else [each]
        return super().parse_args(ctx, spread)


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
@click.option(
    "--arrivals",
    type=click.FloatRange(0, 1e5),
    callback=_finite,
    help="Journeys begun a second, whatever the target does; default: the scenario's, else a closed model.",
)
@click.option("--run-time", type=_Seconds(), help="How long, such as 60s or 5m.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Such as load.users=20.")
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
    arrivals: float | None,
    run_time: float | None,
    settings: tuple[str, ...],
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

    settings += () if arrivals is None else (f"load.arrivals={arrivals}",)
    with _plain_errors():
        plan = workload.load(scenario, settings)
        if bool(target) != bool(socket):
            raise click.UsageError("a target is two addresses: give both --target and --socket, or neither")
        if target and plain:
            raise click.UsageError(
                "--plain is for the reference server; a target says by its address what it is"
            )
    users, seconds = users or plan.load.users, run_time or plan.load.run_time_s
    options = _load(scenario, out, users, spawn_rate or plan.load.spawn_rate, seconds)
    options += ["--seed", str(seed), *(word for each in settings for word in ("--set", each))]
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


@main.command(cls=_Several)
@click.option("--scenario", help="A name, or a file *.toml; its [gate] table says what is judged.")
@click.option("--baseline", metavar="TARGET", help="https address, or a command that starts a server.")
@click.option("--baseline-socket", metavar="WSS", help="wss address of the baseline.")
@click.option("--baseline-ca", type=click.Path(exists=True, dir_okay=False), help="Its authority.")
@click.option("--candidate", metavar="TARGET", help="https address, or a command that starts a server.")
@click.option("--candidate-socket", metavar="WSS", help="wss address of the candidate.")
@click.option("--candidate-ca", type=click.Path(exists=True, dir_okay=False), help="Its authority.")
@click.option("--pairs", type=click.IntRange(1, 100), default=20, show_default=True, help="At most.")
@click.option("--users", type=click.IntRange(1, 100_000), help="People at once; default: the scenario's.")
@click.option("--run-time", type=_Seconds(), help="Of each run, such as 30s; default: the scenario's.")
@click.option(
    "--seed", type=click.IntRange(0, 2**62), default=1, show_default=True, help="Of people and order."
)
@click.option("--runs", multiple=True, type=click.Path(path_type=Path), help="Judge these runs …")
@click.option("--against", multiple=True, type=click.Path(path_type=Path), help="… by these, pair by pair.")
@click.option("--slo", metavar="RUN", help="Judge one run by the objectives of its scenario alone.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=GATES, show_default=True, help="Gets a folder per gate."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, nothing else.")
def gate(
    scenario: str | None,
    runs: tuple[Path, ...],
    against: tuple[Path, ...],
    slo: str | None,
    out: Path,
    as_json: bool,
    baseline: str | None,
    candidate: str | None,
    **how: Any,
) -> None:
    """Does CANDIDATE make anything slower than BASELINE? By interleaved pairs of runs.

    Or, offline: --runs DIR… --against DIR… judges runs that were made pair by pair; --slo RUN judges one.
    """
    modes = [bool(baseline or candidate), bool(runs or against), bool(slo)]
    if sum(modes) != 1:
        raise click.UsageError("give --baseline and --candidate, or --runs and --against, or --slo")
    with _plain_errors():
        if slo:
            sys.exit(_gate_objectives(slo, as_json=as_json))
        if baseline and candidate and scenario:
            folder = _gate_live(scenario, baseline, candidate, out, as_json=as_json, **how)
        elif runs and against:
            folder = _gate_offline(runs, against, scenario, out)
        else:
            raise click.UsageError(
                "--runs needs --against"
                if any(modes[1:])
                else "it takes --scenario, --baseline and --candidate"
            )
        from analysis import gate_files, gate_text

        judged = gate_files.read(folder)
        click.echo((folder / gate_files.FILE).read_text() if as_json else "\n".join(gate_text.lines(judged)))
        if not as_json:
            click.echo(f"\nwritten to {folder}")
    sys.exit(judged.exit_code)


def _picture(_ctx: click.Context, _param: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and value.suffix.lower() not in (".svg", ".png"):
        raise click.BadParameter(f"{value} is neither *.svg nor *.png")
    return value


@main.group()
def capacity() -> None:
    """How much load a target carries, and how many instances that makes."""


@capacity.command("fit")
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--csv", "file", type=click.Path(path_type=Path), help="Instead of runs: load,throughput.")
@click.option("--input", "plan", type=click.Path(path_type=Path), help="A capacity.toml, to size with it.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=RUNS, show_default=True, help="Where runs are."
)
@click.option("--picture", type=click.Path(path_type=Path), callback=_picture, help="*.svg or *.png of it.")
@click.option("--page", type=click.Path(path_type=Path), help="A folder, which gets capacity.html.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, nothing else.")
def capacity_fit(
    runs: tuple[str, ...],
    file: Path | None,
    plan: Path | None,
    out: Path,
    picture: Path | None,
    page: Path | None,
    as_json: bool,
) -> None:
    """Fit the Universal Scalability Law to RUNs of several loads, or to a table of them."""
    if bool(runs) == bool(file):
        raise click.UsageError("give runs, or --csv with a table of points")
    with _plain_errors():
        from analysis.capacity import points, report, sizing, text

        measured = points.of_csv(file) if file else points.of_runs(runs, out)
        found = report.analyse(measured, sizing.size(sizing.read(plan)) if plan else None)
        _show(report.encode(found), [text.fitted(found), *text.sizings(found.sizing)], as_json=as_json)
        if picture:
            from analysis.capacity import charts

            charts.save(charts.draw_curve, found, picture)
        if page:
            from analysis.capacity.page import build

            click.echo(f"page: {build(found, page)}", err=as_json)


@capacity.command("size")
@click.option(
    "--input", "plan", type=click.Path(path_type=Path), required=True, help="What is known: a capacity.toml."
)
@click.option("--picture", type=click.Path(path_type=Path), callback=_picture, help="*.svg or *.png of it.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, nothing else.")
def capacity_size(plan: Path, picture: Path | None, as_json: bool) -> None:
    """How many instances are enough, with what probability, and at what cost."""
    with _plain_errors():
        from analysis.capacity import report, sizing, text

        found = sizing.size(sizing.read(plan))
        _show(report.encode(found), text.sizings(found), as_json=as_json)
        if picture:
            from analysis.capacity import charts

            charts.save(charts.draw_instances, found, picture)
    sys.exit(0 if found.instances else FAILED)


def _show(encoded: bytes, tables: Sequence[RenderableType], *, as_json: bool) -> None:
    from rich.console import Console

    if as_json:
        click.echo(encoded.decode(), nl=False)
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=120)  # nobody's window: lines stay whole
    console.print(*tables, sep="\n")


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def serve(options: tuple[str, ...]) -> None:
    """Start the reference server; it prints one line of JSON when it is ready. See serve --help."""
    # Its own process from the start: nothing of ours is loaded into it. -P, because from within another
    # version's folder (a gate's baseline is started so) it would be that version's server.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "talkamie.server", *options])


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
@click.option(
    "--from",
    "source",
    required=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="access.log or file.har, or either .gz",
)
@click.option("--out", type=click.Path(path_type=Path), help="A new file *.toml; default: print it.")
@click.option("--json", "as_json", is_flag=True, help="Print what was counted as JSON, nothing else.")
def mix(source: Path, out: Path | None, as_json: bool) -> None:
    """Make a scenario from what a web server's access log, or a browser's HAR file, shows of real people."""
    import json

    from scenarios import mix

    with _plain_errors():
        if out and (out.suffix != ".toml" or out.exists()):
            raise click.UsageError(f"--out {out}: expected a file *.toml that is not there yet")
        seen = _observe(source)
        text = mix.scenario(seen)
        if out:
            with out.open("x", encoding="utf-8") as file:
                file.write(text)
    if as_json:
        click.echo(json.dumps({**seen.as_data(), "values": mix.as_data(seen)}, indent=2))
    elif not out:
        click.echo(text, nl=False)
    if not as_json:
        click.echo("\n".join(mix.summary(seen)), err=True)
        if out:
            click.echo(f"\nrun it: talkload run {shlex.quote(str(out))}", err=True)


def _observe(source: Path) -> Observed:
    """Read a log or a HAR file, with a bar if that takes a while."""
    from rich.console import Console
    from rich.progress import Progress

    from scenarios import observed

    size, console = source.stat().st_size, Console(stderr=True)
    shown = console.is_terminal and size >= LARGE_BYTES
    with source.open("rb") as raw, Progress(console=console, transient=True, disable=not shown) as bar:
        return observed.read(bar.wrap_file(raw, size, description="reading"), source.name)


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


def _load(scenario: str, out: Path, users: int, spawn_rate: float, seconds: float) -> list[str]:
    """Return the generator's options for so much load."""
    load = [
        "--users",
        str(users),
        "--spawn-rate",
        str(spawn_rate),
        "--run-time",
        f"{max(1, round(seconds))}s",
    ]
    return ["--scenario", scenario, "--out", str(out), *load]


def _gate_live(
    scenario: str,
    baseline: str,
    candidate: str,
    out: Path,
    *,
    as_json: bool,
    pairs: int,
    seed: int,
    **how: Any,
) -> Path:
    """Run pairs until a look decides; return the gate's folder, which is whole after each pair."""
    from rich.console import Console

    from analysis import gate, gate_files, gate_runs, gate_text
    from loadtests import campaign
    from scenarios import workload

    plan = workload.load(scenario)
    tolerances = gate_runs.tolerances_of(plan.gate, plan.file)
    one, other = (
        campaign.Source.parse(name, text, how[f"{name}_socket"], how[f"{name}_ca"])
        for name, text in ((campaign.BASELINE, baseline), (campaign.CANDIDATE, candidate))
    )
    folder = _gate_folder(out, plan.name)
    load = plan.load
    options = _load(
        scenario,
        folder / "runs",
        how["users"] or load.users,
        load.spawn_rate,
        how["run_time"] or load.run_time_s,
    )
    done: list[gate.Pair] = []
    gate_files.write(folder, gate.judge(done, tolerances, scenario=plan.name, planned=pairs))
    # Interrupted between two runs, what was judged so far stands.
    with suppress(KeyboardInterrupt), gate_text.View(Console(stderr=as_json)) as view:
        runs = campaign.pairs(one, other, options, seed=seed, on_second=view.second, on_stop=view.stopping)
        with closing(runs):
            for folders in runs:
                done.append(gate_runs.read_pair(*folders, tolerances))
                judged = gate.judge(done, tolerances, scenario=plan.name, planned=pairs)
                gate_files.write(folder, judged)
                view.pair(judged)
                if judged.settled:
                    break
    return folder


def _gate_offline(runs: tuple[Path, ...], against: tuple[Path, ...], scenario: str | None, out: Path) -> Path:
    """Judge runs that are there already; return the gate's folder."""
    from analysis import gate, gate_files, gate_runs
    from reports.artefact import read_manifest
    from scenarios import workload

    pairs = gate_runs.match(runs, against)
    did = read_manifest(pairs[0][1]).scenario
    plan = workload.load(scenario) if scenario else None
    table, source = (plan.gate, plan.file) if plan else (did.config.get("gate") or {}, did.name)
    tolerances = gate_runs.tolerances_of(table, source)
    judged = gate.judge(
        [gate_runs.read_pair(*folders, tolerances) for folders in pairs],
        tolerances,
        scenario=did.name,
        planned=len(pairs),
    )
    folder = _gate_folder(out, did.name)
    gate_files.write(folder, judged)
    return folder


def _gate_objectives(name: str, *, as_json: bool) -> int:
    """Judge one run by its objectives; leave junit.xml beside it."""
    from analysis import gate_files, verdict
    from reports.artefact import Run

    folder = Run.open(name, root=RUNS, recover=True).path
    code = _tell(folder, page=False, as_json=as_json)
    gate_files.write_objectives(folder, verdict.read(folder))
    return code


def _gate_folder(out: Path, scenario: str) -> Path:
    import secrets

    from loadtests import clock
    from reports.artefact import run_id

    folder = out / run_id(clock.utc(), scenario, secrets.token_hex(4))
    folder.mkdir(mode=0o700, parents=True)
    return folder


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
        from analysis.capacity.points import PointsError
        from analysis.gate_runs import GateError
        from loadtests.campaign import CampaignError
        from loadtests.target import AddressError, TargetError
        from reports.manifest import ArtefactError
        from scenarios.observed import ObservedError
        from scenarios.workload import WorkloadError

        if isinstance(error, TargetError) and not isinstance(error, AddressError):
            _fail(str(error), UNUSABLE)
        mistakes = AddressError | ArtefactError | ObservedError | PointsError | WorkloadError | OSError
        if isinstance(error, mistakes):
            _fail(str(error), USAGE)
        if isinstance(error, GateError | CampaignError):
            _fail(str(error), error.exit_code)
        raise


def _fail(why: str, code: int) -> NoReturn:
    click.echo(why if why.startswith("talkload:") else f"talkload: {why}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
