"""What Prometheus reads on 7861: the door's counters, and the facts behind `/status`.

`serve` builds the one of a process. The counters are the ledger's (`tally`); the metrics format is
made when somebody asks. Every label comes from a bounded set: no client can make this grow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

from ollamaserve_sidecar.models import canonical
from ollamaserve_sidecar.status import Device
from ollamaserve_sidecar.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client import Metric

    from ollamaserve_sidecar.status import Status
    from ollamaserve_sidecar.tally import Histogram


@dataclass(frozen=True, slots=True)
class Facts:
    """What a process knows of itself when it is asked."""

    status: Status
    pulls: Mapping[str, int] = field(default_factory=dict)
    reloads: int = 0
    reload_failures: int = 0
    dropped_lines: int = 0


_Values = TypeVar("_Values", bound=tuple[str, ...])


class Metrics(Collector):
    """The metrics of one process, in a registry of its own; without a door there is no `tally`."""

    def __init__(self, facts: Callable[[], Facts], tally: Tally | None = None) -> None:
        self._facts, self._tally = facts, tally or Tally()
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def exposition(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        facts = self._facts()
        yield from _requests(self._tally)
        yield from _tokens(self._tally)
        yield from _process(facts)
        yield from _models(facts.status)


def _requests(tally: Tally) -> Iterator[Metric]:
    yield _labelled(
        "ollamaserve_requests",
        "Requests by token name.",
        ("token", "route", "status"),
        {(*key[:2], str(key[2])): series.count for key, series in tally.requests.items()},
    )
    name = "ollamaserve_request_seconds"
    yield _histogram(name, "From a request's head to its end.", tally.durations)
    name = "ollamaserve_first_token_seconds"
    yield _histogram(name, "From the head to a stream's first bytes.", tally.first)
    name = "ollamaserve_token_gap_seconds"
    yield _histogram(name, "Between two reads of a stream.", tally.gaps)
    moved = {"in": tally.received, "out": tally.sent}
    yield _counter("ollamaserve_body_bytes", "Of bodies, on the wire.", "direction", moved)
    yield _counter("ollamaserve_upstream_errors", "Ollama failed.", "kind", tally.errors)


def _tokens(tally: Tally) -> Iterator[Metric]:
    labels = ("token", "model")
    yield _labelled("ollamaserve_prompt_tokens", "Read, as reported.", labels, tally.prompt)
    yield _labelled(
        "ollamaserve_generated_tokens", "Written, as reported.", labels, tally.generated
    )
    text = "Answers of inference that reported no tokens, or had no end."
    yield _counter("ollamaserve_usage_unknown", text, "route", tally.unknown)


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
    yield CounterMetricFamily(
        "ollamaserve_access_log_dropped", "Lines lost: nobody read them.", value=facts.dropped_lines
    )


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
    return _labelled(name, text, (label,), {(value,): count for value, count in counts.items()})


def _labelled(
    name: str, text: str, labels: tuple[str, ...], counts: Mapping[_Values, int]
) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in counts.items():
        family.add_metric(values, count)
    return family


def _histogram(name: str, text: str, by_route: Mapping[str, Histogram]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=("route",))
    for route, histogram in by_route.items():
        family.add_metric((route,), histogram.cumulative(), histogram.total)
    return family
