"""The HTTPRoute of the Gateway API: the user's Gateways, every path, to the Service's one port."""

from typing import Any

from ollamaserve_operator import names
from ollamaserve_operator.api import OllamaServe
from ollamaserve_operator.manifests.metadata import Manifest, metadata


def http_route(serve: OllamaServe) -> Manifest | None:
    """None where the spec asks for none."""
    wanted = serve.http_route
    if wanted is None:
        return None
    backend = {"name": names.service(serve.name), "port": names.DOOR_PORT}
    spec: dict[str, Any] = {
        "parentRefs": [dict(parent) for parent in wanted.parent_refs],
        "rules": [{"backendRefs": [backend]}],
    }
    if wanted.hostnames:
        spec["hostnames"] = list(wanted.hostnames)
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata(serve, names.http_route(serve.name), annotations=wanted.annotations),
        "spec": spec,
    }
