"""talkload serve: the reference server."""

from __future__ import annotations

import os
import sys

import click


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def serve(options: tuple[str, ...]) -> None:
    """Start the reference server; it prints one line of JSON when it is ready. See serve --help."""
    # Its own process from the start: nothing of ours is loaded into it. -P, because from within another
    # version's folder (a gate's baseline is started so) it would be that version's server.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "talkamie.server", *options])
