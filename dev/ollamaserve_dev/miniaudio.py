"""The miniaudio header that Ollama's source build includes, out of PyPI's source archive."""

import hashlib
import sys
import tarfile
from pathlib import Path

from ollamaserve_dev import cache, progress, versions

HEADER = "miniaudio/miniaudio.h"


def folder() -> Path:
    """A folder to give as `-I`, in which `miniaudio/miniaudio.h` is."""
    return cache.entry("sources", f"miniaudio-{versions.MINIAUDIO}", _fetch)


def _fetch(into: Path) -> None:
    name = f"miniaudio-{versions.MINIAUDIO}"
    with (
        progress.step(f"{name}: download its header"),
        cache.scratch() as scratch,
    ):
        progress.run(
            (
                *(sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary=:all:"),
                *(f"--dest={scratch}", f"miniaudio=={versions.MINIAUDIO}"),
            ),
            log="miniaudio",
        )
        archive = scratch / f"{name}.tar.gz"
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != versions.MINIAUDIO_SHA256:
            raise progress.SetupError(
                f"{archive.name}: SHA-256 is {found}, expected {versions.MINIAUDIO_SHA256}"
            )
        with tarfile.open(archive) as tar:
            header = tar.extractfile(f"{name}/{HEADER}")
            if header is None:
                raise progress.SetupError(f"{archive.name} has no {HEADER}")
            (into / HEADER).parent.mkdir()
            (into / HEADER).write_bytes(header.read())
