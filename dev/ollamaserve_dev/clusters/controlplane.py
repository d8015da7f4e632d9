"""etcd, API server, controllers and scheduler alone, from the same binary as kind's nodes.

For tests of the API and of scale: ready in seconds. kwok plays the nodes, by the thousand, so pods
become Ready without running.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from ollamaserve_dev import progress
from ollamaserve_dev.clusters import (
    components,
    credentials,
    fakenodes,
    folder,
    processes,
    readiness,
)
from ollamaserve_dev.clusters.cluster import Cluster

SECONDS_TO_START = 60


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """`nodes` fake nodes, without a GPU: `fakenodes.add` adds others."""

    name: str
    nodes: int = 1

    @property
    def kubeconfig(self) -> Path:
        return folder.of(self.name) / "kubeconfig"

    def up(self) -> Cluster:
        here = folder.claim(self.name, "control-plane")
        if not readiness.answers(self.kubeconfig):
            self._start(here)
        fakenodes.add(self.kubeconfig, *fakenodes.plain(self.nodes))
        return Cluster(self.name, self.kubeconfig, self.load_image)

    def down(self) -> None:
        with progress.step(f"control plane {self.name}: down"):
            processes.stop(folder.of(self.name))
            folder.forget(self.name)

    def load_image(self, *images: str) -> None:
        """Nothing to do: no pod of this cluster runs."""

    def _start(self, here: Path) -> None:
        processes.stop(here)
        shutil.rmtree(here / "etcd", ignore_errors=True)
        ports = components.Ports.free()
        credentials.write(here, f"https://127.0.0.1:{ports.api}")
        stages = fakenodes.stages()
        with progress.step(f"control plane {self.name}"):
            processes.start(here, "etcd", components.etcd(here, ports))
            processes.start(here, "kube-apiserver", components.api_server(here, ports))
            self._until("kube-apiserver", lambda: readiness.answers(self.kubeconfig))
            processes.start(here, "kube-controller-manager", components.controllers(here))
            processes.start(here, "kube-scheduler", components.scheduler(here))
            processes.start(here, "kwok", components.kwok(here, stages))
            self._until("kube-controller-manager", self._has_default_account)
            fakenodes.add_storage_class(self.kubeconfig)

    def _until(self, component: str, look: readiness.Look) -> None:
        try:
            readiness.until(look, component, seconds=SECONDS_TO_START)
        except progress.SetupError as error:
            end = processes.end_of_log(folder.of(self.name), component)
            raise progress.SetupError(f"{error}; the end of its log:\n{end}") from None

    def _has_default_account(self) -> bool:
        """Without it no pod is admitted: the controllers are at work once it is there."""
        words = ("get", "serviceaccount", "default", "--namespace=default", "--output=json")
        found = readiness.kubectl(self.kubeconfig, *words)
        return found.returncode == 0 and bool(json.loads(found.stdout)["metadata"]["uid"])
