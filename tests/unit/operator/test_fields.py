"""T16: every field of the API reaches its place, and a change of it changes that and nothing else.

One row for each field. What a row names as changed is what the cluster has to do: `pods` says that
the serving pods are replaced, `Deployment` that they stay (it is scaled, or rolls otherwise), any
other kind that objects of it alone are written. The gates follow the ConfigMap without a restart.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from examples import CRD
from ollamaserve_operator import names
from rendered import Body, Rendered, env, mount


@dataclass(frozen=True)
class Field:
    """A spec that sets the field, where it arrives as what, what differs from `beside` alone."""

    spec: Body
    where: Callable[[Rendered], Any]
    what: Any
    changes: frozenset[str]
    beside: Body = field(default_factory=dict)


def row(
    spec: Body,
    where: Callable[[Rendered], Any],
    what: Any,
    changes: str,
    beside: Body | None = None,
) -> Field:
    return Field(spec, where, what, frozenset(changes.split()), beside or {})


def ollama(name: str, value: Any, variable: str, text: str) -> Field:
    return row({"ollama": {name: value}}, lambda r: env(r.ollama).get(variable), text, "pods")


def limit(name: str, value: int) -> Field:
    return row(
        {"gate": {"limits": {name: value}}},
        lambda r: r.gate_json["limits"],
        {name: value},
        "ConfigMap",
    )


def key(**more: Any) -> Field:
    """What is told of a person's key, beside name and key; an empty spec has none."""
    entry = {"name": "ada", "key": KEY, **more}
    told = {"access": "infer", **entry}
    return row(
        {"auth": {"authorizedKeys": [entry]}, "gate": {"tls": {"secretName": "t"}}},
        lambda r: r.gate_json["authorizedKeys"],
        [told],
        "ConfigMap",
        beside={"gate": {"tls": {"secretName": "t"}}},
    )


def created(create: Body) -> Field:
    """A model made of another one, with one thing more or other than its base."""
    base = {"from": "mistral"}

    def spec(block: Body) -> Body:
        return {"models": [{"name": "mine", "create": {**base, **block}}]}

    return row(
        spec(create),
        lambda r: json.loads(env(r.container("pull"))["PULL_MODELS"])[0]["create"],
        {**base, **create},
        "Job",
        beside=spec({}),
    )


def server_and_job(at: str) -> Callable[[Rendered], Any]:
    return lambda r: (r.pod[at], r.job_pod[at])


DIGEST = "sha256:" + "a" * 64
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
RWX = {"storage": {"persistent": {"accessMode": "ReadWriteMany"}}}
MINE = {"storage": {"existingClaim": {"name": "mine"}}}
EPHEMERAL: Body = {"storage": {"ephemeral": {}}}
IN_POD = {"pull": {"strategy": "InPod"}}
PEER = {"podSelector": {"matchLabels": {"a": "b"}}}
ZONES = {"nodeAffinity": {"required": 1}, "podAntiAffinity": {"preferred": 1}}
ROUTE = {"httpRoute": {"parentRefs": [{"name": "gateway"}]}}
INGRESS = {"ingress": {"host": "llm.example.com"}}
MONITOR = {"monitoring": {"podMonitor": {"enabled": True}}}
DEADLINE = {"spec": {"activeDeadlineSeconds": 600}}
PATIENCE = {"spec": {"minReadySeconds": 10}}
STICKY = [{"op": "add", "path": "/spec/sessionAffinity", "value": "ClientIP"}]
BUDGET = {"podDisruptionBudget": {"enabled": True}}


def merged(one: Body, other: Body) -> Body:
    """Blocks laid over each other, as deep as they are objects."""
    both = {k: merged(one[k], other[k]) for k in one.keys() & other.keys() if _deep(one, other, k)}
    return {**one, **other, **both}


def _deep(one: Body, other: Body, name: str) -> bool:
    return isinstance(one[name], Mapping) and isinstance(other[name], Mapping)


