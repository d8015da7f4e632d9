"""The three-node kind cluster that every end-to-end test shares, with the operator inside it.

The operator runs from its image with the RBAC of deploy/install.yaml. Each test gets a namespace of
its own under Pod Security `restricted`. OLLAMASERVE_KEEP_CLUSTER=1 keeps the cluster for the next.
"""

import os
from collections.abc import Iterator

import pytest

from e2e.endpoint import Serve
from ollamaserve_dev import clusters, engine, images, installation
from ollamaserve_dev.kubectl import Kubectl

CLUSTER = "e2e"


@pytest.fixture(scope="session")
def built() -> images.Images:
    return images.build_all()


@pytest.fixture(scope="session")
def cluster(built: images.Images) -> Iterator[clusters.Cluster]:
    kind = clusters.provider("kind", name=CLUSTER, nodes=3)
    up = kind.up()
    try:
        for image in built:
            up.load_image(image)
        yield up
    finally:
        if not os.environ.get("OLLAMASERVE_KEEP_CLUSTER"):
            kind.down()


@pytest.fixture(scope="session")
def another_ollama(built: images.Images, cluster: clusters.Cluster) -> str:
    """The same Ollama under another tag: an image to roll out."""
    name = f"{images.PREFIX}/ollama:another"
    engine.current().run("tag", built.ollama, name, log="tag")
    cluster.load_image(name)
    return name


@pytest.fixture(scope="session")
def kubectl(cluster: clusters.Cluster, built: images.Images) -> Kubectl:
    everywhere = Kubectl(cluster.kubeconfig)
    installation.install_operator(everywhere, built)
    installation.install_registry(everywhere, built)
    return everywhere


@pytest.fixture
def team(kubectl: Kubectl, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """kubectl in a fresh namespace that enforces Pod Security `restricted`."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:50]
    with installation.namespace(kubectl, name) as within:
        yield within


@pytest.fixture(scope="session")
def llama(kubectl: Kubectl) -> Iterator[Serve]:
    """One Ready resource, for the tests that only ask it something."""
    with installation.namespace(kubectl, "llama") as within:
        serve = Serve(within, "llama")
        serve.apply(models=["tiny"])
        serve.until_ready()
        yield serve
