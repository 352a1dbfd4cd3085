"""talkload doctor: can this machine be trusted?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from commands.common import RUNS, USAGE


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=RUNS, show_default=True, help="Where runs would go."
)
@click.option("--processes", type=click.IntRange(1, 256), default=1, help="Workers on this machine.")
@click.option("--users", type=click.IntRange(0), default=0, help="People on this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(out: Path, processes: int, users: int, as_json: bool) -> None:
    """Check whether this machine can run a load test that is to be believed."""
    from loadtests.doctor import examine

    checks = examine(out, processes=processes, users=users)
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
