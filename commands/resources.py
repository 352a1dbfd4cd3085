"""talkload capacity resources: what users cost the target, in CPU and memory."""

from __future__ import annotations

from pathlib import Path

import click

from commands.common import RUNS, finite, plain_errors, show


@click.command("resources")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--cores", type=click.FloatRange(0, 1e6, min_open=True), default=1.0, show_default=True,
              callback=finite, help="Cores of the instance to be sized.")  # fmt: skip
@click.option(
    "--memory", type=click.FloatRange(0, 1e6, min_open=True), callback=finite, help="Its memory in GiB."
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=RUNS, show_default=True, help="Where runs are."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, nothing else.")
def resources(runs: tuple[str, ...], cores: float, memory: float | None, out: Path, as_json: bool) -> None:
    """What a user, a message, a handshake and a minute of a call cost the target of finished RUNs."""
    with plain_errors():
        from analysis.capacity import report, resources_text
        from analysis.capacity.resources import GIB, of_folders

        found = of_folders(runs, out, cores=cores, memory=memory and memory * GIB)
        show(report.encode(found), resources_text.tables(found), as_json=as_json)
        if not as_json:
            click.echo(f"\n# for a capacity.toml\n{resources_text.toml(found)}")
