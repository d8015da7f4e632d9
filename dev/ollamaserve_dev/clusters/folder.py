"""The folder of one cluster: all that is kept of it, by its name.

A cluster is up to its provider; `provider` (a file in the folder) says whose it is.
"""

import re
import shutil
from pathlib import Path

from ollamaserve_dev import cache, progress

NAME = re.compile(r"[a-z]([-a-z0-9]{0,30}[a-z0-9])?")


def of(name: str) -> Path:
    """The folder of cluster `name`, which may not exist; raises SetupError on a name unfit."""
    if not NAME.fullmatch(name):
        raise progress.SetupError(
            f"--name {name}: a cluster's name is lower-case letters, digits and '-', at most 32"
        )
    return cache.root() / "clusters" / name


def claim(name: str, provider: str) -> Path:
    """Make the folder for `provider`; raises SetupError where another provider has it."""
    folder = of(name)
    owner = folder / "provider"
    if owner.exists() and owner.read_text() != provider:
        raise progress.SetupError(
            f"cluster {name} is of provider {owner.read_text()}: take it down first, with "
            f"`python -m ollamaserve_dev cluster down --provider {owner.read_text()} --name {name}`"
        )
    folder.mkdir(parents=True, exist_ok=True)
    owner.write_text(provider)
    return folder


def forget(name: str) -> None:
    shutil.rmtree(of(name), ignore_errors=True)


def known() -> dict[str, str]:
    """Every cluster's name to its provider's."""
    owners = sorted(cache.root().glob("clusters/*/provider"))
    return {owner.parent.name: owner.read_text() for owner in owners}
