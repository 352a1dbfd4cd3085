"""talkload mix: a scenario from what was seen of real people."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from commands.common import plain_errors

if TYPE_CHECKING:
    from scenarios.observed import Observed

LARGE_BYTES = 10_000_000  # a log that takes a second or more to read


@click.command()
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

    with plain_errors():
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
