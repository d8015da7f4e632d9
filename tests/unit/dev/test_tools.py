"""Prebuilt binaries are taken only with the bytes that their SHA256SUMS names."""

import hashlib
import lzma
from pathlib import Path

import pytest

from ollamaserve_dev import gobuild, tools
from ollamaserve_dev.progress import SetupError


@pytest.fixture
def prebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a `kube.xz`, and its sum in either form of sha256sum(1)."""
    folder = tmp_path / "prebuilt"
    folder.mkdir()
    (folder / "kube.xz").write_bytes(lzma.compress(b"program"))
    digest = hashlib.sha256(b"program").hexdigest()
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  other\n{digest} *kube\n")
    monkeypatch.setenv("OLLAMASERVE_PREBUILT", str(folder))
    monkeypatch.setenv("OLLAMASERVE_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.mark.usefixtures("prebuilt")
def test_one_binary_answers_to_every_name_of_kubernetes() -> None:
    """kubectl, etcd… are links to the one program that was unpacked."""
    for name in tools.KUBE:
        program = tools.path(name)
        assert program.name == name
        assert program.read_bytes() == b"program"
        assert program.stat().st_mode & 0o111


def test_other_bytes_than_the_sum_names_are_refused(prebuilt: Path) -> None:
    """A damaged or exchanged archive is refused, and nothing of it is kept."""
    (prebuilt / "kube.xz").write_bytes(lzma.compress(b"another program"))

    with pytest.raises(SetupError, match=r"kube: SHA-256 is .*, expected"):
        tools.path("kubectl")
    with pytest.raises(SetupError):
        tools.path("kubectl")


def test_a_prebuilt_folder_without_sums_is_refused(prebuilt: Path) -> None:
    """Nothing unverified is run."""
    (prebuilt / "SHA256SUMS").unlink()

    with pytest.raises(SetupError, match="it has no SHA256SUMS"):
        tools.path("kubectl")


def test_every_program_has_a_module_whose_sums_are_committed() -> None:
    """The source build is pinned by go.sum, whatever is built of others' modules."""
    for program in gobuild.PROGRAMS.values():
        folder = gobuild.DEV / program.module
        required = "require" in (folder / "go.mod").read_text()
        assert (" h1:" in (folder / "go.sum").read_text()) is required


def test_the_pinned_versions_are_those_of_the_go_modules() -> None:
    """A version is written in versions.py and in a go.mod: both say the same."""
    modules = {
        "kube": "k8s.io/kubernetes",
        "coredns": "github.com/coredns/coredns",
        "local-path-provisioner": "github.com/rancher/local-path-provisioner",
        "kind": "sigs.k8s.io/kind",
        "kwok": "sigs.k8s.io/kwok",
        "kubeconform": "github.com/yannh/kubeconform",
        "ollama": "github.com/ollama/ollama",
    }

    for name, module in modules.items():
        program = gobuild.PROGRAMS[name]
        required = (gobuild.DEV / program.module / "go.mod").read_text()
        assert f"{module} v{program.version.removeprefix('v')}" in required
