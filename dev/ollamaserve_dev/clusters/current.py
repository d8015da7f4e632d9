"""The cluster that the user already has: nothing is created, only our copy of its kubeconfig goes.

A context that doesn't look like a test cluster is refused: the demo and the tests create and delete
namespaces, CRDs and cluster roles.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ollamaserve_dev import progress, tools
from ollamaserve_dev.clusters import folder, readiness
from ollamaserve_dev.clusters.cluster import Cluster

# The names that local clusters give their contexts.
TEST_CONTEXT = re.compile(
    r"kind-.+|k3d-.+|minikube(-.+)?|docker-desktop|docker-for-desktop|rancher-desktop"
    r"|orbstack|colima(-.+)?|microk8s"
)


def looks_like_a_test_cluster(context: str) -> bool:
    return TEST_CONTEXT.fullmatch(context) is not None


@dataclass(frozen=True, slots=True)
class Current:
    name: str
    context: str
    force: bool = False

    @property
    def kubeconfig(self) -> Path:
        return folder.of(self.name) / "kubeconfig"

    def up(self) -> Cluster:
        if not self.context:
            raise progress.SetupError("--provider current needs --context NAME")
        if not (self.force or looks_like_a_test_cluster(self.context)):
            raise progress.SetupError(
                f"--context {self.context}: that doesn't look like a test cluster (kind-*, k3d-*, "
                "minikube, docker-desktop, …). If you really mean it, add --yes-really"
            )
        folder.claim(self.name, "current")
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(self._extracted())
        with progress.step(f"cluster of context {self.context}: nodes, DNS and storage"):
            readiness.wait(self.kubeconfig)
        return Cluster(self.name, self.kubeconfig, self.load_image)

    def down(self) -> None:
        folder.forget(self.name)

    def load_image(self, *images: str) -> None:
        for image in images:
            self._load(image)

    def _load(self, image: str) -> None:
        command = loader(self.context, image)
        if command is None:
            raise progress.SetupError(
                f"context {self.context}: it isn't known how to load {image} there; push it to a "
                "registry that the cluster can pull from"
            )
        if command:
            with progress.step(f"load {image}"):
                progress.run(command, log="image-load")

    def _extracted(self) -> str:
        words = ("config", "view", "--minify", "--flatten", f"--context={self.context}")
        command = (tools.path("kubectl"), *words)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise progress.SetupError(f"--context {self.context}: {done.stderr.strip()}")
        return done.stdout


def loader(context: str, image: str) -> tuple[str, ...] | None:
    """The command that brings a local image there; empty where none is needed, None if unknown."""
    match context.split("-", 1):
        case ["kind", name]:
            return ("kind", "load", "docker-image", image, f"--name={name}")
        case ["k3d", name]:
            return ("k3d", "image", "import", image, f"--cluster={name}")
        case ["minikube", *_]:
            return ("minikube", f"--profile={context}", "image", "load", image)
        case ["docker" | "rancher", "desktop"] | ["docker", "for-desktop"] | ["orbstack"]:
            return ()
        case _:
            return None
