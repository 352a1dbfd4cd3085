"""talkload capacity find: the highest load that holds every objective, as an interval."""

from __future__ import annotations

import math
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.common import INVALID, UNUSABLE, Seconds, fail, finite, load_options, plain_errors

if TYPE_CHECKING:
    from analysis.capacity.find import Asked, Find, Finding
    from analysis.capacity.find_text import View
    from analysis.capacity.sizing import Sizing
    from loadtests.campaign import Source
    from scenarios.workload import Scenario

CAPACITY = Path("reports/capacity")
SPOILED = 3
"""So many steps in a row that do not count end a search: the generator is at its own limit."""

RAMP_S = 5.0
_LOAD = click.FloatRange(0, 1e6, min_open=True)


@click.command("find")
@click.argument("scenario", required=False)
@click.option("--resume", type=click.Path(path_type=Path), help="Go on with the search in this folder.")
@click.option("--by", type=click.Choice(["users", "arrivals"]), help="Default: what the scenario counts.")
@click.option("--start", type=_LOAD, callback=finite, help="First load; default: the scenario's.")
@click.option(
    "--lowest", type=_LOAD, callback=finite, help="Below it a target is of no use; default: start / 20."
)
@click.option("--highest", type=_LOAD, callback=finite, help="Never exceeded; default: start x 20.")
@click.option("--step-time", type=Seconds(), default=20.0, help="Load of a step, such as 20s, the default.")
@click.option("--max-time", type=Seconds(), default=600.0, help="Load of all steps; default: 10m.")
@click.option(
    "--target", metavar="TARGET", default="", help="https address, or a command that starts a server."
)
@click.option("--socket", metavar="WSS", help="wss address of the same target.")
@click.option("--ca", type=click.Path(exists=True, dir_okay=False), help="Authority of its certificate.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Such as load.users=20.")
@click.option("--seed", type=click.IntRange(0, 2**62), default=1, show_default=True, help="Of the people.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=CAPACITY, show_default=True, help="Gets a folder."
)
@click.option(
    "--input", "plan", type=click.Path(path_type=Path), help="A capacity.toml, to size with what is found."
)
@click.option("--no-page", is_flag=True, help="Don't build capacity.html.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, nothing else.")
def find(
    scenario: str | None, resume: Path | None, plan: Path | None, as_json: bool, no_page: bool, **how: Any
) -> None:
    """Find the highest load of SCENARIO that holds all its objectives. Every step is a run."""
    from rich.console import Console

    if bool(scenario) == bool(resume):
        raise click.UsageError("give a scenario, or --resume with the folder of a search")
    with plain_errors():
        from analysis.capacity import find_text, report, sizing
        from analysis.capacity.find import Finding

        wanted = sizing.read(plan) if plan else None
        finding = Finding.resume(resume) if resume else _begin(str(scenario), **how)
        scene, source = _plan(finding.asked)
        console = Console(stderr=True)
        with find_text.View(console, finding) as view:
            _steps(finding, scene, source, view)
        finding.write()
        found = finding.found()
        sized = sizing.size(report.measured_by(wanted, found)) if wanted else None
        page = None if no_page else _page(finding, found, sized)
    if as_json:
        click.echo((finding.folder / "search.json").read_text())
    else:
        told = f"page: {page}" if page else f"written to {finding.folder}"
        said = report.sizing_sentences(sized) if sized else []
        click.echo("\n".join([*find_text.lines(found), *said, "", told]))
    sys.exit(found.exit_code)


def _begin(scenario: str, out: Path, **how: Any) -> Finding:
    """Return a new search, its folder made."""
    from analysis.capacity import find
    from analysis.capacity.search import State
    from commands.gate import new_folder
    from scenarios import workload
    from scenarios.arrivals import expected

    plan = workload.load(scenario, how["settings"])
    load = plan.load
    segments = load.segments(load.run_time_s)
    by = how["by"] or (find.ARRIVALS if segments else find.USERS)
    usual = load.users if by == find.USERS else expected(segments) / load.run_time_s or load.users / 10
    start = how["start"] or usual
    settings = find.settings(
        find.allowed(plan.slo, by),
        how["lowest"] or min(start, max(1.0, start / 20)),
        how["highest"] or start * 20,
        start,
    )
    asked = find.Asked(
        scenario, plan.hash(), by, how["settings"], how["target"], how["socket"], how["ca"], how["seed"],
        how["step_time"], how["max_time"],
    )  # fmt: skip
    _source(asked, plan)  # what is wrong with it is said before there is a folder
    return find.Finding(new_folder(out, plan.name), asked, State(settings))


