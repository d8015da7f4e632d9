"""Two replicas under load: no client notices a rollout or a rotation, no pod an upgrade."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.endpoint import Serve, ask
from e2e.load import asking
from ollamaserve_dev import engine, images, installation
from ollamaserve_dev.clusters import Cluster
from ollamaserve_dev.kubectl import Kubectl

pytestmark = pytest.mark.e2e

SHAPE: dict[str, Any] = {"storage": {"ephemeral": {}}}


@pytest.fixture(scope="module")
def rolling(kubectl: Kubectl) -> Iterator[Serve]:
    """A Ready resource with two replicas."""
    with installation.namespace(kubectl, "rolling") as within:
        serve = Serve(within, "rolling")
        serve.apply(models=["tiny"], replicas=2, **SHAPE)
        serve.until_ready()
        yield serve


@pytest.fixture
def another_release(
    cluster: Cluster, kubectl: Kubectl, built: images.Images
) -> Iterator[images.Images]:
    """Operator and gate under another tag; afterwards the operator is the usual one again."""
    tagged = {}
    for part in ("operator", "sidecar"):
        tagged[part] = f"{images.PREFIX}/{part}:another"
        engine.current().run("tag", getattr(built, part), tagged[part], log="tag")
        cluster.load_image(tagged[part])
    yield images.Images(**tagged, ollama=built.ollama)
    installation.install_operator(kubectl, built)


def serving(serve: Serve) -> dict[str, str]:
    """The gate's image of each pod that isn't going away, by uid."""
    pods = serve.kubectl.list("pod", "app.kubernetes.io/component=server")
    return {
        pod["metadata"]["uid"]: container["image"]
        for pod in pods
        for container in pod["spec"]["containers"]
        if container["name"] == "gate" and "deletionTimestamp" not in pod["metadata"]
    }


def test_a_rollout_under_load_refuses_no_request_and_breaks_no_stream(
    kubectl: Kubectl, rolling: Serve
) -> None:
    """Decisions 7 and 8, T4: pod after pod is replaced; who asks and who listens never notices."""
    before = serving(rolling)
    with asking(kubectl, rolling, "tiny") as load:
        rolling.apply(models=["tiny"], ollama={"keepAlive": "1h"}, replicas=2, **SHAPE)
        rolling.until_ready()
    after = serving(rolling)

    assert len(after) == 2
    assert not before.keys() & after.keys()
    assert load.answers.keys() == {"200", "whole stream"}, load.answers


async def test_a_rotation_under_load_refuses_no_valid_request(
    kubectl: Kubectl, rolling: Serve
) -> None:
    """G6: the next token is offered, loaded by every gate, then promoted; the old one overlaps."""
    old = rolling.token()
    with asking(kubectl, rolling, "tiny") as load:
        rolling.kubectl.run("annotate", "ollamaserve", "rolling", "ollamaserve.dev/rotate=1")
        rolling.until("the next token is offered", lambda: "AUTH_TOKEN_NEXT" in keys(rolling))
        assert rolling.token() == old
        hurry(rolling)
        rolling.until("it is promoted", lambda: rolling.token() != old)
        load.use(rolling.token())
        hurry(rolling)
        rolling.until("the next is gone", lambda: "AUTH_TOKEN_NEXT" not in keys(rolling))
        with rolling.door() as url:
            overlapping = await ask(url, "/api/tags", token=old)
    assert overlapping.status == 200
    assert "AUTH_TOKEN_PREVIOUS" in keys(rolling)
    assert load.answers.keys() == {"200", "whole stream"}, load.answers


def keys(serve: Serve) -> set[str]:
    """The keys of its Secret."""
    body = serve.kubectl.get("secret", f"{serve.name}-auth") or {}
    return set(body["data"])


def hurry(serve: Serve) -> None:
    """Have kubelet look at the pods now: by itself it renews mounted Secrets once a minute."""
    now = f"example.com/hurry={time.monotonic_ns()}"
    serve.kubectl.run("annotate", "--overwrite", "pods", "--all", now)


def test_an_upgrade_of_the_operator_restarts_no_pod(
    kubectl: Kubectl, rolling: Serve, built: images.Images, another_release: images.Images
) -> None:
    """Decision 9, T14: new default images wait for the next change; scaling isn't one."""
    before = serving(rolling)
    installation.install_operator(kubectl, another_release)
    kubectl.within(rolling.kubectl.namespace).run("scale", "ollamaserve", "rolling", "--replicas=1")
    rolling.until("the new operator has scaled", lambda: len(serving(rolling)) == 1)
    rolling.until_ready()
    scaled = serving(rolling)

    assert scaled.items() <= before.items()
    assert set(scaled.values()) == {built.sidecar}

    rolling.apply(models=["tiny"], ollama={"keepAlive": "2h"}, replicas=1, **SHAPE)
    rolling.until(
        "a change takes the new image",
        lambda: set(serving(rolling).values()) == {another_release.sidecar},
    )
    rolling.until_ready()
