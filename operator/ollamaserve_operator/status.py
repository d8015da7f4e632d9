"""What a resource's status says, from what was observed: the words for 3 a.m.

Pure: same input, same output. The whole status is computed anew each time, so nothing is sticky;
only `lastTransitionTime`, and what gates told of models, is taken from the previous one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ollamaserve_operator import inventory, judgement, models, names, notices
from ollamaserve_operator.api import Invalid, OllamaServe
from ollamaserve_operator.aspects import accepted, available, rollout
from ollamaserve_operator.errors import StepFailure
from ollamaserve_operator.judgement import ALARMING, ROLLOUT, Finding
from ollamaserve_operator.manifests import Images
from ollamaserve_operator.names import Component
from ollamaserve_operator.observed import Observed
from ollamaserve_operator.reasons import ConditionType, Reason
from ollamaserve_operator.storage import storage_ready, volume_size

SETTLED = 60.0  # seconds
UNSETTLED = 2.0
# What only a gate's report can tell of; all else that changes is an event of a watched object.
AT_WORK = frozenset(
    {
        Reason.LOADING,
        Reason.MODELS_MISSING,
        Reason.PULLING,
        Reason.ROLLING_OUT,
        Reason.ROTATING,
        Reason.STARTING,
    }
)
_DEVICES = ("cpu", "partial", "gpu")  # the slowest first


@dataclass(frozen=True, slots=True)
class Event:
    """A flip of a condition, for a core/v1 Event; `type` is Normal or Warning."""

    type: str
    reason: str
    message: str


def status(
    serve: OllamaServe | Invalid,
    observed: Observed,
    failures: Sequence[StepFailure],
    previous: Mapping[str, Any],
    images: Images | None = None,
) -> Mapping[str, Any]:
    """The whole `status`; times in it are `observed.at`, RFC 3339 in seconds.

    `images` are those that this release brings.
    """
    if isinstance(serve, Invalid):
        return _invalid(serve, observed, previous)
    findings = {
        ConditionType.ACCEPTED: accepted(serve, observed, failures),
        ConditionType.STORAGE_READY: storage_ready(serve, observed, failures),
        ConditionType.MODELS_PULLED: models.models_pulled(serve, observed),
        ConditionType.AVAILABLE: available(serve, observed),
        ROLLOUT: rollout(serve, observed),
    }
    told = _told(findings) | notices.notices(serve, observed, images)
    entries = inventory.listed(serve, observed, previous.get("models", ()))
    found = {
        "observedGeneration": serve.identity.generation,
        "conditions": _conditions(told, serve.identity.generation, observed, previous),
        "endpoint": _endpoint(serve),
        "tokenSecret": names.token_secret(serve),
        "replicas": len(observed.of(Component.SERVER)),
        "readyReplicas": sum(pod.ready for pod in observed.of(Component.SERVER)),
        "selector": names.selector_string(serve.name),
        "modelsSummary": inventory.summary(serve, entries, findings[ConditionType.MODELS_PULLED]),
        "models": entries,
    }
    sometimes = {
        "volumeSize": volume_size(observed),
        "acceleration": _acceleration(serve, observed, previous),
    }
    return found | {key: value for key, value in sometimes.items() if value}


def _invalid(serve: Invalid, observed: Observed, previous: Mapping[str, Any]) -> Mapping[str, Any]:
    """The children stay as they were: only the spec is judged, and what was known is kept."""
    refused = judgement.bad(Reason.INVALID_SPEC, "; ".join(serve.errors))
    generation = serve.identity.generation
    told = _with_stalled({ConditionType.ACCEPTED: refused, ConditionType.READY: refused})
    kept = [c for c in previous.get("conditions", ()) if c["type"] not in told]
    judged = _conditions(told, generation, observed, previous)
    return {**previous, "observedGeneration": generation, "conditions": [*judged, *kept]}


def _told(findings: Mapping[str, Finding]) -> dict[str, Finding]:
    """The findings as they are published: with the summary, without what only it tells."""
    told = {kind: finding for kind, finding in findings.items() if kind != ROLLOUT}
    return _with_stalled(told | {ConditionType.READY: judgement.summary(findings)})


def _with_stalled(told: dict[str, Finding]) -> dict[str, Finding]:
    stalled = judgement.stalled(told.values())
    return told | {ConditionType.STALLED: stalled} if stalled else told


def _conditions(
    told: Mapping[str, Finding],
    generation: int,
    observed: Observed,
    previous: Mapping[str, Any],
) -> list[dict[str, Any]]:
    before = {condition["type"]: condition for condition in previous.get("conditions", ())}
    return [
        judgement.condition(
            kind, finding, generation=generation, previous=before.get(kind, {}), at=observed.at
        )
        for kind, finding in told.items()
    ]


def _endpoint(serve: OllamaServe) -> str:
    scheme = "https" if serve.gate.tls.secret_name else "http"
    return f"{scheme}://{names.service(serve.name)}.{serve.namespace}.svc:{names.DOOR_PORT}"


def _acceleration(
    serve: OllamaServe, observed: Observed, previous: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The slowest device over all pods; without any report, what was known stays."""
    if serve.running_replicas == 0:
        return {}
    reports = [report for report in observed.reports.values() if report.device in _DEVICES]
    if not reports:
        return dict(previous.get("acceleration", {}))
    return {
        "device": min((report.device for report in reports), key=_DEVICES.index),
        "vramBytes": max(report.vram_bytes for report in reports),
    }


def flips(previous: Mapping[str, Any], current: Mapping[str, Any]) -> tuple[Event, ...]:
    """What is new: a condition of another status, or one that alarms for another reason.

    To be posted after the status write succeeded. One cause turns several conditions (Ready and
    Stalled repeat its words): it is told once.
    """
    return tuple(dict.fromkeys(_flips(previous, current)))


def _flips(previous: Mapping[str, Any], current: Mapping[str, Any]) -> Iterator[Event]:
    """What isn't known yet counts as Unknown, and turning Unknown is no news."""
    before = {c["type"]: (c["status"], c["reason"]) for c in previous.get("conditions", ())}
    for condition in current.get("conditions", ()):
        was, why = before.get(condition["type"], ("Unknown", ""))
        reason, message = condition["reason"], condition["message"]
        alarming = reason in ALARMING
        if condition["status"] == "Unknown":
            continue
        if condition["status"] == was and (reason == why or not alarming):
            continue
        if was == "Unknown" and condition["status"] == "False" and not alarming:
            continue  # not there yet, and nobody expected it to be
        yield Event("Warning" if alarming else "Normal", reason, message)


def requeue(serve: OllamaServe | Invalid, current: Mapping[str, Any]) -> float:
    """Seconds until it is worth looking again without an event: soon where gates are at work."""
    if isinstance(serve, Invalid):
        return SETTLED
    unmet = {c["reason"] for c in current["conditions"] if c["status"] != "True"}
    return UNSETTLED if unmet & AT_WORK else SETTLED
