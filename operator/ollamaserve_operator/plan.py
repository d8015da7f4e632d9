"""Desired against observed, as ordered steps: what to write now, and nothing that is already so.

Pure. The law that holds it: what a plan has applied, plans to nothing. Job immutability lives here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ollamaserve_operator.api import OllamaServe
from ollamaserve_operator.manifests import Manifest
from ollamaserve_operator.observed import Observed


@dataclass(frozen=True, slots=True)
class Create:
    """Create, never adopt (decision 1): 409 means that someone's object is there; read it live.

    Without `issue`: server-side apply with `metadata.resourceVersion` = `names.ABSENT`, which the API
    server takes as "must not exist". Not a POST: its fields would stay owned by an "Update" entry
    in managedFields, and no later apply could ever remove one (tried on v1.34: a dropped env
    variable stays). With `issue`: POST with `stringData`, a new 256-bit URL-safe token for each key,
    so that no apply owns, and none can drop, a token's value.
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
    raise NotImplementedError
