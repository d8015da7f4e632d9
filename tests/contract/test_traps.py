"""Traps that would show in the manifests themselves, looked for in every golden file."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from ollamaserve_dev import cache
from ollamaserve_operator import tuning

GOLDEN = sorted((cache.CHECKOUT / "tests/unit/golden").glob("*.yaml"))
FILES = pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)

Body = dict[str, Any]


def manifests(path: Any) -> list[Body]:
    return list(yaml.safe_load_all(path.read_text()))


def containers(path: Any) -> Iterator[Body]:
    for body in manifests(path):
        pod = body.get("spec", {}).get("template", {}).get("spec", {})
        yield from (*pod.get("containers", []), *pod.get("initContainers", []))


@FILES
def test_no_container_goes_through_a_shell_or_a_start_hook(path: Any) -> None:
    """T6, T7: no argv is put together for a shell, and nothing hides in a postStart hook."""
    found = list(containers(path))

    assert found
    for container in found:
        words = (*container.get("command", ()), *container.get("args", ()))
        assert not [word for word in words if word.rpartition("/")[2] in {"sh", "bash"}]
        assert "postStart" not in container.get("lifecycle", {})


@FILES
def test_names_are_those_of_the_resource(path: Any) -> None:
    """T17: who knows the resource's name knows its Service's and its Secret's."""
    by_kind = {body["kind"]: body["metadata"]["name"] for body in manifests(path)}
    name = by_kind["Deployment"]

    assert by_kind["Service"] == name
    assert by_kind.get("Secret", f"{name}-auth") == f"{name}-auth"


@FILES
def test_nothing_waits_for_the_operator_to_be_deleted(path: Any) -> None:
    """T20: no finalizer anywhere: a namespace can go when the operator is gone."""
    assert [body for body in manifests(path) if "finalizers" in body["metadata"]] == []


def test_the_operator_agrees_with_nobody() -> None:
    """T20: kopf's peering, which is no lease, is off; a foreign peer can't pause the operator."""
    assert tuning.settings().peering.standalone
