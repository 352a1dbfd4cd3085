"""What `/metrics` serves, in the text format of Prometheus.

On the hot path there are plain counts; they become Prometheus's families when somebody asks for them,
because its own counters and histograms would be a tenth of what a read costs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_BUCKETS_NS = tuple(round(bound * 1e9) for bound in _BUCKETS)
_BOUNDS = (*map(str, _BUCKETS), "+Inf")


class Metrics(Collector):
    """Counts requests by operation and status, their time, sockets, and deliveries by fate."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # cpu seconds, resident memory, open files
        self.sockets = Gauge("talkamie_sockets", "Open sockets", registry=self.registry)
        self._requests: Counter[tuple[str, int]] = Counter()
        self._times: defaultdict[str, list[int]] = defaultdict(lambda: [0] * len(_BOUNDS))
        self._total: Counter[str] = Counter()  # ns by operation
        self._deliveries: Counter[tuple[str, str]] = Counter()
        self._crossings: Counter[str] = Counter()
        self._crossed: Counter[str] = Counter()  # ns by action
        self.registry.register(self)

    def request(self, operation: str, status: int, duration: int) -> None:
        """Count one answered request; `duration` in nanoseconds."""
        self._requests[operation, status] += 1
        self._times[operation][bisect_left(_BUCKETS_NS, duration)] += 1
        self._total[operation] += duration

    def delivery(self, action: str, fate: str) -> None:
        """Count one push to one socket."""
        self._deliveries[action, fate] += 1

    def crossing(self, action: str, duration: int) -> None:
        """Count one push that came from another process; `duration` in nanoseconds."""
        self._crossings[action] += 1
        self._crossed[action] += duration

    def collect(self) -> Iterator[Metric]:
        """Return all counts as Prometheus's families."""
        requests = CounterMetricFamily(
            "talkamie_requests", "Requests answered", labels=["operation", "status"]
        )
        for (operation, status), count in self._requests.items():
            requests.add_metric([operation, str(status)], count)
        yield requests
        seconds = HistogramMetricFamily(
            "talkamie_request_seconds", "Time from handler start to answer", labels=["operation"]
        )
        for operation, counts in self._times.items():
            buckets = list(zip(_BOUNDS, accumulate(counts), strict=True))
            seconds.add_metric([operation], buckets, self._total[operation] / 1e9)
        yield seconds
        deliveries = CounterMetricFamily("talkamie_deliveries", "Pushes by fate", labels=["action", "fate"])
        for (action, fate), count in self._deliveries.items():
            deliveries.add_metric([action, fate], count)
        yield deliveries
        crossings = CounterMetricFamily(
            "talkamie_crossings", "Pushes that came from another process", labels=["action"]
        )
        on_the_way = CounterMetricFamily("talkamie_crossing_seconds", "Their time", labels=["action"])
        for action, count in self._crossings.items():
            crossings.add_metric([action], count)
            on_the_way.add_metric([action], self._crossed[action] / 1e9)
        yield crossings
        yield on_the_way

    def text(self) -> bytes:
        return generate_latest(self.registry)
