"""What the commands share: exit codes, options, mistakes told in one sentence, a run told in a few lines."""

from __future__ import annotations

import math
import shlex
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, RenderableType
    from rich.live import Live

FAILED, USAGE, INVALID, UNUSABLE = 1, 2, 4, 5
RUNS = Path("reports/runs")


class Seconds(click.ParamType[float]):
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


def finite(_ctx: click.Context, _param: click.Parameter, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a number to work with")
    return value


def load_options(scenario: str, out: Path, users: int, spawn_rate: float, seconds: float) -> list[str]:
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


def tell(folder: Path, *, page: bool, as_json: bool, against: Path | None = None) -> int:
    """Judge a run, build its page, print what a person wants to know; return the exit code."""
    from rich.console import Console

    with plain_errors():
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
                html = build(folder, against)
            if not as_json:
                click.echo(f"\nreport: {html}\nopen:   {_opener()} {shlex.quote(str(html))}")
        return judged.exit_code


@contextmanager
def in_place(console: Console) -> Iterator[Live | None]:
    """Give what redraws a picture in its place for as long as the block lasts; None without a terminal."""
    from rich.live import Live

    if not console.is_terminal:
        yield None
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield live


def show(encoded: bytes, tables: Sequence[RenderableType], *, as_json: bool) -> None:
    from rich.console import Console

    if as_json:
        click.echo(encoded.decode(), nl=False)
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=120)  # nobody's window: lines stay whole
    console.print(*tables, sep="\n")


def _opener() -> str:
    return {"darwin": "open", "win32": "start"}.get(sys.platform, "xdg-open")


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what a person can do wrong into one sentence and the right exit code; no traceback."""
    try:
        yield
    except click.ClickException:
        raise
    except Exception as error:
        from analysis.capacity.find import FindError
        from analysis.capacity.points import PointsError
        from analysis.capacity.work import WorkError
        from analysis.compare import CompareError
        from analysis.gate_runs import GateError
        from analysis.history import HistoryError
        from loadtests.campaign import CampaignError
        from loadtests.target import AddressError, TargetError
        from reports.manifest import ArtefactError
        from scenarios.observed import ObservedError
        from scenarios.workload import WorkloadError

        if isinstance(error, TargetError) and not isinstance(error, AddressError):
            fail(str(error), UNUSABLE)
        unreadable = ArtefactError | HistoryError | ObservedError | PointsError | WorkloadError | OSError
        if isinstance(error, unreadable | AddressError | CompareError | FindError | WorkError):
            fail(str(error), USAGE)
        if isinstance(error, GateError | CampaignError):
            fail(str(error), error.exit_code)
        raise


def fail(why: str, code: int) -> NoReturn:
    click.echo(why if why.startswith("talkload:") else f"talkload: {why}", err=True)
    sys.exit(code)
