"""Builds report.html and report.ipynb of a run: one notebook, executed, and drawn by our own template.

The page is one file that refers to nothing outside itself. A number gets onto it in one way only, by its
path in verdict.json (`figure`), so the two can't differ. Everything that the target or the manifest said is
escaped by the templates. Two builds of one run give the same bytes: no dates, no random ids.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import msgspec
from markupsafe import Markup, escape

from analysis import arriving, charts, compare, curves, notebook, panels, shifts
from analysis import verdict as judging
from analysis.compare import Comparison
from analysis.compare_text import SHOWN, cells
from analysis.figures import GROUPS
from analysis.files import write_private
from analysis.formats import FORMATS, NONE, fmt_bytes, fmt_span, fmt_text
from analysis.frames import Frames
from analysis.verdict import Verdict, Word
from reports.artefact import Run
from reports.manifest import Manifest

HERE = Path(__file__).parent
NOTEBOOK = HERE / "notebooks" / "one_run.py"
TEMPLATES = HERE / "templates"
HTML, IPYNB = "report.html", "report.ipynb"

WORDS = {
    Word.PASS: "Pass",
    Word.FAILED: "Failed",
    Word.USAGE: "Not judged",
    Word.INCONCLUSIVE: "Inconclusive",
    Word.INVALID: "Invalid",
    Word.UNUSABLE: "Target unusable",
}
GLYPHS: dict[str, str] = {
    **dict(zip(Word, ("✓", "✕", "?", "≈", "!", "⌀"), strict=True)),
    "good": "✓",
    "bad": "✕",
    "warn": "!",
    "odd": "?",
}
STATES = {"met": "good", "missed": "bad", "not shown": "warn", "unknown metric": "odd"}
TITLES = {
    "https": "https operations",
    "wss": "wss requests, from a frame to its answer",
    "ping": "pings",
    "connect": "new connections: TCP, TLS and, of a socket, the websocket's handshake",
    "phases": "phases of new connections",
    "notices": "frames that have no answer",
    "steps": "steps of journeys",
}
STAMPS = {
    "wire": "the kernel had it (a receive stamp on every read)",
    "epoll": "the event loop was told of it; our own lateness is part of it",
    "callback": "our code was called with it; our own lateness is part of it",
}


class Html(str):
    """A piece of the page that a notebook shows as it is."""

    def _repr_html_(self) -> str:
        return str(self)


@dataclass(frozen=True, slots=True)
class Report:
    """What the notebook works with: the verdict, whose figures it shows, and the frames that it draws."""

    manifest: Manifest
    verdict: Verdict
    frames: Frames
    against: Comparison | None = None
    unlike: tuple[str, ...] = ()

    def section(self, name: str) -> Html:
        """Return one part of the page, filled in from the verdict and the manifest."""
        tree = msgspec.to_builtins(self.verdict)
        template = environment().get_template(f"{name}.html.j2")
        return Html(
            template.render(
                v=tree,
                figure=lambda path, form, **interval: figure(tree, path, form, **interval),
                chat=_position(self.verdict.deliveries, "deliveries", "operation", "chat.delivered"),
                chat_known=any(row.operation == "chat.delivered" for row in self.verdict.deliveries),
                ping=_position(self.verdict.operations, "operations", "group", "ping"),
                broken=sum(not rule.holds for rule in self.verdict.validity),
                groups=[(group, TITLES[group]) for group in GROUPS.values()],
                words={word.value: text for word, text in WORDS.items()},
                glyphs={str(name): glyph for name, glyph in GLYPHS.items()},
                states=STATES,
                stamps=STAMPS.get(self.manifest.clock.stamps, "nobody knows how this was stamped"),
                deadline=fmt_span(self.manifest.deadline_ns),
                facts=facts(self.manifest),
                against=self.against.there if self.against else "",
                changes=[
                    {"name": each.metric, "cells": [cell for q in SHOWN for cell in cells(each.at(q))]}
                    for each in (self.against.shifts if self.against else [])
                ],
                unlike=self.unlike,
            )
        )

    def comparison(self) -> Html:
        """Return what differs from the other run, if there is one to stand against."""
        if self.against is None:
            return Html("")
        drawn = shifts.shifts(self.against)._repr_html_()
        return Html(f"<h2>Against {escape(self.against.there)}</h2>{drawn}" + self.section("against"))

    def deliveries(self) -> Html:
        """Return the ledger's tables and, where fan-outs had several sizes, what their size costs."""
        chart = curves.sizes(self.verdict.fanout_sizes)
        drawn = self.titled("fan-out size, latency and completion", chart) if chart else ""
        return Html(self.section("deliveries") + drawn + self.section("sizes"))

    def timeline(self) -> Html:
        """Return the run second by second and, of an open one, what was planned and what came of it."""
        drawn = charts.timeline(self.frames)._repr_html_()
        drawn += self.section("storms") if self.verdict.storms else ""
        if self.verdict.arrivals is not None:
            chart = arriving.arrivals(self.frames)
            drawn += self.section("arrivals") + (self.titled("arrivals", chart) if chart else "")
        return Html(drawn + panels.heatmap(self.frames)._repr_html_())

    def operations(self) -> Html:
        """Return the table of operations, and each of the busiest by itself."""
        drawn = self.titled("p50 by operation over time, shaded up to p95", panels.operations(self.frames))
        return Html(self.section("operations") + drawn)

    def pings(self) -> Html:
        """Return the round trips over time, and those of quiet and busy seconds."""
        quiet = self.titled(
            "in the quietest and the busiest quarter of seconds", panels.quiet_and_busy(self.frames)
        )
        return Html(charts.ping(self.frames)._repr_html_() + beside(quiet, self.section("pings")))

    def instrument(self) -> Html:
        """Return what the instrument itself did: its checks, its lateness, what it used."""
        lags = self.titled("the generator's own lateness", panels.lags(self.frames))
        used = charts.resources(self.frames)._repr_html_()
        return Html(
            self.section("validity") + used + beside(lags, self.section("lags")) + self.section("resources")
        )

    def titled(self, title: str, chart: Any) -> Html:
        """Return a chart below its title."""
        return Html(f"<h3>{escape(title)}</h3>{chart._repr_html_()}")


