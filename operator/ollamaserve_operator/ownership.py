"""Whose an object is that was found under the name of a child (decision 1).

Pure. Ownership is the controller's uid: a name says nothing, and a label only for retained volumes.
"""

from collections.abc import Mapping
from typing import Any

from ollamaserve_operator import names
from ollamaserve_operator.manifests import Manifest


def belongs(live: Mapping[str, Any], manifest: Manifest) -> bool:
    """Ours by the controller's uid; a retained volume, which has none, by its label."""
    if there := _controller(live):
        return bool(there.get("uid") == _controller(manifest).get("uid"))
    mark = (live["metadata"].get("labels") or {}).get(names.RETAINED_FOR)
    return mark is not None and mark == manifest["metadata"]["labels"][names.INSTANCE]


def leftover(live: Mapping[str, Any], manifest: Manifest) -> bool:
    """Whether garbage collection is about to take it: its owner had the same name, and is gone."""
    there, wanted = _controller(live), _controller(manifest)
    return bool(wanted) and all(there.get(key) == wanted[key] for key in ("kind", "name"))


def _controller(body: Mapping[str, Any]) -> Mapping[str, Any]:
    owners = body["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), {})
