"""The PodMonitor of the Prometheus operator: 7861 is on no Service (decision 13)."""

from typing import Any

from ollamaserve_operator import names
from ollamaserve_operator.api import OllamaServe
from ollamaserve_operator.manifests.metadata import Manifest, metadata
from ollamaserve_operator.names import Component


def pod_monitor(serve: OllamaServe) -> Manifest | None:
    """None where the spec asks for none; its labels are those by which a Prometheus selects it."""
    wanted = serve.monitoring.pod_monitor
    if not wanted.enabled:
        return None
    about = metadata(serve, names.pod_monitor(serve.name))
    endpoint: dict[str, Any] = {"port": "status", "path": "/metrics"}
    if wanted.interval:
        endpoint["interval"] = wanted.interval
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": about | {"labels": {**wanted.labels, **about["labels"]}},
        "spec": {
            "jobLabel": names.INSTANCE,
            "selector": {"matchLabels": names.selector(serve.name, Component.SERVER)},
            "podMetricsEndpoints": [endpoint],
        },
    }