def open_report(run: str | Path, against: str | Path = "") -> Report:
    """Return the report of a run; in a script, its first argument or TALKLOAD_RUN is taken instead.

    The verdict is the one on disk, if this version of the suite wrote it, else it is judged now.
    """
    opened = Run.open(_chosen(run), recover=True)
    frames = Frames(opened)
    other = Run.open(against, recover=True) if str(against) else None
    return Report(
        manifest=opened.manifest,
        verdict=_verdict_of(opened, frames),
        frames=frames,
        against=compare.of_frames(Frames(other), frames) if other else None,
        unlike=tuple(compare.differing(other.manifest, opened.manifest)) if other else (),
    )


def build(run_path: str | Path, against: str | Path | None = None) -> Path:
    """Judge a run and put verdict.json, report.ipynb and report.html beside it; return the page's path.

    The files are replaced in one step each and only their owner can read them. Raises ArtefactError for a run
    that can't be read and NotebookError for one that fails.
    """
    run = Run.open(run_path, recover=True)
    judging.write(run, judging.judge(run))
    folder = Path(run.path)
    other = os.path.relpath(Run.open(against, recover=True).path, folder) if against else ""
    done = notebook.execute(NOTEBOOK, {"RUN": ".", "AGAINST": other}, folder)
    title = f"{run.manifest.scenario.name}: {run.manifest.id}"
    write_private(folder / IPYNB, notebook.plain(done))
    return write_private(folder / HTML, notebook.to_html(done, TEMPLATES, title, judging.FILE, IPYNB))


