"""The cluster as frozen facts, projected from raw bodies at one moment.

`slim` is what the cache keeps of a body: never a Secret's values, never managedFields. `observe`
makes the facts that `manifests`, `plan` and `status` decide on; those rooms see no raw event.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from ollamaserve_operator import names, pod
from ollamaserve_operator.pod import Pod
from ollamaserve_operator.report import GateReport

__all__ = ["Child", "Job", "Observed", "Pod", "observe", "slim"]

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_SINGLE = {
    "Secret": ("secret", names.secret),
    "ConfigMap": ("config_map", names.config_map),
    "PersistentVolumeClaim": ("pvc", names.persistent_volume_claim),
    "Deployment": ("deployment", names.deployment),
    "Service": ("service", names.service),
}
# Children that nothing asks for by name: what is wanted of them, and that alone, is compared.
_OTHERS: Mapping[str, tuple[Callable[[str], str], ...]] = {
    "NetworkPolicy": tuple(partial(names.network_policy, component=c) for c in names.Component),
    "PodDisruptionBudget": (names.pod_disruption_budget,),
    "Ingress": (names.ingress,),
    "HTTPRoute": (names.http_route,),
    "PodMonitor": (names.pod_monitor,),
}


@dataclass(frozen=True, slots=True)
class Child:
    """An object that exists; `owner_uid` is its controller's, empty where it has none."""

    kind: str
    name: str
    uid: str
    resource_version: str
    owner_uid: str
    deleting: bool
    body: Mapping[str, Any] = field(repr=False)

    @property
    def annotations(self) -> Mapping[str, str]:
        return self.body["metadata"].get("annotations") or {}

    @property
    def labels(self) -> Mapping[str, str]:
        return self.body["metadata"].get("labels") or {}

    @property
    def spec(self) -> Mapping[str, Any]:
        return self.body.get("spec") or {}

    @property
    def status(self) -> Mapping[str, Any]:
        return self.body.get("status") or {}


@dataclass(frozen=True, slots=True)
class Job:
    """`finished` is when it completed or failed; `failure` is its Failed condition's message."""

    child: Child
    pull_key: str
    attempt: int
    retry: str
    complete: bool
    failed: bool
    failure: str
    finished: datetime | None


@dataclass(frozen=True, slots=True)
class Observed:
    """`reports` are keyed by pod name; `at` is when all this was seen (timezone-aware).

    `offered` are those of `kinds.OPTIONAL`, by name, that this cluster has. `settled` are the uids
    of objects that are as the API server answered to our last apply.
    """

    at: datetime
    secret: Child | None = None
    config_map: Child | None = None
    pvc: Child | None = None
    deployment: Child | None = None
    service: Child | None = None
    jobs: tuple[Job, ...] = ()
    others: tuple[Child, ...] = ()
    pods: tuple[Pod, ...] = ()
    offered: frozenset[str] = frozenset()
    settled: frozenset[str] = frozenset()
    reports: Mapping[str, GateReport] = field(default_factory=dict)

    @property
    def children(self) -> tuple[Child, ...]:
        single = (self.secret, self.config_map, self.pvc, self.deployment, self.service)
        found = (child for child in single if child is not None)
        return (*found, *(job.child for job in self.jobs), *self.others)

    def of(self, component: names.Component) -> tuple[Pod, ...]:
        """The pods of a component that aren't going away, oldest first.

        A serving pod that has ended (evicted, say) is only left to be looked at; a pull's tells
        how the pull went.
        """
        serves = component is names.Component.SERVER
        return tuple(
            pod
            for pod in self.pods
            if pod.component == component and not pod.deleting and not (serves and pod.ended)
        )


def slim(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """A body without what no room reads; a Secret keeps its keys and loses their values."""
    metadata = {k: v for k, v in body["metadata"].items() if k != "managedFields"}
    annotations = metadata.get("annotations") or {}
    if _LAST_APPLIED in annotations:  # of a Secret, it would hold the values again
        metadata["annotations"] = {k: v for k, v in annotations.items() if k != _LAST_APPLIED}
    kept = {key: body[key] for key in body if key not in {"metadata", "stringData"}}
    if body.get("kind") == "Secret":
        kept["data"] = dict.fromkeys(body.get("data") or {}, "")
    if body.get("kind") == "Pod":
        kept.pop("spec", None)
    return kept | {"metadata": metadata}


def observe(
    bodies: Iterable[Mapping[str, Any]],
    *,
    at: datetime,
    reports: Mapping[str, GateReport] | None = None,
    offered: frozenset[str] = frozenset(),
    settled: frozenset[str] = frozenset(),
) -> Observed:
    """The facts in the bodies of one resource's children and pods, each with its `kind`.

    A copy that somebody made of a child, labels and owner included, is not that child.
    """
    single: dict[str, Child] = {}
    jobs: list[Job] = []
    others: list[Child] = []
    pods: list[Pod] = []
    for body in map(slim, bodies):
        match body["kind"]:
            case "Pod":
                pods.append(pod.pod(body))
            case "Job":
                jobs.append(_job(body))
            case kind if kind in _SINGLE:
                field_name, named = _SINGLE[kind]
                if body["metadata"]["name"] == named(names.instance(body)):
                    single[field_name] = _child(body)
            case kind:
                instance = names.instance(body)
                if body["metadata"]["name"] in {named(instance) for named in _OTHERS[kind]}:
                    others.append(_child(body))
    return Observed(
        at=at,
        **single,
        jobs=tuple(sorted(jobs, key=lambda job: (job.attempt, job.child.name))),
        others=tuple(others),
        pods=tuple(sorted(pods, key=lambda each: (each.created, each.name))),
        offered=offered,
        settled=settled,
        reports=reports or {},
    )


def _child(body: Mapping[str, Any]) -> Child:
    metadata = body["metadata"]
    owners = metadata.get("ownerReferences") or ()
    return Child(
        kind=body["kind"],
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        resource_version=metadata.get("resourceVersion", ""),
        owner_uid=next((o["uid"] for o in owners if o.get("controller")), ""),
        deleting="deletionTimestamp" in metadata,
        body=body,
    )


def _job(body: Mapping[str, Any]) -> Job:
    child = _child(body)
    conditions = _conditions(child.status)
    ended = conditions.get("Complete") or conditions.get("Failed")
    return Job(
        child=child,
        pull_key=child.annotations.get(names.PULL_KEY, ""),
        attempt=int(child.annotations.get(names.ATTEMPT, "1")),
        retry=child.annotations.get(names.RETRY, ""),
        complete="Complete" in conditions,
        failed="Failed" in conditions,
        failure=conditions.get("Failed", {}).get("message", ""),
        finished=_time(ended.get("lastTransitionTime")) if ended else None,
    )


def _conditions(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The conditions that are True, by type."""
    return {c["type"]: c for c in status.get("conditions") or () if c["status"] == "True"}


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
