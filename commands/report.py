"""talkload report: judge a run again and build its page."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from commands.common import RUNS, plain_errors, tell


@click.command()
@click.argument("folder", default="latest", metavar="RUN")
@click.option(
    "--out", type=click.Path(path_type=Path), default=RUNS, show_default=True, help="Where runs are."
)
@click.option("--against", metavar="RUN", help="Compare with this run on the page.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON, nothing else.")
def report(folder: str, out: Path, against: str | None, as_json: bool) -> None:
    """Judge RUN (a folder, an id, or "latest") again and build its page."""
    with plain_errors():
        from reports.artefact import Run

        run = Run.open(folder, root=out, recover=True)
        other = Run.open(against, root=out, recover=True) if against else None
        if other:
            from analysis.compare import refuse_unlike

            refuse_unlike(other.manifest, run.manifest)
    sys.exit(tell(run.path, page=True, as_json=as_json, against=other.path if other else None))