def beside(*pieces: str) -> Html:
    """Return pieces next to each other; below each other on a phone."""
    return Html('<div class="two">' + "".join(f"<div>{piece}</div>" for piece in pieces) + "</div>")


def figure(tree: Any, path: str | Iterable[str], form: str, *, low: str = "", high: str = "") -> Markup:
    """Return a figure of the verdict, found by its path, written and marked with that path."""
    steps = path.split(".") if isinstance(path, str) else list(path)
    value = _find(tree, steps)
    if value is None:
        return Markup('<span class="note">{}</span>').format(NONE)
    ends = [_find(tree, end.split(".")) for end in (low, high) if end]
    title = Markup("")
    if len(ends) == 2 and None not in ends:
        between = " to ".join(FORMATS[form](end) for end in ends)
        title = Markup(' title="95 % interval {}"').format(between)
    place = "/".join(step.replace("~", "~0").replace("/", "~1") for step in steps)  # as in RFC 6901
    return Markup('<data value="{}" data-of="{}"{}>{}</data>').format(
        value, place, title, FORMATS[form](value)
    )


def facts(manifest: Manifest) -> list[tuple[str, str]]:
    """Return what a reader must know to repeat the run."""
    target, machine = manifest.target, manifest.machine
    faults = "told to misbehave" if target.faults else ""
    several = f"{target.processes} processes" if target.processes > 1 else ""
    return [
        ("Started", manifest.started),
        ("Scenario", f"{manifest.scenario.name} ({manifest.scenario.file}, hash {manifest.scenario.hash})"),
        ("Seed", str(manifest.seed)),
        ("Target", _joined(target.https, target.wss, "on this host" if target.local else "")),
        ("Target's version", _joined(target.version, target.stage, target.password_cost, several, faults)),
        ("Suite", _joined(manifest.suite.version, manifest.suite.git)),
        ("Machine", _joined(machine.host, machine.cpu, f"{machine.cores} cores", fmt_bytes(machine.memory))),
        ("System", _joined(f"Linux {machine.kernel}" if machine.kernel else "", f"Python {machine.python}")),
        ("Workers", _joined(*(worker.name for worker in manifest.workers))),
        ("Libraries", _joined(*(f"{name} {version}" for name, version in sorted(manifest.versions.items())))),
    ]


def _joined(*parts: str) -> str:
    return fmt_text(", ".join(part for part in parts if part))


def _chosen(run: str | Path) -> str | Path:
    """Return the run that was asked for: a script is told by its first argument or by its environment."""
    argument = sys.argv[1] if len(sys.argv) > 1 and Path(sys.argv[1], "manifest.json").is_file() else ""
    return argument or os.environ.get(notebook.RUN_VARIABLE) or run


def _verdict_of(run: Run, frames: Frames) -> Verdict:
    try:
        found = judging.read(Path(run.path))
    except (FileNotFoundError, msgspec.MsgspecError):
        return judging.judge_frames(frames)
    return (
        found
        if found.schema == judging.SCHEMA and found.run == run.manifest.id
        else judging.judge_frames(frames)
    )


def _find(tree: Any, steps: Iterable[str]) -> Any:
    """Return what stands at a path; None where the path ends early, because a figure was not shown."""
    for step in steps:
        if tree is None:
            return None
        if isinstance(tree, list):
            tree = tree[int(step)] if step.isdecimal() and int(step) < len(tree) else None
        else:
            tree = tree[step] if step else None
    return tree


def _position(rows: Iterable[Any], field: str, key: str, wanted: str) -> str:
    """Return the path of the first row with this key; one that leads nowhere if there is none."""
    for number, row in enumerate(rows):
        if getattr(row, key) == wanted:
            return f"{field}.{number}"
    return f"{field}.none"


@cache
def environment() -> jinja2.Environment:
    """Return what fills in the sections of a page; it escapes whatever it is given."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES / "sections"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
