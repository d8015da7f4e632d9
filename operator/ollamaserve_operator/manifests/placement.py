"""Where pods may run and as whom: what serving pods and the pull's share, and how they differ.

Node affinity knows labels, not allocatable GPUs. So the serving pod is placed first, and on a
volume of one node the pull's pod follows it there (decision 2).
"""

from collections.abc import Mapping
from typing import Any

from ollamaserve_operator import names
from ollamaserve_operator.api import (
    AccessMode,
    ExistingClaim,
    OllamaServe,
    Persistent,
    UpdateStrategy,
)
from ollamaserve_operator.names import Component

USER = 65532
POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_NO_PULL = {"key": names.COMPONENT, "operator": "NotIn", "values": [Component.PULL.value]}


def serving(serve: OllamaServe) -> dict[str, Any]:
    wanted = serve.scheduling
    spread = [_counting(serve, dict(each)) for each in wanted.topology_spread_constraints]
    pod = _shared(serve)
    if wanted.affinity:
        pod["affinity"] = _sparing_pulls(wanted.affinity)
    if spread:
        pod["topologySpreadConstraints"] = spread
    if serve.gpu.supplemental_groups:
        groups = list(serve.gpu.supplemental_groups)
        pod["securityContext"] = POD_SECURITY | {"supplementalGroups": groups}
    return pod


def pulling(serve: OllamaServe) -> dict[str, Any]:
    """The user's rules about other pods are for servers: they could leave the Job no node.

    On a volume of one node, that node is the only one, and already meets all that was asked.
    """
    affinity: dict[str, Any] = {
        key: value
        for key, value in serve.scheduling.affinity.items()
        if key == "nodeAffinity" and not on_one_node(serve)
    }
    if on_one_node(serve):
        affinity = _beside_the_server(serve)
    pod = _shared(serve)
    return pod | {"affinity": affinity} if affinity else pod


def on_one_node(serve: OllamaServe) -> bool:
    """Whether the volume can be used from one node at a time only.

    Of a user's claim only the user knows, who says so with the update strategy.
    """
    match serve.storage:
        case Persistent(access_mode=mode):
            return mode is AccessMode.READ_WRITE_ONCE
        case ExistingClaim():
            return serve.update_strategy is not UpdateStrategy.ROLLING_UPDATE
    return False


def _shared(serve: OllamaServe) -> dict[str, Any]:
    wanted = serve.scheduling
    tolerations = [dict(toleration) for toleration in wanted.tolerations]
    if serve.gpu.count:
        tolerations.append({"key": serve.gpu.resource, "operator": "Exists"})
    chosen = {
        "nodeSelector": dict(wanted.node_selector),
        "tolerations": tolerations,
        "priorityClassName": wanted.priority_class_name,
        "runtimeClassName": wanted.runtime_class_name,
        "schedulerName": wanted.scheduler_name,
        "imagePullSecrets": [{"name": name} for name in serve.image.pull_secrets],
    }
    return {
        **{field: value for field, value in chosen.items() if value},
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
    }


def _counting(serve: OllamaServe, constraint: dict[str, Any]) -> dict[str, Any]:
    """A constraint without a selector counts no pod, and spreads nothing."""
    own = {"labelSelector": {"matchLabels": names.selector(serve.name, Component.SERVER)}}
    return own | constraint


def _beside_the_server(serve: OllamaServe) -> dict[str, Any]:
    """The volume is where the serving pod can run: the Job follows it, never leads (decision 2)."""
    term = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": names.selector(serve.name, Component.SERVER)},
    }
    return {"podAffinity": {_REQUIRED: [term]}}


def _sparing_pulls(affinity: Mapping[str, Any]) -> dict[str, Any]:
    """Required anti-affinity holds both ways: a server's would keep the Job from its node.

    (Kubernetes, "Inter-pod affinity and anti-affinity".) What is no list is the API server's to
    refuse.
    """
    match affinity:
        case {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [*terms]}}:
            apart = {**affinity["podAntiAffinity"], _REQUIRED: [_spared(term) for term in terms]}
            return {**affinity, "podAntiAffinity": apart}
    return dict(affinity)


def _spared(term: Any) -> Any:
    """Without a selector a term is about no pod."""
    match term:
        case {"labelSelector": {"matchExpressions": [*others], **selector}}:
            return {**term, "labelSelector": {**selector, "matchExpressions": [*others, _NO_PULL]}}
        case {"labelSelector": {**selector}} if "matchExpressions" not in selector:
            return {**term, "labelSelector": {**selector, "matchExpressions": [_NO_PULL]}}
    return term
