"""What a user, a message, a handshake and a minute of a call cost a target in CPU and memory.

Estimated from the windows of one or several runs (`analysis.capacity.work`) by what differs between them
(`analysis.capacity.regression`). What follows from the costs:

    connections per core    (1 core - base) / (a connected user + the pings that one sends)
    connections per GiB     1 GiB / (a connected user)
    users per core          1 core / (CPU used after the warm-up / seconds that users were connected)

The first two are of people who are online and do nothing. The last is of the mix of these runs, the server
itself included, by a ratio estimate (Cochran, Sampling Techniques, 3rd ed., 6.2), which needs no model of
what costs what. They are what a machine could carry if it was never idle: objectives break before.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from analysis.capacity.regression import Estimate, Model, RegressionError, fit
from analysis.capacity.work import KINDS, Work, WorkError, of_frames
from analysis.frames import Frames
from analysis.stats import SECOND
from reports.artefact import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reports.manifest import Manifest

    Vector = NDArray[np.float64]

GIB = 1 << 30
SIZED = 0.9
"""The ranges of a capacity.toml hold 90 %."""

_HELD = ("user", "https", "message", "delivery", "call")  # what can leave something in memory
_ALIKE = (
    *("machine.host", "machine.cpu", "target.version", "target.stage", "target.faults"),
    *("target.password_cost", "target.local", "target.processes"),
)


class Cost(Struct, frozen=True):
    """What one of a kind costs: ns of CPU, or bytes. `estimate` is null where there is none of its own."""

    kind: str
    count: float  # in all windows
    estimate: Estimate | None
    within: str = ""  # the kind that it came and went with: its cost is in that one's


class Range(Struct, frozen=True):
    """So many, and the interval that holds it; null is no upper limit."""

    value: float | None
    low: float
    high: float | None


class Instance(Struct, frozen=True):
    """How many users of this mix a machine could carry, with 90 %; `binds` names what is used up first."""

    cores: float
    memory: float | None  # bytes; null: not asked for
    users: Range
    binds: str


class Resources(Struct, frozen=True):
    """The answer. CPU in ns, memory in bytes; intervals are 95 % but for the instance's."""

    runs: list[str]
    source: str  # where the figures come from: "process", or "/metrics"
    windows: int
    span: float  # ns that they cover
    cpu: list[Cost]
    memory: list[Cost]
    base_memory: float  # with nobody connected
    pings: float  # that a connected user sends a second
    idle: Estimate | None  # CPU of a connected user with his pings, a second
    user: Estimate  # CPU of a user of this mix, a second, his share of the server itself included
    call: Estimate | None  # CPU of a minute of a call with its frames
    connections: Range | None  # per core
    connections_per_gib: Range | None
    users: Range  # of this mix per core
    instance: Instance


def of_folders(
    folders: Sequence[str | Path], root: Path, *, cores: float = 1.0, memory: float | None = None
) -> Resources:
    """Return what the runs in these folders show, as `of_runs` does. Raises ArtefactError too."""
    runs = [Frames(Run.open(each, root=root, recover=True)) for each in folders]
    return of_runs(runs, cores=cores, memory=memory)


def of_runs(runs: Sequence[Frames], *, cores: float = 1.0, memory: float | None = None) -> Resources:
    """Return what the runs show; cores and memory (bytes) are of the instance to be sized.

    Raises WorkError where they do not tell, are too short, or are not alike.
    """
    _refuse_unlike([frames.manifest for frames in runs])
    source = "process" if runs[0].manifest.target.local else "/metrics"
    try:
        return of_work([of_frames(frames) for frames in runs], source, cores=cores, memory=memory)
    except RegressionError as error:
        raise WorkError(f"{error}: give longer runs, or more of them") from None


