"""Desired against observed, as ordered steps: what to write now, and nothing that is already so.

Pure. The law that holds it: what a plan has applied, plans to nothing. Job immutability lives here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ollamaserve_operator import names, rotation
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
    key, so that no apply owns, and none can drop, a token's value; and with `annotations`, which
    no apply owns either.
    """

    manifest: Manifest
    issue: tuple[str, ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()


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
class Offer:
    """A rotation's first half (G6): new tokens beside those of `keys`, under a new revision.

    Like Issue a merge patch with `resourceVersion`; `rotation` is the annotation's value and `at`
    the time, RFC 3339.
    """

    name: str
    uid: str
    resource_version: str
    keys: tuple[str, ...]
    rotation: str
    at: str


@dataclass(frozen=True, slots=True)
class Promote:
    """Its second half: the tokens offered for `rotation` take the place of those of `keys`.

    The border reads the Secret for it, past every cache, which hold no value. The old ones stay
    good until `not_after`, RFC 3339; empty: not a moment longer.
    """

    name: str
    uid: str
    keys: tuple[str, ...]
    rotation: str
    not_after: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete with the uid as precondition; `propagation` is Foreground or Background."""

    kind: str
    name: str
    uid: str
    propagation: str


TokenStep = Issue | Offer | Promote
Step = Create | Apply | TokenStep | Delete


def plan(desired: Sequence[Manifest], observed: Observed, serve: OllamaServe) -> tuple[Step, ...]:
    """The steps in their order: what has to go first, then children in the order of `desired`."""
    there = {(child.kind, child.name): child for child in observed.children}
    steps: list[Step] = [*_collect(desired, observed, serve), *_unwanted(desired, observed, serve)]
    steps.extend(_tokens(observed, serve))
    for manifest in desired:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        if kind == "Job" and _still_pulling(observed, name):
            continue  # its predecessor's end is an event
        steps.extend(_steps(manifest, there.get((kind, name)), observed, serve))
    return tuple(steps)


def _still_pulling(observed: Observed, name: str) -> bool:
    """Whether another Job may still write to the volume."""
    return any(not (job.complete or job.failed) and job.child.name != name for job in observed.jobs)


def _steps(
    manifest: Manifest, child: Child | None, observed: Observed, serve: OllamaServe
) -> Iterator[Step]:
    if child is None or not _ours(child, serve):
        # Where a foreign object has the name, the border finds out.
        yield _first_tokens(manifest, serve) if manifest["kind"] == "Secret" else Create(manifest)
    elif child.deleting or manifest["kind"] == "Job":
        return
    elif _outdated(manifest, child, settled=child.uid in observed.settled):
        yield Apply(manifest, child.uid)


def _outdated(manifest: Manifest, child: Child, *, settled: bool) -> bool:
    """Whatever the API server, or a webhook in it, makes of a wish is not asked for again."""
    wanted = manifest["metadata"]["annotations"][names.DESIRED_HASH]
    if child.annotations.get(names.DESIRED_HASH) != wanted:
        return True
    return not settled and not covers(child.body, manifest)


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


def _first_tokens(manifest: Manifest, serve: OllamaServe) -> Create:
    """What has just been made needs no rotation: the one that was asked for by then is done."""
    done = ((names.ROTATED, serve.rotate),) if serve.rotate else ()
    return Create(manifest, wanted_keys(serve), done)


def _unwanted(
    desired: Sequence[Manifest], observed: Observed, serve: OllamaServe
) -> Iterator[Delete]:
    """What the spec asked for and no longer does; nothing in which a user could keep anything."""
    wanted = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in desired}
    for child in observed.others:
        if (child.kind, child.name) not in wanted and not child.deleting and _ours(child, serve):
            yield Delete(child.kind, child.name, child.uid, "Background")


def _tokens(observed: Observed, serve: OllamaServe) -> Iterator[TokenStep]:
    """One at a time: each changes the version that the next one names."""
    yield from [*_issue(observed, serve), *_rotate(observed, serve)][:1]


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


def _rotate(observed: Observed, serve: OllamaServe) -> Iterator[Offer | Promote]:
    secret = rotation.due(serve, observed)
    if secret is None:
        return
    offer = rotation.to_offer(serve, secret)
    if offer is not None:
        version, at = secret.resource_version, _rfc3339(observed.at)
        yield Offer(secret.name, secret.uid, version, offer, serve.rotate, at)
    elif not rotation.awaited(secret, observed):
        grace = serve.auth.rotation_grace_period
        not_after = _rfc3339(observed.at + timedelta(seconds=grace)) if grace else ""
        yield Promote(secret.name, secret.uid, wanted_keys(serve), serve.rotate, not_after)


def _rfc3339(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
