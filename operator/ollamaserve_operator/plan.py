"""Desired against observed, as ordered steps: what to write now, and nothing that is already so.

Pure. The law that holds it: what a plan has applied, plans to nothing. Job immutability lives here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ollamaserve_operator import names
from ollamaserve_operator.api import OllamaServe
from ollamaserve_operator.drift import covers
from ollamaserve_operator.manifests import Manifest
from ollamaserve_operator.manifests.secret import issued_keys, wanted_keys
from ollamaserve_operator.observed import Child, Observed
from ollamaserve_operator.pull import latest


@dataclass(frozen=True, slots=True)
class Create:
    """Create, never adopt (decision 1): 409 means that someone's object is there; read it live.

    Without `issue`: server-side apply with `metadata.resourceVersion` = `names.ABSENT`, which the
    API server takes as "must not exist". Not a POST: its fields would stay owned by an "Update"
    entry in managedFields, and no later apply could ever remove one (tried on v1.34: a dropped env
    variable stays). With `issue`: POST with `stringData`, a new 256-bit URL-safe token for each
    key, so that no apply owns, and none can drop, a token's value.
    """

    manifest: Manifest
    issue: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Apply:
    """Server-side apply, forced, with `metadata.uid` in the body: a missing object gives 409."""

    manifest: Manifest
    uid: str


@dataclass(frozen=True, slots=True)
class Issue:
    """Add new tokens to our Secret: a merge patch with this `resourceVersion` as precondition.

    The patch holds `stringData` for `keys` and `annotations`.
    """

    name: str
    uid: str
    resource_version: str
    keys: tuple[str, ...]
    annotations: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete with the uid as precondition; `propagation` is Foreground or Background."""

    kind: str
    name: str
    uid: str
    propagation: str


Step = Create | Apply | Issue | Delete


def plan(desired: Sequence[Manifest], observed: Observed, serve: OllamaServe) -> tuple[Step, ...]:
    """The steps in their order: what has to go first, then children in the order of `desired`."""
    there = {(child.kind, child.name): child for child in observed.children}
    steps: list[Step] = [*_collect(desired, observed, serve), *_issue(observed, serve)]
    for manifest in desired:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        if kind == "Job" and _still_pulling(observed, name):
            continue  # its predecessor's end is an event
        steps.extend(_steps(manifest, there.get((kind, name)), serve))
    return tuple(steps)


def _still_pulling(observed: Observed, name: str) -> bool:
    """Whether another Job may still write to the volume."""
    return any(not (job.complete or job.failed) and job.child.name != name for job in observed.jobs)


def _steps(manifest: Manifest, child: Child | None, serve: OllamaServe) -> Iterator[Step]:
    if child is None or not _ours(child, serve):
        issue = wanted_keys(serve) if manifest["kind"] == "Secret" else ()
        yield Create(manifest, issue)  # where a foreign object has the name, the border finds out
    elif child.deleting or manifest["kind"] == "Job":
        return
    elif _outdated(manifest, child):
        yield Apply(manifest, child.uid)


def _outdated(manifest: Manifest, child: Child) -> bool:
    wanted = manifest["metadata"]["annotations"][names.DESIRED_HASH]
    return child.annotations.get(names.DESIRED_HASH) != wanted or not covers(child.body, manifest)


def _ours(child: Child, serve: OllamaServe) -> bool:
    """Owned by this very resource, or a claim that a namesake left behind for it (decision 14)."""
    if child.owner_uid:
        return child.owner_uid == serve.identity.uid
    return (
        child.kind == "PersistentVolumeClaim" and child.labels.get(names.RETAINED_FOR) == serve.name
    )


def _collect(
    desired: Sequence[Manifest], observed: Observed, serve: OllamaServe
) -> Iterator[Delete]:
    """Pull Jobs that nobody wants any more: of other models, of another template, of older tries.

    A suspended resource keeps the record of what has been pulled, and stops what is pulling.
    """
    wanted = next((m["metadata"]["name"] for m in desired if m["kind"] == "Job"), None)
    keep = latest(serve, observed)
    for job in observed.jobs:
        child = job.child
        if child.deleting or child.name == wanted or not _ours(child, serve):
            continue
        if wanted is None and job is keep and (job.complete or job.failed):
            continue
        yield Delete("Job", child.name, child.uid, "Foreground")


def _issue(observed: Observed, serve: OllamaServe) -> Iterator[Issue]:
    """A key that never had a token gets one; a key that lost it was revoked, and stays so."""
    secret = observed.secret
    if secret is None or serve.auth.secret_name or not _ours(secret, serve):
        return
    issued = issued_keys(observed)
    keys = tuple(key for key in wanted_keys(serve) if key not in issued)
    if keys:
        record = ",".join(sorted({*issued, *keys}))
        yield Issue(
            secret.name, secret.uid, secret.resource_version, keys, ((names.ISSUED_KEYS, record),)
        )
