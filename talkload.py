"""The front door: the commands, each of which has its module in `commands`."""

from __future__ import annotations

import click

from commands.calibrate import calibrate
from commands.capacity import capacity
from commands.compare import compare
from commands.doctor import doctor
from commands.gate import gate
from commands.history import history
from commands.mix import mix
from commands.report import report
from commands.run import run
from commands.serve import serve


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="talkload")
def main() -> None:
    """Load testing and realtime benchmarking for the Talkamie API."""


for command in (run, report, compare, gate, history, capacity, serve, doctor, mix, calibrate):
    main.add_command(command)

if __name__ == "__main__":
    main()
