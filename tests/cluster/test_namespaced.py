"""The operator for some namespaces alone: its rights there, and nowhere else, are all it needs."""

import secrets
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from cluster.life import await_reason, seen, serve
from ollamaserve_dev import install, localoperator
from ollamaserve_dev.kubectl import Kubectl
from ollamaserve_dev.localoperator import ACCOUNT, SYSTEM, LocalOperator

pytestmark = pytest.mark.cluster

HOME = f"ollamaserve-{secrets.token_hex(3)}"


@pytest.fixture
def spaces(control_plane: Path, operator: LocalOperator) -> Iterator[tuple[Kubectl, ...]]:
    """Three namespaces, and no operator that sees them all."""
    operator.stop()
    admin = Kubectl(control_plane)
    found = [f"space-{letter}-{secrets.token_hex(3)}" for letter in "abc"]
    for name in found:
        admin.run("create", "namespace", name)
    yield tuple(admin.within(name) for name in found)
    admin.run("delete", "namespace", *found, "--wait=false")


@pytest.fixture
def local(spaces: tuple[Kubectl, ...], tmp_path: Path) -> Iterator[LocalOperator]:
    """As `install --print --namespace a --namespace b` has it, with an account of its own."""
    watched = [space.namespace for space in spaces[:2]]
    system = spaces[0].within(HOME)
    text = install.render(namespaces=watched).replace(SYSTEM, HOME)
    for body in yaml.safe_load_all(text):
        within = spaces[0].within(body["metadata"].get("namespace", HOME))
        within.apply(body, server_side=True)
    kubeconfig = localoperator.identity(system, tmp_path)
    variables = {"WATCH_NAMESPACE": ",".join(watched), "POD_NAMESPACE": HOME}
    found = LocalOperator(kubeconfig, tmp_path / "operator.log", variables=variables)
    found.start()
    yield found
    found.stop()


def test_it_serves_its_namespaces_and_sees_no_other(
    spaces: tuple[Kubectl, ...], local: LocalOperator
) -> None:
    """From the CRD to Ready with a Role in each; drift is repaired by the watches of each."""
    first, second, outside = spaces
    for space in spaces:
        space.apply(serve())
    for space in (first, second):
        await_reason(space, "Ready", "Ready", 60)
        space.run("delete", "service", "llama")
        seen(space, "the Service is back", partial(space.get, "service", "llama"))
    peer = (first.get("networkpolicy", "llama-server") or {})["spec"]["ingress"][1]["from"][0]
    labels = peer["namespaceSelector"]["matchLabels"]

    assert labels == {"kubernetes.io/metadata.name": HOME}
    assert "status" not in (outside.get("ollamaserve", "llama") or {})
    assert outside.list("deployment") == []
    assert "403" not in {labels["code"] for labels, _ in local.samples("api_calls_total")}


def test_it_has_no_right_beyond_them(spaces: tuple[Kubectl, ...], local: LocalOperator) -> None:
    """Neither to another namespace's Secrets nor to anything of the whole cluster."""
    account = f"--as=system:serviceaccount:{HOME}:{ACCOUNT}"

    def may(space: Kubectl, *words: str) -> bool:
        listed = space.run("auth", "can-i", "--list", account, "--no-headers")
        return any(all(word in line for word in words) for line in listed.splitlines())

    assert may(spaces[0], "secrets", "create")
    assert may(spaces[1], "httproutes", "list")
    assert not may(spaces[2], "secrets")
    assert not may(spaces[2], "ollamaserves")
