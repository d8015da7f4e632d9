"""The Service: 7860, the gate's door, and nothing else."""

from typing import Any

from ollamaserve_operator import names
from ollamaserve_operator.api import OllamaServe
from ollamaserve_operator.manifests.metadata import Manifest, metadata
from ollamaserve_operator.names import Component


def service(serve: OllamaServe) -> Manifest:
    wanted = serve.service
    port: dict[str, Any] = {
        "name": serve.scheme,
        "port": names.DOOR_PORT,
        "targetPort": names.DOOR_PORT,
        "protocol": "TCP",
    }
    if serve.gate.tls.secret_name:
        port["appProtocol"] = "https"  # for meshes, gateways and load balancers
    if wanted.node_port is not None:
        port["nodePort"] = wanted.node_port
    spec: dict[str, Any] = {
        "type": wanted.type,
        "selector": names.selector(serve.name, Component.SERVER),
        "ports": [port],
    }
    if wanted.load_balancer_class is not None:
        spec["loadBalancerClass"] = wanted.load_balancer_class
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(serve, names.service(serve.name), annotations=wanted.annotations),
        "spec": spec,
    }
