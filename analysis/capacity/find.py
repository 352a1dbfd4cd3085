"""A search for the capacity of a target by runs: what a run tells it, what it keeps, what it says.

Every step is a run like any other, its folder beside `search.json`, which has what was asked for and what was
observed. That is all a search needs to go on after an interruption; the rest of the file follows from it, for
those who read it.

What a run says to the search is, by objective, how many went beyond the limit. Requests of a moment resemble
each other, so that they count as many independent ones as their spread over the run shows. What is known
exactly (no message lost) either holds or not. A run that the generator itself spoiled says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from analysis import objectives, stats, verdict
from analysis.capacity.search import Answer, Count, Outcome, Search, SearchError, Settings, State
from analysis.formats import fmt_number, fmt_share
from analysis.frames import Frames
from analysis.verdict import Word
from reports.manifest import write_json
from scenarios.slo import COUNTS, QUANTILES, Slo, parse_slo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.artefact import Run

SCHEMA = 1
FILE = "search.json"
USERS, ARRIVALS = "users", "arrivals"
UNITS = {USERS: "users", ARRIVALS: "arrivals/s"}

BEGUN = "arrivals begun"
"""Of an open run: of the journeys that were planned, those that never found somebody free."""

MOST_ERRORS, _MOST_ERRORS = 0.01, "<= 1 %"  # where a scenario does not say
EXACT = 0.5
_CERTAIN = 10
"""What is known exactly is told as ten out of ten, or none of ten, where half would be allowed."""


class FindError(Exception):
    """A search that can't be made or gone on with; the message says why and what to do."""


class Asked(Struct, frozen=True, forbid_unknown_fields=True):
    """What a search was begun with. `target` is an address, a command, or "" for the reference server."""

    scenario: str
    hash: str  # of the resolved scenario
    by: str
    settings: tuple[str, ...]
    target: str
    socket: str | None
    ca: str | None
    seed: int
    step_s: float
    most_s: float  # of load, in all steps together


class Made(Struct, frozen=True):
    """A step that was made. `counted` is False for one that the generator or something else spoiled."""

    run: str
    load: float
    load_s: float
    verdict: Word
    counted: bool
    reason: str = ""


class Limit(Struct, frozen=True):
    """The capacity by one objective alone; None of those that nothing has broken."""

    objective: str
    allowed: float
    exact: bool = False  # it holds or it does not, and `allowed` is only the search's way to say so
    capacity: float | None = None
    low: float | None = None
    high: float | None = None


class Find(Struct, frozen=True):
    """search.json: `asked`, `state` and `made` are kept, everything else is made of them."""

    schema: int
    asked: Asked
    state: State
    made: list[Made]
    answer: Answer
    limits: list[Limit]
    stopped: str  # why it ended without an answer, "" if it did not
    exit_code: int
    sentences: list[str]


def allowed(slo: Mapping[str, str], by: str) -> dict[str, float]:
    """Return the objectives of a scenario that load can break, each with the share that it allows.

    How much a run has to do (`deliveries = ">= 1000"`) and what it covers says nothing of a target.
    """
    found = {BEGUN: MOST_ERRORS} if by == ARRIVALS else {}
    for name, text in slo.items():
        parsed = parse_slo(name, text)
        if parsed.statistic in QUANTILES:
            found[name] = round(1 - QUANTILES[parsed.statistic], 6)
        elif parsed.statistic == "errors":
            found[name] = parsed.limit if 0 < parsed.limit < 1 else EXACT
        elif parsed.operation in COUNTS:
            found[name] = EXACT
    found.setdefault("errors", MOST_ERRORS)
    return found


def counts(frames: Frames, judged: verdict.Verdict, limits: Mapping[str, float]) -> dict[str, Count]:
    """Return what a run says, by objective; one that it has no data for is missing."""
    slos = dict(frames.manifest.scenario.config.get("slo") or {})
    found = {}
    for name in limits:
        if name == BEGUN:
            begun = judged.arrivals
            count = Count(begun.planned - begun.achieved, begun.planned) if begun else None
        elif name in COUNTS:
            holds = parse_slo(name, slos[name]).holds(getattr(judged.totals, name))
            count = Count(0 if holds else _CERTAIN, _CERTAIN)
        else:
            count = _sampled(frames, parse_slo(name, slos.get(name, _MOST_ERRORS)))
        if count and count.total:
            found[name] = count
    return found


def _sampled(frames: Frames, slo: Slo) -> Count | None:
    beyond, sizes = objectives.exceeding(frames, slo)
    count, n = int(beyond.sum()), int(sizes.sum())
    if not n:
        return None
    if slo.statistic == "errors" and not 0 < slo.limit < 1:
        return Count(_CERTAIN if count else 0, _CERTAIN)
    worth = max(1, round(stats.effective_size(beyond, sizes)))
    return Count(round(count * worth / n), worth)


