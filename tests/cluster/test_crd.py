"""The CRD and the manifests, judged by a real API server: nothing here is a mock."""

import asyncio
import copy
import json
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples import CRD, IMAGES, NOW, sample
from ollamaserve_operator import api, kinds, names
from ollamaserve_operator.answers import Outdated
from ollamaserve_operator.cluster import Cluster
from ollamaserve_operator.connection import Connection, login
from ollamaserve_operator.errors import NameConflict
from ollamaserve_operator.manifests import Manifest, children
from ollamaserve_operator.observed import Observed, observe
from ollamaserve_operator.pace import Pace
from ollamaserve_operator.plan import Apply, Create, Delete, Issue, plan

pytestmark = pytest.mark.cluster

Body = dict[str, Any]

SERVES = f"/apis/{names.API_VERSION}/namespaces/{{namespace}}/{names.PLURAL}"
PATHS = {
    "Secret": "/api/v1/namespaces/{namespace}/secrets",
    "ConfigMap": "/api/v1/namespaces/{namespace}/configmaps",
    "PersistentVolumeClaim": "/api/v1/namespaces/{namespace}/persistentvolumeclaims",
    "Service": "/api/v1/namespaces/{namespace}/services",
    "Deployment": "/apis/apps/v1/namespaces/{namespace}/deployments",
    "Job": "/apis/batch/v1/namespaces/{namespace}/jobs",
    "Pod": "/api/v1/namespaces/{namespace}/pods",
}
MERGE = "application/merge-patch+json"


@dataclass(frozen=True)
class Server:
    """An API server and a namespace of its own that admits restricted pods only."""

    connection: Connection
    cluster: Cluster
    namespace: str

    async def send(
        self, method: str, path: str, body: Any = None, content: str = "application/json"
    ) -> tuple[int, Body]:
        data = None if body is None else json.dumps(body).encode()
        code, _, answer = await self.connection.send(
            method,
            path.format(namespace=self.namespace),
            headers={"Content-Type": content},
            body=data,
        )
        return code, json.loads(answer)

    async def post(self, body: Mapping[str, Any], query: str = "") -> tuple[int, Body]:
        kind = body["kind"]
        path = SERVES if kind == names.KIND else PATHS[kind]
        return await self.send("POST", path + query, body)

    async def get(self, kind: str, name: str) -> Body:
        code, body = await self.send("GET", f"{PATHS[kind]}/{name}")
        assert code == 200, body
        return body


@pytest.fixture
async def server(control_plane: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    """The CRD as it is in deploy/, established, and a fresh namespace."""
    monkeypatch.setenv("KUBECONFIG", os.fspath(control_plane))
    async with Connection(login) as connection:
        found = Server(
            connection,
            Cluster(connection, pace=Pace(rate=1000, burst=1000)),
            f"t-{secrets.token_hex(4)}",
        )
        crd = yaml.safe_load(CRD.read_text())
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
        query = "?fieldManager=test&force=true"
        code, answer = await found.send("PATCH", path + query, crd, "application/apply-patch+yaml")
        assert code in {200, 201}, answer
        await _established(found, path)
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        namespace = {"metadata": {"name": found.namespace, "labels": labels}}
        code, answer = await found.send("POST", "/api/v1/namespaces", namespace)
        assert code == 201, answer
        yield found
        await found.send("DELETE", f"/api/v1/namespaces/{found.namespace}")


async def _established(server: Server, path: str) -> None:
    async with asyncio.timeout(30):
        while True:
            _, crd = await server.send("GET", path)
            conditions = (crd.get("status") or {}).get("conditions") or []
            if any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
                code, _ = await server.send("GET", SERVES)
                if code == 200:
                    return
            await asyncio.sleep(0.1)


def serve(name: str = "llama", **spec: Any) -> Body:
    wanted = {"models": [{"name": "llama2:7b"}], **spec}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name},
        "spec": wanted,
    }


DIGEST = "sha256:" + "a" * 64
RWX = {"persistent": {"accessMode": "ReadWriteMany"}}
MINE = {"existingClaim": {"name": "mine"}}
EPHEMERAL: Body = {"ephemeral": {}}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
OTHER_KEY = KEY[:-4] + "AAAA"
PARENTS = [{"name": "gateway"}]


def created(name: str = "helpdesk", from_: str = "llama2:7b", **more: Any) -> Body:
    return serve(models=[{"name": name, "create": {"from": from_}, **more}])


def keys(*entries: Body, **spec: Any) -> Body:
    return serve(auth={"authorizedKeys": list(entries)}, **spec)


def key(name: str = "ada", key: str = KEY, **more: Any) -> Body:
    return {"name": name, "key": key, **more}


