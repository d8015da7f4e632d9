"""Whether a pull Job is wanted, and which attempt (decision 3): the one place that knows.

A pull is identified by its key: the models, their digests, what they are made of, and the volume
that they go to. A complete Job with this key means that the models are there, unless the gates that
look there say otherwise.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ollamaserve_operator import names
from ollamaserve_operator.api import Create, ExistingClaim, Model, OllamaServe, Persistent
from ollamaserve_operator.observed import Job, Observed
from ollamaserve_operator.report import ModelReport

FIRST_BACKOFF = timedelta(seconds=60)
LONGEST_BACKOFF = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a pull Job is for; `number` counts from 1, `retry` is the user's annotation then."""

    key: str
    number: int = 1
    retry: str = ""


def key(serve: OllamaServe, observed: Observed) -> str:
    """The pull's identity; empty where no Job pulls: each pod does, or there is no claim yet.

    A claim that is being deleted waits for every pod that names it, ended ones too (Kubernetes,
    "Storage Object in Use Protection"): so its Jobs, with all they know of it, go as well.
    """
    volume = "" if serve.pulls_in_pod else _volume(serve, observed)
    if not volume:
        return ""
    models = sorted((entry(model) for model in serve.models), key=lambda found: str(found["name"]))
    return names.digest({"models": models, "volume": volume})[:16]


def entry(model: Model) -> dict[str, Any]:
    """A model as the puller is told of it, in the Job and in a gate: docs/architecture.md."""
    found: dict[str, Any] = {"name": model.name}
    if model.digest:
        found["digest"] = model.digest
    if model.create:
        found["create"] = _creation(model.create)
    return found


def _creation(create: Create) -> dict[str, Any]:
    """As it was written: what is left out is the source's."""
    written = {
        "from": create.from_,
        "system": create.system,
        "template": create.template,
        "parameters": dict(create.parameters) or None,
    }
    return {key: value for key, value in written.items() if value is not None}


def _volume(serve: OllamaServe, observed: Observed) -> str:
    """What tells one volume from another; a user's claim is known by its name alone."""
    match serve.storage:
        case ExistingClaim(name=name, sub_path=path):
            return f"{name}/{path}"
        case Persistent() if observed.pvc and not observed.pvc.deleting:
            return observed.pvc.uid
    return ""


def latest(serve: OllamaServe, observed: Observed) -> Job | None:
    """The newest Job of the pull that the spec asks for."""
    wanted = key(serve, observed)
    jobs = [job for job in observed.jobs if wanted and job.pull_key == wanted]
    return max(jobs, key=lambda job: (not job.child.deleting, job.attempt), default=None)


def pulled(serve: OllamaServe, observed: Observed) -> bool:
    """Whether a Job has put the models there; False where no Job pulls."""
    job = latest(serve, observed)
    return job is not None and job.complete


def attempt(serve: OllamaServe, observed: Observed) -> Attempt | None:
    """The attempt that a Job should make now; None where nothing is to be pulled."""
    wanted = key(serve, observed)
    if not wanted or serve.running_replicas == 0:
        return None
    job = latest(serve, observed)
    if job is None:
        return Attempt(wanted, retry=serve.retry)
    if serve.retry and serve.retry != job.retry:
        return Attempt(wanted, number=job.attempt + 1, retry=serve.retry)
    if not job.complete:
        return Attempt(wanted, number=job.attempt, retry=job.retry)
    if missing(serve, observed) and _rested(job, observed):
        return Attempt(wanted, number=job.attempt + 1, retry=job.retry)
    return None


def missing(serve: OllamaServe, observed: Observed) -> tuple[str, ...]:
    """The models of the spec that a serving gate has looked for and not found as wanted."""
    pins = {model.name: model.digest for model in serve.models}
    serving = (report for report in observed.reports.values() if report.mode == "serve")
    absent = {
        model.name
        for report in serving
        if report.reason != "OllamaUnreachable"
        for model in report.models
        if model.name in pins and not as_pinned(model, pins[model.name])
    }
    return tuple(sorted(absent))


def as_pinned(model: ModelReport, pin: str) -> bool:
    """Whether it is there, with the digest that was asked for."""
    return model.present and (not pin or not model.digest or model.digest == pin)


def _rested(job: Job, observed: Observed) -> bool:
    """Whether it is time for the attempt after this one: 60 s, then twice as long each time."""
    wait = min(FIRST_BACKOFF * 2 ** min(job.attempt - 1, 10), LONGEST_BACKOFF)
    return job.finished is not None and observed.at >= job.finished + wait
