"""Two fixed policies, by component: who may reach the pods, and where these may go (decision 12).

The cluster's network plugin enforces them, or none does. kubelet's probes are subject to no policy
(Kubernetes, "Network Policies": traffic between a pod and its own node is always allowed).
"""

from collections.abc import Mapping
from typing import Any

from ollamaserve_operator import names
from ollamaserve_operator.api import OllamaServe
from ollamaserve_operator.manifests.metadata import Manifest, metadata
from ollamaserve_operator.names import Component

Peer = Mapping[str, Any]

_ANYWHERE: tuple[dict[str, Any], ...] = ({},)


def network_policies(serve: OllamaServe, home: str) -> tuple[Manifest, ...]:
    """None where disabled; `home` is the operator's namespace."""
    if not serve.network_policy.enabled:
        return ()
    serving = _policy(serve, Component.SERVER, _to_the_server(serve, home), _way_out(serve))
    if serve.pulls_in_pod:
        return (serving,)
    return serving, _policy(serve, Component.PULL, (_status(_operator(home)),), _ANYWHERE)


def open_outwards(serve: OllamaServe) -> bool:
    """Whether a serving pod may go anywhere at all: the gate says so where it may not."""
    return not serve.network_policy.enabled or bool(_way_out(serve))


def _policy(
    serve: OllamaServe,
    component: Component,
    ingress: tuple[dict[str, Any], ...],
    egress: tuple[dict[str, Any], ...],
) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(serve, names.network_policy(serve.name, component), component),
        "spec": {
            "podSelector": {"matchLabels": names.selector(serve.name, component)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": list(ingress),
            "egress": list(egress),
        },
    }


def _to_the_server(serve: OllamaServe, home: str) -> tuple[dict[str, Any], ...]:
    """7860 from whom it may, everyone by default; 7861 from the operator and the monitoring."""
    door = {"ports": [_port(names.DOOR_PORT)]}
    if serve.network_policy.from_:
        door["from"] = [dict(peer) for peer in serve.network_policy.from_]
    return door, _status(_operator(home), *serve.monitoring.from_)


def _status(*peers: Peer) -> dict[str, Any]:
    return {"ports": [_port(names.STATUS_PORT)], "from": [dict(peer) for peer in peers]}


def _operator(home: str) -> Peer:
    return {
        "namespaceSelector": {"matchLabels": {names.NAMESPACE_NAME: home}},
        "podSelector": {"matchLabels": names.operator_labels()},
    }


def _way_out(serve: OllamaServe) -> tuple[dict[str, Any], ...]:
    """Shut but for the rules of the spec; a pod that pulls for itself may go out."""
    if serve.pulls_in_pod:
        return _ANYWHERE
    return tuple(_explicit(rule) for rule in serve.network_policy.egress)


def _explicit(rule: Mapping[str, Any]) -> dict[str, Any]:
    """With the protocol that the API server would add: the lists of a policy are compared whole."""
    if not rule.get("ports"):
        return dict(rule)
    return {**rule, "ports": [{"protocol": "TCP", **port} for port in rule["ports"]]}


def _port(number: int) -> dict[str, Any]:
    return {"protocol": "TCP", "port": number}
