"""What a storm did: the target dropped everybody's sockets, and how long it took until all was well again.

A storm lasts until the next one, or until people stop. Who it is about had a socket when it began. They are
*back* when they have authenticated a socket anew; whoever never lost theirs never left. A *missed* message is
one that was sent to somebody while the storm kept them away: the target has it for them when they are back,
and that of the last one drains the backlog. Of a message that was under way when its socket was dropped
nobody can say whether it arrived: `unknown`.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from msgspec import Struct

from analysis.formats import fmt_count, fmt_ms, fmt_span
from analysis.frames import Frames, of_kind, values
from analysis.stats import SECOND
from reports.deliveries import ORDERED_OPERATION as CHAT
from reports.sample import STORM, Fate, Kind, Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

RECOVERED = 0.99
_NEVER = np.iinfo(np.int64).max


class Storm(Struct, frozen=True):
    """Instants in ns since the origin of the run, durations in ns since the storm began."""

    at: int
    sockets: int  # that the target says it dropped
    people: int  # who were online
    back: int  # of these, by the end of the storm
    recovery: int | None  # until 99 % of them were back; null: they were not
    attempts: int  # to connect, until the last was back
    failed: int  # of these
    peak: int  # of these, the most within a second
    missed: int  # messages to people whom the storm kept away
    drained: int | None  # until the last of those people was back; null: there was none, or one was not
    unknown: int  # messages that were under way when the sockets were dropped
    duplicates: int  # messages that came twice, of all that came after the begin

    @property
    def sentence(self) -> str:
        """What it did, in figures."""
        back = f"99 % back after {fmt_ms(self.recovery)}"
        if self.recovery is None:
            back = f"only {fmt_count(self.back)} came back"
        drained = f", delivered after {fmt_ms(self.drained)}" if self.drained is not None else ""
        return (
            f"storm at {fmt_span(self.at)}: {fmt_count(self.people)} people dropped, {back};"
            f" {fmt_count(self.attempts)} attempts to connect, {fmt_count(self.failed)} failed,"
            f" at most {fmt_count(self.peak)} within a second;"
            f" {fmt_count(self.missed)} messages missed{drained},"
            f" {fmt_count(self.unknown)} of unknown fate, {fmt_count(self.duplicates)} duplicates"
        )


def planned(frames: Frames) -> int:
    """Return how many storms the scenario states."""
    return len(dict(frames.manifest.scenario.config.get("storm") or {}).get("at_s", ()))


def storms(frames: Frames) -> list[Storm]:
    """Return what each storm did, the first one first."""
    if not planned(frames):
        return []
    events = [each for each in frames.events if each["kind"] == STORM]
    stopped = max(
        (phase.from_ns for phase in frames.manifest.phases if phase.name == "drain"), default=_NEVER
    )
    edges = sorted(int(each["at_ns"]) for each in events)
    sockets = [int(each.get("sockets", 0)) for each in sorted(events, key=lambda each: each["at_ns"])]
    spans = pairwise([*edges, max(stopped, *edges, 0)])
    return [_storm(frames, *span, count) for span, count in zip(spans, sockets, strict=True)]


def _storm(frames: Frames, begin: int, end: int, sockets: int) -> Storm:
    back = _back(frames.presence, begin, end)
    returns = np.sort(back.to_numpy(dtype=np.int64))
    came = returns[returns < _NEVER]
    needed = math.ceil(RECOVERED * len(returns))
    over = end if len(came) < len(returns) or not len(returns) else max(int(returns[-1]), begin)
    connects = of_kind(frames.samples, Kind.CONNECT)
    connects = connects[connects["operation"] == "wss.connect"]
    connects = connects[connects["sent"].between(begin, over)]
    ledger = frames.deliveries
    chats = ledger[ledger["operation"] == CHAT]
    away = back.reindex(chats["recipient"].astype(str), fill_value=0).to_numpy(dtype=np.int64)  # until when
    missed = (chats["fate"] == Fate.OFFLINE.value) & (chats["sent"] >= begin) & (chats["sent"] < away)
    drained = int(away[missed].max(initial=0)) or _NEVER
    under_way = chats["sent"].between(begin - frames.manifest.deadline_ns, over)
    return Storm(
        at=begin - frames.manifest.origin_ns,
        sockets=sockets,
        people=len(returns),
        back=len(came),
        recovery=int(returns[needed - 1]) - begin if 0 < needed <= len(came) else None,
        attempts=len(connects),
        failed=int((connects["outcome"] != Outcome.OK).sum()),
        peak=_peak(values(connects, "sent")),
        missed=int(missed.sum()),
        drained=drained - begin if drained < _NEVER else None,
        unknown=int((under_way & (chats["fate"] == Fate.UNKNOWN.value)).sum()),
        duplicates=int(
            ((ledger["fate"] == Fate.DUPLICATE.value) & ledger["arrived"].between(begin, end)).sum()
        ),
    )


def _back(presence: pd.DataFrame, begin: int, end: int) -> pd.Series[int]:
    """Return by user, of those online at `begin`, when they were back: `begin` if they never lost a socket,
    _NEVER if they were not by `end`."""
    rows = presence[presence["at"] <= end].assign(user=presence["user"].astype(str))
    before, after = rows[rows["at"] <= begin], rows[rows["at"] > begin]
    sockets = before["online"].map({True: 1, False: -1}).groupby(before["user"]).sum()
    there = sockets[sockets > 0].index
    left = after[~after["online"]].groupby("user")["at"].min().reindex(there, fill_value=0)
    lost = left.reindex(after["user"], fill_value=_NEVER).to_numpy(dtype=np.int64)
    again = after[after["online"] & (after["at"] > lost)].groupby("user")["at"].min()
    back: pd.Series[int] = again.reindex(there, fill_value=_NEVER).where(left > 0, begin)
    return back


def _peak(at: NDArray[np.int64]) -> int:
    """Return the most of these instants within any one second."""
    at = np.sort(at)
    return int((np.searchsorted(at, at + SECOND) - np.arange(len(at))).max(initial=0))
