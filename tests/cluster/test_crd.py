"""The CRD, judged by a real API server: each rule lets the right thing pass, and no other."""

import copy
import json
from typing import Any

import pytest
import yaml

from cluster.server import MERGE, SERVES, Body, Server, serve
from examples import CRD
from ollamaserve_operator import api

pytestmark = pytest.mark.cluster

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
    """T4, decision 8: an autoscaler can't put two replicas on a volume that is for one."""
    one = {
        "llama": serve(),
        "mine": serve("mine", storage=MINE),
        "in-pod": serve("in-pod", storage=RWX, pull={"strategy": "InPod"}),
    }
    several = {
        "shared": serve("shared", storage=RWX),
        "rolling": serve("rolling", storage=MINE, updateStrategy="RollingUpdate"),
        "own-disks": serve("own-disks", storage=EPHEMERAL),
    }
    words, codes = {}, {}
    for name, body in {**one, **several}.items():
        await server.post(body)
        path, scale = f"{SERVES}/{name}/scale", {"spec": {"replicas": 2}}
        codes[name], answer = await server.send("PATCH", path, scale, MERGE)
        words[name] = answer.get("message", "")

    assert codes == {**dict.fromkeys(one, 422), **dict.fromkeys(several, 200)}
    assert "storage.persistent.accessMode to ReadWriteMany" in words["llama"]
    assert "updateStrategy: RollingUpdate" in words["mine"]
    assert "several replicas would write the same files" in words["in-pod"]


async def test_minimal_resource_is_defaulted_as_parse_does(server: Server) -> None:
    """The CRD's defaults and parse's are the same, as the API server applies them."""
    code, stored = await server.post(serve())
    bare = copy.deepcopy(stored)
    bare["spec"] = {"models": [{"name": "llama2:7b"}]}

    assert code == 201
    assert api.parse(stored) == api.parse(bare)


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
