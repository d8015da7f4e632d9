"""The other findings: is the spec accepted, the volume there, does a pod answer, is it rolled out.

Pure, and each one by itself: none looks at another's finding.
"""

from collections.abc import Sequence
from dataclasses import replace

from ollamaserve_operator import kinds, names
from ollamaserve_operator.api import OllamaServe
from ollamaserve_operator.errors import NameConflict, PatchRefused, Refused, StepFailure
from ollamaserve_operator.judgement import Finding, Status, bad, good
from ollamaserve_operator.names import Component
from ollamaserve_operator.observed import Observed
from ollamaserve_operator.reasons import Reason
from ollamaserve_operator.storage import CLAIM
from ollamaserve_operator.trouble import eviction, trouble


def accepted(serve: OllamaServe, observed: Observed, failures: Sequence[StepFailure]) -> Finding:
    for failure in failures:
        if isinstance(failure.error, PatchRefused):
            return bad(
                Reason.PATCH_REFUSED,
                f"{failure.error}; until then all stays as it was applied last",
            )
        if isinstance(failure.error, NameConflict):
            return bad(
                Reason.NAME_CONFLICT,
                f"{failure.kind} {failure.name} exists and isn't this resource's: delete or rename "
                "it, or give this resource another name",
            )
    for failure in failures:
        if isinstance(failure.error, Refused) and failure.kind != CLAIM:
            return bad(
                Reason.REFUSED,
                f"the API server refuses {failure.kind} {failure.name}: {failure.error.message}",
            )
    if words := not_offered(serve, observed):
        return good(Reason.KIND_MISSING, words)
    return good(Reason.ACCEPTED, "the spec is accepted")


def not_offered(serve: OllamaServe, observed: Observed) -> str:
    """What the spec asks for in vain as yet, because the cluster lacks its kind (decision 13)."""
    asked = (
        (serve.http_route is not None, "spec.httpRoute", kinds.HTTP_ROUTE, "the Gateway API"),
        (
            serve.monitoring.pod_monitor.enabled,
            "spec.monitoring.podMonitor",
            kinds.POD_MONITOR,
            "the Prometheus operator",
        ),
    )
    return "; ".join(
        f"{field} is set, but this cluster has no {kind.plural}.{kind.group}: install the CRDs of "
        f"{whose}, and within ten minutes it is made"
        for wanted, field, kind, whose in asked
        if wanted and kind.name not in observed.offered
    )


def available(serve: OllamaServe, observed: Observed) -> Finding:
    """Whether a pod answers; those that don't are told in any case."""
    if serve.suspend:
        return bad(
            Reason.SUSPENDED, "spec.suspend is true: nothing runs; volume and token are kept"
        )
    if serve.replicas == 0:
        return bad(Reason.SCALED_TO_ZERO, "spec.replicas is 0: nothing runs")
    ready = sum(pod.ready for pod in observed.of(Component.SERVER))
    if ready >= serve.replicas:
        return good(Reason.AVAILABLE, f"{ready} of {serve.replicas} pods ready")
    why = first_trouble(serve, observed)
    if ready:
        return good(Reason.AVAILABLE, f"{ready} of {serve.replicas} pods ready; {why.message}")
    return why


def first_trouble(serve: OllamaServe, observed: Observed) -> Finding:
    """What keeps the newest pod that isn't ready: an older one may be a rollout's left-over."""
    waiting = [pod for pod in observed.of(Component.SERVER) if not pod.ready]
    if waiting:
        pod = waiting[-1]
        found = trouble(pod, observed.reports.get(pod.name), serve)
        return _after_evictions(found, observed)
    for condition in (
        observed.deployment.status.get("conditions", ()) if observed.deployment else ()
    ):
        if condition["type"] == "ReplicaFailure" and condition["status"] == Status.TRUE:
            return bad(
                Reason.REPLICA_FAILURE,
                f"the pods of Deployment {serve.name} can't be created: {condition['message']} "
                "(a quota asks for spec.resources and spec.gate.resources)",
            )
    leaving = [p for p in observed.pods if p.deleting and p.component == Component.SERVER]
    if leaving:
        return bad(
            Reason.DRAINING,
            f"pod {leaving[-1].name} finishes its requests, for up to {serve.gate.drain_timeout} "
            "s, before the next one starts",
        )
    return bad(Reason.PENDING, "the pods are being created")


def _after_evictions(found: Finding, observed: Observed) -> Finding:
    """A pod that is pulling or loading looks well: not so if its predecessor was thrown out."""
    serving = [pod for pod in observed.pods if pod.component == Component.SERVER]
    before = [pod for pod in serving if pod.ended][-1:]
    if any(pod.ready for pod in serving) or not (before and before[0].evicted):
        return found
    return replace(found, message=f"{found.message}; {eviction(before[0])}")


def rollout(serve: OllamaServe, observed: Observed) -> Finding:
    """Whether the pods that answer are those of the current spec."""
    if serve.running_replicas == 0:
        return good(Reason.AVAILABLE, "")
    deployment = observed.deployment
    if deployment is None:
        return bad(Reason.PENDING, f"Deployment {names.deployment(serve.name)} isn't there yet")
    status = deployment.status
    seen = status.get("observedGeneration") == deployment.body["metadata"].get("generation")
    updated = status.get("updatedReplicas", 0)
    if seen and updated >= serve.replicas and status.get("replicas", 0) <= updated:
        return good(Reason.AVAILABLE, "")
    why = first_trouble(serve, observed)
    return bad(Reason.ROLLING_OUT, f"the pods are being replaced; {why.message}")
