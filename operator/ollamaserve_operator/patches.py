"""The last resort of the spec: patches on our own children, before they are stamped (decision 16).

Pure. `reconcile` enters between what is wanted and the plan. RFC 6902 is the package jsonpatch's;
what must hold of the outcome, `guarantees` knows. The first refusal stops all: nothing is applied.
"""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jsonpatch

from ollamaserve_operator.api import OllamaServe, Patch, PatchType, Persistent
from ollamaserve_operator.errors import PatchRefused
from ollamaserve_operator.guarantees import broken
from ollamaserve_operator.manifests import Images, Manifest
from ollamaserve_operator.manifests.metadata import stamped
from ollamaserve_operator.manifests.pod_disruption_budget import pod_disruption_budget
from ollamaserve_operator.manifests.pull_job import job
from ollamaserve_operator.names import COMPONENT, Component
from ollamaserve_operator.pull import Attempt

MOST_OPERATIONS = 64  # of one patch
LARGEST = 262_144  # characters of JSON: each copy can double an object, and it has to fit etcd

# What asks for a child, where the spec may do without it.
_ASKED_BY: Mapping[str, tuple[Callable[[OllamaServe], bool], str]] = {
    "Job": (lambda serve: not serve.pulls_in_pod, "spec.pull.strategy: Job"),
    "PersistentVolumeClaim": (
        lambda serve: isinstance(serve.storage, Persistent),
        "spec.storage.persistent",
    ),
    "NetworkPolicy": (lambda s: s.network_policy.enabled, "spec.networkPolicy.enabled: true"),
    "PodDisruptionBudget": (
        lambda serve: pod_disruption_budget(serve) is not None,
        "spec.podDisruptionBudget.enabled: true",
    ),
    "Ingress": (lambda serve: serve.ingress is not None, "spec.ingress"),
    "HTTPRoute": (lambda serve: serve.http_route is not None, "spec.httpRoute"),
    "PodMonitor": (
        lambda serve: serve.monitoring.pod_monitor.enabled,
        "spec.monitoring.podMonitor.enabled: true",
    ),
}


def patched(
    serve: OllamaServe, images: Images, children: Sequence[Manifest]
) -> tuple[Manifest, ...] | PatchRefused:
    """The children with the spec's patches in them, stamped anew; or why that can't be."""
    if not serve.patches:
        return tuple(children)
    if refused := _without_object(serve):
        return refused
    outcomes = [_with_all(serve, manifest) for manifest in (*children, *_later(serve, images))]
    for outcome in outcomes:
        if isinstance(outcome, PatchRefused):
            return outcome
    return tuple(m for m in outcomes[: len(children)] if not isinstance(m, PatchRefused))


def _without_object(serve: OllamaServe) -> PatchRefused | None:
    for index, patch in enumerate(serve.patches):
        asked, by = _ASKED_BY.get(patch.target, (lambda _: True, ""))
        if not asked(serve):
            words = f"there is none: set {by}, or remove the patch"
            return PatchRefused(index, patch.target, words)
    return None


def _later(serve: OllamaServe, images: Images) -> tuple[Manifest, ...]:
    """A Job may be made in a month: what would be refused then is said now."""
    return () if serve.pulls_in_pod else (job(serve, images, Attempt("")),)


def _with_all(serve: OllamaServe, manifest: Manifest) -> Manifest | PatchRefused:
    outcome: Any = manifest
    for index, patch in enumerate(serve.patches):
        if not _is_for(patch, manifest):
            continue
        outcome = _applied(outcome, patch)
        if not isinstance(outcome, str) and (found := broken(manifest, outcome)):
            outcome = f"it would change {found.path}, which the operator keeps: {found.remedy}"
        if isinstance(outcome, str):
            return PatchRefused(index, patch.target, outcome)
    return manifest if outcome is manifest else stamped(outcome)


def _is_for(patch: Patch, manifest: Manifest) -> bool:
    """A kind names one child; of the two NetworkPolicies, that of the serving pods."""
    component = manifest["metadata"]["labels"][COMPONENT]
    return patch.target == manifest["kind"] and (
        patch.target == "Job" or component == Component.SERVER
    )


def _applied(manifest: Manifest, patch: Patch) -> Any:
    """The patched object, of any shape; or, as text, why the patch can't be applied."""
    if patch.type is PatchType.MERGE:
        return _bounded(merged(manifest, patch.patch))
    if len(patch.patch) > MOST_OPERATIONS:
        return f"a json patch has at most {MOST_OPERATIONS} operations: write it as several"
    outcome: Any = json.loads(json.dumps(manifest))  # parts that builders share are parted here
    for number, operation in enumerate(patch.patch):
        outcome = _operated(outcome, operation, number)
        if isinstance(outcome, str):
            return outcome
    return outcome


def _operated(document: Any, operation: Any, number: int) -> Any:
    try:
        return _bounded(jsonpatch.apply_patch(document, [copy.deepcopy(operation)], in_place=True))
    except jsonpatch.InvalidJsonPatch as error:
        return f"operation {number} is none of RFC 6902: {error}"
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException):
        what = f"{operation['op']} {operation['path']}"
        return f"operation {number} ({what}) finds no such place in the object, or another value"


def _bounded(document: Any) -> Any:
    if len(json.dumps(document)) > LARGEST:
        return f"it would make the object larger than {LARGEST} characters"
    return "it would replace the whole object" if isinstance(document, str) else document


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2: null removes, objects are merged, everything else is replaced."""
    if not isinstance(patch, Mapping):
        return patch
    kept = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            kept.pop(key, None)
        else:
            kept[key] = merged(kept.get(key), value)
    return kept
