"""What `/metrics` serves, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """Counts requests by operation and status, their time, sockets, and deliveries by fate."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # cpu seconds, resident memory, open files
        self._requests = Counter(
            "talkamie_requests", "Requests answered", ["operation", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "talkamie_request_seconds",
            "Time from handler start to answer",
            ["operation"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._deliveries = Counter(
            "talkamie_deliveries", "Pushes by fate", ["action", "fate"], registry=self.registry
        )
        self.sockets = Gauge("talkamie_sockets", "Open sockets", registry=self.registry)
        # Because labels() costs more than inc(): each child is looked up once.
        self._request_children: dict[tuple[str, int], Callable[[], None]] = {}
        self._second_children: dict[str, Callable[[float], None]] = {}
        self._delivery_children: dict[tuple[str, str], Callable[[], None]] = {}

    def request(self, operation: str, status: int, duration: int) -> None:
        """Count one answered request; `duration` in nanoseconds."""
        count = self._request_children.get((operation, status))
        if count is None:
            count = self._requests.labels(operation, str(status)).inc
            self._request_children[operation, status] = count
        count()
        observe = self._second_children.get(operation)
        if observe is None:
            observe = self._second_children[operation] = self._seconds.labels(operation).observe
        observe(duration / 1e9)

    def delivery(self, action: str, fate: str) -> None:
        count = self._delivery_children.get((action, fate))
        if count is None:
            count = self._delivery_children[action, fate] = self._deliveries.labels(action, fate).inc
        count()

    def text(self) -> bytes:
        return generate_latest(self.registry)