FIELDS: dict[str, Field] = {
    "models.name": row(
        {"models": [{"name": "a:1"}]},
        lambda r: (
            json.loads(env(r.container("pull"))["PULL_MODELS"]),
            [m["name"] for m in r.gate_json["models"]],
        ),
        ([{"name": "a:1"}], ["a:1"]),
        "ConfigMap Job",
    ),
    "models.digest": row(
        {"models": [{"name": "llama2:7b", "digest": DIGEST}]},
        lambda r: (
            json.loads(env(r.container("pull"))["PULL_MODELS"])[0]["digest"],
            r.gate_json["models"][0]["digest"],
        ),
        (DIGEST, DIGEST),
        "ConfigMap Job",
    ),
    "models.warm": row(
        {"models": [{"name": "llama2:7b", "warm": False}]},
        lambda r: [m["warm"] for m in r.gate_json["models"]],
        [False],
        "ConfigMap",
    ),
    "models.create.from": created({"from": "llama2:7b"}),
    "models.create.system": created({"system": "Be brief."}),
    "models.create.template": created({"template": "{{ .Prompt }}"}),
    "models.create.parameters": created({"parameters": {"stop": ["a"]}}),
    "models.create, in the pod": row(
        {"models": [{"name": "mine", "create": {"from": "a", "system": "Be brief."}}]},
        lambda r: r.gate_json["models"][0]["create"],
        {"from": "a", "system": "Be brief."},
        "ConfigMap",
        beside=EPHEMERAL,
    ),
    "pull.strategy": row(
        IN_POD,
        lambda r: ("Job" in r.kinds, r.gate_json["pull"], r.gate_json["egress"]),
        (False, {"insecure": False}, True),
        "ConfigMap Job NetworkPolicy",
    ),
    "pull.insecure": row(
        {"pull": {"insecure": True}},
        lambda r: env(r.container("pull"))["PULL_INSECURE"],
        "true",
        "Job",
    ),
    "pull.insecure, in the pod": row(
        {"pull": {"insecure": True}},
        lambda r: r.gate_json["pull"],
        {"insecure": True},
        "ConfigMap",
        beside=EPHEMERAL,
    ),
    "pull.caBundle.name": row(
        {"pull": {"caBundle": {"name": "ca"}}},
        lambda r: (
            env(r.puller)["SSL_CERT_DIR"].split(":"),
            mount(r.puller, "ca")["mountPath"],
            r.job_pod["volumes"][-1]["configMap"],
        ),
        (
            ["/etc/ssl/certs", "/etc/pki/tls/certs", "/etc/ollamaserve/ca"],
            "/etc/ollamaserve/ca",
            {"name": "ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]},
        ),
        "Job",
    ),
    "pull.caBundle.key": row(
        {"pull": {"caBundle": {"key": "b.pem"}}},
        lambda r: r.job_pod["volumes"][-1]["configMap"]["items"],
        [{"key": "b.pem", "path": "ca.crt"}],
        "Job",
        beside={"pull": {"caBundle": {"name": "ca"}}},
    ),
    "pull.caBundle, in the pod": row(
        {"pull": {"caBundle": {"name": "ca"}}},
        lambda r: (mount(r.ollama, "ca")["mountPath"], r.volume("ca")["configMap"]["name"]),
        ("/etc/ollamaserve/ca", "ca"),
        "pods",
        beside=IN_POD,
    ),
    "pull.proxy.http": row(
        {"pull": {"proxy": {"http": "http://p:1"}}},
        lambda r: (env(r.puller)["HTTP_PROXY"], env(r.puller)["NO_PROXY"]),
        ("http://p:1", "localhost,127.0.0.1,::1"),
        "Job",
    ),
    "pull.proxy.https": row(
        {"pull": {"proxy": {"https": "http://p:1"}}},
        lambda r: env(r.puller)["HTTPS_PROXY"],
        "http://p:1",
        "Job",
    ),
    "pull.proxy.no": row(
        {"pull": {"proxy": {"no": "a.example,10.0.0.0/8"}}},
        lambda r: env(r.puller)["NO_PROXY"],
        "localhost,127.0.0.1,::1,a.example,10.0.0.0/8",
        "Job",
        beside={"pull": {"proxy": {"https": "http://p:1"}}},
    ),
    "pull.proxy, in the pod": row(
        {"pull": {"proxy": {"https": "http://p:1"}}},
        lambda r: env(r.ollama)["HTTPS_PROXY"],
        "http://p:1",
        "pods",
        beside=IN_POD,
    ),
    "pull.retries": row(
        {"pull": {"retries": 3}}, lambda r: r["Job"]["spec"]["backoffLimit"], 3, "Job"
    ),
    "pull.resources": row(
        {"pull": {"resources": {"limits": {"memory": "2Gi"}}}},
        lambda r: r.puller["resources"],
        {"limits": {"memory": "2Gi"}},
        "Job",
    ),
    "storage.persistent.size": row(
        {"storage": {"persistent": {"size": "50Gi"}}},
        lambda r: r.claim["spec"]["resources"]["requests"]["storage"],
        "50Gi",
        "PersistentVolumeClaim",
    ),
    "storage.persistent.storageClassName": row(
        {"storage": {"persistent": {"storageClassName": "fast"}}},
        lambda r: r.claim["spec"]["storageClassName"],
        "fast",
        "PersistentVolumeClaim",
    ),
    "storage.persistent.accessMode": row(
        RWX,
        lambda r: r.claim["spec"]["accessModes"],
        ["ReadWriteMany"],
        "PersistentVolumeClaim Deployment Job",
    ),
    "storage.persistent.whenDeleted": row(
        {"storage": {"persistent": {"whenDeleted": "Retain"}}},
        lambda r: (
            "ownerReferences" in r.claim["metadata"],
            r.claim["metadata"]["labels"][names.RETAINED_FOR],
        ),
        (False, "llama"),
        "PersistentVolumeClaim",
    ),
    "storage.existingClaim.name": row(
        {"storage": {"existingClaim": {"name": "theirs"}}},
        lambda r: (
            r.volume("models")["persistentVolumeClaim"]["claimName"],
            r.job_pod["volumes"][0]["persistentVolumeClaim"]["claimName"],
            "PersistentVolumeClaim" in r.kinds,
        ),
        ("theirs", "theirs", False),
        "pods Job",
        beside=MINE,
    ),
    "storage.existingClaim.subPath": row(
        {"storage": {"existingClaim": {"subPath": "team-a"}}},
        lambda r: (mount(r.ollama, "models")["subPath"], mount(r.puller, "models")["subPath"]),
        ("team-a", "team-a"),
        "pods Job",
        beside=MINE,
    ),
    "storage.ephemeral.sizeLimit": row(
        {"storage": {"ephemeral": {"sizeLimit": "9Gi"}}},
        lambda r: (r.volume("models")["emptyDir"], "PersistentVolumeClaim" in r.kinds),
        ({"sizeLimit": "9Gi"}, False),
        "pods",
        beside=EPHEMERAL,
    ),
    "gpu.count": row(
        {"gpu": {"count": 2}},
        lambda r: r.ollama["resources"]["limits"],
        {"nvidia.com/gpu": "2"},
        "pods",
    ),
    "gpu.resource": row(
        {"gpu": {"resource": "nvidia.com/mig-1g.10gb"}},
        lambda r: (r.ollama["resources"]["limits"], *server_and_job("tolerations")(r)),
        (
            {"nvidia.com/mig-1g.10gb": "1"},
            *([{"key": "nvidia.com/mig-1g.10gb", "operator": "Exists"}],) * 2,
        ),
        "pods Job",
    ),
    "gpu.requireAcceleration": row(
        {"gpu": {"requireAcceleration": False}},
        lambda r: r.gate_json["requireAcceleration"],
        False,
        "ConfigMap",
    ),
    "gpu.supplementalGroups": row(
        {"gpu": {"supplementalGroups": [44, 109]}},
        lambda r: (
            r.pod["securityContext"]["supplementalGroups"],
            r.pod["securityContext"]["runAsNonRoot"],
            "supplementalGroups" in r.job_pod["securityContext"],
        ),
        ([44, 109], True, False),
        "pods",
    ),
    "resources": row(
        {"resources": {"requests": {"cpu": "2"}}},
        lambda r: r.ollama["resources"]["requests"],
        {"cpu": "2"},
        "pods",
    ),
    "replicas": row(
        {"replicas": 2},
        lambda r: r["Deployment"]["spec"]["replicas"],
        2,
        "Deployment PodDisruptionBudget",
        beside=RWX,
    ),
    "suspend": row(
        {"suspend": True},
        lambda r: (r["Deployment"]["spec"]["replicas"], "Job" in r.kinds),
        (0, False),
        "Deployment Job",
    ),
    "image.ollama": row(
        {"image": {"ollama": "x/y:1"}},
        lambda r: (r.ollama["image"], r.puller["image"]),
        ("x/y:1", "x/y:1"),
        "pods Job",
    ),
    "image.pullPolicy": row(
        {"image": {"pullPolicy": "Always"}},
        lambda r: (r.ollama["imagePullPolicy"], r.puller["imagePullPolicy"]),
        ("Always", "Always"),
        "pods Job",
    ),
    "image.pullSecrets": row(
        {"image": {"pullSecrets": [{"name": "s"}]}},
        server_and_job("imagePullSecrets"),
        ([{"name": "s"}], [{"name": "s"}]),
        "pods Job",
    ),
    "ollama.keepAlive": ollama("keepAlive", "5m", "OLLAMA_KEEP_ALIVE", "5m"),
    "ollama.contextLength": ollama("contextLength", 4096, "OLLAMA_CONTEXT_LENGTH", "4096"),
    "ollama.numParallel": ollama("numParallel", 4, "OLLAMA_NUM_PARALLEL", "4"),
    "ollama.maxLoadedModels": ollama("maxLoadedModels", 2, "OLLAMA_MAX_LOADED_MODELS", "2"),
    "ollama.maxQueue": ollama("maxQueue", 9, "OLLAMA_MAX_QUEUE", "9"),
    "ollama.flashAttention": ollama("flashAttention", False, "OLLAMA_FLASH_ATTENTION", "false"),
    "ollama.kvCacheType": ollama("kvCacheType", "q8_0", "OLLAMA_KV_CACHE_TYPE", "q8_0"),
    "ollama.loadTimeout": ollama("loadTimeout", "9m", "OLLAMA_LOAD_TIMEOUT", "9m"),
    "env": row(
        {"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
        lambda r: (r.ollama["env"][-1], r.puller["env"][-1]),
        ({"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},) * 2,
        "pods Job",
    ),
    "auth.secretName": row(
        {"auth": {"secretName": "mine"}},
        lambda r: (r.volume("tokens")["secret"]["secretName"], "Secret" in r.kinds),
        ("mine", False),
        "pods Secret",
    ),
    "auth.tokens.key": row(
        {"auth": {"tokens": [{"key": "A"}]}},
        lambda r: (
            [item["key"] for item in r.volume("tokens")["secret"]["items"]][:3],
            list(r.gate_json["tokens"]),
        ),
        (["A", "A_PREVIOUS", "A_NEXT"], ["A"]),
        "pods ConfigMap Secret",
    ),
    "auth.tokens.access": row(
        {"auth": {"tokens": [{"key": "AUTH_TOKEN", "access": "manage"}]}},
        lambda r: r.gate_json["tokens"],
        {"AUTH_TOKEN": {"access": "manage"}},
        "ConfigMap",
    ),
    "auth.tokens.models": row(
        {"auth": {"tokens": [{"key": "AUTH_TOKEN", "models": ["llama2:7b"]}]}},
        lambda r: r.gate_json["tokens"],
        {"AUTH_TOKEN": {"access": "infer", "models": ["llama2:7b"]}},
        "ConfigMap",
    ),
    "auth.authorizedKeys.name": key(name="bob"),
    "auth.authorizedKeys.key": key(key=f"{KEY} ada@laptop"),
    "auth.authorizedKeys.access": key(access="manage"),
    "auth.authorizedKeys.models": key(models=["llama2:7b"]),
    "gate.drainTimeout": row(
        {"gate": {"drainTimeout": 30}},
        lambda r: (
            env(r.container("gate"))["GATE_DRAIN_TIMEOUT"],
            r.pod["terminationGracePeriodSeconds"],
        ),
        ("30", 45),
        "pods",
    ),
    "gate.tls.secretName": row(
        {"gate": {"tls": {"secretName": "cert"}}},
        lambda r: (
            env(r.container("gate"))["GATE_TLS_CERT"],
            env(r.container("gate"))["GATE_TLS_KEY"],
            mount(r.container("gate"), "tls"),
            r.volume("tls")["secret"]["secretName"],
            (r.port["name"], r.port["appProtocol"]),
        ),
        (
            "/etc/ollamaserve/tls/tls.crt",
            "/etc/ollamaserve/tls/tls.key",
            {"name": "tls", "mountPath": "/etc/ollamaserve/tls", "readOnly": True},
            "cert",
            ("https", "https"),
        ),
        "pods Service",
    ),
    "gate.healthPath": row(
        {"gate": {"healthPath": "/healthz"}},
        lambda r: r.gate_json["healthPath"],
        "/healthz",
        "ConfigMap",
    ),
    "gate.cors.allowedOrigins": row(
        {"gate": {"cors": {"allowedOrigins": ["https://app.example"]}}},
        lambda r: r.gate_json["cors"],
        {"allowedOrigins": ["https://app.example"]},
        "ConfigMap",
    ),
    "gate.limits.bodyBytes": limit("bodyBytes", 1),
    "gate.limits.concurrentRequests": limit("concurrentRequests", 2),
    "gate.limits.concurrentRequestsPerToken": limit("concurrentRequestsPerToken", 0),
    "gate.limits.queue": limit("queue", 0),
    "gate.limits.queueWaitSeconds": limit("queueWaitSeconds", 5),
    "gate.limits.requestsPerMinute": limit("requestsPerMinute", 6),
    "gate.limits.connections": limit("connections", 7),
    "gate.resources": row(
        {"gate": {"resources": {"limits": {"memory": "1Gi"}}}},
        lambda r: (r.container("gate")["resources"], r.container("pull")["resources"]),
        ({"limits": {"memory": "1Gi"}}, {"limits": {"memory": "1Gi"}}),
        "pods Job",
    ),
    "service.type": row(
        {"service": {"type": "NodePort"}},
        lambda r: r["Service"]["spec"]["type"],
        "NodePort",
        "Service",
    ),
    "service.annotations": row(
        {"service": {"annotations": {"a": "b"}}},
        lambda r: r["Service"]["metadata"]["annotations"]["a"],
        "b",
        "Service",
    ),
    "service.nodePort": row(
        {"service": {"nodePort": 30000}},
        lambda r: r.port["nodePort"],
        30000,
        "Service",
        beside={"service": {"type": "NodePort"}},
    ),
    "service.loadBalancerClass": row(
        {"service": {"loadBalancerClass": "x/y"}},
        lambda r: r["Service"]["spec"]["loadBalancerClass"],
        "x/y",
        "Service",
        beside={"service": {"type": "LoadBalancer"}},
    ),
    "ingress.host": row(
        INGRESS, lambda r: r["Ingress"]["spec"]["rules"][0]["host"], "llm.example.com", "Ingress"
    ),
    "ingress.className": row(
        {"ingress": {"className": "nginx"}},
        lambda r: r["Ingress"]["spec"]["ingressClassName"],
        "nginx",
        "Ingress",
        beside=INGRESS,
    ),
    "ingress.tls.secretName": row(
        {"ingress": {"tls": {"secretName": "cert"}}},
        lambda r: r["Ingress"]["spec"]["tls"],
        [{"hosts": ["llm.example.com"], "secretName": "cert"}],
        "Ingress",
        beside=INGRESS,
    ),
    "ingress.annotations": row(
        {"ingress": {"annotations": {"a": "b"}}},
        lambda r: r["Ingress"]["metadata"]["annotations"]["a"],
        "b",
        "Ingress",
        beside=INGRESS,
    ),
    "httpRoute.parentRefs": row(
        ROUTE, lambda r: r["HTTPRoute"]["spec"]["parentRefs"], [{"name": "gateway"}], "HTTPRoute"
    ),
    "httpRoute.hostnames": row(
        {"httpRoute": {"hostnames": ["a.example"]}},
        lambda r: r["HTTPRoute"]["spec"]["hostnames"],
        ["a.example"],
        "HTTPRoute",
        beside=ROUTE,
    ),
    "httpRoute.annotations": row(
        {"httpRoute": {"annotations": {"a": "b"}}},
        lambda r: r["HTTPRoute"]["metadata"]["annotations"]["a"],
        "b",
        "HTTPRoute",
        beside=ROUTE,
    ),
    "networkPolicy.enabled": row(
        {"networkPolicy": {"enabled": False}},
        lambda r: ("NetworkPolicy" in r.kinds, r.gate_json["egress"]),
        (False, True),
        "NetworkPolicy ConfigMap",
    ),
    "networkPolicy.from": row(
        {"networkPolicy": {"from": [PEER]}},
        lambda r: r.server_policy["spec"]["ingress"][0]["from"],
        [PEER],
        "NetworkPolicy",
    ),
    "networkPolicy.egress": row(
        {"networkPolicy": {"egress": [{}]}},
        lambda r: (r.server_policy["spec"]["egress"], r.gate_json["egress"]),
        ([{}], True),
        "NetworkPolicy ConfigMap",
    ),
    "podDisruptionBudget.enabled": row(
        BUDGET,
        lambda r: r["PodDisruptionBudget"]["spec"]["maxUnavailable"],
        1,
        "PodDisruptionBudget",
    ),
    "podDisruptionBudget.maxUnavailable": row(
        {"podDisruptionBudget": {"maxUnavailable": "50%"}},
        lambda r: r["PodDisruptionBudget"]["spec"]["maxUnavailable"],
        "50%",
        "PodDisruptionBudget",
        beside=BUDGET,
    ),
    "scheduling.nodeSelector": row(
        {"scheduling": {"nodeSelector": {"a": "b"}}},
        server_and_job("nodeSelector"),
        ({"a": "b"}, {"a": "b"}),
        "pods Job",
    ),
    "scheduling.tolerations": row(
        {"scheduling": {"tolerations": [{"key": "x"}]}},
        server_and_job("tolerations"),
        ([{"key": "x"}], [{"key": "x"}]),
        "pods Job",
        beside={"gpu": {"count": 0}},
    ),
    "scheduling.affinity": row(
        {"scheduling": {"affinity": ZONES}},
        lambda r: (r.pod["affinity"], list(r.job_pod["affinity"])),
        (ZONES, ["podAffinity"]),  # on one node, the Job goes where the server is
        "pods",
    ),
    "scheduling.affinity, on a shared volume": row(
        {"scheduling": {"affinity": ZONES}},
        lambda r: (r.pod["affinity"], r.job_pod["affinity"]),
        (ZONES, {"nodeAffinity": {"required": 1}}),
        "pods Job",
        beside=RWX,
    ),
    "scheduling.topologySpreadConstraints": row(
        {"scheduling": {"topologySpreadConstraints": [{"topologyKey": "zone"}]}},
        lambda r: (
            r.pod["topologySpreadConstraints"],
            "topologySpreadConstraints" in r.job_pod,
        ),
        (
            [
                {
                    "topologyKey": "zone",
                    "labelSelector": {
                        "matchLabels": names.selector("llama", names.Component.SERVER)
                    },
                }
            ],
            False,
        ),
        "pods",
    ),
    "scheduling.priorityClassName": row(
        {"scheduling": {"priorityClassName": "high"}},
        server_and_job("priorityClassName"),
        ("high", "high"),
        "pods Job",
    ),
    "scheduling.runtimeClassName": row(
        {"scheduling": {"runtimeClassName": "nvidia"}},
        server_and_job("runtimeClassName"),
        ("nvidia", "nvidia"),
        "pods Job",
    ),
    "scheduling.schedulerName": row(
        {"scheduling": {"schedulerName": "other"}},
        server_and_job("schedulerName"),
        ("other", "other"),
        "pods Job",
    ),
    "updateStrategy": row(
        {"updateStrategy": "Recreate"},
        lambda r: r["Deployment"]["spec"]["strategy"],
        {"type": "Recreate"},
        "Deployment",
        beside=EPHEMERAL,
    ),
    "monitoring.podMonitor.enabled": row(
        MONITOR, lambda r: "PodMonitor" in r.kinds, True, "PodMonitor"
    ),
    "monitoring.podMonitor.labels": row(
        {"monitoring": {"podMonitor": {"labels": {"release": "x"}}}},
        lambda r: r["PodMonitor"]["metadata"]["labels"]["release"],
        "x",
        "PodMonitor",
        beside=MONITOR,
    ),
    "monitoring.podMonitor.interval": row(
        {"monitoring": {"podMonitor": {"interval": "30s"}}},
        lambda r: r["PodMonitor"]["spec"]["podMetricsEndpoints"][0]["interval"],
        "30s",
        "PodMonitor",
        beside=MONITOR,
    ),
    "monitoring.from": row(
        {"monitoring": {"from": [PEER]}},
        lambda r: r.server_policy["spec"]["ingress"][1]["from"][-1],
        PEER,
        "NetworkPolicy",
    ),
    "patches.target": row(
        {"patches": [{"target": "Job", "type": "merge", "patch": DEADLINE}]},
        lambda r: r["Job"]["spec"]["activeDeadlineSeconds"],
        600,
        "Job",
    ),
    "patches.type": row(
        {"patches": [{"target": "Service", "type": "json", "patch": STICKY}]},
        lambda r: r["Service"]["spec"]["sessionAffinity"],
        "ClientIP",
        "Service",
    ),
    "patches.patch": row(
        {"patches": [{"target": "Deployment", "type": "merge", "patch": PATIENCE}]},
        lambda r: r["Deployment"]["spec"]["minReadySeconds"],
        10,
        "Deployment",
    ),
}
# Fields that are about what happens, and reach no manifest by themselves: the tests that try them.
ELSEWHERE = {
    "auth.rotationGracePeriod": "test_rotation.py",
    "gate.upgradePolicy": "test_manifests.py",
}


@pytest.mark.parametrize("wanted", FIELDS.values(), ids=FIELDS.keys())
def test_field_reaches_its_place(wanted: Field) -> None:
    """T16: what the user writes arrives, and it isn't there without being written."""
    assert wanted.where(Rendered(merged(wanted.beside, wanted.spec))) == wanted.what
    assert _seen(wanted.where, Rendered(wanted.beside)) != wanted.what


def _seen(where: Callable[[Rendered], Any], rendered: Rendered) -> Any:
    try:
        return where(rendered)
    except (KeyError, IndexError, StopIteration):
        return None


@pytest.mark.parametrize("wanted", FIELDS.values(), ids=FIELDS.keys())
def test_change_rolls_out_what_it_must_and_nothing_else(wanted: Field) -> None:
    """Decisions 4 and 9: which objects are written, and whether the serving pods are replaced."""
    before = _parts(Rendered(wanted.beside))
    after = _parts(Rendered(merged(wanted.beside, wanted.spec)))

    assert {part for part in before | after if before.get(part) != after.get(part)} == set(
        wanted.changes
    )


def _parts(rendered: Rendered) -> dict[str, Any]:
    """Every child without its stamps, by kind; a Deployment's pods by themselves."""
    found: dict[str, Any] = {}
    for manifest in rendered.manifests:
        body = json.loads(json.dumps(manifest))
        kind = body["kind"]
        annotations = body["metadata"]["annotations"]
        for stamp in (names.DESIRED_HASH, names.TEMPLATE_HASH, names.OLLAMA_IMAGE):
            annotations.pop(stamp, None)
        if kind == "Deployment":
            found["pods"] = body["spec"].pop("template")
        found.setdefault(kind, []).append(body)
    return found


def leaves(schema: Body, path: str = "") -> Iterator[str]:
    """The paths of all fields that aren't blocks of fields themselves."""
    inner = schema.get("items", schema)
    if "properties" not in inner:
        yield path
    for name, each in inner.get("properties", {}).items():
        yield from leaves(each, f"{path}.{name}".lstrip("."))


def test_no_field_is_left_out() -> None:
    """T16: each field of the CRD is in the table above, by itself or with the block it is in."""
    crd = yaml.safe_load(CRD.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    tried = {*FIELDS, *ELSEWHERE}
    forgotten = [
        path
        for path in leaves(crd["properties"]["spec"])
        if not any(path == known or path.startswith(f"{known}.") for known in tried)
    ]

    assert forgotten == []
