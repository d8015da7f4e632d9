"""The container engine of this machine: docker where it works, otherwise podman.

Root's podman keeps its images, containers and networks inside the cache folder, so that nothing
global is touched; a user's own (rootless) podman is taken as it is configured.
"""

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ollamaserve_dev import cache, debian, podman, progress

PACKAGES = ("podman", "runc", "netavark", "aardvark-dns", "iptables")
LOCK = "engine"
SECONDS_TO_ASK_A_REGISTRY = 8


@dataclass(frozen=True, slots=True)
class Engine:
    """`docker` or `podman`, and the environment that it and kind need."""

    name: str
    settings: Mapping[str, str] = field(hash=False)

    def environment(self) -> dict[str, str]:
        return os.environ | self.settings | {"KIND_EXPERIMENTAL_PROVIDER": self.name}

    def run(self, *words: str | Path, log: str) -> None:
        progress.run((self.name, *words), log=log, env=self.environment())

    def ask(self, *words: str, seconds: float | None = None) -> str | None:
        """Standard output, or None where the engine says no."""
        try:
            done = subprocess.run(
                (self.name, *words),
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None
        return None if done.returncode else done.stdout.strip()

    def save(self, archive: Path, images: Sequence[str]) -> None:
        """Write `images` into one tar file, in docker's format."""
        several = ("--multi-image-archive",) if self.name == "podman" else ()
        self.run("save", *several, f"--output={archive}", *images, log="image-save")

    def image_id(self, image: str) -> str | None:
        return self.ask("image", "inspect", "--format={{.Id}}", image)

    def label(self, image: str, name: str) -> str | None:
        """The value of an image's label; None without that image, empty without that label."""
        return self.ask(
            "image", "inspect", f'--format={{{{index .Config.Labels "{name}"}}}}', image
        )

    def forget_all(self, prefix: str) -> None:
        """Remove every image whose repository starts with `prefix`, and unnamed leftovers."""
        self.forget(f"{prefix}/*", "")
        self.ask("image", "prune", "--force")

    def forget(self, repository: str, kept: str) -> None:
        """Remove the other images of `repository` that no container uses."""
        listed = self.ask("images", "--format={{.Repository}}:{{.Tag}}", repository) or ""
        for image in listed.split():
            if image != kept:
                self.ask("rmi", image)

    @functools.cache  # noqa: B019 - one engine lives as long as the program
    def reaches(self, image: str) -> bool:
        """Whether `image` is here or its registry answers; asked once, and briefly."""
        if self.image_id(image):
            return True
        with progress.step(f"is {image.partition('@')[0]} in reach?"):
            answer = self.ask("manifest", "inspect", image, seconds=SECONDS_TO_ASK_A_REGISTRY)
        return answer is not None


@functools.cache
def current() -> Engine:
    """The engine to use; podman is installed where that's possible and neither is there."""
    docker = Engine("docker", {})
    if shutil.which("docker") and docker.ask("info", "--format={{.ID}}", seconds=10):
        return docker
    if os.geteuid() == 0:
        debian.need("a container engine", *PACKAGES)
        return Engine("podman", podman.settings())
    if shutil.which("podman"):
        return Engine("podman", {})
    raise progress.SetupError("no container engine: install docker or podman, or run as root")


def leave_nothing(engine: Engine) -> None:
    """After the last container: no network, volume, mount or firewall chain of ours stays.

    Where a cluster is just being made, its containers come next, and there is nothing to do.
    """
    with cache.locked_if_free(LOCK) as alone:
        if alone and "CONTAINERS_CONF" in engine.settings:
            _clear(engine)


def _clear(engine: Engine) -> None:
    if engine.ask("ps", "--all", "--quiet") != "":
        return
    engine.ask("network", "prune", "--force")
    engine.ask("volume", "prune", "--force")
    podman.clear()
