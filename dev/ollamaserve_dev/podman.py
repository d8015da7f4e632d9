"""Root's podman, configured to keep everything inside the cache folder.

`engine` asks for its settings, and has it cleared after the last container.
"""

import hashlib
import resource
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ollamaserve_dev import cache, firewall

NETWORK_NAMESPACES = Path("/run/netns")


def settings() -> Mapping[str, str]:
    """Podman's configuration, and all that it keeps, inside the cache folder."""
    Path("/lib/modules").mkdir(parents=True, exist_ok=True)  # kind mounts it into every node
    folder = cache.root() / "podman"
    network = folder / "networks"
    network.mkdir(parents=True, exist_ok=True)
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    mine = int(hashlib.sha256(str(folder).encode()).hexdigest()[:8], 16)
    storage, containers = folder / "storage.conf", folder / "containers.conf"
    _write(storage, storage_conf(folder / "storage", runtime_folder()))
    _write(containers, containers_conf(network, runtime_folder(), mine, files))
    return {
        "CONTAINERS_STORAGE_CONF": str(storage),
        "CONTAINERS_CONF": str(containers),
        # Firewall chains are named after the network's name: two caches must not share one.
        "KIND_EXPERIMENTAL_PODMAN_NETWORK": f"kind-{mine:08x}",
    }


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

    The subnets stay clear of 10.244.0.0/16, where kind's pods are. runc, because crun refuses the
    hybrid cgroup layout; the limits are written out, because podman's own defaults can't be set
    where CAP_SYS_RESOURCE is missing.
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
default_subnet_pools = [{{"base" = "10.{192 + mine % 48}.0.0/16", "size" = 24}}]
[containers]
pids_limit = 0
default_ulimits = ["nofile={files}:{files}", "nproc=32768:32768"]
"""


def clear() -> None:
    """Undo what podman and its network helper did to the machine; no container may be left."""
    firewall.clear()
    if NETWORK_NAMESPACES.is_dir() and not any(NETWORK_NAMESPACES.iterdir()):
        subprocess.run(("umount", NETWORK_NAMESPACES), capture_output=True, check=False)
