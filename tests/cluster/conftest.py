"""A real API server for the tests of this folder: no kubelet, its nodes played by kwok."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ollamaserve_dev import clusters
from ollamaserve_dev.clusters import fakenodes

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
