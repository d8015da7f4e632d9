"""Node-local storage as local-path-provisioner gives it: a volume is where its first pod is."""

from dataclasses import dataclass
from typing import Any

from ollamaserve_dev.kubectl import Kubectl

NAME = "node-local"
CLASS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": NAME},
    "provisioner": "example.com/node-local",
    "volumeBindingMode": "WaitForFirstConsumer",
    "reclaimPolicy": "Delete",
}
SELECTED = "volume.kubernetes.io/selected-node"


@dataclass(frozen=True)
class Disks:
    """The provisioner: `provide` does what it would do now; call it while waiting."""

    team: Kubectl

    def provide(self) -> None:
        """Make a volume for each claim whose node the scheduler has chosen."""
        for claim in self.team.list("persistentvolumeclaim"):
            node = claim["metadata"].get("annotations", {}).get(SELECTED)
            if node and "volumeName" not in claim["spec"]:
                self.team.apply(_volume(claim, node))


def _volume(claim: dict[str, Any], node: str) -> dict[str, Any]:
    """Bound to the claim, and to the node: the scheduler puts its pods nowhere else."""
    metadata, spec = claim["metadata"], claim["spec"]
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"local-{metadata['uid']}"},
        "spec": {
            "capacity": spec["resources"]["requests"],
            "accessModes": spec["accessModes"],
            "storageClassName": NAME,
            "hostPath": {"path": "/nowhere"},
            "claimRef": {
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "nodeAffinity": {
                "required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
            },
        },
    }
