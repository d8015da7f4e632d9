"""T16: every field of the API reaches the pod, or the child that it belongs to."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import yaml

from examples import CRD, IMAGES, NOW, parsed, resource, stored
from ollamaserve_operator import api, names
from ollamaserve_operator.manifests import Images, children
from ollamaserve_operator.observed import Observed, observe

Body = Mapping[str, Any]


class Rendered:
    """The children of a spec, by kind and by what is in them."""

    def __init__(self, spec: Body, observed: Observed | None = None) -> None:
        serve = parsed(resource(**spec))
        claim = observe(stored(children(serve, IMAGES, Observed(at=NOW))), at=NOW).pvc
        wanted = children(serve, IMAGES, observed or Observed(at=NOW, pvc=claim))
        self.kinds: dict[str, Any] = {manifest["kind"]: manifest for manifest in wanted}

    def __getitem__(self, kind: str) -> Any:
        return self.kinds[kind]

    @property
    def pod(self) -> Any:
        return self["Deployment"]["spec"]["template"]["spec"]

    @property
    def job_pod(self) -> Any:
        return self["Job"]["spec"]["template"]["spec"]

    def container(self, name: str) -> Any:
        containers = [*self.pod["containers"], *self.job_pod["containers"]]
        return next(c for c in containers if c["name"] == name)

    @property
    def ollama(self) -> Any:
        return self.container("ollama")

    @property
    def puller(self) -> Any:
        return self.job_pod["initContainers"][0]

    @property
    def gate_json(self) -> Any:
        return json.loads(self["ConfigMap"]["data"]["gate.json"])

    @property
    def port(self) -> Any:
        return self["Service"]["spec"]["ports"][0]

    def volume(self, name: str) -> Any:
        return next(v for v in self.pod["volumes"] if v["name"] == name)

    @property
    def claim(self) -> Any:
        return self["PersistentVolumeClaim"]


def env(container: Any) -> dict[str, str]:
    return {entry["name"]: entry.get("value") for entry in container["env"]}


def ollama_env(name: str) -> Callable[[Rendered], Any]:
    return lambda r: env(r.ollama).get(name)


DIGEST = "sha256:" + "a" * 64

# field: (a spec that sets it, where it arrives, as what)
REACHES: dict[str, tuple[Body, Callable[[Rendered], Any], Any]] = {
    "models.name": (
        {"models": [{"name": "a:1"}]},
        lambda r: json.loads(env(r.container("pull"))["PULL_MODELS"]),
        [{"name": "a:1"}],
    ),
    "models.name, at the gate": (
        {"models": [{"name": "a:1"}]},
        lambda r: [m["name"] for m in r.gate_json["models"]],
        ["a:1"],
    ),
    "models.digest": (
        {"models": [{"name": "a:1", "digest": DIGEST}]},
        lambda r: (
            json.loads(env(r.container("pull"))["PULL_MODELS"])[0]["digest"],
            r.gate_json["models"][0]["digest"],
        ),
        (DIGEST, DIGEST),
    ),
    "models.warm": (
        {"models": [{"name": "a", "warm": False}, {"name": "b", "warm": True}]},
        lambda r: [m["warm"] for m in r.gate_json["models"]],
        [False, True],
    ),
    "pull.insecure": (
        {"pull": {"insecure": True}},
        lambda r: env(r.container("pull"))["PULL_INSECURE"],
        "true",
    ),
    "pull.retries": ({"pull": {"retries": 3}}, lambda r: r["Job"]["spec"]["backoffLimit"], 3),
    "pull.resources": (
        {"pull": {"resources": {"limits": {"memory": "2Gi"}}}},
        lambda r: r.puller["resources"],
        {"limits": {"memory": "2Gi"}},
    ),
    "storage.persistent.size": (
        {"storage": {"persistent": {"size": "5Gi"}}},
        lambda r: r.claim["spec"]["resources"]["requests"]["storage"],
        "5Gi",
    ),
    "storage.persistent.storageClassName": (
        {"storage": {"persistent": {"storageClassName": "fast"}}},
        lambda r: r.claim["spec"]["storageClassName"],
        "fast",
    ),
    "storage.persistent.accessMode": (
        {"storage": {"persistent": {"accessMode": "ReadWriteMany"}}},
        lambda r: r.claim["spec"]["accessModes"],
        ["ReadWriteMany"],
    ),
    "storage.persistent.whenDeleted": (
        {"storage": {"persistent": {"whenDeleted": "Retain"}}},
        lambda r: (
            "ownerReferences" in r.claim["metadata"],
            r.claim["metadata"]["labels"][names.RETAINED_FOR],
        ),
        (False, "llama"),
    ),
    "gpu.count": (
        {"gpu": {"count": 2}},
        lambda r: r.ollama["resources"]["limits"],
        {"nvidia.com/gpu": "2"},
    ),
    "gpu.resource": (
        {"gpu": {"resource": "nvidia.com/mig-1g.10gb"}},
        lambda r: (r.ollama["resources"]["limits"], r.pod["tolerations"]),
        (
            {"nvidia.com/mig-1g.10gb": "1"},
            [{"key": "nvidia.com/mig-1g.10gb", "operator": "Exists"}],
        ),
    ),
    "gpu.requireAcceleration": (
        {"gpu": {"requireAcceleration": False}},
        lambda r: r.gate_json["requireAcceleration"],
        False,
    ),
    "replicas": (
        {"replicas": 2, "storage": {"persistent": {"accessMode": "ReadWriteMany"}}},
        lambda r: r["Deployment"]["spec"]["replicas"],
        2,
    ),
    "suspend": ({"suspend": True}, lambda r: r["Deployment"]["spec"]["replicas"], 0),
    "image.ollama": (
        {"image": {"ollama": "x/y:1"}},
        lambda r: (r.ollama["image"], r.puller["image"]),
        ("x/y:1", "x/y:1"),
    ),
    "image.pullPolicy": (
        {"image": {"pullPolicy": "Always"}},
        lambda r: (r.ollama["imagePullPolicy"], r.puller["imagePullPolicy"]),
        ("Always", "Always"),
    ),
    "image.pullSecrets": (
        {"image": {"pullSecrets": [{"name": "s"}]}},
        lambda r: (r.pod["imagePullSecrets"], r.job_pod["imagePullSecrets"]),
        ([{"name": "s"}], [{"name": "s"}]),
    ),
    "resources": (
        {"resources": {"requests": {"cpu": "2"}}},
        lambda r: r.ollama["resources"]["requests"],
        {"cpu": "2"},
    ),
    "ollama.keepAlive": ({"ollama": {"keepAlive": "5m"}}, ollama_env("OLLAMA_KEEP_ALIVE"), "5m"),
    "ollama.contextLength": (
        {"ollama": {"contextLength": 4096}},
        ollama_env("OLLAMA_CONTEXT_LENGTH"),
        "4096",
    ),
    "ollama.numParallel": ({"ollama": {"numParallel": 4}}, ollama_env("OLLAMA_NUM_PARALLEL"), "4"),
    "ollama.maxLoadedModels": (
        {"ollama": {"maxLoadedModels": 2}},
        ollama_env("OLLAMA_MAX_LOADED_MODELS"),
        "2",
    ),
    "ollama.maxQueue": ({"ollama": {"maxQueue": 9}}, ollama_env("OLLAMA_MAX_QUEUE"), "9"),
    "ollama.flashAttention": (
        {"ollama": {"flashAttention": False}},
        ollama_env("OLLAMA_FLASH_ATTENTION"),
        "false",
    ),
    "ollama.kvCacheType": (
        {"ollama": {"kvCacheType": "q8_0"}},
        ollama_env("OLLAMA_KV_CACHE_TYPE"),
        "q8_0",
    ),
    "ollama.loadTimeout": (
        {"ollama": {"loadTimeout": "9m"}},
        ollama_env("OLLAMA_LOAD_TIMEOUT"),
        "9m",
    ),
    "env": (
        {"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
        lambda r: (r.ollama["env"][-1], r.puller["env"][-1]),
        ({"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},) * 2,
    ),
    "auth.secretName": (
        {"auth": {"secretName": "mine"}},
        lambda r: (r.volume("tokens")["secret"]["secretName"], "Secret" in r.kinds),
        ("mine", False),
    ),
    "auth.tokens.key": (
        {"auth": {"tokens": [{"key": "A"}]}},
        lambda r: [item["key"] for item in r.volume("tokens")["secret"]["items"]],
        ["A", "A_PREVIOUS", "A_NEXT", "REVISION"],
    ),
    "auth.tokens.access": (
        {"auth": {"tokens": [{"key": "A", "access": "manage"}]}},
        lambda r: r.gate_json["tokens"],
        {"A": {"access": "manage"}},
    ),
    "gate.drainTimeout": (
        {"gate": {"drainTimeout": 30}},
        lambda r: (
            env(r.container("gate"))["GATE_DRAIN_TIMEOUT"],
            r.pod["terminationGracePeriodSeconds"],
        ),
        ("30", 45),
    ),
    "gate.resources": (
        {"gate": {"resources": {"limits": {"memory": "1Gi"}}}},
        lambda r: (r.container("gate")["resources"], r.container("pull")["resources"]),
        ({"limits": {"memory": "1Gi"}}, {"limits": {"memory": "1Gi"}}),
    ),
    "service.type": (
        {"service": {"type": "NodePort"}},
        lambda r: r["Service"]["spec"]["type"],
        "NodePort",
    ),
    "service.annotations": (
        {"service": {"annotations": {"a": "b"}}},
        lambda r: r["Service"]["metadata"]["annotations"]["a"],
        "b",
    ),
    "service.nodePort": (
        {"service": {"type": "NodePort", "nodePort": 30000}},
        lambda r: r.port["nodePort"],
        30000,
    ),
    "service.loadBalancerClass": (
        {"service": {"type": "LoadBalancer", "loadBalancerClass": "x/y"}},
        lambda r: r["Service"]["spec"]["loadBalancerClass"],
        "x/y",
    ),
    "scheduling.nodeSelector": (
        {"scheduling": {"nodeSelector": {"a": "b"}}},
        lambda r: (r.pod["nodeSelector"], r.job_pod["nodeSelector"]),
        ({"a": "b"}, {"a": "b"}),
    ),
    "scheduling.tolerations": (
        {"gpu": {"count": 0}, "scheduling": {"tolerations": [{"key": "x"}]}},
        lambda r: (r.pod["tolerations"], r.job_pod["tolerations"]),
        ([{"key": "x"}], [{"key": "x"}]),
    ),
}


@pytest.mark.parametrize(("spec", "where", "what"), REACHES.values(), ids=REACHES.keys())
def test_field_reaches_its_place(spec: Body, where: Callable[[Rendered], Any], what: Any) -> None:
    """T16: what the user writes arrives, and it isn't there without being written."""
    rendered = Rendered(spec)
    if "Job" not in rendered.kinds:
        rendered.kinds["Job"] = Rendered({})["Job"]

    assert where(rendered) == what


