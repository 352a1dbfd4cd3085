"""Fills Locust's own table from our samples, in bulk, so that its web UI shows wss rows and true percentiles.

Locust rounds response times to whole milliseconds and two digits, and its event per request costs more than a
delivery. So the event never fires: once a second each row gets the counts of that second, with response
times to three digits.
"""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
from locust.stats import RequestStats, StatsEntry, StatsError

from loadtests import clock
from loadtests.recorder import Second
from reports.sample import Kind, Outcome
from talkamie.contract import ALL_OPERATIONS


def feed(stats: RequestStats, second: Second) -> None:
    """Add one second to the table."""
    took: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    size: Counter[tuple[str, str]] = Counter()
    failed: Counter[tuple[str, str, str]] = Counter()
    for kind, operation, _, outcome, _, intended, _, _, arrived, _, _, length, error in second.samples:
        if kind in (Kind.STEP, Kind.NOTICE, Kind.PHASE) or outcome == Outcome.CANCELLED:
            continue
        row = (
            ALL_OPERATIONS[operation].method if kind == Kind.REQUEST else operation.split(".")[0].upper(),
            operation,
        )
        took[row].append(arrived - intended)
        size[row] += length
        if outcome != Outcome.OK:
            failed[*row, error] += 1
    for name, duration in second.deliveries:
        took["WSS", name].append(duration)
    at = int(clock.utc().timestamp())  # Locust keeps wall-clock seconds
    for (method, name), durations in took.items():
        for entry in (stats.get(name, method), stats.total):
            _add(entry, np.array(durations) / clock.MILLISECOND, size[method, name], at)
    for (method, name, error), count in failed.items():
        for entry in (stats.get(name, method), stats.total):
            entry.num_failures += count
            entry.num_fail_per_sec[at] += count
        key = StatsError.create_key(method, name, error)
        if key not in stats.errors:
            stats.errors[key] = StatsError(method, name, error)
        stats.errors[key].occurrences += count


def _add(entry: StatsEntry, times: np.ndarray, size: int, at: int) -> None:
    entry.num_requests += len(times)
    entry.num_reqs_per_sec[at] += len(times)
    entry.last_request_timestamp = float(at)
    entry.total_content_length += size
    entry.total_response_time += times.sum()
    low, high = times.min(), times.max()
    entry.min_response_time = low if entry.min_response_time is None else min(entry.min_response_time, low)
    entry.max_response_time = max(entry.max_response_time, high)
    for rounded, count in Counter(map(_three_digits, times.tolist())).items():
        entry.response_times[rounded] += count  # type: ignore[index]
    if entry.use_response_times_cache:
        entry._cache_response_times(at)


def _three_digits(value: float) -> float:
    return float(f"{value:.3g}")
