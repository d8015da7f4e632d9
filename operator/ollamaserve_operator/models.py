"""How far the models are: the finding ModelsPulled, in words.

Pure. Where a Job pulls, its end is the truth; where pods pull for themselves, the gates' reports.
"""

import json
from collections.abc import Mapping

from ollamaserve_operator import names, pull
from ollamaserve_operator.api import Ephemeral, ExistingClaim, OllamaServe
from ollamaserve_operator.inventory import known, percents
from ollamaserve_operator.judgement import Finding, bad, good
from ollamaserve_operator.names import Component
from ollamaserve_operator.observed import Job, Observed, Pod
from ollamaserve_operator.reasons import Reason
from ollamaserve_operator.report import GateReport, ModelReport
from ollamaserve_operator.trouble import certificates, placement_trouble, starting

FAILURES = {
    "ModelNotFound": (Reason.MODEL_NOT_FOUND, "correct its name in spec.models"),
    "PullDenied": (Reason.PULL_DENIED, "make it readable to everyone, or take another registry"),
    "DigestMismatch": (Reason.DIGEST_MISMATCH, "correct spec.models[].digest, or remove it"),
    "DiskFull": (Reason.DISK_FULL, "raise spec.storage.persistent.size"),
    "CreateFailed": (Reason.CREATE_FAILED, "correct spec.models[].create"),
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
            f"{', '.join(missing)} was pulled, and is gone or another one by now; it is pulled "
            "again soon",
        )
    return good(Reason.PULLED, _count(serve, len(serve.models)))


def _failed(serve: OllamaServe, observed: Observed, job: Job) -> Finding:
    words = _last_words(observed, job)
    what = words.get("model") or ", ".join(model.name for model in serve.models)
    said = words.get("message") or job.failure or "the Job failed"
    return _in_vain(serve, what, said, words.get("reason", ""))


def _in_vain(serve: OllamaServe, what: str, said: str, failure: str) -> Finding:
    """Nobody tries again: why, what to do, and how to ask for another try."""
    reason, advice = FAILURES.get(failure, FAILURES["PullFailed"])
    advice = _room(serve) if reason is Reason.DISK_FULL else advice
    again = f"annotate --overwrite ollamaserve {serve.name} {names.RETRY}=$(date +%s)"
    return bad(
        reason,
        f"{what} can't be pulled: {said}; {advice}. To try again as it is: "
        f"kubectl -n {serve.namespace} {again}",
    )


def _room(serve: OllamaServe) -> str:
    match serve.storage:
        case Ephemeral():
            return "give its node more disk, or keep models on spec.storage.persistent"
        case ExistingClaim(name=name):
            return f"make room on your claim {name}"
    return FAILURES["DiskFull"][1]


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
    if pods[-1].phase == "Pending" and (needs := certificates(serve)):
        return starting(pods[-1], serve, *needs)
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
    failed = next((m for m in known(serve, observed).values() if m.failure), None)
    if failed and failed.given_up:
        return _in_vain(serve, failed.name, failed.error, failed.failure)
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
    there = {model.name: model for model in report.models}
    absent = ModelReport("")
    return all(pull.as_pinned(there.get(m.name, absent), m.digest) for m in serve.models)


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
