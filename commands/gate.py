"""talkload gate: does a candidate make anything slower than a baseline?"""

from __future__ import annotations

import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import click

from commands.common import RUNS, Seconds, in_place, load_options, plain_errors, tell

GATES = Path("reports/gates")


class _Several(click.Command):
    """Reads `--runs A B C` as `--runs A --runs B --runs C`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread, name = [], ""
        for each in args:
            if each.startswith("-"):
                name = each if each in ("--runs", "--against") else ""
                spread += [] if name else [each]
            else:
                spread += [name, each] if name else [each]
        return super().parse_args(ctx, spread)


@click.command(cls=_Several)
@click.option("--scenario", help="A name, or a file *.toml; its [gate] table says what is judged.")
@click.option("--baseline", metavar="TARGET", help="https address, or a command that starts a server.")
@click.option("--baseline-socket", metavar="WSS", help="wss address of the baseline.")
@click.option("--baseline-ca", type=click.Path(exists=True, dir_okay=False), help="Its authority.")
@click.option("--candidate", metavar="TARGET", help="https address, or a command that starts a server.")
@click.option("--candidate-socket", metavar="WSS", help="wss address of the candidate.")
@click.option("--candidate-ca", type=click.Path(exists=True, dir_okay=False), help="Its authority.")
@click.option("--pairs", type=click.IntRange(1, 100), default=20, show_default=True, help="At most.")
@click.option("--users", type=click.IntRange(1, 100_000), help="People at once; default: the scenario's.")
@click.option("--run-time", type=Seconds(), help="Of each run, such as 30s; default: the scenario's.")
@click.option(
    "--seed", type=click.IntRange(0, 2**62), default=1, show_default=True, help="Of people and order."
)
@click.option("--runs", multiple=True, type=click.Path(path_type=Path), help="Judge these runs …")
@click.option("--against", multiple=True, type=click.Path(path_type=Path), help="… by these, pair by pair.")
@click.option("--slo", metavar="RUN", help="Judge one run by the objectives of its scenario alone.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=GATES, show_default=True, help="Gets a folder per gate."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, nothing else.")
def gate(
    scenario: str | None,
    runs: tuple[Path, ...],
    against: tuple[Path, ...],
    slo: str | None,
    out: Path,
    as_json: bool,
    baseline: str | None,
    candidate: str | None,
    **how: Any,
) -> None:
    """Does CANDIDATE make anything slower than BASELINE? By interleaved pairs of runs.

    Or, offline: --runs DIR… --against DIR… judges runs that were made pair by pair; --slo RUN judges one.
    """
    modes = [bool(baseline or candidate), bool(runs or against), bool(slo)]
    if sum(modes) != 1:
        raise click.UsageError("give --baseline and --candidate, or --runs and --against, or --slo")
    with plain_errors():
        if slo:
            sys.exit(_objectives(slo, as_json=as_json))
        if baseline and candidate and scenario:
            folder = _live(scenario, baseline, candidate, out, as_json=as_json, **how)
        elif runs and against:
            folder = _offline(runs, against, scenario, out)
        else:
            raise click.UsageError(
                "--runs needs --against"
                if any(modes[1:])
                else "it takes --scenario, --baseline and --candidate"
            )
        from analysis import gate_files, gate_text

        judged = gate_files.read(folder)
        click.echo((folder / gate_files.FILE).read_text() if as_json else "\n".join(gate_text.lines(judged)))
        if not as_json:
            click.echo(f"\nwritten to {folder}")
    sys.exit(judged.exit_code)


def _live(
    scenario: str,
    baseline: str,
    candidate: str,
    out: Path,
    *,
    as_json: bool,
    pairs: int,
    seed: int,
    **how: Any,
) -> Path:
    """Run pairs until a look decides; return the gate's folder, which is whole after each pair."""
    from rich.console import Console

    from analysis import gate as judging
    from analysis import gate_files, gate_runs, gate_text
    from loadtests import campaign
    from scenarios import workload

    plan = workload.load(scenario)
    tolerances = gate_runs.tolerances_of(plan.gate, plan.file)
    one, other = (
        campaign.Source.parse(name, text, how[f"{name}_socket"], how[f"{name}_ca"])
        for name, text in ((campaign.BASELINE, baseline), (campaign.CANDIDATE, candidate))
    )
    folder = new_folder(out, plan.name)
    load = plan.load
    options = load_options(
        scenario,
        folder / "runs",
        how["users"] or load.users,
        load.spawn_rate,
        how["run_time"] or load.run_time_s,
    )
    done: list[judging.Pair] = []
    gate_files.write(folder, judging.judge(done, tolerances, scenario=plan.name, planned=pairs))
    # Interrupted between two runs, what was judged so far stands.
    console = Console(stderr=as_json)
    with suppress(KeyboardInterrupt), in_place(console) as live:
        view = gate_text.View(console, live)
        runs = campaign.pairs(one, other, options, seed=seed, on_second=view.second, on_stop=view.stopping)
        with closing(runs):
            for folders in runs:
                done.append(gate_runs.read_pair(*folders, tolerances))
                judged = judging.judge(done, tolerances, scenario=plan.name, planned=pairs)
                gate_files.write(folder, judged)
                view.pair(judged)
                if judged.settled:
                    break
    return folder


def _offline(runs: tuple[Path, ...], against: tuple[Path, ...], scenario: str | None, out: Path) -> Path:
    """Judge runs that are there already; return the gate's folder."""
    from analysis import gate as judging
    from analysis import gate_files, gate_runs
    from reports.artefact import read_manifest
    from scenarios import workload

    pairs = gate_runs.match(runs, against)
    did = read_manifest(pairs[0][1]).scenario
    plan = workload.load(scenario) if scenario else None
    table, source = (plan.gate, plan.file) if plan else (did.config.get("gate") or {}, did.name)
    tolerances = gate_runs.tolerances_of(table, source)
    judged = judging.judge(
        [gate_runs.read_pair(*folders, tolerances) for folders in pairs],
        tolerances,
        scenario=did.name,
        planned=len(pairs),
    )
    folder = new_folder(out, did.name)
    gate_files.write(folder, judged)
    return folder


def _objectives(name: str, *, as_json: bool) -> int:
    """Judge one run by its objectives; leave junit.xml beside it."""
    from analysis import gate_files, verdict
    from reports.artefact import Run

    folder = Run.open(name, root=RUNS, recover=True).path
    code = tell(folder, page=False, as_json=as_json)
    gate_files.write_objectives(folder, verdict.read(folder))
    return code


def new_folder(out: Path, scenario: str) -> Path:
    import secrets

    from loadtests import clock
    from reports.artefact import run_id

    folder = out / run_id(clock.utc(), scenario, secrets.token_hex(4))
    folder.mkdir(mode=0o700, parents=True)
    return folder