def leaves(schema: Body, path: str = "") -> Iterator[str]:
    """The paths of all fields that aren't blocks of fields themselves."""
    inner = schema.get("items", schema)
    if "properties" not in inner:
        yield path
    for name, field in inner.get("properties", {}).items():
        yield from leaves(field, f"{path}.{name}".lstrip("."))


def test_no_field_is_left_out() -> None:
    """T16: each field of the CRD is in the table above, by itself or with the block it is in."""
    crd = yaml.safe_load(CRD.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    tried = {*REACHES, "storage.ephemeral.sizeLimit"}  # the last one just below
    forgotten = [
        path
        for path in leaves(crd["properties"]["spec"])
        if not any(path == known or path.startswith(f"{known}.") for known in tried)
    ]

    assert forgotten == []


def test_size_limit_reaches_the_pods_own_disk() -> None:
    """`storage.ephemeral`: an emptyDir, no claim and no Job; the gate itself pulls."""
    storage = {"ephemeral": {"sizeLimit": "9Gi"}}
    rendered = Rendered({"storage": storage, "pull": {"insecure": True}})

    assert rendered.volume("models")["emptyDir"] == {"sizeLimit": "9Gi"}
    assert {"Job", "PersistentVolumeClaim"}.isdisjoint(rendered.kinds)
    assert rendered.gate_json["pull"] == {"insecure": True}
    assert "pull" not in Rendered({}).gate_json


def test_ollama_is_on_loopback_and_never_prunes() -> None:
    """T3, T10, T22: only the gate reaches it, HOME is writable, the volume is shared safely."""
    rendered = Rendered({})
    for container in (rendered.ollama, rendered.puller):
        own = env(container)
        assert own["OLLAMA_HOST"] == "127.0.0.1:11434"
        assert own["OLLAMA_NOPRUNE"] == "1"
        assert own["OLLAMA_NO_CLOUD"] == "1"
        assert own["HOME"] == own["OLLAMA_MODELS"] == "/models"
        assert "ports" not in container
    assert rendered["Service"]["spec"]["ports"][0]["port"] == 7860
    assert len(rendered["Service"]["spec"]["ports"]) == 1


def test_job_follows_the_server_and_takes_no_gpu() -> None:
    """T1, T2, decision 2: beside the serving pod on RWO, the same tolerations, no GPU."""
    rendered = Rendered({})
    (term,) = rendered.job_pod["affinity"]["podAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    shared = Rendered({"storage": {"persistent": {"accessMode": "ReadWriteMany"}}})

    assert term["topologyKey"] == "kubernetes.io/hostname"
    labels = rendered["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert term["labelSelector"]["matchLabels"].items() <= labels.items()
    assert rendered.job_pod["tolerations"] == rendered.pod["tolerations"]
    assert "nvidia.com/gpu" not in json.dumps(rendered.puller["resources"])
    assert "affinity" not in shared.job_pod


def test_job_gives_up_at_once_on_permanent_errors() -> None:
    """Decision 3: exit statuses 2 and 3 fail the Job; an eviction is not a failure."""
    spec = Rendered({})["Job"]["spec"]
    permanent, evicted = spec["podFailurePolicy"]["rules"]

    assert permanent["action"] == "FailJob"
    assert permanent["onExitCodes"]["values"] == [2, 3]
    assert permanent["onExitCodes"]["containerName"] == "pull"
    assert evicted["action"] == "Ignore"
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert "ttlSecondsAfterFinished" not in spec


def test_no_gpu_means_none() -> None:
    """Decision 10: where none was asked for, none is seen; where one was, nothing hides it."""
    void = {"NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"}
    cpu, gpu = Rendered({"gpu": {"count": 0}}), Rendered({})

    assert void <= set(env(cpu.ollama))
    assert env(cpu.ollama)["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert void <= set(env(gpu.puller))
    assert void.isdisjoint(env(gpu.ollama))
    assert cpu.gate_json["requireAcceleration"] is False


def test_amd_takes_the_rocm_image() -> None:
    """Decision 10: `amd.com/gpu` needs another default image; the user's own wins."""
    assert Rendered({"gpu": {"resource": "amd.com/gpu"}}).ollama["image"] == IMAGES.ollama_rocm
    assert Rendered({}).ollama["image"] == IMAGES.ollama


def test_liveness_and_drain() -> None:
    """Decisions 6 and 7: an exec probe of Ollama's own, and a preStop that waits for the gate."""
    ollama = Rendered({}).ollama
    gate = Rendered({}).container("gate")

    assert ollama["livenessProbe"]["exec"]["command"] == ["ollama", "list"]
    assert ollama["livenessProbe"]["terminationGracePeriodSeconds"] == 5
    assert ollama["lifecycle"]["preStop"]["httpGet"] == {
        "path": "/drained",
        "port": 7861,
        "scheme": "HTTP",
    }
    assert gate["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert gate["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert "postStart" not in json.dumps(Rendered({})["Deployment"])  # T7


def test_only_named_keys_are_mounted() -> None:
    """Decision 11: `items`, optional, and no subPath: a Secret's other keys never become tokens."""
    rendered = Rendered({})
    source = rendered.volume("tokens")["secret"]
    mounts = rendered.container("gate")["volumeMounts"]

    assert source["optional"] is True
    assert [item["key"] for item in source["items"]] == [
        "AUTH_TOKEN",
        "AUTH_TOKEN_PREVIOUS",
        "AUTH_TOKEN_NEXT",
        "REVISION",
    ]
    assert all("subPath" not in mount for mount in mounts)
    assert not any(mount["name"] == "tokens" for mount in rendered.ollama["volumeMounts"])


def test_a_users_key_called_revision_stays_in_his_secret() -> None:
    """Decision 11: 7861 shows the revision to everyone; only in our own Secret is it one."""
    source = Rendered({"auth": {"secretName": "mine"}}).volume("tokens")["secret"]

    assert "REVISION" not in {item["key"] for item in source["items"]}


def test_service_leads_to_the_gate_alone() -> None:
    """Decision 13: 7861 has no credentials and is on no Service; the selector takes no puller."""
    spec = Rendered({})["Service"]["spec"]

    assert [(port["port"], port["targetPort"]) for port in spec["ports"]] == [(7860, 7860)]
    assert spec["selector"][names.COMPONENT] == "server"


def test_no_token_in_any_manifest() -> None:
    """Decision 1: no wish holds a token's value, so that no apply can own or drop one."""
    secret = Rendered({})["Secret"]

    assert {"data", "stringData"}.isdisjoint(secret)


@pytest.mark.parametrize(
    ("spec", "strategy"),
    [
        ({}, {"type": "Recreate"}),
        (
            {"storage": {"ephemeral": {}}},
            {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
        ),
        (
            {"storage": {"ephemeral": {}}, "gpu": {"count": 0}},
            {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        ),
    ],
)
def test_update_strategy(spec: Body, strategy: Body) -> None:
    """T4, decision 8: no rollout waits for a volume or a GPU that the old pod holds."""
    deployment = Rendered(spec)["Deployment"]["spec"]

    assert deployment["strategy"] == strategy
    assert deployment["progressDeadlineSeconds"] == 86_400


def test_every_child_is_owned_and_labelled() -> None:
    """Garbage collection and watches find each child; pods carry the label as well."""
    for manifest in Rendered({}).kinds.values():
        (owner,) = manifest["metadata"]["ownerReferences"]
        assert owner["uid"] == "uid-of-the-resource"
        assert owner["controller"] is True
        labels = [manifest["metadata"]["labels"]]
        if "template" in manifest.get("spec", {}):
            labels.append(manifest["spec"]["template"]["metadata"]["labels"])
        for found in labels:
            assert found["app.kubernetes.io/managed-by"] == names.FIELD_MANAGER
            assert found[names.INSTANCE] == "llama"


def test_operator_upgrade_keeps_the_images() -> None:
    """T14, decision 9: new defaults wait until what reaches the pod changes; scaling doesn't."""
    first = parsed(resource(gpu={"count": 0}))
    held = observe(stored(children(first, IMAGES, Observed(at=NOW))), at=NOW)
    newer = Images("gate:2", "ollama:2", "rocm:2")

    def images(**spec: Any) -> list[str]:
        serve = parsed(resource(**{"gpu": {"count": 0}, **spec}))
        wanted = {m["kind"]: m for m in children(serve, newer, held)}
        pod = wanted["Deployment"]["spec"]["template"]["spec"]
        return [container["image"] for container in pod["containers"]]

    assert images() == [IMAGES.gate, IMAGES.ollama]
    assert images(suspend=True) == [IMAGES.gate, IMAGES.ollama]
    assert images(ollama={"numParallel": 2}) == ["gate:2", "ollama:2"]
    assert images(image={"ollama": "mine:1"}) == ["gate:2", "mine:1"]


def test_claim_grows_only_when_bound_and_never_shrinks() -> None:
    """Decision 15: max(observed, desired), and growth of a bound claim only."""

    def size(phase: str, present: str, wanted: str) -> str:
        body = {
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "llama-models", "labels": {names.INSTANCE: "llama"}},
            "spec": {"resources": {"requests": {"storage": present}}},
            "status": {"phase": phase},
        }
        spec = {"storage": {"persistent": {"size": wanted}}}
        claim = Rendered(spec, observe([body], at=NOW)).claim
        found: str = claim["spec"]["resources"]["requests"]["storage"]
        return found

    assert size("Bound", "1Gi", "2Gi") == "2Gi"
    assert size("Pending", "1Gi", "2Gi") == "1Gi"
    assert size("Bound", "3Gi", "2Gi") == "3Gi"


def test_changed_model_list_restarts_no_pod() -> None:
    """Decision 4: models are no part of the serving pod's template."""
    one = Rendered({"models": [{"name": "a"}]})
    two = Rendered({"models": [{"name": "a"}, {"name": "b"}]})

    assert one["Deployment"] == two["Deployment"]
    assert one["Job"]["metadata"]["name"] != two["Job"]["metadata"]["name"]


def test_reserved_names_are_the_ones_that_are_set() -> None:
    """T16: what the operator sets on Ollama is what users may not set, and nothing else."""
    everything = {
        "gpu": {"count": 0},
        "ollama": {
            "contextLength": 1,
            "numParallel": 1,
            "maxLoadedModels": 1,
            "maxQueue": 1,
            "flashAttention": True,
            "kvCacheType": "f16",
            "loadTimeout": "1m",
        },
    }

    assert set(env(Rendered(everything).ollama)) == api.RESERVED_ENV
