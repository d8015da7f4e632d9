"""The programs of a local cluster: where they are, and how they get there.

A folder of prebuilt binaries (`OLLAMASERVE_PREBUILT`, xz files beside their SHA256SUMS) stands in
where it is given; otherwise they are built from source. Anyone may ask for a path.
"""

import hashlib
import lzma
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from ollamaserve_dev import cache, gobuild, progress

# One binary is all of Kubernetes, chosen by the name it is called by: one link instead of nine.
KUBE = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    *("kubelet", "kube-proxy", "kubeadm", "kubectl", "kindnetd"),
)
NAMES = (*KUBE, *(name for name in gobuild.PROGRAMS if name != "kube"))


def path(name: str) -> Path:
    """The program `name` (one of NAMES), installed if it isn't yet."""
    program = gobuild.PROGRAMS["kube" if name in KUBE else name]
    digest = _prebuilt_digests().get(program.name)
    if digest:
        label = f"{program.name}-{program.version}-prebuilt-{digest[:12]}"
        folder = cache.entry("tools", label, lambda into: _unpack(program.name, digest, into))
    else:
        label = f"{program.name}-{program.version}-{program.fingerprint()}"
        folder = cache.entry("tools", label, lambda into: _build(program, into))
    return folder / name


def _build(program: gobuild.Program, into: Path) -> None:
    gobuild.build(program, into)
    _links(program.name, into)


def _unpack(name: str, digest: str, into: Path) -> None:
    archive = Path(os.environ["OLLAMASERVE_PREBUILT"]) / f"{name}.xz"
    with progress.step(f"{name}: unpack {archive}"):
        with lzma.open(archive) as packed, (into / name).open("wb") as plain:
            shutil.copyfileobj(packed, plain, 1 << 20)
        verify(into / name, digest)
        (into / name).chmod(0o755)
    _links(name, into)


def _links(name: str, folder: Path) -> None:
    if name == "kube":
        for component in KUBE:
            (folder / component).symlink_to("kube")


def _prebuilt_digests() -> Mapping[str, str]:
    folder = os.environ.get("OLLAMASERVE_PREBUILT")
    if not folder:
        return {}
    sums = Path(folder) / "SHA256SUMS"
    if not sums.is_file():
        raise progress.SetupError(f"OLLAMASERVE_PREBUILT={folder}: it has no SHA256SUMS")
    return digests(sums.read_text())


def digests(sums: str) -> Mapping[str, str]:
    """File name to SHA-256 (hex) of sha256sum(1)'s output."""
    pairs = (line.split(maxsplit=1) for line in sums.splitlines() if line.strip())
    return {name.lstrip("*"): digest for digest, name in pairs}


def verify(file: Path, digest: str) -> None:
    """Raise SetupError unless the SHA-256 of `file` is `digest`."""
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != digest:
        raise progress.SetupError(f"{file.name}: SHA-256 is {found}, expected {digest}")