def of_work(
    works: Sequence[Work], source: str = "", *, cores: float = 1.0, memory: float | None = None
) -> Resources:
    """Return what windows of runs show. Raises RegressionError where they are too few."""
    lengths = [len(work.cpu) for work in works]
    done = {kind: np.concatenate([work.done[kind] for work in works]) for kind in KINDS}
    cpu = fit(np.concatenate([work.cpu for work in works]), done, lengths, "base")
    held = {kind: done[kind] for kind in _HELD} | {"user": np.concatenate([each.joined for each in works])}
    kept = fit(np.concatenate([work.grown for work in works]), held, lengths)
    a_user = kept.cost({"user": 1}).value
    base_memory = float(np.mean([max(0, work.first[0] - a_user * work.first[1]) for work in works]))
    users = done["user"].sum()
    pings = float(done["ping"].sum() / users) if users else 0.0
    idle = cpu.cost({"user": 1, "ping": pings}) if "user" in cpu.names else None
    mix = _mix(works)
    return Resources(
        runs=[work.run for work in works],
        source=source,
        windows=sum(lengths),
        span=float(done["base"].sum() * SECOND),
        cpu=_costs(cpu, done),
        memory=_costs(kept, held),
        base_memory=base_memory,
        pings=pings,
        idle=idle,
        user=mix.cost({"user": 1}),
        call=_call(works, cpu, float(done["call"].sum())),
        connections=_how_many(SECOND, cpu.cost({"base": 1}), idle) if idle else None,
        connections_per_gib=_how_many(GIB, _NOTHING, kept.cost({"user": 1}))
        if "user" in kept.names
        else None,
        users=_how_many(SECOND, _NOTHING, mix.cost({"user": 1})),
        instance=_instance(mix, kept, base_memory, cores, memory),
    )


_NOTHING = Estimate(0.0, 0.0, 0.0)


def _costs(model: Model, done: dict[str, Vector]) -> list[Cost]:
    return [
        Cost(
            kind,
            float(np.abs(counts).sum()),
            model.cost({kind: 1}) if kind in model.names else None,
            model.within.get(kind, ""),
        )
        for kind, counts in done.items()
    ]


def _mix(works: Sequence[Work]) -> Model:
    """Return the CPU of users after the warm-up; of runs that have hardly anything there, of all of it."""
    chosen = [work.judged if work.judged.sum() >= 3 else np.ones_like(work.judged) for work in works]
    cpu, users = (
        np.concatenate([each[mask] for each, mask in zip(column, chosen, strict=True)])
        for column in ([work.cpu for work in works], [work.done["user"] for work in works])
    )
    return fit(cpu, {"user": users}, [int(mask.sum()) for mask in chosen])


def _call(works: Sequence[Work], cpu: Model, minutes: float) -> Estimate | None:
    if not minutes:
        return None
    sent, delivered = (sum(work.call_frames[each] for work in works) / minutes for each in (0, 1))
    return cpu.cost({"call": 1, "message": sent, "delivery": delivered})


def _how_many(there_is: float, base: Estimate, each: Estimate) -> Range:
    """Return how many fit into what there is, less what is gone before the first."""
    return Range(
        value=max(0.0, there_is - base.value) / each.value if each.value else None,
        low=max(0.0, there_is - base.high) / each.high if each.high else 0.0,
        high=max(0.0, there_is - base.low) / each.low if each.low else None,
    )


def _instance(mix: Model, kept: Model, base: float, cores: float, memory: float | None) -> Instance:
    cpu = _how_many(cores * SECOND, _NOTHING, mix.cost({"user": 1}, SIZED))
    if memory is None or "user" not in kept.names:
        return Instance(cores, memory, cpu, "CPU")
    room = _how_many(memory, Estimate(base, base, base), kept.cost({"user": 1}, SIZED))
    bounded = [(each.value, name, each) for each, name in ((cpu, "CPU"), (room, "memory")) if each.value]
    least = min(bounded, default=(None, "CPU", cpu))
    return Instance(cores, memory, least[2], least[1])


def _refuse_unlike(manifests: Sequence[Manifest]) -> None:
    ids = [manifest.id for manifest in manifests]
    if twice := sorted({each for each in ids if ids.count(each) > 1}):
        raise WorkError(f"{twice[0]}: given twice; a run counts once")
    first = manifests[0]
    for manifest in manifests[1:]:
        for field in _ALIKE:
            table, _, name = field.partition(".")
            one, two = (getattr(getattr(each, table), name) for each in (first, manifest))
            if one != two:
                raise WorkError(
                    f"{field}: {first.id} has {one!r}, {manifest.id} has {two!r}; costs are of one target on"
                    " one machine"
                )
