"""kind: a real cluster, its nodes containers of docker or podman. The default for everything."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ollamaserve_dev import engine, nodeimage, progress, tools
from ollamaserve_dev.clusters import folder, readiness
from ollamaserve_dev.clusters.cluster import Cluster

POD_SUBNET, SERVICE_SUBNET = "10.244.0.0/16", "10.96.0.0/16"


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    nodes: int

    @property
    def kubeconfig(self) -> Path:
        return folder.of(self.name) / "kubeconfig"

    def up(self) -> Cluster:
        folder.claim(self.name, "kind")
        if self._exists() and not readiness.answers(self.kubeconfig):
            progress.console.print(f"cluster {self.name} doesn't answer any more: made anew")
            self._delete()
        if not self._exists():
            self._create()
        with progress.step(f"cluster {self.name}: nodes, DNS and storage"):
            readiness.wait(self.kubeconfig)
        return Cluster(self.name, self.kubeconfig, self.load_image)

    def down(self) -> None:
        with progress.step(f"cluster {self.name}: down"):
            if self._exists():
                self._delete()
            folder.forget(self.name)
            engine.leave_nothing(engine.current())

    def load_image(self, image: str) -> None:
        current = engine.current()
        identity = current.image_id(image)
        if identity is None:
            raise progress.SetupError(
                f"image {image} isn't there: `python -m ollamaserve_dev images build`"
            )
        loaded = folder.of(self.name) / "loaded.json"
        images = json.loads(loaded.read_text()) if loaded.exists() else {}
        if images.get(image) == identity:
            return
        with progress.step(f"load {image}"), tempfile.TemporaryDirectory() as scratch:
            archive = f"{scratch}/image.tar"
            current.run("save", f"--output={archive}", image, log="image-save")
            self._kind("load", "image-archive", archive)
        loaded.write_text(json.dumps(images | {image: identity}))

    def _kind(self, *words: str) -> None:
        progress.run(
            (tools.path("kind"), *words, f"--name={self.name}"),
            log=f"kind-{words[0]}-{self.name}",
            env=engine.current().environment(),
        )

    def _exists(self) -> bool:
        label = f"label=io.x-k8s.kind.cluster={self.name}"
        return bool(engine.current().ask("ps", "--all", "--quiet", f"--filter={label}"))

    def _create(self) -> None:
        image = nodeimage.reference(engine.current())
        config = folder.of(self.name) / "kind.json"
        config.write_text(json.dumps(configuration(self.nodes)))
        with progress.step(f"kind create cluster: {self.name}, {self.nodes} node(s)"):
            self._kind(
                *("create", "cluster", f"--image={image}", f"--config={config}"),
                f"--kubeconfig={self.kubeconfig}",
            )

    def _delete(self) -> None:
        self._kind("delete", "cluster", f"--kubeconfig={self.kubeconfig}")


def configuration(nodes: int) -> dict[str, object]:
    """A Cluster of kind: one control plane, the other nodes workers."""
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "networking": {"podSubnet": POD_SUBNET, "serviceSubnet": SERVICE_SUBNET},
        "nodes": [{"role": "control-plane"}, *({"role": "worker"} for _ in range(nodes - 1))],
    }
