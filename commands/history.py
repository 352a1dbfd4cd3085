"""talkload history: one point a commit, and where it changed."""

from __future__ import annotations

from pathlib import Path

import click

from commands.common import RUNS, plain_errors, show

FILE = Path("reports/history.jsonl")


@click.group()
def history() -> None:
    """Keep runs by commit, and find where a metric changed. The second line, never the gate."""


def _picture(_ctx: click.Context, _param: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and value.suffix.lower() not in (".svg", ".png"):
        raise click.BadParameter(f"{value} is neither *.svg nor *.png")
    return value


@history.command("add")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--file", type=click.Path(path_type=Path), default=FILE, show_default=True, help="The history.")
@click.option("--commit", default="", help="Of what was measured; default: the suite's, of a local target.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=RUNS, show_default=True, help="Where runs are."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was added as JSON, nothing else.")
def add(runs: tuple[str, ...], file: Path, commit: str, out: Path, as_json: bool) -> None:
    """Append RUNs, all or none; one that is there already is not added twice."""
    with plain_errors():
        import msgspec

        from analysis import history as keeping
        from reports.artefact import Run

        opened = [Run.open(each, root=out, recover=True) for each in runs]
        added = keeping.add(file, map(keeping.entry, opened), commit)
        if as_json:
            click.echo(msgspec.json.format(msgspec.json.encode(added)).decode())
        else:
            for each in added:
                click.echo(f"{each.run}: {len(each.values)} metrics of {each.commit}")
            click.echo(f"{len(added)} of {len(set(runs))} runs added to {file}")


@history.command("show")
@click.argument("metrics", nargs=-1, metavar="[METRIC]...")
@click.option("--file", type=click.Path(path_type=Path), default=FILE, show_default=True, help="The history.")
@click.option("--scenario", default="", help="Default: that of the newest run.")
@click.option("--picture", type=click.Path(path_type=Path), callback=_picture, help="*.svg or *.png of it.")
@click.option("--page", type=click.Path(path_type=Path), help="A folder, which gets history.html.")
@click.option("--json", "as_json", is_flag=True, help="Print the history as JSON, nothing else.")
def show_(
    metrics: tuple[str, ...],
    file: Path,
    scenario: str,
    picture: Path | None,
    page: Path | None,
    as_json: bool,
) -> None:
    """Show METRICs, such as "chat.delivered p50" (default: all), and where they changed."""
    with plain_errors():
        from analysis import history as keeping
        from analysis import history_text, sheets

        found = keeping.show(keeping.read(file), scenario, metrics)
        show(sheets.encode(found), history_text.tables(found), as_json=as_json)
        if picture:
            from analysis import history_charts, svg

            svg.save(lambda: history_charts.draw(found), picture)
        if page:
            built = sheets.build("history", found, page, f"{found.scenario}: history")
            click.echo(f"page: {built}", err=as_json)