class Finding:
    """A search and its file. `step` says what to try, `take` takes a run of it."""

    def __init__(self, folder: Path, asked: Asked, state: State, made: Sequence[Made] = ()) -> None:
        """Begin, or go on; nothing is written before the first step. Raises FindError."""
        self.folder, self.asked, self.made = folder, asked, list(made)
        self.stopped, self.exit_code = "", 0
        try:
            self.search = Search(state)
        except SearchError as error:
            raise FindError(str(error)) from None

    @classmethod
    def resume(cls, folder: Path) -> Finding:
        """Return a search that was begun before. Raises FindError."""
        path = folder / FILE
        try:
            kept = msgspec.json.decode(path.read_bytes(), type=Find)
        except OSError as error:
            raise FindError(f"{path}: there is no search to go on with: {error.strerror}") from None
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise FindError(f"{path}: this is not the file of a search: {error}") from None
        if kept.schema != SCHEMA:
            raise FindError(f"{path}: schema: expected {SCHEMA}, found {kept.schema}")
        return cls(folder, kept.asked, kept.state, kept.made)

    @property
    def load_s(self) -> float:
        """Return how long there was load, over all steps."""
        return sum(each.load_s for each in self.made)

    def step(self) -> float | None:
        """Return the load to try next, people being whole; None at the end."""
        if self.stopped or (step := self.search.next_step()) is None:
            return None
        if self.load_s + self.asked.step_s > self.asked.most_s:
            self.stop(f"the time is up: {self.load_s:.0f} s of load of at most {self.asked.most_s:.0f} s", 3)
            return None
        return max(1.0, round(step.load)) if self.asked.by == USERS else round(step.load, 3)

    def take(self, run: Run, load: float, load_s: float) -> Made:
        """Take in what a run at a load says, and write it down. Raises ArtefactError, OSError."""
        frames = Frames(run)
        judged = verdict.judge_frames(frames)
        found = counts(frames, judged, self.search.state.settings.allowed)
        spoiled = judged.verdict is Word.INVALID
        reason = next(iter(judged.sentences), "") if spoiled else ""
        if judged.partial and not spoiled:
            spoiled, reason = True, f"it was interrupted: {judged.reason}"
        if judged.verdict is Word.UNUSABLE or not judged.totals.successes:
            spoiled, reason = True, "the target could not be reached at all"
            self.stop(f"the target is unusable at {self.load(load)}", Word.UNUSABLE.exit_code)
        if not spoiled:
            self.search.observe(load, found)
        made = Made(run.manifest.id, load, load_s, judged.verdict, not spoiled, reason)
        self.made.append(made)
        self.write()
        return made

    def stop(self, why: str, exit_code: int) -> None:
        """End it without an answer."""
        self.stopped, self.exit_code = why, exit_code

    def load(self, load: float) -> str:
        """Write a load with its unit."""
        return f"{fmt_number(load)} {UNITS[self.asked.by]}"

    def write(self) -> None:
        """Write search.json, whole. Raises ArtefactError."""
        write_json(self.folder, FILE, self.found())

    def found(self) -> Find:
        """Return what is known by now."""
        answer, alone = self.search.answer(), self.search.by_objective()
        limits = [
            Limit(name, share, share == EXACT, *alone.get(name, (None, None, None)))
            for name, share in self.search.state.settings.allowed.items()
        ]
        codes = {Outcome.FOUND: 0, Outcome.BELOW: 1, Outcome.AT_LEAST: 3, Outcome.UNDECIDED: 3, None: 3}
        return Find(
            schema=SCHEMA,
            asked=self.asked,
            state=self.search.state,
            made=list(self.made),
            answer=answer,
            limits=sorted(limits, key=lambda limit: limit.capacity or float("inf")),
            stopped=self.stopped,
            exit_code=self.exit_code if self.stopped and answer.outcome is None else codes[answer.outcome],
            sentences=list(self._sentences(answer, limits)),
        )

    def _sentences(self, answer: Answer, limits: list[Limit]) -> list[str]:
        settings = self.search.state.settings
        where = ""
        if answer.high is not None:
            where = (
                f"{self.load(answer.capacity)} [{fmt_number(answer.low)}, {fmt_number(answer.high)}], 90 %"
            )
        match answer.outcome:
            case Outcome.FOUND:
                said = [f"the capacity is {where}; it held there, and 10 % above it something broke"]
            case Outcome.AT_LEAST:
                said = [
                    f"the capacity is at least {self.load(settings.highest)}, the highest that was allowed"
                ]
            case Outcome.BELOW:
                said = [f"the capacity is below {self.load(settings.lowest)}, the lowest that was asked for"]
            case _:
                so_far = f"so far: {where or f'at least {self.load(answer.low)}, where nothing broke'}"
                why = self.stopped or ("the steps are used up" if answer.outcome else "it goes on")
                said = [f"not found: {why}; {so_far}"]
        if answer.broke:
            said.append(f"what breaks first is {answer.broke}")
        seen = {name for each in self.search.state.observations for name in each.counts}
        if held := [
            limit.objective for limit in limits if limit.capacity is None and limit.objective in seen
        ]:
            said.append(f"nothing broke {', '.join(held)}")
        if unseen := [limit.objective for limit in limits if limit.objective not in seen]:
            said.append(f"no step had data on {', '.join(unseen)}")
        if answer.step_noise and len(self.search.state.observations) > 2:
            said.append(f"from step to step the target differs by about {fmt_share(answer.step_noise)}")
        spoiled = [made for made in self.made if not made.counted]
        if spoiled:
            said.append(f"{len(spoiled)} of {len(self.made)} steps did not count: {spoiled[-1].reason}")
        return said


def settings(allows: dict[str, float], lowest: float, highest: float, start: float) -> Settings:
    """Return the settings of a search. Raises FindError."""
    try:
        return Settings(lowest, highest, start, allows)
    except SearchError as error:
        raise FindError(str(error)) from None