def origins(*allowed: str) -> Body:
    return serve(gate={"cors": {"allowedOrigins": list(allowed)}})


def patches(target: str, type_: str, patch: Any) -> Body:
    return serve(patches=[{"target": target, "type": type_, "patch": patch}])


ACCEPTED: dict[str, Body] = {
    "minimal": serve(),
    "longest name": serve("a" * 52),
    "digest": serve(models=[{"name": "llama2:7b", "digest": DIGEST}]),
    "registry with a port": serve(models=[{"name": "registry.team.svc:5000/library/tiny"}]),
    "plain http registry": serve(models=[{"name": "http://10.0.0.1:5000/library/tiny:v1"}]),
    "alike, and different": serve(
        models=[
            {"name": "llama2"},
            {"name": "llama2:7b"},
            {"name": "a:5000/library/llama2"},
            {"name": "a:5000/b/llama2"},
        ]
    ),
    "hugging face": serve(models=[{"name": "hf.co/bartowski/Llama-3.2-1B-GGUF:Q4_K_M"}]),
    "two replicas on RWX": serve(replicas=2, storage=RWX),
    "two replicas, ephemeral": serve(replicas=2, storage={"ephemeral": {"sizeLimit": "5Gi"}}),
    "AMD": serve(gpu={"count": 2, "resource": "amd.com/gpu"}),
    "MIG": serve(gpu={"resource": "nvidia.com/mig-1g.10gb"}),
    "keep alive in minutes": serve(ollama={"keepAlive": "1h30m"}),
    "keep alive in seconds": serve(ollama={"keepAlive": "300"}),
    "own env": serve(env=[{"name": "OLLAMA_SCHED_SPREAD", "value": "1"}]),
    "env from a key": serve(
        env=[{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
    ),
    "token names": serve(auth={"tokens": [{"key": "team.a-b_C", "access": "full"}]}),
    "node port": serve(service={"type": "NodePort", "nodePort": 30000}),
    "load balancer class": serve(
        service={"type": "LoadBalancer", "loadBalancerClass": "example.com/x"}
    ),
    "image by digest": serve(image={"ollama": f"example.com/ollama@{DIGEST}"}),
    "resources": serve(resources={"limits": {"memory": "4Gi", "cpu": 2}}),
    "created model": serve(
        models=[
            {"name": "llama2:7b", "digest": DIGEST},
            {
                "name": "helpdesk",
                "create": {
                    "from": "llama2:7b",
                    "system": "Be brief.",
                    "template": "{{ .Prompt }}",
                    "parameters": {"temperature": 0.2, "stop": ["a", "b"], "use_mmap": True},
                },
            },
        ]
    ),
    "pull in the pod": serve(pull={"strategy": "InPod"}),
    "pull in the pod, ephemeral": serve(pull={"strategy": "InPod"}, storage=EPHEMERAL, replicas=2),
    "Job into an existing claim": serve(pull={"strategy": "Job"}, storage=MINE),
    "proxy and CA": serve(
        pull={
            "proxy": {"https": "http://proxy.example.com:3128", "http": "socks5://p:1", "no": "a"},
            "caBundle": {"name": "ca"},
        },
        env=[{"name": "X", "value": "1"}],
    ),
    "proxy with a password, from a Secret": serve(
        env=[
            {"name": "HTTPS_PROXY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "SSL_CERT_DIR", "value": "/certs"},
        ]
    ),
    "existing claim": serve(storage={"existingClaim": {"name": "mine", "subPath": "a..b/models"}}),
    "two replicas on an existing claim": serve(
        storage=MINE, replicas=2, updateStrategy="RollingUpdate"
    ),
    "rolling update on RWX": serve(storage=RWX, updateStrategy="RollingUpdate"),
    "recreate": serve(storage=EPHEMERAL, updateStrategy="Recreate"),
    "supplemental groups": serve(gpu={"supplementalGroups": [44, 109]}),
    "token for some models": serve(
        auth={"tokens": [{"key": "A", "models": ["llama2", "h:5000/library/x:v1"]}]}
    ),
    "keys": keys(
        key(key=f"{KEY} ada@laptop", access="read", models=["llama2"]), key("bob", OTHER_KEY)
    ),
    "manage by key, with TLS": keys(key(access="manage"), gate={"tls": {"secretName": "tls"}}),
    "grace period": serve(auth={"rotationGracePeriod": 0}),
    "health path": serve(gate={"healthPath": "/"}),
    "health path with signs": serve(gate={"healthPath": "/api-v1/[x]~!$"}),
    "origins": origins("*", "https://app.example.com", "http://[::1]:3000", "app://obsidian.md"),
    "limits": serve(gate={"limits": {"bodyBytes": 1 << 50, "queue": 0, "connections": 1}}),
    "upgrades at once": serve(gate={"upgradePolicy": "Always"}),
    "ingress": serve(ingress={"host": "*.llm.example.com", "tls": {"secretName": "x"}}),
    "route": serve(httpRoute={"parentRefs": PARENTS, "hostnames": ["llm.example.com"]}),
    "network policy": serve(
        networkPolicy={"from": [{"podSelector": {"matchLabels": {"a": "b"}}}], "egress": [{}]}
    ),
    "budget by number": serve(podDisruptionBudget={"maxUnavailable": 2}),
    "budget by percentage": serve(podDisruptionBudget={"maxUnavailable": "100%"}),
    "scheduling": serve(
        scheduling={
            "affinity": {"podAntiAffinity": {}},
            "topologySpreadConstraints": [{"maxSkew": 1}],
            "priorityClassName": "high",
            "runtimeClassName": "nvidia",
            "schedulerName": "other",
        }
    ),
    "pod monitor": serve(
        monitoring={"podMonitor": {"enabled": True, "labels": {"a": "b"}, "interval": "1m30s"}}
    ),
    "merge patch": patches("Deployment", "merge", {"spec": {"minReadySeconds": 10}}),
    "json patch": patches("Ingress", "json", [{"op": "remove", "path": "/spec/tls"}]),
}

REFUSED: dict[str, tuple[Body, str]] = {
    "dotted name": (serve("llama3.1"), "write llama3-1, not llama3.1"),
    "long name": (serve("a" * 53), "at most 52"),
    "name with a digit first": (serve("3llama"), "a letter first"),
    "no model": (serve(models=[]), "at least 1 items"),
    "17 models": (serve(models=[{"name": f"m:{i}"} for i in range(17)]), "at most 16 items"),
    "model twice": (serve(models=[{"name": "a"}, {"name": "a"}]), "Duplicate value"),
    "model in two spellings": (
        serve(models=[{"name": "llama2"}, {"name": "llama2:latest"}]),
        "two of these names are one model",
    ),
    "model with its registry spelt out": (
        serve(models=[{"name": "registry.ollama.ai/library/Llama2:7b"}, {"name": "llama2:7b"}]),
        "two of these names are one model",
    ),
    "registry with and without its scheme": (
        serve(models=[{"name": "http://a:5000/library/x"}, {"name": "a:5000/library/x:latest"}]),
        "two of these names are one model",
    ),
    "not a model": (serve(models=[{"name": "llama 2"}]), "as `ollama pull` takes it"),
    "registry without a namespace": (
        serve(models=[{"name": "registry.example.com/x"}]),
        "registry.example.com/library/name:tag",
    ),
    "created from nothing": (serve(models=[{"name": "a", "create": {}}]), "create.from"),
    "created from no model": (created(from_="llama 2"), "as `ollama pull` takes it"),
    "created from itself": (created("llama2", "Llama2"), "can't be created from itself"),
    "long prompts": (
        serve(
            models=[
                {"name": "a", "create": {"from": "b", "system": "x" * 16384}},
                {"name": "c", "create": {"from": "b", "template": "x" * 8193}},
            ]
        ),
        "more than 24576 characters in all",
    ),
    "created and pinned": (created(digest=DIGEST), "a created model has no digest to pin"),
    "short digest": (serve(models=[{"name": "a", "digest": "sha256:12"}]), "64 lower-case"),
    "two storage modes": (
        serve(storage={"persistent": {}, "ephemeral": {}}),
        "exactly one of storage.persistent, storage.existingClaim and storage.ephemeral",
    ),
    "three storage modes": (
        serve(storage={"persistent": {}, **EPHEMERAL, **MINE}),
        "exactly one of storage.persistent, storage.existingClaim and storage.ephemeral",
    ),
    "existing claim shared": (serve(replicas=2, storage=MINE), "updateStrategy: RollingUpdate"),
    "sub-path that leaves": (
        serve(storage={"existingClaim": {"name": "a", "subPath": "a/../.."}}),
        "a path inside the volume",
    ),
    "sub-path from the root": (
        serve(storage={"existingClaim": {"name": "a", "subPath": "/a"}}),
        "a path inside the volume",
    ),
    "several that pull into one volume": (
        serve(replicas=2, storage=RWX, pull={"strategy": "InPod"}),
        "several replicas would write the same files",
    ),
    "Job for a pod's own disk": (
        serve(storage=EPHEMERAL, pull={"strategy": "Job"}),
        "leave out pull.strategy, or make it InPod",
    ),
    "rolling update on RWO": (
        serve(updateStrategy="RollingUpdate"),
        "which a ReadWriteOnce volume can't",
    ),
    "proxy without a scheme": (
        serve(pull={"proxy": {"https": "proxy:3128"}}),
        "write a URL such as http://proxy.example.com:3128",
    ),
    "proxy with a password": (
        serve(pull={"proxy": {"http": "http://u:p@proxy:3128"}}),
        "HTTPS_PROXY with valueFrom.secretKeyRef",
    ),
    "proxy twice": (
        serve(
            pull={"proxy": {"https": "http://proxy:3128"}},
            env=[{"name": "NO_PROXY", "value": "a"}],
        ),
        "the proxy is in pull.proxy and in env",
    ),
    "certificates twice": (
        serve(pull={"caBundle": {"name": "a"}}, env=[{"name": "SSL_CERT_DIR", "value": "/a"}]),
        "pull.caBundle needs SSL_CERT_DIR",
    ),
    "CA key": (serve(pull={"caBundle": {"name": "a", "key": "a/b"}}), "caBundle.key"),
    "group of root": (serve(gpu={"supplementalGroups": [0]}), "greater than or equal to 1"),
    "models of a manager": (
        serve(auth={"tokens": [{"key": "A", "access": "manage", "models": ["a"]}]}),
        "models goes with the access read or infer",
    ),
    "models of a manager's key": (
        keys(key(access="full", models=["a"]), gate={"tls": {"secretName": "tls"}}),
        "models goes with the access read or infer",
    ),
    "token for no models": (
        serve(auth={"tokens": [{"key": "A", "models": []}]}),
        "at least 1 items",
    ),
    "token for what is no model": (
        serve(auth={"tokens": [{"key": "A", "models": ["a b"]}]}),
        "as `ollama pull` takes it",
    ),
    "key of another kind": (
        keys(key(key="ssh-rsa " + "A" * 300)),
        "not an Ed25519 public key",
    ),
    "short key": (keys(key(key=KEY[:-1] + " a")), "not an Ed25519 public key"),
    "key's name": (keys(key("a b")), "a key's name is 1 to 63 of letters"),
    "key's name of rotation": (keys(key("a_NEXT")), "doesn't end in _PREVIOUS or _NEXT"),
    "key's name twice": (keys(key(), key(key=OTHER_KEY)), "Duplicate value"),
    "one key twice": (keys(key(), key("bob", f"{KEY} b")), "one key is there under two names"),
    "name of a token and of a key": (
        keys(key("AUTH_TOKEN")),
        "a token and an authorized key have one name",
    ),
    "manage by key, without TLS": (keys(key(access="manage")), "set gate.tls.secretName"),
    "grace period": (serve(auth={"rotationGracePeriod": -1}), "greater than or equal to 0"),
    "health path": (serve(gate={"healthPath": "healthz"}), "a path such as / or /healthz"),
    "health path with a query": (serve(gate={"healthPath": "/a?b"}), "without ?, # or backslash"),
    "health path with a backslash": (serve(gate={"healthPath": "/a\\b"}), "# or backslash"),
    "health path of Ollama": (serve(gate={"healthPath": "/api/tags"}), "not below /api/"),
    "origin with a path": (origins("https://a.example/"), "without path or default port"),
    "origin with its default port": (origins("https://a.example:443"), "default port"),
    "limits": (serve(gate={"limits": {"bodyBytes": 0}}), "greater than or equal to 1"),
    "TLS of nothing": (serve(gate={"tls": {}}), "gate.tls.secretName"),
    "ingress without a host": (serve(ingress={}), "spec.ingress.host"),
    "ingress for a URL": (serve(ingress={"host": "https://a.example"}), "without scheme, port"),
    "our annotation on an ingress": (
        serve(ingress={"host": "a", "annotations": {"ollamaserve.dev/x": "y"}}),
        "belong to the operator",
    ),
    "route to nowhere": (serve(httpRoute={"parentRefs": []}), "at least 1 items"),
    "route for a port": (
        serve(httpRoute={"parentRefs": PARENTS, "hostnames": ["a:80"]}),
        "without scheme, port",
    ),
    "our annotation on a route": (
        serve(httpRoute={"parentRefs": PARENTS, "annotations": {"ollamaserve.dev/x": "y"}}),
        "belong to the operator",
    ),
    "budget below nothing": (
        serve(podDisruptionBudget={"maxUnavailable": -1}),
        "a number of pods, or a percentage",
    ),
    "budget above everything": (
        serve(podDisruptionBudget={"maxUnavailable": "101%"}),
        "a number of pods, or a percentage",
    ),
    "interval": (
        serve(monitoring={"podMonitor": {"interval": "30"}}),
        "a duration such as 30s",
    ),
    "patch of tokens": (patches("Secret", "merge", {}), "Unsupported value"),
    "patch of another kind": (patches("Service", "strategic", {}), "Unsupported value"),
    "no storage mode": (serve(storage={}), "exactly one of"),
    "RWO shared": (serve(replicas=2), "storage.persistent.accessMode to ReadWriteMany"),
    "size": (serve(storage={"persistent": {"size": "big"}}), "positive quantity"),
    "size of nothing": (serve(storage={"persistent": {"size": "0"}}), "positive quantity"),
    "limit": (serve(storage={"ephemeral": {"sizeLimit": "-1Gi"}}), "positive quantity"),
    "GPU as a limit": (
        serve(resources={"limits": {"nvidia.com/gpu": "1"}}),
        "GPUs are asked for with gpu.count, not in resources.limits",
    ),
    "GPU as a request": (
        serve(resources={"requests": {"nvidia.com/gpu": "1"}}),
        "GPUs are asked for with gpu.count, not in resources.requests",
    ),
    "GPU without a domain": (serve(gpu={"resource": "gpu"}), "such as nvidia.com/gpu"),
    "negative GPUs": (serve(gpu={"count": -1}), "greater than or equal to 0"),
    "image": (serve(image={"ollama": "ollama image"}), "repository:tag"),
    "keep alive": (serve(ollama={"keepAlive": "forever"}), "-1 (for ever)"),
    "load timeout": (serve(ollama={"loadTimeout": "5"}), "a duration such as 5m"),
    "reserved env": (serve(env=[{"name": "OLLAMA_HOST", "value": "0.0.0.0"}]), "operator owns"),
    "env twice": (
        serve(env=[{"name": "X", "value": "1", "valueFrom": {}}]),
        "either value or valueFrom",
    ),
    "env from nowhere": (
        serve(env=[{"name": "X", "valueFrom": {}}]),
        "exactly one of secretKeyRef",
    ),
    "token name": (serve(auth={"tokens": [{"key": "a b"}]}), "1 to 63 of letters"),
    "token name of rotation": (serve(auth={"tokens": [{"key": "A_PREVIOUS"}]}), "for rotation"),
    "token called as the revision": (
        serve(auth={"tokens": [{"key": "REVISION"}]}),
        "for rotation",
    ),
    "node port on ClusterIP": (serve(service={"nodePort": 30000}), "nodePort needs service.type"),
    "class on ClusterIP": (
        serve(service={"loadBalancerClass": "example.com/x"}),
        "loadBalancerClass needs service.type: LoadBalancer",
    ),
    "our annotation": (
        serve(service={"annotations": {"ollamaserve.dev/desired-hash": "x"}}),
        "belong to the operator",
    ),
}

CHANGES: dict[str, tuple[Body, Body, str]] = {
    "shrink": (
        serve(storage={"persistent": {"size": "2Gi"}}),
        {"storage": {"persistent": {"size": "1Gi"}}},
        "a volume can't shrink",
    ),
    "storage class": (
        serve(storage={"persistent": {"storageClassName": "a"}}),
        {"storage": {"persistent": {"storageClassName": "b"}}},
        "can't change its storage class",
    ),
    "access mode": (
        serve(),
        {"storage": {"persistent": {"accessMode": "ReadWriteMany"}}},
        "can't change its access mode",
    ),
    "second storage mode": (
        serve(),
        {"storage": EPHEMERAL},
        "write the other as null",
    ),
    "load balancer class": (
        serve(service={"type": "LoadBalancer", "loadBalancerClass": "example.com/a"}),
        {"service": {"loadBalancerClass": "example.com/b"}},
        "can't change its class",
    ),
}

ALLOWED_CHANGES: dict[str, tuple[Body, Body]] = {
    "growth, in other units": (
        serve(storage={"persistent": {"size": "1Gi"}}),
        {"storage": {"persistent": {"size": "1025Mi"}}},
    ),
    "same size, in other units": (
        serve(storage={"persistent": {"size": "1Gi"}}),
        {"storage": {"persistent": {"size": "1024Mi"}}},
    ),
    "to ephemeral": (serve(), {"storage": {"persistent": None, "ephemeral": {}}}),
    "to an existing claim": (serve(), {"storage": {"persistent": None, **MINE}}),
    "to another claim": (serve(storage=MINE), {"storage": {"existingClaim": {"name": "b"}}}),
    "class after ClusterIP": (
        serve(service={"type": "LoadBalancer", "loadBalancerClass": "example.com/a"}),
        {"service": {"type": "ClusterIP", "loadBalancerClass": None}},
    ),
}


@pytest.mark.parametrize("body", ACCEPTED.values(), ids=ACCEPTED.keys())
async def test_accepted(server: Server, body: Body) -> None:
    """Each rule lets the right thing pass."""
    code, answer = await server.post(body)

    assert code == 201, answer


@pytest.mark.parametrize(("body", "words"), REFUSED.values(), ids=REFUSED.keys())
async def test_refused(server: Server, body: Body, words: str) -> None:
    """Each rule refuses the wrong thing, and its message says what to do instead."""
    code, answer = await server.post(body)

    assert code == 422, answer
    assert words in answer["message"]


@pytest.mark.parametrize(("body", "patch", "words"), CHANGES.values(), ids=CHANGES.keys())
async def test_refused_change(server: Server, body: Body, patch: Body, words: str) -> None:
    """What can't be changed later is refused at once."""
    await server.post(body)
    code, answer = await server.send("PATCH", f"{SERVES}/llama", {"spec": patch}, MERGE)

    assert code == 422, answer
    assert words in answer["message"]


@pytest.mark.parametrize(("body", "patch"), ALLOWED_CHANGES.values(), ids=ALLOWED_CHANGES.keys())
async def test_allowed_change(server: Server, body: Body, patch: Body) -> None:
    """What looks alike but is fine passes."""
    await server.post(body)
    code, answer = await server.send("PATCH", f"{SERVES}/llama", {"spec": patch}, MERGE)

    assert code == 200, answer


async def test_scale_subresource_obeys_the_same_rules(server: Server) -> None:
    """T4, decision 8: an autoscaler can't put two replicas on a ReadWriteOnce volume."""
    await server.post(serve())
    await server.post(serve("shared", storage=RWX))
    scale = {"spec": {"replicas": 2}}
    refused, answer = await server.send("PATCH", f"{SERVES}/llama/scale", scale, MERGE)
    allowed, _ = await server.send("PATCH", f"{SERVES}/shared/scale", scale, MERGE)

    assert refused == 422
    assert "ReadWriteMany" in answer["message"]
    assert allowed == 200


async def test_minimal_resource_is_defaulted_as_parse_does(server: Server) -> None:
    """The CRD's defaults and parse's are the same, as the API server applies them."""
    code, stored = await server.post(serve())
    bare = copy.deepcopy(stored)
    bare["spec"] = {"models": [{"name": "llama2:7b"}]}

    assert code == 201
    assert api.parse(stored) == api.parse(bare)


class Life:
    """A resource on the real API server, looked after as the loop does, without kopf."""

    def __init__(self, server: Server, body: Body) -> None:
        self.server = server
        self.body = body
        self.known: dict[tuple[str, str], Body] = {}

    @property
    def serve(self) -> api.OllamaServe:
        found = api.parse(self.body)
        assert isinstance(found, api.OllamaServe), found
        return found

    @property
    def observed(self) -> Observed:
        return observe(self.known.values(), at=NOW)

    @property
    def desired(self) -> tuple[Manifest, ...]:
        return children(self.serve, IMAGES, self.observed)

    def steps(self) -> tuple[Create | Apply | Issue | Delete, ...]:
        return plan(self.desired, self.observed, self.serve)

    async def look(self) -> None:
        """Read every known object anew, as a watch would show it."""
        for kind, name in list(self.known):
            self.known[kind, name] = await self.server.get(kind, name)

    async def carry_out(self) -> int:
        """One round of the loop; the number of steps that it took."""
        steps = self.steps()
        for step in steps:
            match step:
                case Create():
                    body = await self.server.cluster.create(step)
                case Apply():
                    body = await self.server.cluster.apply(step)
                case Issue():
                    body = await self.server.cluster.issue(self.server.namespace, step)
                case Delete():
                    body = None
                    await self.server.cluster.delete(self.server.namespace, step)
                    self.known.pop((step.kind, step.name))
            if body is not None:
                self.known[body["kind"], body["metadata"]["name"]] = body
        return len(steps)

    async def settle(self) -> None:
        for _ in range(4):
            if not await self.carry_out():
                return
        raise AssertionError(f"it never settles: {self.steps()}")

    async def change(self, **spec: Any) -> None:
        path = f"{SERVES}/{self.body['metadata']['name']}"
        code, self.body = await self.server.send("PATCH", path, {"spec": spec}, MERGE)
        assert code == 200, self.body


async def live(server: Server, body: Body) -> Life:
    code, stored = await server.post(body)
    assert code == 201, stored
    return Life(server, stored)


def full() -> Body:
    """Every field set; the Service without a fixed port, which tests would fight over."""
    body = sample("full")
    body["metadata"] = {"name": "full"}
    del body["spec"]["service"]["nodePort"]
    return body


@pytest.mark.parametrize("name", ["minimal", "cpu", "full", "ephemeral"])
async def test_what_is_applied_plans_to_nothing(server: Server, name: str) -> None:
    """The fixpoint law on the real API server, with all that it defaults and normalises."""
    bodies = {
        "minimal": serve(),
        "cpu": serve(gpu={"count": 0}, resources={"limits": {"cpu": "1000m", "memory": "1024Mi"}}),
        "full": full(),
        "ephemeral": serve(storage={"ephemeral": {"sizeLimit": "1024Mi"}}),
    }
    life = await live(server, bodies[name])
    await life.settle()
    await life.look()

    assert life.steps() == ()
    kinds = {kind for kind, _ in life.known}
    assert {"ConfigMap", "Deployment", "Service"} <= kinds


@pytest.mark.parametrize("name", ["minimal", "full"])
async def test_every_pod_is_restricted(server: Server, name: str) -> None:
    """T22: both pod templates pass Pod Security `restricted`, and another does not."""
    life = await live(server, serve() if name == "minimal" else full())
    await life.settle()
    templates = [
        body["spec"]["template"]
        for (kind, _), body in life.known.items()
        if kind in {"Deployment", "Job"}
    ]
    answers = []
    for template in templates:
        pod = {**template, "apiVersion": "v1", "kind": "Pod"}
        pod["metadata"] = {"name": "probe"}
        answers.append(await server.post(pod, "?dryRun=All"))
    loose = copy.deepcopy(templates[0]["spec"])
    loose["hostNetwork"] = True
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "loose"}, "spec": loose}
    refused, _ = await server.post(pod, "?dryRun=All")

    assert len(templates) == 2
    assert [code for code, _ in answers] == [201, 201], answers
    assert refused == 403


@pytest.mark.parametrize("kind", kinds.WATCHED, ids=lambda kind: kind.name)
async def test_empty_lists_are_read(server: Server, kind: kinds.Kind) -> None:
    """A fresh namespace, as the sweep lists it: the API server says `items: null` for nothing."""
    pages = server.cluster.list(kind, server.namespace, metadata_only=True)

    assert [list(page.items) async for page in pages] == [[]]


async def test_apply_creates_nothing(server: Server) -> None:
    """Decision 1: with the uid that was seen, a missing object gives 409, as another's does."""
    life = await live(server, serve())
    await life.settle()
    service = next(m for m in life.desired if m["kind"] == "Service")
    uid = life.known["Service", "llama"]["metadata"]["uid"]
    with pytest.raises(Outdated):
        await server.cluster.apply(Apply(service, "11111111-2222-3333-4444-555555555555"))
    await server.send("DELETE", f"{PATHS['Service']}/llama")
    with pytest.raises(Outdated):
        await server.cluster.apply(Apply(service, uid))
    code, _ = await server.send("GET", f"{PATHS['Service']}/llama")

    assert code == 404


async def test_foreign_object_is_never_adopted(server: Server) -> None:
    """Decision 1: each kind of child, made by a user before us, stays as it is: a conflict."""
    life = await live(server, serve())
    manifests = [m for m in life.desired if m["kind"] != "Job"]
    for manifest in manifests:
        theirs = copy.deepcopy(dict(manifest))
        theirs["metadata"] = {"name": manifest["metadata"]["name"], "labels": {"mine": "yes"}}
        code, before = await server.post(theirs)
        assert code == 201, before
        with pytest.raises(NameConflict):
            await server.cluster.create(Create(manifest, ("A",) * (manifest["kind"] == "Secret")))
        after = await server.get(manifest["kind"], manifest["metadata"]["name"])
        assert after["metadata"].get("labels") == {"mine": "yes"}
        assert "ownerReferences" not in after["metadata"]

    assert len(manifests) == 5


async def test_tokens_are_in_no_apply(server: Server) -> None:
    """Decision 1: no apply owns a token's value, so that none can drop one."""
    life = await live(server, serve(auth={"tokens": [{"key": "A"}]}))
    await life.settle()
    await life.change(auth={"tokens": [{"key": "A"}, {"key": "B"}]})
    await life.settle()
    secret = await server.get("Secret", "llama-auth")
    applied = [m for m in secret["metadata"]["managedFields"] if m["operation"] == "Apply"]

    assert set(secret["data"]) == {"A", "B"}
    assert applied == [] or "f:data" not in json.dumps(applied)


async def test_field_that_is_no_longer_wanted_goes(server: Server) -> None:
    """Decision 1: what a create wrote, a later apply can take away."""
    life = await live(server, serve(env=[{"name": "A", "value": "1"}], gpu={"count": 1}))
    await life.settle()
    await life.change(env=None, gpu={"count": 0})
    await life.settle()
    deployment = await server.get("Deployment", "llama")
    ollama = deployment["spec"]["template"]["spec"]["containers"][1]

    assert "A" not in {entry["name"] for entry in ollama["env"]}
    assert "nvidia.com/gpu" not in ollama["resources"].get("limits", {})
    assert life.steps() == ()


async def test_update_strategy_can_change(server: Server) -> None:
    """Decision 8: RollingUpdate to Recreate and back is accepted, and settles."""
    life = await live(server, serve(storage={"ephemeral": {}}, gpu={"count": 0}))
    await life.settle()
    seen = [(await server.get("Deployment", "llama"))["spec"]["strategy"]]
    changes: tuple[Body, ...] = (
        {"ephemeral": None, "persistent": {}},
        {"ephemeral": {}, "persistent": None},
    )
    for storage in changes:
        await life.change(storage=storage)
        await life.settle()
        seen.append((await server.get("Deployment", "llama"))["spec"]["strategy"])

    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert seen == [rolling, {"type": "Recreate"}, rolling]


async def test_drift_is_repaired_and_foreign_fields_stay(server: Server) -> None:
    """Owned fields return; an annotation that somebody else put there is left alone."""
    life = await live(server, serve())
    await life.settle()
    patches: list[tuple[str, str, Body]] = [
        ("Service", "llama", {"spec": {"ports": [{"port": 7860, "targetPort": 1}]}}),
        ("ConfigMap", "llama-gate", {"data": {"gate.json": "{}"}}),
        ("Deployment", "llama", {"spec": {"replicas": 0}}),
        ("Deployment", "llama", {"metadata": {"annotations": {"example.com/note": "mine"}}}),
    ]
    for kind, name, patch in patches:
        await server.send("PATCH", f"{PATHS[kind]}/{name}", patch, MERGE)
    await life.look()
    await life.settle()
    service = await server.get("Service", "llama")
    deployment = await server.get("Deployment", "llama")

    assert service["spec"]["ports"][0]["targetPort"] == names.DOOR_PORT
    assert (await server.get("ConfigMap", "llama-gate"))["data"]["gate.json"] != "{}"
    assert deployment["spec"]["replicas"] == 1
    assert deployment["metadata"]["annotations"]["example.com/note"] == "mine"


async def test_token_survives_every_apply(server: Server) -> None:
    """Decisions 1, 11: a token is written once; a new key gets its own, a revoked one doesn't."""
    life = await live(server, serve())
    await life.settle()
    first = (await server.get("Secret", "llama-auth"))["data"]
    await life.change(auth={"tokens": [{"key": "AUTH_TOKEN"}, {"key": "ADMIN"}]})
    await life.settle()
    second = (await server.get("Secret", "llama-auth"))["data"]
    await server.send("PATCH", f"{PATHS['Secret']}/llama-auth", {"data": {"ADMIN": None}}, MERGE)
    await life.look()
    await life.settle()
    third = (await server.get("Secret", "llama-auth"))["data"]

    assert set(first) == {"AUTH_TOKEN"}
    assert set(second) == {"AUTH_TOKEN", "ADMIN"}
    assert second["AUTH_TOKEN"] == first["AUTH_TOKEN"]
    assert third == first


async def test_retained_volume_is_adopted(server: Server) -> None:
    """Decision 14: a retained claim has no owner, and a namesake takes it over."""
    retained = {"persistent": {"whenDeleted": "Retain"}}
    life = await live(server, serve(storage=retained))
    await life.settle()
    claim = await server.get("PersistentVolumeClaim", "llama-models")
    await server.send("DELETE", f"{SERVES}/llama")
    again = await live(server, serve(storage={"persistent": {"size": "1Gi"}}))
    again.known["PersistentVolumeClaim", "llama-models"] = claim
    steps = [step for step in again.steps() if isinstance(step, Apply)]
    for step in steps:
        await server.cluster.apply(step)
    adopted = await server.get("PersistentVolumeClaim", "llama-models")

    assert "ownerReferences" not in claim["metadata"]
    assert [step.manifest["kind"] for step in steps] == ["PersistentVolumeClaim"]
    assert adopted["metadata"]["uid"] == claim["metadata"]["uid"]
    assert adopted["metadata"]["ownerReferences"][0]["uid"] == again.serve.identity.uid
    assert adopted["spec"]["resources"]["requests"]["storage"] == "30Gi"


async def test_printer_columns_are_filled(server: Server) -> None:
    """`kubectl get` shows what the status says; Message is for `-o wide`."""
    crd = yaml.safe_load(CRD.read_text())
    columns = crd["spec"]["versions"][0]["additionalPrinterColumns"]
    await server.post(serve())
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    path = SERVES.format(namespace=server.namespace)
    _, _, answer = await server.connection.send("GET", path, headers={"Accept": accept})
    table = json.loads(answer)

    shown = [column["name"] for column in table["columnDefinitions"]]
    assert shown == ["Name", *(column["name"] for column in columns)]
