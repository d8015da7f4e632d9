"""What is known of each model: `status.models`, and the numbers of its summary.

Pure. A report that didn't come changes nothing: what was known of a model then stays.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ollamaserve_operator.api import Model, OllamaServe
from ollamaserve_operator.judgement import Finding
from ollamaserve_operator.observed import Observed
from ollamaserve_operator.pull import as_pinned
from ollamaserve_operator.reasons import Reason
from ollamaserve_operator.report import ModelReport


def percents(observed: Observed) -> dict[str, int]:
    """Percent pulled by model, where a pull is going on: the least of all reports."""
    found: dict[str, int] = {}
    for report in observed.reports.values():
        for model in report.models:
            if model.pulled_percent is not None:
                found[model.name] = min(model.pulled_percent, found.get(model.name, 100))
    return found


def known(serve: OllamaServe, observed: Observed) -> dict[str, ModelReport]:
    """What the gates say of each model; where they differ, the pod that lacks it speaks."""
    pins = {model.name: model.digest for model in serve.models}
    found: dict[str, ModelReport] = {}
    for report in observed.reports.values():
        for model in report.models:
            lacking = not as_pinned(model, pins.get(model.name, "")) or model.failure
            if model.name in pins and (model.name not in found or lacking):
                found[model.name] = model
    return found


def listed(
    serve: OllamaServe, observed: Observed, previous: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """`status.models`, in the order of the spec."""
    stays = {"loaded"} if serve.running_replicas == 0 else set()
    before = {e["name"]: {k: v for k, v in e.items() if k not in stays} for e in previous}
    reports, percent = known(serve, observed), percents(observed)
    return [
        _entry(model, reports.get(model.name), before.get(model.name, {}), percent)
        for model in serve.models
    ]


def _entry(
    model: Model,
    report: ModelReport | None,
    before: Mapping[str, Any],
    percent: Mapping[str, int],
) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": model.name}
    if report is None:
        entry |= {k: v for k, v in before.items() if k != "pulledPercent"}
    elif report.present:
        entry |= {
            "digest": _prefixed(report.digest),
            "sizeBytes": report.size_bytes,
            "parameterSize": report.parameter_size,
            "quantization": report.quantization,
            "loaded": report.loaded,
        }
    if model.name in percent:
        entry["pulledPercent"] = percent[model.name]
    return {key: value for key, value in entry.items() if value != ""}


def _prefixed(digest: str) -> str:
    """As in spec.models: Ollama's own listing leaves out what kind of digest it is."""
    return f"sha256:{digest}" if digest and ":" not in digest else digest


def summary(serve: OllamaServe, entries: Sequence[Mapping[str, Any]], finding: Finding) -> str:
    """`2/3`: the models that are there as they are wanted, of those that are asked for."""
    total = len(entries)
    pins = {model.name: model.digest for model in serve.models}
    there = sum("sizeBytes" in e and _fits(pins[e["name"]], e) for e in entries)
    return f"{total if finding.reason is Reason.PULLED else there}/{total}"


def _fits(pin: str, entry: Mapping[str, Any]) -> bool:
    return not pin or entry.get("digest", pin) == pin
