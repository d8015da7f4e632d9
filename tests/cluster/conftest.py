"""A real API server for the tests of this folder: no kubelet, its nodes played by kwok."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from ollamaserve_dev import clusters, localoperator
from ollamaserve_dev.clusters import fakenodes
from ollamaserve_dev.kubectl import Kubectl
from ollamaserve_dev.localoperator import LocalOperator

GPU_NODE = fakenodes.FakeNode(
    "gpu-0",
    labels={"pool": "gpu"},
    taints=({"key": fakenodes.GPU, "value": "present", "effect": "NoSchedule"},),
    gpus=2,
)


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Path]:
    """The kubeconfig of a control plane of this run's own: a plain node and one with two GPUs."""
    provider = clusters.provider("control-plane", name=f"test-{os.getpid()}", nodes=1)
    try:
        cluster = provider.up()
        fakenodes.add(cluster.kubeconfig, GPU_NODE)
        yield cluster.kubeconfig
    finally:
        provider.down()


@pytest.fixture(scope="session")
def operator(
    control_plane: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalOperator]:
    """deploy/install.yaml is applied; the process has the ServiceAccount's token and no other."""
    found = localoperator.installed(Kubectl(control_plane), tmp_path_factory.mktemp("operator"))
    found.start()
    yield found
    found.stop()


@pytest.fixture
def team(control_plane: Path, operator: LocalOperator) -> Iterator[Kubectl]:
    """A namespace of its own under Pod Security `restricted`."""
    name = f"team-{secrets.token_hex(3)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    admin = Kubectl(control_plane)
    admin.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    )
    if operator.process is None:
        operator.start()
    yield admin.within(name)
    admin.run("delete", "namespace", name, "--wait=false")
