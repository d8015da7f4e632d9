"""What a node image must hold, read out of kind's own source, so that both always agree.

kind keeps its manifests as Go constants, and the image names in them as others.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from ollamaserve_dev import gobuild

MODULE = "sigs.k8s.io/kind"


def constant(source: str, name: str) -> str:
    """The value of a Go string constant: quoted, or raw strings joined with other constants.

    Raises KeyError where `source` has no such constant.
    """
    joined = re.search(
        rf"^const {name} = (`.*?`(?: \+ \w+ \+ `.*?`)*)$", source, re.DOTALL | re.MULTILINE
    )
    if joined:
        parts = re.split(r"` \+ (\w+) \+ `", joined[1][1:-1])
        texts, names = parts[::2], [constant(source, part) for part in parts[1::2]]
        return "".join(text + value for text, value in zip(texts, [*names, ""], strict=True))
    quoted = re.search(rf'^const {name} = "(.*)"$', source, re.MULTILINE)
    if not quoted:
        raise KeyError(name)
    return quoted[1]


@dataclass(frozen=True, slots=True)
class Source:
    """The unpacked source of kind."""

    folder: Path

    @classmethod
    def fetched(cls) -> "Source":
        return cls(gobuild.source("kind", MODULE))

    @property
    def base_files(self) -> Path:
        return self.folder / "images/base/files"

    def _constant(self, file: str, name: str) -> str:
        return constant((self.folder / f"pkg/build/nodeimage/const_{file}.go").read_text(), name)

    def manifests(self) -> dict[str, str]:
        """File name below /kind/manifests to its text."""
        return {
            "default-cni.yaml": self._constant("cni", "defaultCNIManifest"),
            "default-storage.yaml": self._constant("storage", "defaultStorageManifest"),
        }

    def images(self) -> dict[str, str]:
        """What an image is for, to its name."""
        config = (self.base_files / "etc/containerd/config.toml").read_text()
        sandbox = re.search(r'sandbox_image = "(.*)"', config)
        if not sandbox:
            raise KeyError("sandbox_image")
        return {
            "kindnetd": self._constant("cni", "kindnetdImage"),
            "provisioner": self._constant("storage", "storageProvisionerImage"),
            "helper": self._constant("storage", "storageHelperImage"),
            "sandbox": sandbox[1],
        }
