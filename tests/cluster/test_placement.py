"""The traps of placement: each is shown to catch the obvious manifests, and not ours.

Two nodes with GPUs, tainted as their owners do, and two without; volumes that are bound to the node
of their first pod. The scheduler and the controllers are real.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import disks
from cluster.disks import Disks
from cluster.life import Body, await_reason, jobs, seen, serve
from ollamaserve_dev.clusters import fakenodes
from ollamaserve_dev.clusters.fakenodes import GPU, FakeNode
from ollamaserve_dev.kubectl import Kubectl

pytestmark = pytest.mark.cluster

TAINT = {"key": GPU, "value": "present", "effect": "NoSchedule"}
TOLERATION = {"key": GPU, "operator": "Exists"}
POOL = "placement"
IMAGE = "localhost/never-run:1"


def gpu_node(name: str, pool: str, gpus: int = 1) -> FakeNode:
    return FakeNode(name, labels={"pool": pool}, taints=(TAINT,), gpus=gpus)


NODES = (
    gpu_node("placement-gpu-0", POOL),
    gpu_node("placement-gpu-1", POOL),
    FakeNode("placement-cpu-0", labels={"pool": POOL}),
    FakeNode("placement-cpu-1", labels={"pool": POOL}),
)
SINGLE_GPU = gpu_node("single-gpu", "single")


@pytest.fixture(scope="module")
def nodes(control_plane: Path) -> Iterator[Path]:
    """Two nodes with one GPU each, two without, and a pool of one with one GPU."""
    fakenodes.add(control_plane, *NODES, SINGLE_GPU)
    admin = Kubectl(control_plane)
    admin.apply(disks.CLASS)
    yield control_plane
    for node in (*NODES, SINGLE_GPU):
        admin.run("delete", "node", node.name, "--wait=false", "--ignore-not-found")


@pytest.fixture
def storage(team: Kubectl, nodes: Path) -> Disks:
    return Disks(team)


def pod_template(pool: str, *, gpus: int = 0, claim: str = "") -> Body:
    """What one writes first: resources, a node pool, a volume; a toleration where GPUs are."""
    container: Body = {"name": "main", "image": IMAGE}
    spec: Body = {"nodeSelector": {"pool": pool}, "restartPolicy": "Never"}
    restricted = {
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    }
    if gpus:
        container["resources"] = {"limits": {GPU: str(gpus)}}
        spec["tolerations"] = [TOLERATION]
    if claim:
        spec["volumes"] = [{"name": "models", "persistentVolumeClaim": {"claimName": claim}}]
    return {"spec": spec | {"containers": [container | restricted]}}


def job(name: str, template: Body) -> Body:
    metadata = {"name": name}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {"template": template},
    }


def pod(name: str, template: Body) -> Body:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, **template}


def deployment(name: str, template: Body) -> Body:
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": template["spec"] | {"restartPolicy": "Always"},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }


def claim(name: str) -> Body:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "storageClassName": disks.NAME,
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }


def local(**spec: Any) -> Body:
    """An OllamaServe with a GPU and a node-local volume."""
    persistent = {"persistent": {"size": "1Gi", "storageClassName": disks.NAME}}
    return serve(gpu={"count": 1}, storage=persistent, **spec)


def in_pool(pool: str) -> Body:
    return {"nodeSelector": {"pool": pool}}


def unschedulable(team: Kubectl, selector: str) -> str:
    """Why the scheduler leaves a pod of the selector where it is; empty if it doesn't."""
    conditions = [
        condition
        for found in team.list("pod", selector)
        for condition in found.get("status", {}).get("conditions", [])
        if condition["type"] == "PodScheduled" and condition["status"] == "False"
    ]
    return str(conditions[0].get("message", "")) if conditions else ""


def ready(team: Kubectl, storage: Disks) -> bool:
    """Whether the resource is, for the generation that was applied last; volumes are made."""
    storage.provide()
    body = team.get("ollamaserve", "llama") or {}
    status = body.get("status", {})
    current = status.get("observedGeneration") == body["metadata"]["generation"]
    wanted = {"type": "Ready", "status": "True"}.items()
    return current and any(wanted <= found.items() for found in status.get("conditions", []))


def places(team: Kubectl) -> set[str]:
    """The nodes of all the resource's pods, serving and pulling."""
    found = team.list("pod", "app.kubernetes.io/instance=llama")
    return {each["spec"].get("nodeName", "") for each in found}


def test_t1_a_pull_job_that_leads_binds_the_volume_where_no_gpu_is(
    team: Kubectl, storage: Disks
) -> None:
    """T1, the trap: the Job's pod chooses a node for the volume, and the GPU's pod never starts."""
    team.apply(claim("models"), job("pull", pod_template(POOL, claim="models")))

    def pulled() -> bool:
        storage.provide()
        return bool((team.get("job", "pull") or {}).get("status", {}).get("succeeded"))

    seen(team, "the naive pull ends", pulled, 60)
    team.apply(deployment("server", pod_template(POOL, gpus=1, claim="models")))
    why = seen(team, "it can't be placed", lambda: unschedulable(team, "app=server"))
    assert "volume node affinity" in why or "PersistentVolume's node affinity" in why


