"""kind: a real cluster, its nodes containers of docker or podman. The default for everything."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ollamaserve_dev import cache, engine, nodeimage, progress, tools
from ollamaserve_dev.clusters import folder, readiness
from ollamaserve_dev.clusters.cluster import Cluster

DOWN = "python -m ollamaserve_dev cluster down"
POD_SUBNET, SERVICE_SUBNET = "10.244.0.0/16", "10.96.0.0/16"


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    nodes: int

    def __post_init__(self) -> None:
        if self.nodes < 1:
            raise progress.SetupError(f"--nodes {self.nodes}: a cluster has at least one")

    @property
    def kubeconfig(self) -> Path:
        return folder.of(self.name) / "kubeconfig"

    def up(self) -> Cluster:
        folder.claim(self.name, "kind")
        with cache.locked(f"cluster-{self.name}"):
            self._ensure()
        with progress.step(f"cluster {self.name}: nodes, DNS and storage"):
            readiness.wait(self.kubeconfig)
        return Cluster(self.name, self.kubeconfig, self.load_image)

    def _ensure(self) -> None:
        there = len(self._containers("--all"))
        if there and not readiness.answers(self.kubeconfig):
            progress.console.print(f"cluster {self.name} doesn't answer any more: made anew")
            self._delete()
        elif there not in {0, self.nodes}:
            raise progress.SetupError(
                f"cluster {self.name} is up with {there} node(s), not {self.nodes}: use another "
                f"--name, or take it down with `{DOWN} --name {self.name}`"
            )
        if not self._containers("--all"):
            self._create()

    def down(self) -> None:
        with (
            progress.step(f"cluster {self.name}: down"),
            cache.locked(f"cluster-{self.name}"),
        ):
            if self._containers("--all"):
                self._delete()
            folder.forget(self.name)
            engine.leave_nothing(engine.current())

    def load_image(self, *images: str) -> None:
        """In one archive, so that the layers they share travel once; loaded ones are skipped."""
        wanted = {image: _identity(image) for image in images}
        record = folder.of(self.name) / "loaded.json"
        loaded = json.loads(record.read_text()) if record.exists() else {}
        missing = [image for image, identity in wanted.items() if loaded.get(image) != identity]
        if not missing:
            return
        with (
            progress.step(f"cluster {self.name}: load {', '.join(missing)}"),
            cache.scratch() as scratch,
        ):
            archive = scratch / "images.tar"
            engine.current().save(archive, missing)
            self._kind("load", "image-archive", str(archive))
        record.write_text(json.dumps(loaded | wanted))

    def _kind(self, *words: str) -> None:
        progress.run(
            (tools.path("kind"), *words, f"--name={self.name}"),
            log=f"kind-{words[0]}-{self.name}",
            env=engine.current().environment(),
        )

    def _containers(self, *options: str) -> list[str]:
        label = f"--filter=label=io.x-k8s.kind.cluster={self.name}"
        return (engine.current().ask("ps", "--quiet", label, *options) or "").split()

    def _create(self) -> None:
        image = nodeimage.reference(engine.current())
        config = folder.of(self.name) / "kind.json"
        config.write_text(json.dumps(configuration(self.nodes)))
        with (
            cache.locked(engine.LOCK, shared=True),
            progress.step(f"kind create cluster: {self.name}, {self.nodes} node(s)"),
        ):
            self._kind(
                *("create", "cluster", f"--image={image}", f"--config={config}"),
                f"--kubeconfig={self.kubeconfig}",
            )

    def _delete(self) -> None:
        running = self._containers()
        if running:
            engine.current().ask("kill", *running)  # a node takes ten seconds to end by itself
        self._kind("delete", "cluster", f"--kubeconfig={self.kubeconfig}")


def _identity(image: str) -> str:
    identity = engine.current().image_id(image)
    if identity is None:
        remedy = "make it with `python -m ollamaserve_dev images build`"
        raise progress.SetupError(
            f"image {image}: {engine.current().name} doesn't have it; {remedy}"
        )
    return identity


def configuration(nodes: int) -> dict[str, Any]:
    """A Cluster of kind: one control plane, the other nodes workers."""
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "networking": {"podSubnet": POD_SUBNET, "serviceSubnet": SERVICE_SUBNET},
        "nodes": [{"role": "control-plane"}, *({"role": "worker"} for _ in range(nodes - 1))],
    }
