"""What the manifests promise: placement, security, drains, tokens, images."""

import json
import re
from typing import Any

import pytest

from examples import IMAGES, NOW, parsed, resource, stored
from ollamaserve_operator import api, names
from ollamaserve_operator.manifests import Images, children
from ollamaserve_operator.observed import Observed, observe
from rendered import Body, Rendered, env


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


def test_job_beside_a_users_claim() -> None:
    """T1, decision 2: a user's claim may be ReadWriteOnce, unless its user says that it isn't."""
    mine = {"storage": {"existingClaim": {"name": "mine"}}}
    rolling = {"updateStrategy": "RollingUpdate", "replicas": 2}

    assert "podAffinity" in Rendered(mine).job_pod["affinity"]
    assert "affinity" not in Rendered({**mine, **rolling}).job_pod


def test_users_rules_about_pods_leave_the_job_a_node() -> None:
    """Decision 2: what keeps servers apart, or near others, must not leave the Job no node."""
    apart = {"podAntiAffinity": {"required": 1}, "podAffinity": {"required": 2}}
    nodes = {"nodeAffinity": {"required": 3}}
    spread = [{"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]
    spec = {"scheduling": {"affinity": {**apart, **nodes}, "topologySpreadConstraints": spread}}
    one_node = Rendered(spec).job_pod
    shared = Rendered({**spec, "storage": {"persistent": {"accessMode": "ReadWriteMany"}}}).job_pod

    assert list(one_node["affinity"]) == ["podAffinity"]
    assert one_node["affinity"]["podAffinity"] != apart["podAffinity"]
    assert shared["affinity"] == nodes
    assert "topologySpreadConstraints" not in {**one_node, **shared}


SPARED = {"key": names.COMPONENT, "operator": "NotIn", "values": ["pull"]}


@pytest.mark.parametrize(
    ("selector", "arrives"),
    [
        ({}, {"matchExpressions": [SPARED]}),
        (
            {"matchLabels": {"a": "b"}},
            {"matchLabels": {"a": "b"}, "matchExpressions": [SPARED]},
        ),
        ({"matchExpressions": [{"key": "c"}]}, {"matchExpressions": [{"key": "c"}, SPARED]}),
        ({"matchExpressions": "no list"}, {"matchExpressions": "no list"}),
        (None, None),
    ],
)
def test_servers_that_keep_apart_spare_the_pull(selector: Any, arrives: Any) -> None:
    """Decision 2: required anti-affinity holds both ways; nothing else of it is changed."""
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    term = {"topologyKey": "zone", "labelSelector": selector}
    others = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}]}
    affinity = {"podAntiAffinity": {required: [term], **others}, "nodeAffinity": {"x": 1}}
    found = Rendered({"scheduling": {"affinity": affinity}}).pod["affinity"]

    assert found["podAntiAffinity"][required] == [term | {"labelSelector": arrives}]
    assert found["podAntiAffinity"] == {**found["podAntiAffinity"], **others}
    assert found["nodeAffinity"] == affinity["nodeAffinity"]


@pytest.mark.parametrize("block", [{"podAntiAffinity": 1}, {"podAntiAffinity": {}}, {"x": []}])
def test_unreadable_affinity_is_left_to_the_api_server(block: Any) -> None:
    """What isn't affinity at all is handed through: the API server refuses it with its path."""
    assert Rendered({"scheduling": {"affinity": block}}).pod["affinity"] == block


def test_own_selector_of_a_spread_stays() -> None:
    """A constraint's own labelSelector is obeyed; without one, the serving pods are counted."""
    own = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}}
    rendered = Rendered({"scheduling": {"topologySpreadConstraints": [own]}})

    assert rendered.pod["topologySpreadConstraints"] == [own]


def test_only_who_pulls_gets_the_way_to_the_registry() -> None:
    """Proxy and certificates are for the Ollama that pulls, and the proxy is never for loopback."""
    way = {"proxy": {"https": "http://proxy:1"}, "caBundle": {"name": "ca"}}
    by_job, in_pod = Rendered({"pull": way}), Rendered({"pull": {**way, "strategy": "InPod"}})

    assert {"HTTPS_PROXY", "NO_PROXY", "SSL_CERT_DIR"} <= set(env(by_job.puller))
    assert {"HTTPS_PROXY", "NO_PROXY", "SSL_CERT_DIR"}.isdisjoint(env(by_job.ollama))
    assert {"HTTPS_PROXY", "NO_PROXY", "SSL_CERT_DIR"} <= set(env(in_pod.ollama))
    assert env(in_pod.ollama)["NO_PROXY"] == "localhost,127.0.0.1,::1"
    assert "HTTP_PROXY" not in env(in_pod.ollama)
    assert "ca" not in {volume["name"] for volume in by_job.pod["volumes"]}
    assert "HTTPS_PROXY" not in json.dumps(in_pod.container("gate"))


def test_variables_arrive_as_they_are_written() -> None:
    """kubelet expands `$(HOME)` and `$$` in a variable: a prompt with them isn't changed."""
    prompt = "Pay $5, $$5 or $(HOME): 日本語"
    models = [{"name": "a", "create": {"from": "b", "system": prompt}}]
    told = env(Rendered({"models": models}).container("pull"))["PULL_MODELS"]

    assert "$$(HOME)" in told
    assert json.loads(_expanded(told))[0]["create"]["system"] == prompt
    assert "日本語" in told  # six times as many bytes otherwise, of the 131,072 that Linux takes


def _expanded(value: str) -> str:
    """As kubelet does it, with no variable defined (Kubernetes' third_party/forked/golang)."""
    return re.sub(r"\$\$|\$\(\w+\)", lambda m: "$" if m[0] == "$$" else "expanded", value)


def test_certificate_is_a_folder_of_two_files() -> None:
    """G7: no subPath, or a renewed certificate would never arrive; the probes stay on 7861."""
    gate = Rendered({"gate": {"tls": {"secretName": "cert"}}})
    secret = gate.volume("tls")["secret"]
    probes = [gate.container("gate")[f"{kind}Probe"]["httpGet"] for kind in ("liveness", "startup")]

    assert [item["key"] for item in secret["items"]] == ["tls.crt", "tls.key"]
    assert "optional" not in secret
    assert all("subPath" not in mount for mount in gate.container("gate")["volumeMounts"])
    assert [(probe["port"], probe["scheme"]) for probe in probes] == [(7861, "HTTP")] * 2


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
        (
            {"storage": {"ephemeral": {}}, "updateStrategy": "RollingUpdate"},
            {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        ),
        ({"storage": {"ephemeral": {}}, "updateStrategy": "Recreate"}, {"type": "Recreate"}),
        ({"storage": {"existingClaim": {"name": "a"}}}, {"type": "Recreate"}),
        (
            {"storage": {"existingClaim": {"name": "a"}}, "updateStrategy": "RollingUpdate"},
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
    assert images(gate={"upgradePolicy": "Always"}) == ["gate:2", "ollama:2"]


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
