"""The operator's counters, with bounded labels: verbs, kinds, codes and outcomes, never a name.

Every room that counts is given this one object; `health` serves its registry.
"""

from collections.abc import Callable, Hashable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._reconciles = Histogram(
            "ollamaserve_operator_reconcile_seconds",
            "Duration of one look at one resource, by outcome: ok, failed, gone, error",
            ["outcome"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._calls = Counter(
            "ollamaserve_operator_api_calls",
            "Calls to the API server by verb, kind and HTTP status; 0: no answer",
            ["verb", "kind", "code"],
            registry=self.registry,
        )
        self._polls = Counter(
            "ollamaserve_operator_polls",
            "Polls of pods' /status, by outcome: ok, failed",
            ["outcome"],
            registry=self.registry,
        )

        self._resources = Gauge(
            "ollamaserve_operator_resources",
            "Resources by status and reason of their condition Ready",
            ["ready", "reason"],
            registry=self.registry,
        )
        self._judged: dict[Hashable, tuple[str, str]] = {}

    def judged(self, key: Hashable, ready: tuple[str, str] | None) -> None:
        """Count a resource under Ready's status and reason, and no more once it is gone (None)."""
        if was := self._judged.pop(key, None):
            self._resources.labels(*was).dec()
        if ready:
            self._judged[key] = ready
            self._resources.labels(*ready).inc()

    def reconciled(self, outcome: str, seconds: float) -> None:
        self._reconciles.labels(outcome).observe(seconds)

    def called(self, verb: str, kind: str, code: int) -> None:
        self._calls.labels(verb, kind, str(code)).inc()

    def polled(self, outcome: str) -> None:
        self._polls.labels(outcome).inc()

    def follow(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge that is read when somebody asks."""
        gauge = Gauge(f"ollamaserve_operator_{name}", text, registry=self.registry)
        gauge.set_function(value)
