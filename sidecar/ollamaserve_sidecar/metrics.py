"""What Prometheus reads on 7861: counters of the door, and the facts behind `/status`.

The hot path pays a dictionary entry per request; the metrics format is made when somebody asks.
Every label comes from a bounded set (token names and models of the configuration, routes of
`policy`), and the number of series has a ceiling besides: no client can make this grow.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

from ollamaserve_sidecar.models import canonical
from ollamaserve_sidecar.status import Device

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client import Metric

    from ollamaserve_sidecar.status import Status

SERIES = 5000
"""Ceiling of (token, route, status) combinations; what comes after is counted as `other`."""
BUCKETS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Seconds; answers take from milliseconds (a list) to minutes (a long generation)."""
_OVERFLOW = ("", "other", 0)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a process knows of itself when it is asked."""

    status: Status
    pulls: Mapping[str, int] = field(default_factory=dict)
    reloads: int = 0
    reload_failures: int = 0


@dataclass(slots=True)
class _Durations:
    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        bounds = [str(bound) for bound in BUCKETS] + ["+Inf"]
        return [(bound, sum(self.counts[: i + 1])) for i, bound in enumerate(bounds)]


class Metrics(Collector):
    """The counters of one process, in a registry of its own; fulfils `gate.Metrics`."""

    def __init__(self, facts: Callable[[], Facts]) -> None:
        self._facts = facts
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._durations: dict[str, _Durations] = {}
        self._errors: Counter[str] = Counter()
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def request(self, token: str, route: str, status: int, seconds: float) -> None:
        key = (token, route, status)
        if key not in self._requests and len(self._requests) >= SERIES:
            key = _OVERFLOW
        self._requests[key] += 1
        durations = self._durations.get(key[1])
        if durations is None:
            durations = self._durations[key[1]] = _Durations()
        durations.add(seconds)

    def upstream_error(self, kind: str) -> None:
        self._errors[kind] += 1

    def exposition(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        facts = self._facts()
        yield from self._door()
        yield from _process(facts)
        yield from _models(facts.status)

    def _door(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "ollamaserve_requests", "Requests by token name.", labels=("token", "route", "status")
        )
        for (token, route, status), count in self._requests.items():
            requests.add_metric((token, route, str(status)), count)
        yield requests
        seconds = HistogramMetricFamily(
            "ollamaserve_request_seconds", "Head to end of exchange.", labels=("route",)
        )
        for route, durations in self._durations.items():
            seconds.add_metric((route,), durations.cumulative(), durations.total)
        yield seconds
        yield _counter("ollamaserve_upstream_errors", "Ollama failed.", "kind", self._errors)


def _process(facts: Facts) -> Iterator[Metric]:
    status = facts.status
    yield _gauge("ollamaserve_ready", "1 where the pod is ready.", status.verdict.ready)
    yield _gauge("ollamaserve_draining", "1 after SIGTERM.", status.draining)
    yield _gauge("ollamaserve_requests_in_flight", "Requests not ended yet.", status.in_flight)
    yield _gauge("ollamaserve_requests_queued", "Waiting for a slot.", status.door.queued)
    yield _gauge("ollamaserve_slots_in_use", "Inference under way.", status.door.served)
    yield _gauge("ollamaserve_connections", "Open on 7860.", status.door.connections)
    yield _gauge("ollamaserve_ollama_up", "1 where Ollama answers.", status.sight.reachable)
    yield _counter("ollamaserve_pulls", "Ended pulls of models.", "outcome", facts.pulls)
    reloads = {"Success": facts.reloads, "Refused": facts.reload_failures}
    yield _counter("ollamaserve_reloads", "Tokens or configuration read.", "outcome", reloads)
    certificates = status.door.certificates or {}
    yield _counter("ollamaserve_certificate_reloads", "TLS pairs read.", "outcome", certificates)


def _models(status: Status) -> Iterator[Metric]:
    loaded = GaugeMetricFamily("ollamaserve_model_loaded", "1 in memory.", labels=("model",))
    vram = GaugeMetricFamily("ollamaserve_model_vram_bytes", "In VRAM.", labels=("model",))
    running = status.sight.running or {}
    for model in status.models:
        key = canonical(model.name)
        load = running.get(key)
        loaded.add_metric((model.name,), float(load is not None and key not in status.loading))
        vram.add_metric((model.name,), float(load.vram if load else 0))
    device = GaugeMetricFamily(
        "ollamaserve_acceleration", "1 for the device in use.", labels=("device",)
    )
    for kind in Device:
        device.add_metric((kind,), float(kind is status.device))
    yield from (loaded, vram, device)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _counter(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=(label,))
    for value, count in counts.items():
        family.add_metric((value,), count)
    return family
