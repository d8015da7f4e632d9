"""Patches: what they may do, and that nothing they do breaks a guarantee (decision 16)."""

import copy
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import IMAGES, NOW, parsed, resource, stored
from ollamaserve_operator import names
from ollamaserve_operator.errors import PatchRefused
from ollamaserve_operator.manifests import Manifest, children
from ollamaserve_operator.manifests.ollama_container import CONTAINER_SECURITY
from ollamaserve_operator.observed import Observed, observe
from ollamaserve_operator.patches import LARGEST, MOST_OPERATIONS, merged, patched
from ollamaserve_operator.plan import plan

Body = dict[str, Any]

POD = "/spec/template/spec"
EVERYTHING: Body = {
    "replicas": 2,
    "storage": {"persistent": {"accessMode": "ReadWriteMany"}},
    "ingress": {"host": "llm.example.com"},
    "httpRoute": {"parentRefs": [{"name": "gate"}]},
    "monitoring": {"podMonitor": {"enabled": True}},
    "gate": {"tls": {"secretName": "certificate"}},
}
OFFERED = frozenset({"HTTPRoute", "PodMonitor"})


def wished(*patches: Body, **spec: Any) -> tuple[Manifest, ...] | PatchRefused:
    """The children of everything that can be asked for, with these patches."""
    serve = parsed(resource(**EVERYTHING | spec, patches=list(patches)))
    first = children(serve, IMAGES, Observed(at=NOW, offered=OFFERED))
    claim = observe(stored(first), at=NOW).pvc
    return patched(
        serve, IMAGES, children(serve, IMAGES, Observed(NOW, pvc=claim, offered=OFFERED))
    )


def of(target: str, *operations: Body) -> Body:
    return {"target": target, "type": "json", "patch": list(operations)}


def merge(target: str, **change: Any) -> Body:
    return {"target": target, "type": "merge", "patch": change}


def add(path: str, value: Any) -> Body:
    return {"op": "add", "path": path, "value": value}


def taken(*patches: Body, **spec: Any) -> tuple[Manifest, ...]:
    found = wished(*patches, **spec)
    assert isinstance(found, tuple), found
    return found


def made(*patches: Body, **spec: Any) -> dict[str, Any]:
    return {manifest["kind"]: manifest for manifest in reversed(taken(*patches, **spec))}


def refused(*patches: Body, **spec: Any) -> PatchRefused:
    found = wished(*patches, **spec)
    assert isinstance(found, PatchRefused), "it was taken"
    return found


GUEST = {"name": "logs", "image": "logs:1", "securityContext": CONTAINER_SECURITY}
SCRATCH = {"name": "scratch", "emptyDir": {}}

ALLOWED: dict[str, tuple[Body, str, Any]] = {
    "a field of the Deployment": (
        merge("Deployment", spec={"minReadySeconds": 10}),
        "spec.minReadySeconds",
        10,
    ),
    "a surge": (
        merge("Deployment", spec={"strategy": {"rollingUpdate": {"maxSurge": "25%"}}}),
        "spec.strategy.rollingUpdate.maxSurge",
        "25%",
    ),
    "an annotation of the pods": (
        merge("Deployment", spec={"template": {"metadata": {"annotations": {"a/b": "c"}}}}),
        "spec.template.metadata.annotations",
        {"a/b": "c"},
    ),
    "a host alias": (
        of("Deployment", add(f"{POD}/hostAliases", [{"ip": "10.0.0.1", "hostnames": ["r"]}])),
        "spec.template.spec.hostAliases",
        [{"ip": "10.0.0.1", "hostnames": ["r"]}],
    ),
    "another container": (
        of("Deployment", add(f"{POD}/containers/-", GUEST)),
        "spec.template.spec.containers.2",
        GUEST,
    ),
    "another volume": (
        of("Deployment", add(f"{POD}/volumes/-", SCRATCH)),
        "spec.template.spec.volumes.-1",
        SCRATCH,
    ),
    "a variable of Ollama": (
        of("Deployment", add(f"{POD}/containers/1/env/-", {"name": "X", "value": "1"})),
        "spec.template.spec.containers.1.env.-1",
        {"name": "X", "value": "1"},
    ),
    "a deadline of the Job": (
        merge("Job", spec={"activeDeadlineSeconds": 60}),
        "spec.activeDeadlineSeconds",
        60,
    ),
    "a label": (merge("Service", metadata={"labels": {"team": "a"}}), "metadata.labels.team", "a"),
    "another port of the Service": (
        of("Service", add("/spec/ports/-", {"name": "web", "port": 80, "targetPort": 7860})),
        "spec.ports.1.port",
        80,
    ),
    "a path of the Ingress": (
        of("Ingress", add("/spec/rules/0/http/paths/0/path", "/llm")),
        "spec.rules.0.http.paths.0.path",
        "/llm",
    ),
    "a timeout of the HTTPRoute": (
        of("HTTPRoute", add("/spec/rules/0/timeouts", {"request": "0s"})),
        "spec.rules.0.timeouts.request",
        "0s",
    ),
    "a relabelling of the PodMonitor": (
        of("PodMonitor", add("/spec/podMetricsEndpoints/0/honorLabels", True)),
        "spec.podMetricsEndpoints.0.honorLabels",
        True,
    ),
    "a volume's source": (
        merge("PersistentVolumeClaim", spec={"volumeName": "pv-1"}),
        "spec.volumeName",
        "pv-1",
    ),
    "a budget": (
        merge("PodDisruptionBudget", spec={"maxUnavailable": 0}),
        "spec.maxUnavailable",
        0,
    ),
    "another rule": (of("NetworkPolicy", add("/spec/egress/-", {})), "spec.egress", [{}]),
}


