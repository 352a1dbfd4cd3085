"""talkload compare: what differs between two runs, quantile by quantile."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from commands.common import RUNS, plain_errors, show


@click.command()
@click.argument("there", metavar="RUN")
@click.argument("here", metavar="RUN")
@click.option(
    "--out", type=click.Path(path_type=Path), default=RUNS, show_default=True, help="Where runs are."
)
@click.option("--page", type=click.Path(path_type=Path), help="A folder, which gets compare.html.")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON, nothing else.")
def compare(there: str, here: str, out: Path, page: Path | None, as_json: bool) -> None:
    """Tell how the second RUN (a folder, an id, or "latest") differs from the first. No verdict.

    Exit codes: 0 compared, 2 not alike, 3 too few samples, 4 one of them is invalid.
    """
    with plain_errors():
        from analysis import compare as comparing
        from analysis import compare_text, sheets

        found = comparing.compare(there, here, out)
        show(sheets.encode(found), compare_text.tables(found), as_json=as_json)
        if page:
            title = f"{found.scenario}: {found.there} and {found.here}"
            click.echo(f"page: {sheets.build('compare', found, page, title)}", err=as_json)
    sys.exit(found.exit_code)
