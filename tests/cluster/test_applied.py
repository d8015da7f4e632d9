"""What a real API server makes of the manifests: one step at a time, without kopf or the loop."""

import copy
import json
from typing import Any

import pytest

from cluster.server import MERGE, PATHS, SERVES, Body, Server, serve
from examples import IMAGES, NOW, sample
from ollamaserve_operator import api, kinds, names, patches
from ollamaserve_operator.answers import Outdated
from ollamaserve_operator.errors import NameConflict, Refused
from ollamaserve_operator.manifests import Manifest, children
from ollamaserve_operator.observed import Observed, observe
from ollamaserve_operator.plan import Apply, Create, Delete, Issue, Step, plan

pytestmark = pytest.mark.cluster


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
        wanted = patches.patched(self.serve, IMAGES, children(self.serve, IMAGES, self.observed))
        assert isinstance(wanted, tuple), wanted
        return wanted

    def steps(self) -> tuple[Step, ...]:
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
                case _:
                    raise AssertionError(f"nobody asked for a rotation: {step}")
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


CLASSES: tuple[tuple[str, Body], ...] = (
    (
        "/apis/scheduling.k8s.io/v1/priorityclasses",
        {"metadata": {"name": "inference"}, "value": 1000},
    ),
    (
        "/apis/node.k8s.io/v1/runtimeclasses",
        {"metadata": {"name": "nvidia"}, "handler": "nvidia"},
    ),
)


@pytest.fixture
async def classes(server: Server) -> None:
    """What the full sample names and a cluster has to have; admission looks them up."""
    for path, body in CLASSES:
        code, answer = await server.send("POST", path, body)
        assert code in {201, 409}, answer


def whole(name: str) -> Body:
    """A sample, as its user applies it to another namespace."""
    body = sample(name)
    body["metadata"] = {"name": name}
    return body


SETTLES: dict[str, Body] = {
    "minimal": serve(),
    "cpu": serve(gpu={"count": 0}, resources={"limits": {"cpu": "1000m", "memory": "1024Mi"}}),
    "full": full(),
    "production": whole("production"),
    "ephemeral": whole("ephemeral"),
    "existing claim": serve(storage={"existingClaim": {"name": "mine", "subPath": "a"}}),
    "in the pod": serve(
        pull={"strategy": "InPod", "caBundle": {"name": "ca"}, "proxy": {"https": "http://p:1"}}
    ),
}


@pytest.mark.parametrize("body", SETTLES.values(), ids=SETTLES.keys())
async def test_what_is_applied_plans_to_nothing(server: Server, body: Body) -> None:
    """The fixpoint law on the real API server, with all that it defaults and normalises."""
    life = await live(server, body)
    await life.settle()
    await life.look()

    assert life.steps() == ()
    kinds = {kind for kind, _ in life.known}
    assert {"ConfigMap", "Deployment", "Service"} <= kinds


@pytest.mark.usefixtures("classes")
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


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"scheduling": {"affinity": {"nope": 1}}}, "affinity.nope: field not declared"),
        (
            {"scheduling": {"topologySpreadConstraints": [{"maxSkew": 1}]}},
            "topologySpreadConstraints[0].topologyKey: Required value",
        ),
        ({"networkPolicy": {"from": [{"nope": {}}]}}, "from[0].nope: field not declared"),
        ({"networkPolicy": {"egress": [{"to": "x"}]}}, "egress[0].to: expected list"),
    ],
)
async def test_raw_blocks_are_judged_by_their_own_kind(
    server: Server, spec: Body, words: str
) -> None:
    """What the CRD hands through, the child's schema refuses: for good, in words with its path."""
    life = await live(server, serve(**spec))
    with pytest.raises(Refused) as refused:
        await life.settle()

    assert words in refused.value.message


async def test_foreign_object_is_never_adopted(server: Server) -> None:
    """Decision 1: each kind of child, made by a user before us, stays as it is: a conflict."""
    wanted = serve(podDisruptionBudget={"enabled": True}, ingress={"host": "llm.example.com"})
    life = await live(server, wanted)
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

    assert {m["kind"] for m in manifests} == {kind.name for kind in kinds.CHILDREN} - {"Job"}


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


BY_STORAGE: tuple[Body, ...] = (
    {"storage": {"ephemeral": None, "persistent": {}}},
    {"storage": {"ephemeral": {}, "persistent": None}},
)
BY_FIELD: tuple[Body, ...] = ({"updateStrategy": "Recreate"}, {"updateStrategy": "RollingUpdate"})


@pytest.mark.parametrize("changes", [BY_STORAGE, BY_FIELD], ids=["by storage", "by field"])
async def test_update_strategy_can_change(server: Server, changes: tuple[Body, ...]) -> None:
    """Decision 8: RollingUpdate to Recreate and back is accepted, and settles."""
    life = await live(server, serve(storage={"ephemeral": {}}, gpu={"count": 0}))
    await life.settle()
    seen = [(await server.get("Deployment", "llama"))["spec"]["strategy"]]
    for change in changes:
        await life.change(**change)
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
