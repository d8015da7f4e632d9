"""The operator's counters, with bounded labels: verbs, kinds, codes and outcomes, never a name.

Every room that counts is given this one object; `health` serves its registry.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from ollamaserve_operator.reasons import ConditionType

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
        self._conditions = Gauge(
            "ollamaserve_operator_conditions",
            "Resources by type and status of each condition that they have",
            ["type", "status"],
            registry=self.registry,
        )
        self._judged: dict[Hashable, tuple[Gauge, ...]] = {}

    def judged(self, key: Hashable, conditions: Iterable[Mapping[str, Any]]) -> None:
        """Count a resource under its present conditions only; without any, it is gone."""
        for counted in self._judged.pop(key, ()):
            counted.dec()
        if counting := tuple(self._counted(conditions)):
            self._judged[key] = counting
        for counted in counting:
            counted.inc()

    def _counted(self, conditions: Iterable[Mapping[str, Any]]) -> Iterator[Gauge]:
        for condition in conditions:
            kind, status = condition["type"], condition["status"]
            yield self._conditions.labels(kind, status)
            if kind == ConditionType.READY:
                yield self._resources.labels(status, condition["reason"])

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
