"""A mounted Secret or ConfigMap as kubelet lays it out: all of it swapped at once by `..data`."""

import os
from pathlib import Path


class Volume:
    """An empty folder at first; `write` replaces every key by those that are given."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._version = folder, 0
        folder.mkdir()

    def write(self, **files: str) -> None:
        self._version += 1
        fresh = self.folder / f"..version_{self._version}"
        fresh.mkdir()
        for name, text in files.items():
            (fresh / name.replace("gate_json", "gate.json")).write_text(text)
        (self.folder / "..data_tmp").symlink_to(fresh.name)
        os.replace(self.folder / "..data_tmp", self.folder / "..data")  # noqa: PTH105 as kubelet does
        names = {path.name for path in fresh.iterdir()}
        for link in self.folder.iterdir():
            if not link.name.startswith("..") and link.name not in names:
                link.unlink()
        for name in names:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(Path("..data") / name)
