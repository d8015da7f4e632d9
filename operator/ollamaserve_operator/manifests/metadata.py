"""What every child carries: its name, its labels, its owner and the hash of what was wanted."""

from collections.abc import Mapping
from typing import Any

from ollamaserve_operator import names
from ollamaserve_operator.api import OllamaServe
from ollamaserve_operator.names import Component

Manifest = Mapping[str, Any]


def metadata(
    serve: OllamaServe,
    name: str,
    component: Component = Component.SERVER,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": serve.namespace,
        "labels": names.labels(serve.name, component),
        "annotations": dict(annotations or {}),
        "ownerReferences": [owner(serve)],
    }


def owner(serve: OllamaServe) -> dict[str, Any]:
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": serve.name,
        "uid": serve.identity.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def patches_of(serve: OllamaServe, kind: str) -> dict[str, Any]:
    """What a hash has to tell apart besides a manifest as it was built: the patches on it."""
    found = [[patch.type, patch.patch] for patch in serve.patches if patch.target == kind]
    return {"patches": found} if found else {}


def stamped(manifest: Manifest) -> Manifest:
    """The manifest with the hash of itself, so that an unchanged wish costs no write."""
    about = manifest["metadata"]
    annotations = about["annotations"] | {names.DESIRED_HASH: names.digest(manifest)[:16]}
    return {**manifest, "metadata": {**about, "annotations": annotations}}
