"""The pure parts of the providers: names, contexts, configurations, command lines."""

import json
import os
from pathlib import Path

import pytest

from ollamaserve_dev import __main__ as command
from ollamaserve_dev import clusters
from ollamaserve_dev.clusters import (
    components,
    credentials,
    current,
    fakenodes,
    folder,
    kind,
    processes,
)
from ollamaserve_dev.progress import SetupError

TEST_CONTEXTS = ["kind-demo", "k3d-a", "minikube", "minikube-two", "docker-desktop", "colima"]
OTHERS = ["prod", "kind", "gke_project_zone_kind-demo", "my-minikube", "docker-desktop.prod", ""]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OLLAMASERVE_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("context", TEST_CONTEXTS)
def test_contexts_of_local_clusters_are_accepted(context: str) -> None:
    """The names that local clusters give their contexts."""
    assert current.looks_like_a_test_cluster(context)


@pytest.mark.parametrize("context", OTHERS)
def test_other_contexts_are_refused(context: str) -> None:
    """Tests create and delete cluster-wide objects: never in somebody's production."""
    assert not current.looks_like_a_test_cluster(context)


def test_a_refusal_names_the_context_and_the_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    """The command fails, with one line that says what to do."""
    words = ["cluster", "up", "--provider=current", "--context=prod"]

    assert command.main(words) == 1

    error = capsys.readouterr().err
    assert "prod" in error
    assert "--yes-really" in error


def test_a_context_must_be_named() -> None:
    """Which cluster is never guessed."""
    with pytest.raises(SetupError, match="needs --context"):
        clusters.provider("current").up()


@pytest.mark.parametrize(
    ("context", "program"),
    [("kind-a-b", "kind"), ("k3d-a", "k3d"), ("minikube-two", "minikube")],
)
def test_each_local_cluster_has_its_own_way_to_load_an_image(context: str, program: str) -> None:
    """The cluster's name is what follows its kind, dashes included."""
    words = current.loader(context, "image:1")

    assert words is not None
    assert words[0] == program
    assert "image:1" in words
    assert any(word.endswith(context.partition("-")[2]) for word in words)


def test_docker_desktop_needs_no_loading_and_an_unknown_cluster_has_no_way() -> None:
    """Docker Desktop's cluster shares the engine's images; elsewhere a registry is needed."""
    assert current.loader("docker-desktop", "image:1") == ()
    assert current.loader("prod", "image:1") is None


@pytest.mark.parametrize("name", ["Demo", "-a", "a-", "a" * 33, "a/b", "..", ""])
def test_unfit_names_are_refused(name: str) -> None:
    """A name becomes a folder and a part of host names."""
    with pytest.raises(SetupError, match="--name"):
        folder.of(name)


def test_a_name_belongs_to_one_provider() -> None:
    """Two providers never share a cluster's folder; the message says how to free it."""
    folder.claim("demo", "kind")

    with pytest.raises(SetupError, match="cluster down --provider kind --name demo"):
        folder.claim("demo", "control-plane")
    assert folder.known() == {"demo": "kind"}
    folder.forget("demo")
    assert folder.known() == {}


@pytest.mark.parametrize("nodes", [1, 3])
def test_kind_gets_one_control_plane_and_the_rest_workers(nodes: int) -> None:
    """The number of nodes counts the control plane."""
    roles = [node["role"] for node in kind.configuration(nodes)["nodes"]]

    assert roles == ["control-plane", *["worker"] * (nodes - 1)]


@pytest.mark.parametrize("nodes", [0, -1])
def test_kind_without_a_node_is_refused(nodes: int) -> None:
    """No node is no cluster."""
    with pytest.raises(SetupError, match=f"--nodes {nodes}"):
        clusters.provider("kind", nodes=nodes)


def test_an_unknown_provider_is_refused() -> None:
    """The message lists those there are."""
    with pytest.raises(SetupError, match="kind, control-plane, current"):
        clusters.provider("gke")


def test_ports_differ() -> None:
    """Two control planes, and the parts of one, listen beside each other."""
    ports = components.Ports.free()

    assert len({ports.etcd, ports.etcd_peers, ports.api}) == 3


def test_components_keep_to_their_folder_and_to_loopback(tmp_path: Path) -> None:
    """What a control plane writes is in its folder; nobody else's machine can reach it."""
    ports = components.Ports(1, 2, 3)

    assert f"--data-dir={tmp_path}/etcd" in components.etcd(tmp_path, ports)
    assert "--bind-address=127.0.0.1" in components.api_server(tmp_path, ports)
    assert not any("0.0.0.0" in word for word in components.etcd(tmp_path, ports))


def test_credentials_are_for_their_owner_only(tmp_path: Path) -> None:
    """Key files and kubeconfig can't be read by other users; the token is in both."""
    credentials.write(tmp_path, "https://127.0.0.1:3")

    for file in tmp_path.iterdir():
        assert file.stat().st_mode & 0o077 == 0
    config = json.loads((tmp_path / "kubeconfig").read_text())
    token = config["users"][0]["user"]["token"]
    assert (tmp_path / "tokens.csv").read_text().startswith(f"{token},")
    assert len(token) >= 32


def test_a_fake_gpu_is_in_capacity_and_allocatable() -> None:
    """The scheduler reads allocatable; a node without GPUs doesn't name them at all."""
    node = fakenodes.manifest(fakenodes.FakeNode("gpu", labels={"pool": "a"}, gpus=2))
    plain = fakenodes.manifest(fakenodes.FakeNode("plain"))

    assert node["status"]["capacity"]["nvidia.com/gpu"] == "2"
    assert node["status"]["allocatable"] == node["status"]["capacity"]
    assert node["metadata"]["labels"]["pool"] == "a"
    assert "nvidia.com/gpu" not in plain["status"]["capacity"]


def test_a_process_that_took_over_an_old_id_is_not_ours(tmp_path: Path) -> None:
    """Process ids are used again: the time of start tells whose it is."""
    mine = os.getpid()
    (tmp_path / "etcd.pid").write_text(f"{mine} {int(processes.started(mine)) - 1}")

    processes.stop(tmp_path)

    assert list(tmp_path.iterdir()) == []
