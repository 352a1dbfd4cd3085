"""Measuring bugs, one of which is planted into every Python process that finds this folder on its path.

Python imports `sitecustomize` when it starts. The environment's PLANTED_BUG names the bug; it is put into its
module right after that has been imported, before anybody else has a name from it.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any


def samples_dropped(recorder: Any) -> None:
    real, seen = recorder.Recorder.sample, [0]

    def sample(self: Any, *given: Any, **fields: Any) -> None:
        seen[0] += 1
        if seen[0] % 100:
            real(self, *given, **fields)

    recorder.Recorder.sample = sample


def _altered(recorder: Any, alter: Callable[[dict[str, Any]], None]) -> None:
    real = recorder.Recorder.sample

    def sample(self: Any, *given: Any, **fields: Any) -> None:
        alter(fields)
        real(self, *given, **fields)

    recorder.Recorder.sample = sample


def closed_loop(recorder: Any) -> None:
    _altered(recorder, lambda fields: fields.update(intended=fields["sent"]))


def milliseconds(recorder: Any) -> None:
    def rounded(fields: dict[str, Any]) -> None:
        fields["arrived"] = fields["sent"] + round(fields["arrived"] - fields["sent"], -6)

    _altered(recorder, rounded)


def sent_early(recorder: Any) -> None:
    _altered(recorder, lambda fields: fields.update(sent=fields["sent"] - 100_000))


def user_space_stamps(recorder: Any) -> None:
    _altered(recorder, lambda fields: fields.update(arrived=fields["seen"]))


def wall_clock(clock: Any) -> None:
    ahead = clock.Realtime().offset
    clock.now = lambda: clock.time.time_ns() - ahead


def duplicates_unseen(fanout: Any) -> None:
    real, known = fanout.Recorder.arrival, set[Any]()

    def arrival(self: Any, key: str, *given: Any, **fields: Any) -> None:
        if (key, fields["socket"]) not in known:
            known.add((key, fields["socket"]))
            real(self, key, *given, **fields)

    fanout.Recorder.arrival = arrival


def losses_unseen(tables: Any) -> None:
    import pyarrow.compute as pc

    real = tables.reconcile

    def reconcile(*given: Any, **fields: Any) -> Any:
        found = real(*given, **fields)
        return found.filter(pc.not_equal(found["fate"].cast("string"), "lost"))

    tables.reconcile = reconcile


def order_unseen(deliveries: Any) -> None:
    import numpy as np

    deliveries._reordered = lambda rows, _names: np.zeros(len(rows["fate"]), dtype=bool)


def failures_timed(figures: Any) -> None:
    figures.succeeded = lambda samples: samples


def next_bucket(histogram: Any) -> None:
    real = histogram.bucket_of
    histogram.bucket_of = lambda values: real(values) + 1


def worker_forgotten(parts: Any) -> None:
    real = parts.find_parts
    parts.find_parts = lambda folder: [part for part in real(folder) if not part.worker.endswith("-2")]


BUGS: dict[str, tuple[str, Callable[[Any], None]]] = {
    "samples_dropped": ("loadtests.recorder", samples_dropped),
    "closed_loop": ("loadtests.recorder", closed_loop),
    "milliseconds": ("loadtests.recorder", milliseconds),
    "sent_early": ("loadtests.recorder", sent_early),
    "user_space_stamps": ("loadtests.recorder", user_space_stamps),
    "wall_clock": ("loadtests.clock", wall_clock),
    "duplicates_unseen": ("loadtests.fanout", duplicates_unseen),
    "losses_unseen": ("reports.tables", losses_unseen),
    "order_unseen": ("reports.deliveries", order_unseen),
    "failures_timed": ("analysis.figures", failures_timed),
    "next_bucket": ("reports.histogram", next_bucket),
    "worker_forgotten": ("reports.parts", worker_forgotten),
}


class Planter(importlib.abc.MetaPathFinder):
    """Finds one module as Python does, and plants the bug once it has been executed."""

    def __init__(self, module: str, plant: Callable[[Any], None]) -> None:
        self.module, self.plant = module, plant

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(name, path) if name == self.module else None
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                self.plant(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if (bug := os.environ.get("PLANTED_BUG", "")) in BUGS:
    sys.meta_path.insert(0, Planter(*BUGS[bug]))
