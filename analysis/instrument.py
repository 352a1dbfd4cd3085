"""What the instrument itself did: what its processes used, how late it was, and how it stamped.

Durations are ns, shares are fractions of 1; times are those after the warm-up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from analysis.fanouts import Times, times
from analysis.figures import ANSWERED, ATTEMPTS
from analysis.frames import Frames, of_kind, per_second, succeeded, values

if TYPE_CHECKING:
    from reports.manifest import Manifest


class ResourceFigures(Struct, frozen=True):
    process: str
    cpu_mean: float  # of one core
    cpu_max: float
    cpu_wait: float  # mean share of the time in which it was kept waiting for a core
    rss_max: int  # of one process
    fds_max: int
    samples: int


class Resources(Struct, frozen=True):
    processes: list[ResourceFigures]
    rss_together_max: int | None
    generator_cpu: float | None  # mean of the busiest process
    server_cpu: float | None
    pressure: float | None  # mean share of the time in which anybody on the machine waited for a core
    steal: float | None  # mean share of all cores that the hypervisor gave to others
    dropped: int  # starts that were due and never made
    loop_lag: Times  # of wake-ups at random instants: by this much is late what a timer starts
    send_lag: Times  # of what had a time of its own; a person who waits for a slow target sends late too
    read_lag: Times


class Stamping(Struct, frozen=True):
    """How arrivals were stamped; shares are null where nothing was counted."""

    stamps: str  # "wire", "epoll" or "callback"
    unstamped: float | None  # share of reads that came without a kernel stamp
    coalesced: float | None  # share of frames that were read together with a later one: they have its stamp
    clock_steps: int
    largest_step: int  # ns; 0 where the wall clock was not set


def resources(frames: Frames) -> Resources:
    """Return what the generator and, where it ran here, the server used after the warm-up."""
    frame = frames.resources[frames.resources["steady"]]
    groups = [
        (str(process), str(worker), rows)
        for (process, worker), rows in frame.groupby(["process", "worker"], observed=True, sort=False)
    ]
    kinds = [process for process, _, _ in groups]
    processes = [
        ResourceFigures(
            process=f"{process} {worker}" if kinds.count(process) > 1 else process,
            cpu_mean=float(rows["cpu"].mean()),
            cpu_max=float(rows["cpu"].max()),
            cpu_wait=float(rows["cpu_wait"].mean()),
            rss_max=int(rows["rss"].max()),
            fds_max=int(rows["fds"].max()),
            samples=len(rows),
        )
        for process, worker, rows in sorted(groups, key=lambda group: group[:2])
    ]
    busiest = {
        kind: max((each.cpu_mean for each in processes if each.process.split()[0] == kind), default=None)
        for kind in ("generator", "server")
    }
    generator = frame[frame["process"] == "generator"]
    return Resources(
        processes=processes,
        rss_together_max=int(per_second(frame, "rss").max()) if len(frame) else None,
        generator_cpu=busiest["generator"],
        server_cpu=busiest["server"],
        pressure=float(generator["pressure"].mean()) if len(generator) else None,
        steal=float(generator["steal"].mean()) if len(generator) else None,
        dropped=int(frames.resources["dropped"].sum()),
        loop_lag=times(values(frames.wakeups, "lag")),
        send_lag=times(_send_lags(frames)),
        read_lag=times(_read_lags(frames)),
    )


def _send_lags(frames: Frames) -> np.ndarray[Any, np.dtype[np.int64]]:
    """How late we began what had a time of its own: where it had none, `intended` is `sent`."""
    return values(of_kind(frames.judged, *ATTEMPTS).among("timed", True), "send_lag")


def _read_lags(frames: Frames) -> np.ndarray[Any, np.dtype[np.int64]]:
    """How long what had arrived waited for us: answers and pushed frames alike."""
    answers = succeeded(of_kind(frames.judged, *ANSWERED))
    return np.concatenate([values(answers, "read_lag"), values(frames.timely, "read_lag")])


def stamping(manifest: Manifest) -> Stamping:
    """Return how arrivals were stamped."""
    clock = manifest.clock
    return Stamping(
        stamps=clock.stamps,
        unstamped=clock.unstamped / clock.reads if clock.reads else None,
        coalesced=clock.coalesced / clock.frames if clock.frames else None,
        clock_steps=len(clock.steps_ns),
        largest_step=max(clock.steps_ns, key=abs, default=0),
    )
