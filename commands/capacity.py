"""talkload capacity: how much load a target carries, and how many instances that makes."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import click

from commands.common import FAILED, RUNS, plain_errors, show
from commands.find import find
from commands.resources import resources


def _picture(_ctx: click.Context, _param: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and value.suffix.lower() not in (".svg", ".png"):
        raise click.BadParameter(f"{value} is neither *.svg nor *.png")
    return value


@click.group()
def capacity() -> None:
    """How much load a target carries, and how many instances that makes."""


capacity.add_command(find)
capacity.add_command(resources)


@capacity.command("fit")
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--csv", "file", type=click.Path(path_type=Path), help="Instead of runs: load,throughput.")
@click.option(
    "--by", type=click.Choice(["users", "processes"]), default="users", help="What runs differ in: of whom."
)
@click.option("--input", "plan", type=click.Path(path_type=Path), help="A capacity.toml, to size with it.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=RUNS, show_default=True, help="Where runs are."
)
@click.option("--picture", type=click.Path(path_type=Path), callback=_picture, help="*.svg or *.png of it.")
@click.option("--page", type=click.Path(path_type=Path), help="A folder, which gets capacity.html.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, nothing else.")
def fit(
    runs: tuple[str, ...],
    file: Path | None,
    by: str,
    plan: Path | None,
    out: Path,
    picture: Path | None,
    page: Path | None,
    as_json: bool,
) -> None:
    """Fit the Universal Scalability Law to RUNs of several loads, or to a table of them."""
    if bool(runs) == bool(file):
        raise click.UsageError("give runs, or --csv with a table of points")
    with plain_errors():
        import msgspec

        from analysis.capacity import points, report, sizing, text
        from analysis.capacity.resources import of_folders
        from analysis.capacity.runs import of_runs
        from analysis.capacity.work import WorkError

        measured, left_out = (points.of_csv(file), []) if file else of_runs(runs, out, by)
        sized = sizing.size(sizing.read(plan)) if plan else None
        found = report.analyse(measured, sized, "" if file else by, left_out)
        if runs and page:
            with suppress(WorkError):  # nothing tells what the target used
                found = msgspec.structs.replace(found, resources=of_folders(runs, out))
        show(report.encode(found), [text.fitted(found), *text.sizings(found.sizing)], as_json=as_json)
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
def size(plan: Path, picture: Path | None, as_json: bool) -> None:
    """How many instances are enough, with what probability, and at what cost."""
    with plain_errors():
        from analysis.capacity import report, sizing, text

        found = sizing.size(sizing.read(plan))
        show(report.encode(found), text.sizings(found), as_json=as_json)
        if picture:
            from analysis.capacity import charts

            charts.save(charts.draw_instances, found, picture)
    sys.exit(0 if found.instances else FAILED)