def test_t1_ours_pulls_where_the_server_runs(team: Kubectl, storage: Disks) -> None:
    """T1, decisions 2 and 15: the server's pod binds the volume beside a GPU, the Job joins it."""
    team.apply(local(scheduling=in_pool(POOL)))
    seen(team, "Ready", lambda: ready(team, storage), 90)
    (place,) = places(team)
    assert place.startswith("placement-gpu-")
    assert len(jobs(team)) == 1


def test_t2_a_pull_that_asks_for_the_gpu_takes_it_from_the_server(
    team: Kubectl, storage: Disks
) -> None:
    """T2, the trap: one GPU, and what pulls holds it while the server waits for it."""
    team.apply(pod("pull", pod_template("single", gpus=1)))
    team.run("wait", "--for=condition=Ready", "pod/pull", "--timeout=60s")
    team.apply(deployment("server", pod_template("single", gpus=1)))
    why = seen(team, "it can't be placed", lambda: unschedulable(team, "app=server"))
    assert f"Insufficient {GPU}" in why


def test_t2_t4_ours_pulls_and_rolls_out_with_a_single_gpu(team: Kubectl, storage: Disks) -> None:
    """T2, T4, decisions 2 and 8: the pull asks for no GPU; a change frees it before it needs it."""
    team.apply(local(scheduling=in_pool("single")))
    seen(team, "Ready", lambda: ready(team, storage), 90)
    server = "app.kubernetes.io/component=server"
    (before,) = team.list("pod", server)
    team.apply(local(scheduling=in_pool("single"), env=[{"name": "A", "value": "1"}]))
    seen(team, "Ready again", lambda: ready(team, storage), 90)
    (after,) = team.list("pod", server)
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert places(team) == {"single-gpu"}


def test_t4_a_surge_has_no_second_gpu_to_go_to(team: Kubectl, nodes: Path) -> None:
    """T4, the trap: the default rollout wants a new pod first, and never gets one."""
    template = pod_template("single", gpus=1)
    team.apply(deployment("server", template))
    team.run("rollout", "status", "deployment/server", "--timeout=60s")
    template["spec"]["terminationGracePeriodSeconds"] = 7
    team.apply(deployment("server", template))
    why = seen(team, "it can't be placed", lambda: unschedulable(team, "app=server"))
    assert f"Insufficient {GPU}" in why


def test_gpu_nodes_that_are_tainted_turn_away_who_does_not_tolerate_it(
    team: Kubectl, nodes: Path
) -> None:
    """Decision 2, the trap: a puller that is sent to the GPU's node without a toleration waits."""
    team.apply(
        pod(
            "pull",
            pod_template("single") | {"metadata": {"name": "pull", "labels": {"app": "pull"}}},
        )
    )
    why = seen(team, "it can't be placed", lambda: unschedulable(team, "app=pull"))
    assert "untolerated taint" in why


def test_a_node_pool_at_zero_is_no_obstacle(team: Kubectl, storage: Disks, nodes: Path) -> None:
    """Decision 2: nothing is read of nodes; what waits is told, and starts when a node comes."""
    team.apply(local(scheduling=in_pool("late")))
    told = await_reason(team, "Ready", "Unschedulable")
    assert "node affinity/selector" in told["message"]
    fakenodes.add(nodes, gpu_node("late-gpu", "late"))
    try:
        seen(team, "Ready", lambda: ready(team, storage), 90)
        assert places(team) == {"late-gpu"}
    finally:
        Kubectl(nodes).run("delete", "node", "late-gpu", "--wait=false")


def test_servers_that_keep_apart_let_the_pull_in(team: Kubectl, storage: Disks) -> None:
    """Decision 2: required anti-affinity holds both ways, and would keep the Job from its node."""
    ours = {"matchLabels": {"app.kubernetes.io/name": "ollamaserve"}}
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": ours}
    apart = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    team.apply(local(scheduling=in_pool("single") | {"affinity": {"podAntiAffinity": apart}}))
    seen(team, "Ready", lambda: ready(team, storage), 90)
    assert places(team) == {"single-gpu"}
    assert len(jobs(team)) == 1


def test_a_users_claim_is_pulled_into_where_the_server_runs(team: Kubectl, storage: Disks) -> None:
    """T1: the claim of storage.existingClaim is missed, then found, and bound by the server."""
    mine = {"existingClaim": {"name": "mine", "subPath": "llama"}}
    team.apply(serve(storage=mine, gpu={"count": 1}, scheduling=in_pool(POOL)))
    told = await_reason(team, "StorageReady", "ClaimNotFound")
    assert "PersistentVolumeClaim mine" in told["message"]
    team.apply(claim("mine"))
    seen(team, "Ready", lambda: ready(team, storage), 90)
    (place,) = places(team)
    assert place.startswith("placement-gpu-")
    assert (team.get("persistentvolumeclaim", "mine") or {})["metadata"].get(
        "ownerReferences"
    ) is None