def at(body: Any, path: str) -> Any:
    for key in path.split("."):
        body = body[int(key)] if isinstance(body, list) else body[key]
    return body


@pytest.mark.parametrize(("patch", "path", "value"), ALLOWED.values(), ids=ALLOWED.keys())
def test_what_no_field_says_can_be_patched(patch: Body, path: str, value: Any) -> None:
    """The escape hatch: the change is in the wish, and the wish has another hash."""
    plain, found = made(), made(patch)
    kind = patch["target"]

    assert at(found[kind], path) == value
    hashes = [body[kind]["metadata"]["annotations"][names.DESIRED_HASH] for body in (plain, found)]
    assert hashes[0] != hashes[1]
    assert {k: v for k, v in plain.items() if k != kind} == {
        k: v for k, v in found.items() if k != kind
    }


def on_pods(path: str, value: Any) -> tuple[Body, str]:
    return of("Deployment", add(f"{POD}/{path}", value)), f"spec.template.spec.{path}"


def stripped(path: str) -> Body:
    return {"op": "remove", "path": path}


X = {"x": 1}
BY_ENVIRONMENT = {"secretRef": {"name": "llama-auth"}}
KEY_VOLUME = {"name": "x", "secret": {"secretName": "certificate"}}
TOKEN_VOLUME = {"name": "x", "secret": {"secretName": "llama-auth"}}
ACCOUNT = {"name": "x", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}

