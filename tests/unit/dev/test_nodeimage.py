"""What a node image is put together of: kind's own constants, and an OCI archive."""

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from ollamaserve_dev import kindsource, oci

GO = """package nodeimage

const image = "registry/one:v1"

const manifest = `
image: ` + image + `
again: ` + image + `
end
`
"""


def test_a_constant_may_be_joined_of_others() -> None:
    """kind's manifests name their images by other constants."""
    assert kindsource.constant(GO, "image") == "registry/one:v1"
    assert (
        kindsource.constant(GO, "manifest")
        == "\nimage: registry/one:v1\nagain: registry/one:v1\nend\n"
    )


def test_a_missing_constant_is_named() -> None:
    """Another version of kind may name them otherwise: the error says which was looked for."""
    with pytest.raises(KeyError, match="gone"):
        kindsource.constant(GO, "gone")


@pytest.fixture
def layer(tmp_path: Path) -> oci.Layer:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/file").write_text("content")
    return oci.Layer.of(tmp_path / "root")


def test_an_archive_holds_each_image_under_its_name(tmp_path: Path, layer: oci.Layer) -> None:
    """OCI image layout: index → manifest → config and layers, each found by its digest."""
    wanted = [oci.Image("r/pause:1", ("pause",)), oci.Image("r/all:1")]
    oci.write(tmp_path / "images.tar", wanted, [layer])

    with tarfile.open(tmp_path / "images.tar") as tar:
        files = {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
    for name, content in files.items():
        if name.startswith("blobs/sha256/"):
            assert name == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"
    index = json.loads(files["index.json"])
    names = [m["annotations"]["io.containerd.image.name"] for m in index["manifests"]]
    assert names == ["r/pause:1", "r/all:1"]
    assert len({m["digest"] for m in index["manifests"]}) == 2
    manifest = json.loads(files[f"blobs/{index['manifests'][0]['digest'].replace(':', '/')}"])
    config = json.loads(files[f"blobs/{manifest['config']['digest'].replace(':', '/')}"])
    assert config["config"]["Entrypoint"] == ["pause"]
    assert config["rootfs"]["diff_ids"] == [layer.plain_digest]
    assert f"blobs/{manifest['layers'][0]['digest'].replace(':', '/')}" in files


def test_equal_folders_are_equal_layers(tmp_path: Path, layer: oci.Layer) -> None:
    """Times and owners of this machine are not in a layer."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("content")

    assert oci.Layer.of(tmp_path / "other") == layer
