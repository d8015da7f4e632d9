"""The container engine of this machine: docker where it works, otherwise podman.

Root's podman keeps its images, containers and networks inside the cache folder, so that nothing
global is touched; a user's own (rootless) podman is taken as it is configured.
"""

import functools
import hashlib
import os
import resource
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ollamaserve_dev import cache, debian, firewall, progress

PACKAGES = ("podman", "runc", "netavark", "aardvark-dns", "iptables")
LOCK = "engine"
NETWORK_NAMESPACES = Path("/run/netns")
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
        with progress.step(f"is {image} in reach?"):
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
        return Engine("podman", _isolated())
    if shutil.which("podman"):
        return Engine("podman", {})
    raise progress.SetupError("no container engine: install docker or podman, or run as root")


def _isolated() -> Mapping[str, str]:
    """Podman's configuration, and all that it keeps, inside the cache folder."""
    Path("/lib/modules").mkdir(parents=True, exist_ok=True)  # kind mounts it into every node
    folder = cache.root() / "podman"
    network = folder / "networks"
    network.mkdir(parents=True, exist_ok=True)
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)[::-1]
    mine = int(hashlib.sha256(str(folder).encode()).hexdigest()[:8], 16)
    storage, containers = folder / "storage.conf", folder / "containers.conf"
    _write(storage, storage_conf(folder / "storage", runtime_folder()))
    _write(containers, containers_conf(network, runtime_folder(), mine, files))
    return {"CONTAINERS_STORAGE_CONF": str(storage), "CONTAINERS_CONF": str(containers)}


def runtime_folder() -> Path:
    """Where podman keeps what a reboot must forget."""
    return Path("/run/ollamaserve") / cache.fingerprint(str(cache.root()))


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def storage_conf(graph: Path, run: Path) -> str:
    """See containers-storage.conf(5)."""
    return f'[storage]\ndriver = "overlay"\ngraphroot = "{graph}"\nrunroot = "{run}/storage"\n'


def containers_conf(networks: Path, run: Path, mine: int, files: int) -> str:
    """See containers.conf(5). `mine` picks the subnets; `files` is the hard limit of open files.

    runc, because crun refuses the hybrid cgroup layout; the limits are written out, because
    podman's own defaults can't be set where CAP_SYS_RESOURCE is missing.
    """
    return f"""\
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
tmp_dir = "{run}/libpod"
[network]
network_backend = "netavark"
network_config_dir = "{networks}"
default_subnet = "10.{128 + mine % 64}.0.0/24"
default_subnet_pools = [{{"base" = "10.{192 + mine % 62}.0.0/16", "size" = 24}}]
[containers]
pids_limit = 0
default_ulimits = ["nofile={files}:{files}", "nproc=32768:32768"]
"""


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
    firewall.clear()
    if NETWORK_NAMESPACES.is_dir() and not any(NETWORK_NAMESPACES.iterdir()):
        subprocess.run(("umount", NETWORK_NAMESPACES), capture_output=True, check=False)
