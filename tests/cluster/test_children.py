"""Every child that can be asked for, on the real API server: made, held, let go, and at no cost.

No network plugin runs here: the policies are accepted by the API, enforcement is not tested.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.life import Body, await_reason, child, condition, rested, seen, serve, touched
from ollamaserve_dev.kubectl import Kubectl
from ollamaserve_dev.localoperator import LocalOperator

pytestmark = pytest.mark.cluster

POLICY, PULL_POLICY = "llama-server", "llama-pull"
PEER = {"namespaceSelector": {"matchLabels": {"team": "apps"}}, "podSelector": {"matchLabels": {}}}
EVERYTHING: Body = {
    "replicas": 2,
    "storage": {"persistent": {"accessMode": "ReadWriteMany"}},
    "ingress": {
        "host": "llm.example.com",
        "className": "nginx",
        "tls": {"secretName": "llm-tls"},
        "annotations": {"nginx.ingress.kubernetes.io/proxy-buffering": "off"},
    },
    "networkPolicy": {
        "from": [PEER, {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}],
        "egress": [
            {"ports": [{"port": 443}, {"port": "dns", "protocol": "UDP"}], "to": []},
            {"to": [{"podSelector": {}}]},
        ],
    },
    "podDisruptionBudget": {"maxUnavailable": "50%"},
    "monitoring": {"from": [{"namespaceSelector": {}}]},
    "patches": [
        {
            "target": "Deployment",
            "type": "merge",
            "patch": {
                "spec": {
                    "minReadySeconds": 1,
                    "strategy": {"rollingUpdate": {"maxSurge": "50%"}},
                    "template": {"metadata": {"annotations": {"example.com/a": ""}}},
                }
            },
        },
        {
            "target": "Deployment",
            "type": "json",
            "patch": [
                {
                    "op": "add",
                    "path": "/spec/template/spec/containers/-",
                    "value": {
                        "name": "logs",
                        "image": "logs:1",
                        "resources": {"limits": {"memory": "1024Mi", "cpu": 1}},
                        "ports": [{"containerPort": 9000}],
                        "securityContext": {
                            "allowPrivilegeEscalation": False,
                            "readOnlyRootFilesystem": True,
                            "capabilities": {"drop": ["ALL"]},
                        },
                        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
                    },
                },
                {
                    "op": "add",
                    "path": "/spec/template/spec/volumes/-",
                    "value": {"name": "scratch", "emptyDir": {"sizeLimit": "1024Mi"}},
                },
                {
                    "op": "add",
                    "path": "/spec/template/spec/hostAliases",
                    "value": [{"ip": "10.0.0.1", "hostnames": ["registry"]}],
                },
            ],
        },
        {"target": "Job", "type": "merge", "patch": {"spec": {"activeDeadlineSeconds": 86400}}},
        {
            "target": "Service",
            "type": "json",
            "patch": [
                {"op": "add", "path": "/spec/sessionAffinity", "value": "ClientIP"},
                {
                    "op": "add",
                    "path": "/spec/ports/-",
                    "value": {"name": "web", "port": 80, "targetPort": 7860},
                },
            ],
        },
        {
            "target": "Ingress",
            "type": "json",
            "patch": [
                {"op": "add", "path": "/spec/rules/0/http/paths/0/path", "value": "/llm"},
            ],
        },
    ],
}


def change(team: Kubectl, **spec: Any) -> None:
    team.patch("ollamaserve", "llama", {"spec": spec})


def test_with_everything_asked_for_a_look_costs_nothing(
    team: Kubectl, operator: LocalOperator
) -> None:
    """Defaults of the API server are no drift, nor is what a patch spells in its own way."""
    team.apply(serve(**EVERYTHING))
    await_reason(team, "Ready", "Ready", 60)
    for kind, name in (
        *(("networkpolicy", POLICY), ("networkpolicy", PULL_POLICY)),
        *(("poddisruptionbudget", "llama"), ("ingress", "llama")),
    ):
        body = team.get(kind, name) or {}
        assert body["metadata"]["ownerReferences"][0]["controller"]
    pod = child(team, "deployment")["spec"]["template"]["spec"]
    assert [c["name"] for c in pod["containers"]] == ["gate", "ollama", "logs"]
    assert touched(team, operator) == 0


DRIFT: dict[str, tuple[str, str, list[Body], Callable[[Body], Any]]] = {
    "a way out": (
        "networkpolicy",
        PULL_POLICY,
        [{"op": "replace", "path": "/spec/egress", "value": []}],
        lambda body: body["spec"].get("egress"),
    ),
    "the status port for all": (
        "networkpolicy",
        POLICY,
        [{"op": "remove", "path": "/spec/ingress/1/from"}],
        lambda body: body["spec"]["ingress"],
    ),
    "the door for fewer": (
        "networkpolicy",
        POLICY,
        [{"op": "add", "path": "/spec/ingress/0/from", "value": [{"podSelector": {}}]}],
        lambda body: body["spec"]["ingress"],
    ),
    "fewer pods": (
        "networkpolicy",
        POLICY,
        [{"op": "add", "path": "/spec/podSelector/matchLabels/a", "value": "b"}],
        lambda body: body["spec"]["podSelector"],
    ),
    "a budget of none": (
        "poddisruptionbudget",
        "llama",
        [{"op": "replace", "path": "/spec/maxUnavailable", "value": 0}],
        lambda body: body["spec"]["maxUnavailable"],
    ),
    "another backend": (
        "ingress",
        "llama",
        [{"op": "replace", "path": "/spec/rules/0/host", "value": "evil.example.com"}],
        lambda body: body["spec"]["rules"],
    ),
    "an annotation": (
        "ingress",
        "llama",
        [{"op": "replace", "path": "/metadata/annotations/a", "value": "x"}],
        lambda body: body["metadata"]["annotations"]["a"],
    ),
}


def same(team: Kubectl, kind: str, name: str, field: Callable[[Body], Any], value: Any) -> bool:
    return bool(field(team.get(kind, name) or {}) == value)


def another(team: Kubectl, kind: str, name: str, uid: str) -> bool:
    body = team.get(kind, name)
    return body is not None and body["metadata"]["uid"] != uid


def test_what_is_changed_by_hand_returns_at_once(team: Kubectl) -> None:
    """Every owned field of a watched kind; and what somebody added beside them stays."""
    ingress = {"host": "llm.example.com", "annotations": {"a": "b"}}
    spec = EVERYTHING | {"networkPolicy": {}, "patches": [], "ingress": ingress}
    team.apply(serve(**spec))
    await_reason(team, "Ready", "Ready", 60)
    team.run("annotate", "ingress", "llama", "example.com/mine=kept")
    for what, (kind, name, patch, field) in DRIFT.items():
        before = field(team.get(kind, name) or {})
        team.run("patch", kind, name, "--type=json", f"--patch={json.dumps(patch)}")
        seen(team, f"{what} is undone", partial(same, team, kind, name, field, before))
    kept = (team.get("ingress", "llama") or {})["metadata"]["annotations"]
    assert kept["example.com/mine"] == "kept"


def test_what_is_deleted_returns_and_what_is_no_longer_wanted_goes(
    team: Kubectl, operator: LocalOperator
) -> None:
    """Children follow the spec both ways; claim and token are never among what goes."""
    wanted = (
        *(("networkpolicy", POLICY), ("networkpolicy", PULL_POLICY)),
        *(("poddisruptionbudget", "llama"), ("ingress", "llama")),
    )
    spec = EVERYTHING | {"patches": []}
    team.apply(serve(**spec))
    await_reason(team, "Ready", "Ready", 60)
    before = {entry: (team.get(*entry) or {})["metadata"]["uid"] for entry in wanted}
    for kind, name in wanted:
        team.run("delete", kind, name)
    for entry in wanted:
        seen(team, f"{entry} is back", partial(another, team, *entry, before[entry]))

    claim = child(team, "persistentvolumeclaim")["metadata"]["uid"]
    change(team, ingress=None, replicas=1, networkPolicy={"enabled": False})
    for entry in wanted:
        seen(team, f"{entry} goes", partial(gone, team, *entry))
    assert child(team, "persistentvolumeclaim")["metadata"]["uid"] == claim
    assert touched(team, operator) == 0


def test_a_users_ingress_is_left_alone(team: Kubectl) -> None:
    """Decision 1: NameConflict names it; it is as it was, also when the wish has gone."""
    backend = {"service": {"name": "mine", "port": {"number": 80}}}
    team.apply(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "llama"},
            "spec": {"defaultBackend": backend},
        },
        serve(ingress={"host": "llm.example.com"}),
    )
    found = await_reason(team, "Accepted", "NameConflict")
    assert "Ingress llama exists" in found["message"]
    change(team, ingress=None)
    await_reason(team, "Accepted", "Accepted")
    assert (team.get("ingress", "llama") or {})["spec"] == {"defaultBackend": backend}


def test_a_refused_patch_changes_nothing(team: Kubectl, operator: LocalOperator) -> None:
    """Decision 16: PatchRefused with index, target and place; the last good children stay."""
    team.apply(serve())
    await_reason(team, "Ready", "Ready")
    before = child(team, "deployment")
    patch = {"spec": {"template": {"spec": {"hostNetwork": True}}}}
    entry = {"target": "Deployment", "type": "merge", "patch": patch}
    change(team, patches=[entry], gate={"drainTimeout": 7})
    found = await_reason(team, "Stalled", "PatchRefused")
    assert "spec.patches[0] (Deployment)" in found["message"]
    assert "spec.template.spec.hostNetwork" in found["message"]
    assert touched(team, operator) == 0
    assert child(team, "deployment")["spec"] == before["spec"]

    change(team, patches=None)
    await_reason(team, "Ready", "Ready", 60)
    grace = child(team, "deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace == 22


def test_a_patch_that_the_api_server_refuses_is_told_in_its_words(team: Kubectl) -> None:
    """What `guarantees` lets through may still be nonsense."""
    patch = {"spec": {"minReadySeconds": "soon"}}
    team.apply(serve(patches=[{"target": "Deployment", "type": "merge", "patch": patch}]))
    found = await_reason(team, "Accepted", "Refused")
    assert "minReadySeconds" in found["message"]


def replicas(team: Kubectl) -> int:
    count: int = child(team, "deployment")["spec"]["replicas"]
    return count


def has_replicas(team: Kubectl, count: int) -> bool:
    return replicas(team) == count


def gone(team: Kubectl, kind: str, name: str) -> bool:
    return team.get(kind, name) is None


EPHEMERAL: Body = {"storage": {"ephemeral": {}}}


def test_the_scale_subresource_reaches_the_deployment_and_is_nobody_elses(
    team: Kubectl, operator: LocalOperator
) -> None:
    """T13: one write to the Deployment per change, none to the spec, and an apply that names no
    replicas leaves them."""
    body = serve(**EPHEMERAL)
    team.run("apply", "--server-side", "--filename=-", stdin=yaml.safe_dump(body))
    await_reason(team, "Ready", "Ready")
    rested(operator)
    generation = child(team, "deployment")["metadata"]["generation"]
    for count in (3, 2, 4):
        team.run("scale", "ollamaserve", "llama", f"--replicas={count}")
        seen(team, f"{count} replicas", partial(has_replicas, team, count))
    team.run("apply", "--server-side", "--filename=-", stdin=yaml.safe_dump(body))
    await_reason(team, "Ready", "Ready")

    assert touched(team, operator) == 0
    assert replicas(team) == 4
    assert child(team, "deployment")["metadata"]["generation"] == generation + 3
    assert (team.get("poddisruptionbudget", "llama") or {})["spec"]["maxUnavailable"] == 1
    spec = (team.get("ollamaserve", "llama") or {})["spec"]
    assert spec["replicas"] == 4


def test_an_autoscaler_owns_the_replicas_without_a_fight(
    team: Kubectl, operator: LocalOperator
) -> None:
    """T13: a real HorizontalPodAutoscaler on our scale subresource raises to its minimum."""
    team.apply(serve(**EPHEMERAL))
    await_reason(team, "Ready", "Ready")
    generation = child(team, "deployment")["metadata"]["generation"]
    target = {"apiVersion": "ollamaserve.dev/v1alpha1", "kind": "OllamaServe", "name": "llama"}
    team.apply(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "llama"},
            "spec": {"scaleTargetRef": target, "minReplicas": 3, "maxReplicas": 5},
        }
    )
    seen(team, "three replicas", lambda: replicas(team) == 3, 60)
    change(team, ollama={"keepAlive": "5m"})
    await_reason(team, "Ready", "Ready", 60)
    assert replicas(team) == 3
    assert child(team, "deployment")["metadata"]["generation"] == generation + 2
    assert touched(team, operator) == 0


def crd(group: str, kind: str, spec: Body) -> Body:
    """As small as can be, with the fields that we write and the defaults that upstream has."""
    plural = f"{kind.lower()}s"
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "properties": {"spec": {"type": "object", "properties": spec}},
            }
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, of a test"},
        },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [version],
        },
    }


def listed(**fields: Body) -> Body:
    return {"type": "array", "items": {"type": "object", "properties": fields}}


TEXT, NUMBER = {"type": "string"}, {"type": "integer"}
ANY = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
GATEWAY = crd(
    "gateway.networking.k8s.io",
    "HTTPRoute",
    {
        "parentRefs": listed(
            group=TEXT | {"default": "gateway.networking.k8s.io"},
            kind=TEXT | {"default": "Gateway"},
            name=TEXT,
        ),
        "hostnames": {"type": "array", "items": TEXT},
        "rules": listed(
            backendRefs=listed(
                group=TEXT | {"default": ""},
                kind=TEXT | {"default": "Service"},
                name=TEXT,
                port=NUMBER,
                weight=NUMBER | {"default": 1},
            ),
            matches=listed(path={"type": "object", "properties": {"type": TEXT, "value": TEXT}})
            | {"default": [{"path": {"type": "PathPrefix", "value": "/"}}]},
        ),
    },
)
MONITORING = crd(
    "monitoring.coreos.com",
    "PodMonitor",
    {"jobLabel": TEXT, "selector": ANY, "podMetricsEndpoints": listed(port=TEXT, path=TEXT)},
)
OPTIONAL: Body = {
    "httpRoute": {"parentRefs": [{"name": "internal"}], "hostnames": ["llm.example.com"]},
    "monitoring": {"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
}


@pytest.fixture
def definitions(control_plane: Path, operator: LocalOperator) -> Iterator[Callable[[], None]]:
    """Installs the CRDs of both optional kinds; afterwards they are gone, for the operator too."""
    admin, names = (
        Kubectl(control_plane),
        [body["metadata"]["name"] for body in (GATEWAY, MONITORING)],
    )

    def install() -> None:
        admin.apply(GATEWAY, MONITORING)
        for name in names:
            admin.run("wait", "--for=condition=Established", f"crd/{name}")

    yield install
    admin.run("delete", "crd", *names, "--ignore-not-found")
    operator.stop()


def test_optional_kinds_are_made_once_their_crds_are_there(
    team: Kubectl, operator: LocalOperator, definitions: Callable[[], None]
) -> None:
    """Decision 13: said while they are missing, then made, held at each look, and let go."""
    team.apply(serve(**OPTIONAL))
    found = await_reason(team, "Accepted", "KindMissing")
    assert found["status"] == "True"
    assert "httproutes.gateway.networking.k8s.io" in found["message"]
    assert "podmonitors.monitoring.coreos.com" in found["message"]
    assert "spec.httpRoute is set" in await_reason(team, "Ready", "Ready")["message"]
    assert touched(team, operator) == 0

    definitions()
    again(operator)
    await_reason(team, "Accepted", "Accepted")
    route = team.get("httproute", "llama") or {}
    assert route["spec"]["rules"][0]["backendRefs"][0]["port"] == 7860
    assert route["metadata"]["ownerReferences"][0]["kind"] == "OllamaServe"
    assert (team.get("podmonitor", "llama") or {})["metadata"]["labels"]["release"] == "prometheus"
    assert touched(team, operator) == 0

    team.patch("httproute", "llama", {"spec": {"hostnames": ["evil.example.com"]}})
    again(operator)
    seen(
        team,
        "the route is as asked",
        lambda: (team.get("httproute", "llama") or {})["spec"]["hostnames"] == ["llm.example.com"],
    )
    change(team, httpRoute=None, monitoring=None)
    seen(team, "the route goes", lambda: team.get("httproute", "llama") is None)
    seen(team, "the monitor goes", lambda: team.get("podmonitor", "llama") is None)
    assert condition(team, "Accepted")["reason"] == "Accepted"


def again(operator: LocalOperator) -> None:
    """Every look at an optional kind is one like the first: so start anew, not wait ten minutes."""
    operator.stop()
    operator.start()
