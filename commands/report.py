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
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON, nothing else.")
def report(folder: str, out: Path, as_json: bool) -> None:
    """Judge RUN (a folder, an id, or "latest") again and build its page."""
    with plain_errors():
        from reports.artefact import Run

        path = Run.open(folder, root=out, recover=True).path
    sys.exit(tell(path, page=True, as_json=as_json))
