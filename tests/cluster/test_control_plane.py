"""What the other tests of this folder build on: the control plane itself."""

import json
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ollamaserve_dev import tools, versions

pytestmark = pytest.mark.cluster

IMAGE = "localhost/never-run:1"


def kubectl(kubeconfig: Path, *words: str, stdin: Mapping[str, Any] | None = None) -> Any:
    done = subprocess.run(
        (tools.path("kubectl"), f"--kubeconfig={kubeconfig}", *words),
        input=json.dumps(stdin) if stdin else "",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_api_server_answers_with_the_pinned_version(control_plane: Path) -> None:
    """It is the Kubernetes that the project is tested with."""
    version = json.loads(kubectl(control_plane, "get", "--raw=/version"))

    assert version["gitVersion"] == versions.KUBERNETES


def pod_with_gpus(name: str, count: int) -> dict[str, object]:
    """A pod that asks for GPUs and tolerates their nodes' taint."""
    resources = {"limits": {"nvidia.com/gpu": str(count)}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "containers": [{"name": "main", "image": IMAGE, "resources": resources}],
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        },
    }


def test_a_pod_that_asks_for_a_gpu_becomes_ready_on_the_fake_gpu_node(control_plane: Path) -> None:
    """Decision 2: a pod that tolerates the GPU's taint and asks for one is placed by resources."""
    name = f"gpu-{secrets.token_hex(4)}"

    kubectl(control_plane, "create", "--filename=-", stdin=pod_with_gpus(name, 1))
    kubectl(control_plane, "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
    placed = kubectl(control_plane, "get", f"pod/{name}", "--output=jsonpath={.spec.nodeName}")

    assert placed == "gpu-0"


def test_a_pod_that_asks_for_more_gpus_than_there_are_stays_pending(control_plane: Path) -> None:
    """The scheduler counts allocatable GPUs: three don't fit on a node with two."""
    name = f"gpu-{secrets.token_hex(4)}"

    kubectl(control_plane, "create", "--filename=-", stdin=pod_with_gpus(name, 3))
    condition = "--for=jsonpath={.status.conditions[0].reason}=Unschedulable"
    kubectl(control_plane, "wait", condition, f"pod/{name}", "--timeout=60s")
    message = kubectl(
        control_plane, "get", f"pod/{name}", "--output=jsonpath={.status.conditions[0].message}"
    )

    assert "Insufficient nvidia.com/gpu" in message


def test_a_claim_of_the_default_class_is_bound(control_plane: Path) -> None:
    """A claim that names no class gets a volume."""
    name = f"claim-{secrets.token_hex(4)}"
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }

    kubectl(control_plane, "create", "--filename=-", stdin=claim)
    kubectl(
        control_plane,
        "wait",
        "--for=jsonpath={.status.phase}=Bound",
        f"pvc/{name}",
        "--timeout=60s",
    )
