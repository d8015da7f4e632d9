"""The Ingress: one host, every path, to the Service's one port."""

from typing import Any

from ollamaserve_operator import names
from ollamaserve_operator.api import OllamaServe
from ollamaserve_operator.manifests.metadata import Manifest, metadata


def ingress(serve: OllamaServe) -> Manifest | None:
    """None where the spec asks for none; what its controller needs to know, annotations say."""
    wanted = serve.ingress
    if wanted is None:
        return None
    port = {"number": names.DOOR_PORT}
    backend = {"service": {"name": names.service(serve.name), "port": port}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    spec: dict[str, Any] = {"rules": [{"host": wanted.host, "http": {"paths": [path]}}]}
    if wanted.class_name is not None:
        spec["ingressClassName"] = wanted.class_name
    if wanted.tls.secret_name:
        spec["tls"] = [{"hosts": [wanted.host], "secretName": wanted.tls.secret_name}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata(serve, names.ingress(serve.name), annotations=wanted.annotations),
        "spec": spec,
    }
