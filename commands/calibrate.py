"""talkload calibrate: let the suite prove itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from commands.common import FAILED, INVALID, plain_errors

if TYPE_CHECKING:
    from analysis.calibration import Cell
    from loadtests.calibrate import Bench
    from scenarios.calibration import Case


@click.command()
@click.option("--case", "names", multiple=True, metavar="NAME", help="Only this one; may be given again.")
@click.option(
    "--attempts",
    type=click.IntRange(1, 10),
    default=3,
    show_default=True,
    help="At a case that something else on this machine disturbs.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Keep the runs there; default: nowhere.")
@click.option("--json", "as_json", is_flag=True, help="Print the cells as JSON, nothing else.")
def calibrate(names: tuple[str, ...], attempts: int, out: Path | None, as_json: bool) -> None:
    """Let the suite prove itself: find what is injected into the reference server, exactly."""
    from contextlib import nullcontext
    from tempfile import TemporaryDirectory

    from scenarios.calibration import CASES

    if unknown := [name for name in names if name not in CASES]:
        raise click.UsageError(f"there is no case {unknown[0]!r}: expected one of {', '.join(CASES)}")
    if out is not None and not out.is_dir():
        raise click.UsageError(f"--out {out}: there is no such folder")
    with (
        plain_errors(),
        nullcontext(str(out)) if out else TemporaryDirectory(prefix="talkload-") as folder,
    ):
        cases = [CASES[name] for name in names or CASES]
        sys.exit(_calibrate(cases, Path(folder), attempts=attempts, as_json=as_json))


def _calibrate(cases: list[Case], folder: Path, *, attempts: int, as_json: bool) -> int:
    """Carry the cases out, print the matrix; return the exit code."""
    import msgspec

    from analysis import calibration
    from loadtests.calibrate import Bench

    cells: list[calibration.Cell] = []
    codes = {0}
    with Bench(folder) as bench:
        for number, case in enumerate(cases, 1):
            click.echo(f"[{number}/{len(cases)}] {case.name}: {case.about} … ", nl=False, err=True)
            for _ in range(attempts):
                found, disturbed = _try(case, bench, folder)
                missed = sum(not cell.detected for cell in found)
                if not (missed and disturbed):
                    break
                click.echo(f"{missed} missed, on a busy machine … ", nl=False, err=True)
            click.echo(f"{missed} of {len(found)} missed" if missed else f"{len(found)} detected", err=True)
            codes.add((INVALID if disturbed else FAILED) if missed else 0)
            cells += found
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(cells)).decode())
    else:
        click.echo("\n".join(["", *calibration.table(cells)]))
    if INVALID in codes:
        click.echo("talkload: the machine was too busy for some of it: repeat it on a quiet one", err=True)
    return FAILED if FAILED in codes else max(codes)


def _try(case: Case, bench: Bench, folder: Path) -> tuple[list[Cell], bool]:
    """Carry a case out; return its cells, and whether something else disturbed its times."""
    from analysis import calibration, merging
    from reports.artefact import Run

    if case.drill is None:
        return merging.cells(case.name, folder), False
    path, truth = bench.carry_out(case)
    run = Run.open(path, recover=True)
    return calibration.judge(case, run, truth), calibration.disturbed(case, run)
