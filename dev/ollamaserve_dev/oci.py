"""Several container images in one OCI archive, out of folders, without any container engine.

The format: https://github.com/opencontainers/image-spec (image-layout, manifest, config).
"""

import gzip
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEDIA = "application/vnd.oci.image"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TITLE = "org.opencontainers.image.title"  # makes two images of equal content two
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Image:
    """`command` becomes the entry point, so that a pod's `args` follow it."""

    name: str
    command: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Layer:
    content: bytes
    plain_digest: str

    @classmethod
    def of(cls, folder: Path) -> "Layer":
        """A folder as a layer, owned by root, without times: equal folders are equal layers."""
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w") as tar:
            tar.add(folder, arcname=".", filter=_owned_by_root)
        content = gzip.compress(plain.getbuffer(), compresslevel=1, mtime=0)
        return cls(content, _digest(plain.getbuffer()))


def _owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = "root"
    return entry


def _digest(content: bytes | memoryview) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Archive:
    """An OCI image layout being written into a tar file."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._written: set[str] = set()

    def add(self, name: str, content: bytes) -> None:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        self._tar.addfile(entry, io.BytesIO(content))

    def blob(self, kind: str, content: bytes) -> dict[str, Any]:
        """Write `content` once; gives its descriptor."""
        digest = _digest(content)
        if digest not in self._written:
            self._written.add(digest)
            self.add(f"blobs/{digest.replace(':', '/')}", content)
        return {"mediaType": f"{MEDIA}.{kind}", "digest": digest, "size": len(content)}

    def json(self, kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self.blob(f"{kind}+json", json.dumps(body).encode())


def write(path: Path, images: Iterable[Image], layers: Sequence[Layer]) -> None:
    """Write `images`, which share all `layers`, for `ctr images import`."""
    with tarfile.open(path, "w") as tar:
        archive = Archive(tar)
        manifests = [_image(archive, image, layers) for image in images]
        archive.add("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        index = {"schemaVersion": 2, "manifests": manifests}
        archive.add("index.json", json.dumps(index).encode())


def _image(archive: Archive, image: Image, layers: Sequence[Layer]) -> dict[str, Any]:
    machine = {"architecture": ARCHITECTURE[platform.machine()], "os": "linux"}
    config = machine | {
        "config": {"Env": [PATH], "Entrypoint": list(image.command), "Labels": {TITLE: image.name}},
        "rootfs": {"type": "layers", "diff_ids": [layer.plain_digest for layer in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{MEDIA}.manifest.v1+json",
        "config": archive.json("config.v1", config),
        "layers": [archive.blob("layer.v1.tar+gzip", layer.content) for layer in layers],
    }
    names = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
    return archive.json("manifest.v1", manifest) | {
        "annotations": dict.fromkeys(names, image.name),
        "platform": machine,
    }
