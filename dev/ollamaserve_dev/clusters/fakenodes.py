"""Nodes that kwok plays: Ready, with the labels, taints and GPUs that a test wants.

What they do (kwok's stages) comes from kwok's own source.
"""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ollamaserve_dev import gobuild, progress, tools

MODULE = "sigs.k8s.io/kwok"
STAGES = (
    "node/fast/node-initialize.yaml",
    "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-complete.yaml",
    "pod/fast/pod-delete.yaml",
    "volume/fast/pvc-provision.yaml",
    "volume/fast/pvc-delete.yaml",
    "volume/fast/pv-bind.yaml",
    "volume/fast/pv-delete.yaml",
)
GPU = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True)
class FakeNode:
    """`taints` are as in a node's spec: key, value, effect. `gpus` are of `gpu_resource`."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Mapping[str, str]] = ()
    gpus: int = 0
    gpu_resource: str = GPU
    cpu: str = "32"
    memory: str = "256Gi"
    pods: str = "1100"


def plain(count: int) -> list[FakeNode]:
    return [FakeNode(f"node-{number}") for number in range(count)]


def add(kubeconfig: Path, *nodes: FakeNode) -> None:
    """Create these nodes; one of the same name is changed to be so."""
    _apply(kubeconfig, [manifest(node) for node in nodes], subresource="")
    _apply(kubeconfig, [manifest(node) for node in nodes], subresource="status")


def manifest(node: FakeNode) -> dict[str, Any]:
    """A Node object; the scheduler reads allocatable, people read capacity: both are set."""
    resources = {"cpu": node.cpu, "memory": node.memory, "pods": node.pods}
    if node.gpus:
        resources[node.gpu_resource] = str(node.gpus)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": node.name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"kubernetes.io/hostname": node.name, **node.labels},
        },
        "spec": {"taints": [dict(taint) for taint in node.taints]},
        "status": {"capacity": resources, "allocatable": resources},
    }


def stages() -> tuple[Path, ...]:
    folder = gobuild.source("kwok", MODULE) / "kustomize/stage"
    return tuple(folder / stage for stage in STAGES)


def add_storage_class(kubeconfig: Path) -> None:
    """The default StorageClass; kwok's stages give each claim of it a volume."""
    _apply(kubeconfig, [STORAGE_CLASS])


STORAGE_CLASS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {
        "name": "kwok-volume",  # the name that kwok's stages look for
        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
    },
    "provisioner": "kwok.x-k8s.io/volume",
    "volumeBindingMode": "Immediate",
    "reclaimPolicy": "Delete",
    "allowVolumeExpansion": True,
}


def _apply(kubeconfig: Path, objects: Sequence[Mapping[str, Any]], subresource: str = "") -> None:
    if not objects:
        return
    done = subprocess.run(
        (
            *(tools.path("kubectl"), f"--kubeconfig={kubeconfig}", "apply", "--server-side"),
            *("--force-conflicts", "--filename=-"),
            *((f"--subresource={subresource}",) if subresource else ()),
        ),
        input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise progress.SetupError(f"fake nodes: {done.stderr.strip()}")
