"""The volume of the models: created, grown, never shrunk."""

from typing import Any

from ollamaserve_operator import names, quantity
from ollamaserve_operator.api import OllamaServe, Persistent, WhenDeleted
from ollamaserve_operator.manifests.metadata import Manifest, metadata
from ollamaserve_operator.observed import Observed


def persistent_volume_claim(serve: OllamaServe, observed: Observed) -> Manifest | None:
    """None with ephemeral storage; a claim that is there then stays until the resource goes."""
    storage = serve.storage
    if not isinstance(storage, Persistent):
        return None
    spec: dict[str, Any] = {
        "accessModes": [storage.access_mode.value],
        "resources": {"requests": {"storage": _size(storage, observed)}},
    }
    if storage.storage_class_name is not None:
        spec["storageClassName"] = storage.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _metadata(serve, storage),
        "spec": spec,
    }


def _metadata(serve: OllamaServe, storage: Persistent) -> dict[str, Any]:
    """Retained: without an owner, and labelled, so that a namesake adopts it (decision 14)."""
    found = metadata(serve, names.persistent_volume_claim(serve.name))
    if storage.when_deleted is WhenDeleted.RETAIN:
        del found["ownerReferences"]
        found["labels"][names.RETAINED_FOR] = serve.name
    return found


def _size(storage: Persistent, observed: Observed) -> str:
    """The larger of observed and desired; only a bound claim may grow (decision 15)."""
    if observed.pvc is None:
        return storage.size
    requests = observed.pvc.spec.get("resources", {}).get("requests", {})
    present: str = requests.get("storage", storage.size)
    if observed.pvc.status.get("phase") != "Bound":
        return present
    return quantity.larger(present, storage.size)
