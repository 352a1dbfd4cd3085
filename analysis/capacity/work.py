"""How much of each kind of work a target had in each window of time of a run, and what that took.

Kinds, in the order in which they are told apart (`analysis.capacity.regression`):

    base        being there: a second of it
    user        an authenticated socket, for a second
    https       an https request, but for those with a password
    message     a frame that a client sends, but for pings: a wss request, or a notice such as `signal`
    handshake   a connection opened, https or wss: TCP, TLS and, of a socket, the upgrade
    delivery    a frame that a socket gets unasked
    password    an https request that carries a password, which has to be hashed
    ping        an application ping
    call        a minute of a call from accepted to ended, beyond its frames
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.frames import STEADY, Frames, ended, measured_from, of_kind, values
from analysis.stats import SECOND
from reports.sample import Kind
from talkamie.contract import ACTIONS, OPERATIONS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analysis.columns import Rows

    Ints = NDArray[np.int64]
    Vector = NDArray[np.float64]

KINDS = ("base", "user", "https", "message", "handshake", "delivery", "password", "ping", "call")
WINDOW = 2 * SECOND
"""At least: a kernel's clock tick, in which CPU time is counted, is 0.5 % of it."""

_PASSWORDS = [
    row.name
    for row in OPERATIONS.values()
    if any("password" in field for field in getattr(row.body, "__struct_fields__", ()))
]
_OF_CALLS = [f"wss.{row.name}" for row in ACTIONS.values() if row.folder.startswith("call")]


class WorkError(Exception):
    """A run that does not tell what its target used; the message says why."""


@dataclass(frozen=True, slots=True)
class Work:
    """Windows of one run. CPU in ns, memory in bytes; `done` counts each kind, by window."""

    run: str
    cpu: Vector
    grown: Vector  # by so much more memory is held at the end of a window than at its begin
    joined: Vector  # by so many more sockets are online
    done: dict[str, Vector]
    judged: NDArray[np.bool_]  # windows after the warm-up
    first: tuple[int, float]  # memory and sockets when the first window begins
    call_frames: tuple[int, int]  # sent and delivered in all of them, within message and delivery


def of_frames(frames: Frames) -> Work:
    """Return the windows of a run, from the first row of the server to the end of load. Raises WorkError."""
    manifest, rows = frames.manifest, frames.resources
    stops = [phase.to_ns for phase in manifest.phases if phase.name == STEADY and phase.to_ns]
    server = rows[(rows["process"] == "server") & (rows["at"] <= max(stops, default=ended(frames)))]
    server = server.sort_values("at", kind="stable")
    at = server["at"].to_numpy(dtype=np.int64)
    if len(at) < 2:
        raise WorkError(
            f"{manifest.id}: nothing tells what its target used: it ran elsewhere, and has no /metrics with"
            " process_cpu_seconds_total and process_resident_memory_bytes"
        )
    spent = np.concatenate([[0.0], np.cumsum(server["cpu"].to_numpy(dtype=float)[1:] * np.diff(at))])
    edge = np.unique((at - at[0] + SECOND // 2) // WINDOW, return_index=True)[1]
    edges, held = at[edge], server["rss"].to_numpy(dtype=float)[edge]
    presence = frames.presence
    came, left = (
        presence["at"].to_numpy()[presence["online"].to_numpy() == online] for online in (True, False)
    )
    arrived = frames.ledger.among("came", True)
    attempts = frames.attempts
    frames_sent = of_kind(attempts, Kind.SOCKET, Kind.NOTICE)
    https = of_kind(attempts, Kind.REQUEST)
    sent, pushed = _of_calls(frames_sent, arrived, edges)
    password = _count(https.among("operation", *_PASSWORDS), edges)
    done = {
        "base": np.diff(edges) / SECOND,
        "user": np.diff(_time_of(came, left, edges)) / SECOND,
        "https": _count(https, edges) - password,
        "message": _count(frames_sent, edges),
        "handshake": _count(of_kind(attempts, Kind.CONNECT), edges),
        "delivery": _count(arrived, edges),
        "password": password,
        "ping": _count(of_kind(attempts, Kind.PING), edges),
        "call": np.diff(_time_of(*_calls(arrived), edges)) / (60 * SECOND),
    }
    online = np.searchsorted(np.sort(came), edges, "right") - np.searchsorted(np.sort(left), edges, "right")
    return Work(
        run=manifest.id,
        cpu=np.diff(spent[edge]),
        grown=np.diff(held),
        joined=np.diff(online).astype(float),
        done=done,
        judged=edges[:-1] >= measured_from(manifest),
        first=(int(held[0]), float(online[0])),
        call_frames=(sent, pushed),
    )


def _count(rows: Rows, edges: Ints) -> Vector:
    """Return how many there were in each window: each halfway between its begin and its end."""
    arrived = values(rows, "arrived")
    sent = values(rows, "sent")
    return np.histogram(np.where(sent > 0, (sent + arrived) // 2, arrived), edges)[0].astype(float)


def _time_of(began: Ints, over: Ints, until: Ints) -> Vector:
    """Return for how long, all together, there was what began and was over at these instants, in ns."""
    zero = until[0]
    found = np.zeros(len(until))
    for sign, instants in ((1, began), (-1, over)):
        ordered = np.sort(instants - zero)
        before = np.searchsorted(ordered, until - zero)
        found += sign * (before * (until - zero) - np.concatenate([[0], np.cumsum(ordered)])[before])
    return found


def _calls(arrived: Rows) -> tuple[Ints, Ints]:
    """Return when calls were accepted, and when these were over, as the other party heard of it."""
    rows = arrived.among("operation", "call.delivered")
    accepted: dict[str, int] = {}
    over: dict[str, int] = {}
    for key, at in zip(rows.texts("key"), values(rows, "arrived").tolist(), strict=True):
        call, _, what = key.rpartition(":")
        for name, found in (("call-accepted", accepted), ("call-ended", over)):
            if what == name:
                found[call] = min(at, found.get(call, at))
    ends = [at for call, at in over.items() if call in accepted]
    return np.array(list(accepted.values()), np.int64), np.array(ends, np.int64)


def _of_calls(sent: Rows, arrived: Rows, edges: Ints) -> tuple[int, int]:
    """Return how many frames of calls were sent and delivered."""
    ours = sent.among("operation", *_OF_CALLS)
    theirs = arrived.among("operation", "call.delivered", "signal.delivered")
    return int(_count(ours, edges).sum()), int(_count(theirs, edges).sum())
