"""The children besides the pods: who reaches what, how many may go, and where traffic comes in."""

from typing import Any

import pytest

from examples import IMAGES, NOW, parsed, resource
from ollamaserve_operator import names
from ollamaserve_operator.manifests import Manifest, children
from ollamaserve_operator.manifests.network_policy import open_outwards
from ollamaserve_operator.names import Component
from ollamaserve_operator.observed import Observed

Body = dict[str, Any]

OPERATOR = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "operators"}},
    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "ollamaserve-operator"}},
}
APPS = {"namespaceSelector": {"matchLabels": {"team": "apps"}}}
EPHEMERAL: Body = {"storage": {"ephemeral": {}}}


def made(*, offered: frozenset[str] = frozenset(), **spec: Any) -> tuple[Manifest, ...]:
    seen = Observed(at=NOW, offered=offered)
    return children(parsed(resource(**spec)), IMAGES, seen, "operators")


def of_kind(kind: str, **spec: Any) -> list[Manifest]:
    return [manifest for manifest in made(**spec) if manifest["kind"] == kind]


def policy(component: Component, **spec: Any) -> Any:
    name = names.network_policy("llama", component)
    found = of_kind("NetworkPolicy", **spec)
    return next((m["spec"] for m in found if m["metadata"]["name"] == name), None)


def reached(found: Any, port: int) -> list[Any]:
    """The peers of each rule for a port; None: everyone."""
    return [r.get("from") for r in found["ingress"] if r["ports"][0]["port"] == port]


def test_by_default_everyone_reaches_the_door_and_the_operator_alone_the_status() -> None:
    """Decision 12: 7861 has no credentials, so the policy keeps it to whom it is for."""
    found = policy(Component.SERVER)

    assert reached(found, 7860) == [None]
    assert reached(found, 7861) == [[OPERATOR]]
    assert len(found["ingress"]) == 2
    assert found["policyTypes"] == ["Ingress", "Egress"]


def test_from_closes_the_door_to_others_and_monitoring_opens_the_status() -> None:
    """Each list is for its own port."""
    found = policy(
        Component.SERVER, networkPolicy={"from": [APPS]}, monitoring={"from": [{"podSelector": {}}]}
    )

    assert reached(found, 7860) == [[APPS]]
    assert reached(found, 7861) == [[OPERATOR, {"podSelector": {}}]]


@pytest.mark.parametrize(
    ("spec", "egress"),
    [
        ({}, []),
        ({"networkPolicy": {"egress": [{"to": [APPS]}]}}, [{"to": [APPS]}]),
        (
            {"networkPolicy": {"egress": [{"ports": [{"port": 443}]}]}},
            [{"ports": [{"protocol": "TCP", "port": 443}]}],
        ),
        (EPHEMERAL, [{}]),
        ({"pull": {"strategy": "InPod"}}, [{}]),
    ],
    ids=["shut", "as given", "with the default that the API server adds", "ephemeral", "in pod"],
)
def test_serving_pods_go_nowhere_unless_they_pull_or_are_let(spec: Body, egress: Any) -> None:
    """Decision 12: a prompt that makes Ollama call home finds no way out; not even to DNS."""
    assert policy(Component.SERVER, **spec)["egress"] == egress


def test_the_pull_goes_out_and_is_reached_by_the_operator_alone() -> None:
    """Decision 12: its pods have no door."""
    found = policy(Component.PULL, networkPolicy={"from": [APPS]}, monitoring={"from": [APPS]})

    assert found["egress"] == [{}]
    assert found["ingress"] == [{"ports": [{"protocol": "TCP", "port": 7861}], "from": [OPERATOR]}]
    assert found["podSelector"]["matchLabels"][names.COMPONENT] == "pull"


def test_no_policy_is_of_a_pull_that_there_is_none_of() -> None:
    """Pods that pull for themselves need one policy; who has disabled them, none."""
    assert policy(Component.PULL, **EPHEMERAL) is None
    assert of_kind("NetworkPolicy", networkPolicy={"enabled": False}) == []


def test_policies_are_there_before_pods() -> None:
    """No pod is ever without."""
    kinds = [manifest["kind"] for manifest in made()]
    assert kinds[:2] == ["NetworkPolicy", "NetworkPolicy"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, False),
        (EPHEMERAL, True),
        ({"networkPolicy": {"enabled": False}}, True),
        ({"networkPolicy": {"egress": [{}]}}, True),
    ],
    ids=["shut", "in pod", "no policy", "rules"],
)
def test_the_gate_is_told_whether_there_is_a_way_out(spec: Body, expected: bool) -> None:
    """Decision 12: where it is shut, pull and push are refused at once instead of hanging."""
    assert open_outwards(parsed(resource(**spec))) is expected


RWX = {"storage": {"persistent": {"accessMode": "ReadWriteMany"}}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, None),
        ({"replicas": 2, **RWX}, 1),
        ({"replicas": 2, "podDisruptionBudget": {"enabled": False}, **RWX}, None),
        ({"podDisruptionBudget": {"enabled": True, "maxUnavailable": 0}}, 0),
        ({"replicas": 2, "podDisruptionBudget": {"maxUnavailable": "50%"}, **RWX}, "50%"),
    ],
    ids=["one replica", "two", "two without", "one with", "a share"],
)
def test_a_budget_is_for_several_replicas_or_who_asks(spec: Body, expected: Any) -> None:
    """With one replica it could only block a drain, or mean nothing."""
    found = of_kind("PodDisruptionBudget", **spec)
    assert [m["spec"]["maxUnavailable"] for m in found] == ([] if expected is None else [expected])


def test_pods_that_are_not_ready_never_block_a_drain() -> None:
    """A pod that pulls for an hour would hold its node up for an hour."""
    (found,) = of_kind("PodDisruptionBudget", replicas=2, **RWX)
    assert found["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_an_ingress_leads_every_path_of_its_host_to_the_door() -> None:
    """One rule, one backend; the certificate is for the same host."""
    (found,) = of_kind(
        "Ingress", ingress={"host": "a.example", "className": "x", "tls": {"secretName": "c"}}
    )
    (rule,) = found["spec"]["rules"]
    (path,) = rule["http"]["paths"]

    assert (rule["host"], path["path"], path["pathType"]) == ("a.example", "/", "Prefix")
    assert path["backend"]["service"] == {"name": "llama", "port": {"number": 7860}}
    assert found["spec"]["tls"] == [{"hosts": ["a.example"], "secretName": "c"}]


OPTIONAL: Body = {
    "httpRoute": {"parentRefs": [{"name": "gate"}]},
    "monitoring": {"podMonitor": {"enabled": True, "labels": {names.INSTANCE: "x", "a": "b"}}},
}


def test_optional_kinds_are_wanted_only_where_the_cluster_has_them() -> None:
    """Decision 13: nothing is written to a kind that isn't there."""
    both = frozenset({"HTTPRoute", "PodMonitor"})
    for offered in (frozenset[str](), frozenset({"HTTPRoute"}), both):
        kinds = {manifest["kind"] for manifest in made(offered=offered, **OPTIONAL)}
        assert kinds & both == offered


def test_a_monitor_has_the_users_labels_and_keeps_our_own() -> None:
    """By theirs a Prometheus selects it, by ours we find it; 7861 is on no Service."""
    (found,) = of_kind("PodMonitor", offered=frozenset({"PodMonitor"}), **OPTIONAL)
    labels = found["metadata"]["labels"]

    assert (labels["a"], labels[names.INSTANCE]) == ("b", "llama")
    assert found["spec"]["podMetricsEndpoints"] == [{"port": "status", "path": "/metrics"}]