def _plan(asked: Asked) -> tuple[Scenario, Source]:
    """Return what a search was begun with. Raises FindError where the scenario is another one by now."""
    from analysis.capacity.find import FindError
    from scenarios import workload

    plan = workload.load(asked.scenario, asked.settings)
    if plan.hash() != asked.hash:
        raise FindError(f"{plan.file}: it is not the scenario any more that the search was begun with")
    return plan, _source(asked, plan)


def _source(asked: Asked, plan: Scenario) -> Source:
    from loadtests.campaign import Source

    if not asked.target:
        serve = (sys.executable, "-P", "-m", "talkamie.server", "--port", "0", "--exit-with-parent")
        return Source("target", None, (*serve, *plan.serve_options()))
    return Source.parse("target", asked.target, asked.socket, asked.ca)


def _steps(finding: Finding, plan: Scenario, source: Source, view: View) -> None:
    """Make one step after another until the search has ended, or can't go on."""
    from loadtests import generator
    from loadtests.target import TargetError
    from reports.artefact import Run

    stopped, spoiled = False, 0

    def stop() -> None:
        nonlocal stopped
        stopped = True
        view.stopping()

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # no server is left behind
    try:
        while (load := finding.step()) is not None:
            options, load_s = _options(finding, plan, load)
            try:
                with source.up() as target:
                    ended = generator.run(target, options, on_second=partial(view.second, load), on_stop=stop)
            except TargetError as error:
                finding.stop(str(error), UNUSABLE)
                break
            if stopped:
                finding.stop(f"interrupted; go on with: talkload capacity find --resume {finding.folder}", 3)
                break
            if ended.folder is None:
                why = ended.complaint.splitlines()[-1:] or ["the generator ended before the run began"]
                fail(why[0], ended.exit_code or INVALID)
            made = finding.take(Run.open(ended.folder, recover=True), load, load_s)
            view.made(made)
            spoiled = 0 if made.counted else spoiled + 1
            if spoiled == SPOILED:
                finding.stop(f"{SPOILED} steps in a row were spoiled: {made.reason}", INVALID)
    except KeyboardInterrupt:
        finding.stop(f"interrupted; go on with: talkload capacity find --resume {finding.folder}", 3)
    finally:
        signal.signal(signal.SIGTERM, before)
    if finding.stopped:
        view.say(finding.stopped)


def _options(finding: Finding, plan: Scenario, load: float) -> tuple[list[str], float]:
    """Return the generator's options for a step, and how long it puts load on the target."""
    asked = finding.asked
    users, rate, seconds = plan.load.users, plan.load.spawn_rate, asked.step_s
    settings = list(asked.settings)
    if asked.by == "users":
        users, rate = round(load), max(rate, load / RAMP_S)
        seconds += math.ceil(users / rate)
    else:
        settings.append(f"load.arrivals={load}")
    options = load_options(asked.scenario, finding.folder / "runs", users, rate, seconds)
    options += ["--seed", str(asked.seed + len(finding.made))]
    return [*options, *(word for each in settings for word in ("--set", each))], seconds


def _page(finding: Finding, found: Find, sized: Sizing | None) -> Path | None:
    """Build capacity.html beside the search, of the steps that counted; None where there is none."""
    from analysis.capacity import points, report, resources
    from analysis.capacity.page import build
    from analysis.capacity.work import WorkError
    from analysis.frames import Frames
    from reports.artefact import Run

    measured, runs = [], []
    for made in found.made:
        if made.counted:
            frames = Frames(Run.open(finding.folder / "runs" / made.run))
            with suppress(points.PointsError):  # nothing succeeded
                measured.append(points.of_frames(frames, made.load))
                runs.append(frames)
    if not measured:
        return None
    costs: resources.Resources | None = None
    with suppress(WorkError):  # nothing tells what the target used
        costs = resources.of_runs(runs)
    return build(report.of_search(measured, found, sized, costs), finding.folder)
