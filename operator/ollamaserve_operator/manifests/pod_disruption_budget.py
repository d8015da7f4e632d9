"""The PodDisruptionBudget: a drained node takes away one serving pod at a time."""

from ollamaserve_operator import names
from ollamaserve_operator.api import OllamaServe
from ollamaserve_operator.manifests.metadata import Manifest, metadata
from ollamaserve_operator.names import Component


def pod_disruption_budget(serve: OllamaServe) -> Manifest | None:
    """Where there are several replicas, unless the spec says otherwise.

    Pods that aren't ready may always be evicted: one that waits for its models serves nobody, and
    would hold up a node's drain (Kubernetes, "Unhealthy Pod Eviction Policy").
    """
    wanted = serve.pod_disruption_budget
    if not (serve.replicas > 1 if wanted.enabled is None else wanted.enabled):
        return None
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(serve, names.pod_disruption_budget(serve.name)),
        "spec": {
            "maxUnavailable": wanted.max_unavailable,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": names.selector(serve.name, Component.SERVER)},
        },
    }
