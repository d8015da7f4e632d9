"""A real API server for the tests of this folder: no kubelet, its nodes played by kwok."""

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import yaml

from cluster.server import Server, established
from examples import CRD
from ollamaserve_dev import clusters, localoperator
from ollamaserve_dev.clusters import fakenodes
from ollamaserve_dev.kubectl import Kubectl
from ollamaserve_dev.localoperator import LocalOperator
from ollamaserve_operator.cluster import Cluster
from ollamaserve_operator.connection import Connection, login
from ollamaserve_operator.pace import Pace

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


@pytest.fixture
async def server(control_plane: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    """The CRD as it is in deploy/, established, and a fresh namespace."""
    monkeypatch.setenv("KUBECONFIG", os.fspath(control_plane))
    async with Connection(login) as connection:
        found = Server(
            connection,
            Cluster(connection, pace=Pace(rate=1000, burst=1000)),
            f"t-{secrets.token_hex(4)}",
        )
        crd = yaml.safe_load(CRD.read_text())
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
        query = "?fieldManager=test&force=true"
        code, answer = await found.send("PATCH", path + query, crd, "application/apply-patch+yaml")
        assert code in {200, 201}, answer
        await established(found, path)
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        namespace = {"metadata": {"name": found.namespace, "labels": labels}}
        code, answer = await found.send("POST", "/api/v1/namespaces", namespace)
        assert code == 201, answer
        yield found
        await found.send("DELETE", f"/api/v1/namespaces/{found.namespace}")
