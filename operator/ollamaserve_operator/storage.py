"""The finding StorageReady: is the volume of the models there, and what becomes of an earlier one.

Pure. A claim of the resource's own is watched; a user's claim shows in its pods' placement alone.
"""

from collections.abc import Sequence

from ollamaserve_operator import names, quantity
from ollamaserve_operator.api import (
    Ephemeral,
    ExistingClaim,
    OllamaServe,
    Persistent,
)
from ollamaserve_operator.errors import Refused, StepFailure
from ollamaserve_operator.judgement import Finding, bad, good, unknown
from ollamaserve_operator.observed import Child, Observed
from ollamaserve_operator.reasons import Reason

CLAIM = "PersistentVolumeClaim"


def storage_ready(
    serve: OllamaServe, observed: Observed, failures: Sequence[StepFailure]
) -> Finding:
    match serve.storage:
        case Ephemeral():
            kept = _kept(serve, observed)
            return good(Reason.EPHEMERAL, f"models are kept on the pod's own disk{kept}")
        case ExistingClaim() as storage:
            return _existing(serve, storage, observed)
        case Persistent() as storage:
            return _own(storage, observed, failures)


def _kept(serve: OllamaServe, observed: Observed) -> str:
    """A change of the storage mode deletes nothing."""
    claim = observed.pvc
    if claim is None or claim.deleting:
        return ""
    ends = "is kept" if names.RETAINED_FOR in claim.labels else "is kept until this resource goes"
    return (
        f"; {CLAIM} {claim.name} of before {ends}, with its models, and is used again after a "
        f"change back: kubectl -n {serve.namespace} delete pvc {claim.name} gives it up"
    )


def _existing(serve: OllamaServe, storage: ExistingClaim, observed: Observed) -> Finding:
    """The scheduler's words name the claim: not found, being deleted, or not bound."""
    where = f"{CLAIM} {storage.name} (spec.storage.existingClaim)"
    for pod in observed.pods:
        if f'persistentvolumeclaim "{storage.name}" not found' in pod.unschedulable:
            return bad(
                Reason.CLAIM_NOT_FOUND,
                f"{where} isn't there: create it in the namespace {serve.namespace}, or name "
                "another one",
            )
        if f'persistentvolumeclaim "{storage.name}" is being deleted' in pod.unschedulable:
            return bad(
                Reason.VOLUME_LOST,
                f"{where} is being deleted, and goes when no pod uses it: name another one, or set "
                "spec.suspend: true until a new one is there",
            )
        if "unbound immediate PersistentVolumeClaims" in pod.unschedulable:
            return bad(
                Reason.WAITING_FOR_BINDING,
                f"{where} has no volume yet: see kubectl -n {serve.namespace} describe pvc "
                f"{storage.name}",
            )
    kept = _kept(serve, observed)
    return good(Reason.EXISTING_CLAIM, f"models are kept in your {CLAIM} {storage.name}{kept}")


def _own(storage: Persistent, observed: Observed, failures: Sequence[StepFailure]) -> Finding:
    refused = next(
        (f.error for f in failures if f.kind == CLAIM and isinstance(f.error, Refused)), None
    )
    claim = observed.pvc
    if refused:
        return _refused(refused, claim, storage.size)
    if claim is None:
        return unknown(Reason.PENDING, "the volume claim isn't there yet")
    if claim.deleting:
        return bad(
            Reason.VOLUME_LOST,
            f"{CLAIM} {claim.name} is being deleted, and goes when no pod uses it: set "
            "spec.suspend: true until a new one is there; the models are pulled again",
        )
    return _claim(claim, storage.size)


def _refused(refused: Refused, claim: Child | None, wanted: str) -> Finding:
    """Growth is what is asked of a claim that exists; another class or mode can't be given it."""
    if claim is None:
        return bad(
            Reason.REFUSED, f"the API server refuses {CLAIM} {refused.name}: {refused.message}"
        )
    present = _requested(claim)
    if quantity.larger(present, wanted) == present:
        return bad(
            Reason.REFUSED,
            f"{CLAIM} {refused.name} is there already and can't be made as spec.storage.persistent "
            f"asks: {refused.message}; give storageClassName and accessMode as they are in it, or "
            "delete it (with its models) while spec.suspend is true",
        )
    return bad(
        Reason.EXPANSION_NOT_SUPPORTED,
        f"{CLAIM} {refused.name} can't grow from {present} to {wanted}: {refused.message}; set "
        "allowVolumeExpansion: true in its storage class, or move to a new resource",
    )


def volume_size(observed: Observed) -> str:
    """What the resource's own claim asks for; empty where there is none."""
    return _requested(observed.pvc) if observed.pvc else ""


def _requested(claim: Child) -> str:
    return str(claim.spec.get("resources", {}).get("requests", {}).get("storage", "0"))


def _claim(claim: Child, wanted: str) -> Finding:
    match claim.status.get("phase"):
        case "Bound":
            capacity = claim.status.get("capacity", {}).get("storage", wanted)
            return good(Reason.BOUND, f"{capacity} bound{_change(claim, capacity, wanted)}")
        case "Lost":
            return bad(
                Reason.VOLUME_LOST,
                f"{CLAIM} {claim.name} has lost its volume: delete the claim to start with a new "
                "one, the models are pulled again",
            )
    where = f"-n {claim.body['metadata']['namespace']}"
    return bad(
        Reason.WAITING_FOR_BINDING,
        f"{CLAIM} {claim.name} has no volume yet: it may wait for its pod to be placed; if it "
        f"stays so, see {_class(claim)} and kubectl {where} describe pvc {claim.name}",
    )


def _change(claim: Child, capacity: str, wanted: str) -> str:
    if quantity.larger(capacity, wanted) != capacity:
        return f", growing to {wanted}"
    if quantity.larger(wanted, _requested(claim)) != wanted:
        return f"; a volume never shrinks, so it stays, though spec.storage asks for {wanted}"
    return ""


def _class(claim: Child) -> str:
    """The API server fills in the default class; a claim without any found no such class."""
    name = claim.spec.get("storageClassName")
    if name is None:
        return "kubectl get storageclass (none was the default: set storageClassName)"
    return f"kubectl get storageclass {name}"
