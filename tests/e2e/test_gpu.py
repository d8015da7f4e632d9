"""GPUs: a node that claims one, an Ollama that can't use it, and a second resource without any."""

import json
from collections.abc import Iterator

import pytest

from e2e.endpoint import Serve
from ollamaserve_dev.kubectl import Kubectl

pytestmark = pytest.mark.e2e

GPU = {"count": 1}


def advertise(kubectl: Kubectl, node: str, count: str | None) -> None:
    """Set or remove the node's `nvidia.com/gpu`, as a device plugin would."""
    value = {"capacity": {"nvidia.com/gpu": count}, "allocatable": {"nvidia.com/gpu": count}}
    kubectl.run(
        *("patch", "node", node, "--subresource=status", "--type=merge"),
        f"--patch={json.dumps({'status': value})}",
    )


@pytest.fixture
def gpu_node(kubectl: Kubectl) -> Iterator[str]:
    nodes = kubectl.list("node", "!node-role.kubernetes.io/control-plane")
    name: str = nodes[0]["metadata"]["name"]
    advertise(kubectl, name, "1")
    yield name
    advertise(kubectl, name, None)


def test_gpu_is_asked_for_and_its_absence_is_told(team: Kubectl, gpu_node: str) -> None:
    """Decisions 2, 5, 17: on the GPU's node and NotAccelerated; a second one finds no GPU left."""
    first = Serve(team, "first")
    first.apply(models=["tiny"], gpu=GPU)
    told = first.until_reason("Ready", "NotAccelerated")
    (pod,) = team.list("pod", "app.kubernetes.io/component=server,app.kubernetes.io/instance=first")

    assert pod["spec"]["nodeName"] == gpu_node
    assert pod["status"]["phase"] == "Running"
    assert "spec.gpu" in told["message"]

    second = Serve(team, "second")
    second.apply(models=["tiny"], gpu=GPU)
    waiting = second.until_reason("Ready", "Unschedulable")

    assert "nvidia.com/gpu" in waiting["message"]
    assert "spec.gpu.count: 0" in waiting["message"]

    second.apply(models=["tiny"])
    assert second.until_ready()["acceleration"]["device"] == "cpu"
