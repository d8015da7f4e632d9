"""How far the models are: the ModelsPulled finding, and `status.models`.

Pure. A Job's end is the truth for a claim; gates' reports for a pod's own disk. A report that
didn't come changes nothing: what was known of a model then stays.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ollamaserve_operator import names, pull
from ollamaserve_operator.api import Model, OllamaServe
from ollamaserve_operator.judgement import Finding, bad, good
from ollamaserve_operator.names import Component
from ollamaserve_operator.observed import Job, Observed, Pod
from ollamaserve_operator.reasons import Reason
from ollamaserve_operator.report import GateReport, ModelReport
from ollamaserve_operator.trouble import placement_trouble

FAILURES = {
    "ModelNotFound": (Reason.MODEL_NOT_FOUND, "correct its name in spec.models"),
    "PullDenied": (Reason.PULL_DENIED, "make it readable to everyone, or take another registry"),
    "DigestMismatch": (Reason.DIGEST_MISMATCH, "correct spec.models[].digest, or remove it"),
    "DiskFull": (Reason.DISK_FULL, "raise spec.storage.persistent.size"),
    "InvalidConfiguration": (Reason.INVALID_CONFIGURATION, "correct spec.models"),
    "OllamaUnreachable": (Reason.PULL_FAILED, "see kubectl logs -c ollama of its pod"),
    "PullFailed": (Reason.PULL_FAILED, "check that the pods reach the registry"),
}


def models_pulled(serve: OllamaServe, observed: Observed) -> Finding:
    if serve.suspend and not pull.pulled(serve, observed):
        return bad(Reason.SUSPENDED, "nothing is pulled while spec.suspend is true")
    if serve.running_replicas == 0 and not pull.pulled(serve, observed):
        return bad(Reason.SCALED_TO_ZERO, "nothing is pulled while spec.replicas is 0")
    if serve.pulls_in_pod:
        return _by_reports(serve, observed)
    return _by_job(serve, observed)


def _by_job(serve: OllamaServe, observed: Observed) -> Finding:
    job = pull.latest(serve, observed)
    if job is not None and job.child.deleting:
        return bad(Reason.PENDING, f"the pull waits until Job {job.child.name} is gone")
    if job is None:
        return bad(Reason.PENDING, "the pull starts when the volume claim and the pods are there")
    if job.failed:
        return _failed(serve, observed, job)
    if not job.complete:
        return _pulling(serve, observed, job)
    missing = pull.missing(serve, observed)
    if missing:
        return bad(
            Reason.MODELS_MISSING,
            f"{', '.join(missing)} was pulled and is gone; it is pulled again soon",
        )
    return good(Reason.PULLED, _count(serve, len(serve.models)))


def _failed(serve: OllamaServe, observed: Observed, job: Job) -> Finding:
    words = _last_words(observed, job)
    reason, advice = FAILURES.get(words.get("reason", ""), FAILURES["PullFailed"])
    what = words.get("model") or ", ".join(model.name for model in serve.models)
    said = words.get("message") or job.failure or "the Job failed"
    again = f"annotate --overwrite ollamaserve {serve.name} {names.RETRY}=$(date +%s)"
    return bad(
        reason,
        f"{what} can't be pulled: {said}; {advice}. To try again as it is: "
        f"kubectl -n {serve.namespace} {again}",
    )


def _pulling(serve: OllamaServe, observed: Observed, job: Job) -> Finding:
    pods = _pods_of(observed, job)
    if not pods:
        return bad(
            Reason.PENDING,
            f"the pull's Job has no pod yet; if it stays so, kubectl -n {serve.namespace} describe "
            f"jobs -l {names.INSTANCE}={serve.name} says why (a quota asks for "
            "spec.pull.resources and spec.gate.resources)",
        )
    for pod in pods[-1:]:
        found = placement_trouble(pod, serve)
        if found and not pod.unschedulable:
            return found
    if pods and pods[-1].unschedulable:
        return bad(
            Reason.PENDING,
            f"the pull waits for the serving pod's node (scheduler: {pods[-1].unschedulable})",
        )
    words = _last_words(observed, job)
    again = (
        f"; a try failed ({words.get('model', '')}: {words['message']}) and is repeated"
        if words.get("message")
        else ""
    )
    return bad(Reason.PULLING, f"pulling {_progress(serve, observed)}{again}")


def _by_reports(serve: OllamaServe, observed: Observed) -> Finding:
    """Every pod has a disk of its own: what one of them lacks, is not pulled.

    A pod turns ready only with every model there, so one that doesn't report is taken at its
    readiness (decision 5: a failed poll changes nothing).
    """
    found = known(serve, observed)
    failed = next((r for r in found.values() if r.error and not r.present), None)
    if failed:
        return bad(
            Reason.PULL_FAILED,
            f"{failed.name} can't be pulled: {failed.error}; its pod tries again, later each time: "
            "correct spec.models, or check that the pods reach the registry",
            heals=True,
        )
    pods = observed.of(Component.SERVER)
    if pods and all(_has_all(serve, pod, observed.reports.get(pod.name)) for pod in pods):
        return good(Reason.PULLED, _count(serve, len(serve.models)))
    return bad(Reason.PULLING, f"pulling {_progress(serve, observed)} in the serving pod")


def _has_all(serve: OllamaServe, pod: Pod, report: GateReport | None) -> bool:
    if report is None:
        return pod.ready
    there = {model.name for model in report.models if model.present}
    return there >= {model.name for model in serve.models}


def _progress(serve: OllamaServe, observed: Observed) -> str:
    percent = percents(observed)
    return ", ".join(
        f"{model.name} ({percent[model.name]}%)" if model.name in percent else model.name
        for model in serve.models
    )


def _count(serve: OllamaServe, there: int) -> str:
    return f"{there} of {len(serve.models)} models are there"


def _pods_of(observed: Observed, job: Job) -> list[Pod]:
    return [pod for pod in observed.of(Component.PULL) if pod.job == job.child.name]


def _last_words(observed: Observed, job: Job) -> Mapping[str, str]:
    """The pull container's last termination message: docs/architecture.md has its form."""
    messages = [
        termination.message
        for pod in _pods_of(observed, job)
        for termination in pod.terminations
        if termination.container == names.PULL_CONTAINER and termination.exit_code
    ]
    try:
        found = json.loads(messages[-1]) if messages else {}
    except ValueError:
        return {}
    return {k: str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def percents(observed: Observed) -> dict[str, int]:
    """Percent pulled by model, where a pull is going on: the least of all reports."""
    found: dict[str, int] = {}
    for report in observed.reports.values():
        for model in report.models:
            if model.pulled_percent is not None and not model.present:
                found[model.name] = min(model.pulled_percent, found.get(model.name, 100))
    return found


def known(serve: OllamaServe, observed: Observed) -> dict[str, ModelReport]:
    """What the gates say of each model; where they differ, the pod that lacks it speaks."""
    wanted = {model.name for model in serve.models}
    found: dict[str, ModelReport] = {}
    for report in observed.reports.values():
        for model in report.models:
            if model.name in wanted and (model.name not in found or not model.present):
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


def summary(entries: Sequence[Mapping[str, Any]], finding: Finding) -> str:
    """`2/3`: the models that are there, of those that are asked for, in `listed` entries."""
    total = len(entries)
    there = total if finding.reason is Reason.PULLED else sum("sizeBytes" in e for e in entries)
    return f"{there}/{total}"