REFUSED: dict[str, tuple[Body, str]] = {
    "kind": (merge("Service", kind="Ingress"), "kind"),
    "apiVersion": (merge("Service", apiVersion="v2"), "apiVersion"),
    "name": (merge("Service", metadata={"name": "x"}), "metadata.name"),
    "namespace": (merge("Deployment", metadata={"namespace": "x"}), "metadata.namespace"),
    "owner": (merge("Service", metadata={"ownerReferences": []}), "metadata.ownerReferences"),
    "finalizer": (merge("Service", metadata={"finalizers": ["a/b"]}), "metadata.finalizers"),
    "no metadata": (of("Service", stripped("/metadata")), "metadata"),
    "our label": (
        merge("Service", metadata={"labels": {names.INSTANCE: "x"}}),
        f"metadata.labels[{names.INSTANCE}]",
    ),
    "our annotation": (
        merge("Deployment", metadata={"annotations": {names.GATE_IMAGE: "evil:1"}}),
        f"metadata.annotations[{names.GATE_IMAGE}]",
    ),
    "a label of the pods": (
        merge("Deployment", spec={"template": {"metadata": {"labels": None}}}),
        "spec.template.metadata.labels[",
    ),
    "selector": (merge("Deployment", spec={"selector": {"x": 1}}), "spec.selector"),
    "selector of the Service": (merge("Service", spec={"selector": None}), "spec.selector"),
    "selector of the budget": (merge("PodDisruptionBudget", spec={"selector": X}), "spec.selector"),
    "selector of the policy": (merge("NetworkPolicy", spec={"podSelector": X}), "spec.podSelector"),
    "selector of the monitor": (merge("PodMonitor", spec={"selector": X}), "spec.selector"),
    "status": (merge("Deployment", status={"replicas": 1}), "status"),
    "replicas": (merge("Deployment", spec={"replicas": 9}), "spec.replicas"),
    "strategy": (
        merge("Deployment", spec={"strategy": {"type": "Recreate"}}),
        "spec.strategy.type",
    ),
    "half a strategy": (
        merge("Deployment", spec={"strategy": {"rollingUpdate": {"maxSurge": None}}}),
        "spec.strategy.rollingUpdate",
    ),
    "paused": (merge("Deployment", spec={"paused": True}), "spec.paused"),
    "host network": on_pods("hostNetwork", True),
    "host processes": on_pods("hostPID", True),
    "host IPC": on_pods("hostIPC", True),
    "shared processes": on_pods("shareProcessNamespace", True),
    "service account": on_pods("serviceAccountName", "admin"),
    "its old name": on_pods("serviceAccount", "admin"),
    "its token": on_pods("automountServiceAccountToken", True),
    "user": (
        of("Deployment", add(f"{POD}/securityContext/runAsUser", 0)),
        "spec.template.spec.securityContext",
    ),
    "grace": on_pods("terminationGracePeriodSeconds", 1),
    "image of the gate": (
        of("Deployment", add(f"{POD}/containers/0/image", "evil:1")),
        "spec.template.spec.containers[gate]",
    ),
    "no gate": (
        of("Deployment", stripped(f"{POD}/containers/0")),
        "spec.template.spec.containers[gate]",
    ),
    "containers by merge": (
        merge("Deployment", spec={"template": {"spec": {"containers": [GUEST]}}}),
        "spec.template.spec.containers[",
    ),
    "Ollama in the open": (
        of("Deployment", add(f"{POD}/containers/1/env/1", {"name": "OLLAMA_HOST", "value": "::"})),
        "spec.template.spec.containers[ollama].env",
    ),
    "Ollama in the open, by a second value": (
        of("Deployment", add(f"{POD}/containers/1/env/-", {"name": "OLLAMA_HOST", "value": "::"})),
        "spec.template.spec.containers[ollama].env",
    ),
    "Ollama in the open, by its command": (
        of("Deployment", add(f"{POD}/containers/1/command", ["sh", "-c", "ollama serve"])),
        "spec.template.spec.containers[ollama].command",
    ),
    "Ollama's drain": (
        of("Deployment", stripped(f"{POD}/containers/1/lifecycle")),
        "spec.template.spec.containers[ollama].lifecycle",
    ),
    "Ollama's port on the node": (
        of("Deployment", add(f"{POD}/containers/1/ports", [{"containerPort": 1, "hostPort": 1}])),
        "spec.template.spec.containers[ollama].ports",
    ),
    "privileged": (
        of("Deployment", add(f"{POD}/containers/1/securityContext/privileged", True)),
        "spec.template.spec.containers[ollama].securityContext",
    ),
    "Ollama reads the tokens": (
        of(
            "Deployment",
            add(f"{POD}/containers/1/volumeMounts/-", {"name": "tokens", "mountPath": "/t"}),
        ),
        "spec.template.spec.containers[ollama].volumeMounts",
    ),
    "no models": (
        of("Deployment", stripped(f"{POD}/containers/1/volumeMounts/0")),
        "spec.template.spec.containers[ollama].volumeMounts",
    ),
    "a guest with a node's port": (
        of("Deployment", add(f"{POD}/containers/-", GUEST | {"ports": [{"hostPort": 80}]})),
        "spec.template.spec.containers[logs].ports",
    ),
    "a guest with more rights": (
        of("Deployment", add(f"{POD}/containers/-", {"name": "logs", "image": "logs:1"})),
        "spec.template.spec.containers[logs].securityContext",
    ),
    "a guest that reads the tokens": (
        of(
            "Deployment",
            add(f"{POD}/containers/-", GUEST | {"volumeMounts": [{"name": "tokens"}]}),
        ),
        "spec.template.spec.containers[logs].volumeMounts",
    ),
    "a guest that reads the tokens from its environment": (
        of(
            "Deployment",
            add(f"{POD}/containers/-", GUEST | {"envFrom": [BY_ENVIRONMENT]}),
        ),
        "a use of Secret llama-auth",
    ),
    "a guest without a name": (
        of("Deployment", add(f"{POD}/containers/-", {"image": "x"})),
        "spec.template.spec.containers",
    ),
    "the tokens by another volume": (
        of("Deployment", add(f"{POD}/volumes/-", TOKEN_VOLUME)),
        "a use of Secret llama-auth",
    ),
    "the key of TLS by another volume": (
        of("Deployment", add(f"{POD}/volumes/-", KEY_VOLUME)),
        "a use of Secret certificate",
    ),
    "the node's disk": (
        of("Deployment", add(f"{POD}/volumes/-", {"name": "x", "hostPath": {"path": "/"}})),
        "spec.template.spec.volumes[x]",
    ),
    "a token of the account": (
        of("Deployment", add(f"{POD}/volumes/-", ACCOUNT)),
        "spec.template.spec.volumes[x]",
    ),
    "another volume of tokens": (
        of("Deployment", add(f"{POD}/volumes/2", SCRATCH), stripped(f"{POD}/volumes/3")),
        "spec.template.spec.volumes[",
    ),
    "the Job's tries": (merge("Job", spec={"backoffLimit": 0}), "spec.backoffLimit"),
    "the Job's end": (
        merge("Job", spec={"ttlSecondsAfterFinished": 0}),
        "spec.ttlSecondsAfterFinished",
    ),
    "the Job's place": (
        of("Job", add(f"{POD}/affinity", {})),
        "spec.template.spec.affinity",
    ),
    "the Job's puller": (
        of("Job", add(f"{POD}/containers/0/args", ["x"])),
        "spec.template.spec.containers[pull]",
    ),
    "the Job's Ollama": (
        of("Job", stripped(f"{POD}/initContainers/0")),
        "spec.template.spec.initContainers[ollama]",
    ),
    "a smaller claim": (
        merge("PersistentVolumeClaim", spec={"resources": {"requests": {"storage": "1Gi"}}}),
        "spec.resources",
    ),
    "the status port on the Service": (
        of("Service", add("/spec/ports/-", {"name": "m", "port": 1, "targetPort": 7861})),
        "spec.ports",
    ),
    "the door elsewhere": (of("Service", add("/spec/ports/0/port", 80)), "spec.ports"),
    "unready pods on the Service": (
        merge("Service", spec={"publishNotReadyAddresses": True}),
        "spec.publishNotReadyAddresses",
    ),
    "somebody's addresses": (
        merge("Service", spec={"externalIPs": ["192.0.2.1"]}),
        "spec.externalIPs",
    ),
    "everything": (of("Service", {"op": "replace", "path": "", "value": 5}), "the whole object"),
}


