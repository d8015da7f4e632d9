"""Debian's packages: installed on this machine when root, and unpacked into root filesystems."""

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from ollamaserve_dev import cache, progress

SOURCES = Path("/etc/apt")


def need(purpose: str, *packages: str) -> None:
    """See that `packages` are installed; raises SetupError where that's the user's to do."""
    missing = [p for p in packages if not _installed(p)]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise progress.SetupError(f"{purpose} needs: {' '.join(missing)}. Install and try again")
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    install = ("apt-get", "install", "-y", "--no-install-recommends", *missing)
    with cache.locked("apt"), progress.step(f"Debian packages: {' '.join(missing)}"):
        progress.run(("apt-get", "update"), log="apt-update", env=env)
        progress.run(install, log="apt-install", env=env)


def _installed(package: str) -> bool:
    if shutil.which("dpkg-query") is None:
        return False
    words = ("dpkg-query", "--show", "--showformat=${db:Status-Status}", package)
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout == "installed"


def mirror(sources: Iterable[str]) -> str | None:
    """The first package archive in these texts of apt's sources lists, either format."""
    for text in sources:
        found = re.search(r"^URIs:\s*(\S+)|^deb\s+(?:\[[^]]*\]\s*)?(\S+)", text, re.MULTILINE)
        if found:
            return found[1] or found[2]
    return None


def _own_mirror() -> list[str]:
    """This machine's archive of Debian; without one the bootstrap tool's default."""
    files = (SOURCES / "sources.list.d/debian.sources", SOURCES / "sources.list")
    found = mirror(f.read_text() for f in files if f.is_file())
    return [found] if found else []


def root(suite: str, purpose: str, packages: Iterable[str], variant: str) -> Path:
    """A tar file of a root filesystem of `suite` holding `packages`, made once.

    `variant` is mmdebstrap(1)'s: `extract` only unpacks, and runs no package's scripts.
    """
    key = cache.fingerprint(variant, *packages)
    make = functools.partial(_bootstrap, suite, purpose, packages, variant)
    return cache.entry("roots", f"{suite}-{purpose}-{key}", make) / "root.tar"


def unpack(archive: Path, into: Path) -> None:
    """Unpack a root filesystem, with its owners and modes."""
    into.mkdir()
    words = ("tar", "-C", into, "-xf", archive, "--exclude=./dev/*")
    subprocess.run(words, check=True)


def _bootstrap(suite: str, purpose: str, packages: Iterable[str], variant: str, into: Path) -> None:
    need("a root filesystem of Debian", "mmdebstrap")
    if os.geteuid() != 0:
        raise progress.SetupError("making a root filesystem of Debian needs root: use sudo")
    left_out = ("doc", "man", "locale", "info", "bash-completion")
    with progress.step(f"Debian {suite} root filesystem ({purpose})"):
        progress.run(
            [
                *("mmdebstrap", "--mode=root", f"--variant={variant}"),
                f"--include={','.join(packages)}",
                '--aptopt=Acquire::Check-Valid-Until "false"',
                '--aptopt=APT::Install-Recommends "false"',
                "--dpkgopt=force-unsafe-io",
                *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in left_out),
                *(suite, str(into / "root.tar"), *_own_mirror()),
            ],
            log=f"bootstrap-{suite}-{variant}",
        )