@pytest.mark.parametrize(("patch", "path"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_guaranteed_can_not_be_patched_away(patch: Body, path: str) -> None:
    """Decision 16: refused with its index, target and place, and with what to do instead."""
    found = refused(merge("Deployment", spec={"minReadySeconds": 1}), patch)

    assert (found.index, found.target) == (1, patch["target"])
    assert f"it would change {path}" in found.message
    assert found.message.rpartition("operator keeps: ")[2]


UNUSABLE: dict[str, tuple[Body, str]] = {
    "no such place": (
        of("Service", add("/spec/a/b", 1)),
        "operation 0 (add /spec/a/b) finds no such place",
    ),
    "nothing to remove": (of("Service", stripped("/spec/a")), "operation 0 (remove /spec/a) finds"),
    "a failed test": (
        of("Service", add("/spec/a", 1), {"op": "test", "path": "/spec/a", "value": 2}),
        "operation 1 (test /spec/a) finds no such place in the object, or another value",
    ),
    "no operation": (of("Service", {"op": "set", "path": "/a"}), "operation 0 is none of RFC 6902"),
    "text for an operation": (of("Service", "x"), "operation 0 is none of RFC 6902"),  # type: ignore[arg-type]
    "too many": (
        of("Service", *[add("/spec/a", 1)] * (MOST_OPERATIONS + 1)),
        f"at most {MOST_OPERATIONS} operations",
    ),
    "text for the whole": (of("Service", add("", "x")), "it would replace the whole object"),
}


@pytest.mark.parametrize(("patch", "words"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_what_can_not_be_applied_says_which_operation(patch: Body, words: str) -> None:
    """Nothing is raised, and no value of the object is told."""
    found = refused(patch)
    assert words in found.message
    assert "7860" not in found.message


def test_an_object_can_not_be_doubled_until_nothing_fits() -> None:
    """Each copy of an object into itself doubles it: thirty of them would fill any memory."""
    copies = [
        {"op": "copy", "from": "/spec", "path": f"/spec/x{number}"}
        for number in range(MOST_OPERATIONS)
    ]
    assert f"larger than {LARGEST}" in refused(of("Service", *copies)).message


@pytest.mark.parametrize(
    ("target", "spec", "words"),
    [
        ("Ingress", {"ingress": None}, "set spec.ingress"),
        ("HTTPRoute", {"httpRoute": None}, "set spec.httpRoute"),
        ("PodMonitor", {"monitoring": {}}, "set spec.monitoring.podMonitor.enabled: true"),
        ("Job", {"storage": {"ephemeral": {}}}, "set spec.pull.strategy: Job"),
        ("PersistentVolumeClaim", {"storage": {"ephemeral": {}}}, "set spec.storage.persistent"),
        ("NetworkPolicy", {"networkPolicy": {"enabled": False}}, "spec.networkPolicy.enabled"),
        ("PodDisruptionBudget", {"replicas": 1}, "set spec.podDisruptionBudget.enabled: true"),
    ],
)
def test_a_patch_without_its_object_says_what_asks_for_one(
    target: str, spec: Body, words: str
) -> None:
    """Nothing is accepted and ignored."""
    found = refused(merge(target, metadata={"labels": {"a": "b"}}), **spec)
    assert "there is none" in found.message
    assert words in found.message


def test_a_jobs_patch_is_refused_before_there_is_a_job() -> None:
    """Suspended, nothing is pulled; what would be refused in a month is said now."""
    found = refused(merge("Job", spec={"backoffLimit": 0}), suspend=True)
    assert found.target == "Job"


def test_a_patch_of_the_job_makes_another_job() -> None:
    """A Job's template can't change: its name tells its patches apart."""
    plain, found = made(), made(merge("Job", spec={"activeDeadlineSeconds": 60}))
    assert plain["Job"]["metadata"]["name"] != found["Job"]["metadata"]["name"]
    assert plain["Deployment"] == found["Deployment"]


def test_a_patch_of_the_pods_resolves_images_anew() -> None:
    """Decision 9: it changes what reaches the pod; a patch of the Service doesn't."""
    annotation = names.TEMPLATE_HASH
    pods = merge("Deployment", spec={"template": {"metadata": {"annotations": {"a": "b"}}}})
    hashes = [
        made(*patches)["Deployment"]["metadata"]["annotations"][annotation]
        for patches in ([], [merge("Service", spec={"sessionAffinity": "ClientIP"})], [pods])
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_patches_apply_in_their_order() -> None:
    """A later one sees what an earlier one made."""
    found = made(
        merge("Service", spec={"sessionAffinity": "ClientIP"}),
        of("Service", {"op": "test", "path": "/spec/sessionAffinity", "value": "ClientIP"}),
        merge("Service", spec={"sessionAffinity": "None"}),
    )
    assert found["Service"]["spec"]["sessionAffinity"] == "None"


def test_what_is_patched_and_applied_plans_to_nothing() -> None:
    """The fixpoint law, with a patch on every kind that may have one."""
    serve = parsed(resource(**EVERYTHING, patches=[patch for patch, _, _ in ALLOWED.values()]))
    bodies: list[Body] = []
    for _ in range(2):
        seen = observe(bodies, at=NOW, offered=OFFERED)
        wanted = patched(serve, IMAGES, children(serve, IMAGES, seen))
        assert isinstance(wanted, tuple), wanted
        bodies = stored(wanted)
    seen = observe(bodies, at=NOW, offered=OFFERED)
    wanted = patched(serve, IMAGES, children(serve, IMAGES, seen))

    assert isinstance(wanted, tuple)
    assert plan(wanted, seen, serve) == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.sampled_from(["", "gate", "x"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=4,
)


def places(value: Any, path: str = "") -> list[str]:
    """Every place in a document, as RFC 6901 pointers."""
    match value:
        case Mapping():
            inner = [
                (str(key).replace("~", "~0").replace("/", "~1"), v) for key, v in value.items()
            ]
        case list():
            inner = [(str(index), v) for index, v in enumerate(value)]
        case _:
            inner = []
    return [path, *(place for key, v in inner for place in places(v, f"{path}/{key}"))]


UNPATCHED = taken()
PLAIN = made()
TARGETS = sorted(set(PLAIN) - {"Secret", "ConfigMap"})


@st.composite
def random_patches(draw: st.DrawFn) -> Body:
    """Operations at places that are there, at places beside them, and merges of random shape."""
    target = draw(st.sampled_from(TARGETS))
    if draw(st.booleans()):
        change = draw(st.dictionaries(st.sampled_from(["metadata", "spec", "kind"]), JSON))
        return merge(target, **change)
    place = st.sampled_from(places(PLAIN[target]))
    operation = st.one_of(
        st.builds(add, place, JSON),
        st.builds(lambda p, v: add(f"{p}/a", v), place, JSON),
        st.builds(lambda p, v: {"op": "replace", "path": p, "value": v}, place, JSON),
        st.builds(stripped, place),
        st.builds(lambda p, q: {"op": "move", "from": p, "path": q}, place, place),
        st.builds(lambda p, q: {"op": "copy", "from": p, "path": q}, place, place),
    )
    return of(target, *draw(st.lists(operation, min_size=1, max_size=3)))


def essence(manifest: Any) -> Any:
    """The guarantees, spelled out a second time: of a whole wish, straight from its YAML."""
    about = manifest["metadata"]
    found: Body = {key: manifest[key] for key in ("apiVersion", "kind")}
    found |= {key: about[key] for key in ("namespace", "ownerReferences")}
    found["name"] = about["name"] if manifest["kind"] != "Job" else ""  # its hash has the patch
    found["labels"] = {k: v for k, v in about["labels"].items() if k.startswith("app.kubernetes")}
    if manifest["kind"] in {"Deployment", "Job"}:
        template = manifest["spec"]["template"]
        pod = template["spec"]
        containers = [*pod["containers"], *(pod.get("initContainers") or ())]
        ours = {c["name"]: c for c in containers}
        labels = template["metadata"]["labels"]
        found["pod labels"] = {k: v for k, v in labels.items() if k.startswith("app.kubernetes")}
        found["pod"] = {key: pod.get(key) for key in POD_FIELDS}
        found["gate"] = ours.get("gate")
        found["loopback"] = entries(ours["ollama"], "env", "OLLAMA_HOST")
        found["start"] = [ours["ollama"].get(key) for key in ("command", "args", "lifecycle")]
        found["rights"] = sorted({json.dumps(c["securityContext"]) for c in containers})
        found["readers"] = [
            name for name in sorted(ours) if entries(ours[name], "volumeMounts", "tokens")
        ]
    return found


POD_FIELDS = ("automountServiceAccountToken", "securityContext", "hostNetwork", "hostPID")


def entries(container: Body, field: str, name: str) -> list[Any]:
    """The entries of this name; a patch may have put anything between them."""
    listed = container.get(field)
    found = listed if isinstance(listed, list) else []
    return [entry for entry in found if isinstance(entry, dict) and entry.get("name") == name]


@given(patch=random_patches())
def test_no_patch_breaks_a_guarantee(patch: Body) -> None:
    """Whatever is tried: refused in words, or everything that is guaranteed still holds."""
    found = wished(patch)
    if isinstance(found, PatchRefused):
        assert found.message
        return
    for manifest, plain in zip(found, UNPATCHED, strict=True):
        assert essence(manifest) == essence(plain)


@given(document=JSON, patch=JSON)
def test_a_merge_patch_says_what_the_outcome_is(document: Any, patch: Any) -> None:
    """RFC 7396: applied twice it changes nothing more, and it changes nothing in its inputs."""
    before = copy.deepcopy((document, patch))
    once = merged(document, patch)

    assert merged(once, patch) == once
    assert (document, patch) == before


def test_examples_of_rfc_7396() -> None:
    """Appendix A, those that tell implementations apart."""
    assert merged({"a": "b", "b": "c"}, {"a": None}) == {"b": "c"}
    assert merged({"a": ["b"]}, {"a": "c"}) == {"a": "c"}
    assert merged({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}) == {"a": {"b": "d"}}
    assert merged({"e": None}, {"a": 1}) == {"e": None, "a": 1}
    assert merged([1, 2], {"a": "b", "c": None}) == {"a": "b"}
    assert merged({}, {"a": {"bb": {"ccc": None}}}) == {"a": {"bb": {}}}
