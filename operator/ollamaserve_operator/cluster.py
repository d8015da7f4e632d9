"""The verbs of the Kubernetes API as the operator uses them: the only room that speaks to it.

`steps`, `reconcile` and `sweep` enter here. Bodies go in and come out as plain dicts; what goes
wrong comes out as one of the three errors of `errors`.
"""

import secrets
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ollamaserve_operator import kinds, names, tokens
from ollamaserve_operator.announcement import announcement
from ollamaserve_operator.answers import Outdated
from ollamaserve_operator.api import Identity
from ollamaserve_operator.errors import NameConflict, Transient
from ollamaserve_operator.exchange import (
    APPLY,
    JSON,
    MERGE,
    Body,
    Exchange,
    Observe,
    Request,
    Sender,
)
from ollamaserve_operator.kinds import Kind, Verb
from ollamaserve_operator.manifests import Manifest
from ollamaserve_operator.ownership import belongs, leftover
from ollamaserve_operator.pace import Pace
from ollamaserve_operator.plan import Apply, Create, Delete, Issue, Offer, Promote
from ollamaserve_operator.status import Event

PAGE = 100  # with 500, a start over 11,000 objects left 226 MiB resident, with 100 it was 139
TOKEN_BYTES = 32  # 256 bits
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

_FORCED = {"fieldManager": names.FIELD_MANAGER, "force": "true"}
_MANAGED = {"fieldManager": names.FIELD_MANAGER}


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list; `resource_version` is that of the whole list, the same on each page."""

    items: Sequence[Body]
    resource_version: int


class Cluster:
    """A write returns the object as it now is; None where its namespace goes away."""

    def __init__(
        self, connection: Sender, *, pace: Pace, observe: Observe = lambda *_: None
    ) -> None:
        self._exchange = Exchange(connection, pace=pace, observe=observe)

    async def create(self, step: Create) -> Body | None:
        """Decision 1: never adopt. What is there already goes on only if its controller is ours."""
        try:
            if step.issue:
                manifest = _annotated(step.manifest, dict(step.annotations))
                return await self._post(manifest | {"stringData": _values(step.issue)})
            return await self._apply(_with_metadata(step.manifest, resourceVersion=names.ABSENT))
        except Outdated:
            return await self._ours(step.manifest)

    async def apply(self, step: Apply) -> Body | None:
        """Raises Outdated where the object with this uid is no longer there."""
        return await self._apply(_with_metadata(step.manifest, uid=step.uid))

    async def issue(self, namespace: str, step: Issue) -> Body | None:
        """New tokens for our Secret; Outdated where it has changed meanwhile."""
        return await self._patch(namespace, step.name, tokens.issued(step, _values(step.keys)))

    async def offer(self, namespace: str, step: Offer) -> Body | None:
        """The next tokens beside the present ones; Outdated as above."""
        body = tokens.offered(step, _values(step.keys), _revision())
        return await self._patch(namespace, step.name, body)

    async def promote(self, namespace: str, step: Promote) -> Body | None:
        """The next tokens in the place of the present ones; Outdated as above."""
        live = await self.get(kinds.SECRET, namespace, step.name)
        body = tokens.promoted(step, live, _revision()) if live else None
        if body is None:
            raise Outdated(f"Secret {step.name} isn't as it was when its tokens were offered")
        return await self._patch(namespace, step.name, body)

    async def delete(self, namespace: str, step: Delete) -> None:
        """Delete the object with this uid; that it is gone already is what was wanted."""
        kind = kinds.BY_NAME[step.kind]
        body = {"propagationPolicy": step.propagation, "preconditions": {"uid": step.uid}}
        request = Request(Verb.DELETE, kind, namespace, step.name, body=body, may_be_gone=True)
        await self._exchange.send(request)

    async def get(self, kind: Kind, namespace: str, name: str) -> Body | None:
        """The object as it is now, read past every cache; None where it isn't."""
        return await self._exchange.send(Request(Verb.GET, kind, namespace, name, may_be_gone=True))

    async def write_status(self, identity: Identity, status: Mapping[str, Any]) -> Body | None:
        """Apply the whole status; None where the resource is gone."""
        metadata = {"name": identity.name, "namespace": identity.namespace, "uid": identity.uid}
        body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata}
        return await self._apply(body | {"status": status}, "status", may_be_gone=True)

    async def post_event(self, identity: Identity, event: Event, at: datetime) -> None:
        """An events.k8s.io/v1 Event about the resource."""
        await self._post(announcement(identity, event, at, uuid.uuid4().hex[:16]))

    async def list(
        self, kind: Kind, namespace: str = "", *, metadata_only: bool = False
    ) -> AsyncIterator[Page]:
        """Every object of the kind; of the children's kinds only those with our label.

        No page at all where the cluster doesn't have an optional kind. A list that has expired in
        the middle raises Outdated: begin again.
        """
        selector = {} if kind is kinds.OLLAMA_SERVE else {"labelSelector": names.OWNED_SELECTOR}
        query = {"limit": str(PAGE)} | selector
        accept = METADATA_ONLY if metadata_only else JSON
        while True:
            page = await self._exchange.send(
                Request(
                    Verb.LIST,
                    kind,
                    namespace,
                    query=query,
                    accept=accept,
                    may_be_gone=kind in kinds.OPTIONAL,
                )
            )
            if page is None:
                return
            yield _page(kind, page)
            if not (more := page["metadata"].get("continue")):
                return
            query["continue"] = more

    async def _patch(self, namespace: str, name: str, body: Body) -> Body | None:
        """A merge patch of our Secret: no apply ever owns a token."""
        return await self._exchange.send(
            Request(
                Verb.PATCH,
                kinds.SECRET,
                namespace,
                name,
                body=body,
                query=_MANAGED,
                content=MERGE,
            )
        )

    async def _post(self, body: Body) -> Body | None:
        kind, namespace = kinds.BY_NAME[body["kind"]], body["metadata"]["namespace"]
        return await self._exchange.send(
            Request(
                Verb.CREATE, kind, namespace, body["metadata"]["name"], body=body, query=_MANAGED
            )
        )

    async def _apply(
        self, body: Body, subresource: str = "", *, may_be_gone: bool = False
    ) -> Body | None:
        return await self._exchange.send(
            Request(
                Verb.PATCH,
                kinds.BY_NAME[body["kind"]],
                body["metadata"]["namespace"],
                body["metadata"]["name"],
                subresource,
                body=body,
                query=_FORCED,
                content=APPLY,
                may_be_gone=may_be_gone,
            )
        )

    async def _ours(self, manifest: Manifest) -> Body | None:
        """The live object behind a 409: applied to if it is ours, else the conflict's name."""
        kind, name = kinds.BY_NAME[manifest["kind"]], manifest["metadata"]["name"]
        live = await self.get(kind, manifest["metadata"]["namespace"], name)
        if live is None:
            raise Outdated(f"{kind.name} {name} went away while it was looked at")
        if belongs(live, manifest):
            return await self.apply(Apply(manifest, live["metadata"]["uid"]))
        if leftover(live, manifest):
            raise Transient(f"{kind.name} {name} of a deleted resource is not yet collected")
        raise NameConflict(kind.name, name)


def _with_metadata(manifest: Manifest, **fields: str) -> Body:
    return dict(manifest) | {"metadata": dict(manifest["metadata"]) | fields}


def _annotated(manifest: Manifest, annotations: Mapping[str, str]) -> Body:
    metadata = manifest["metadata"]
    merged = {**metadata.get("annotations", {}), **annotations}
    return dict(manifest) | {"metadata": metadata | {"annotations": merged}}


def _values(keys: Sequence[str]) -> dict[str, str]:
    return {key: secrets.token_urlsafe(TOKEN_BYTES) for key in keys}


def _revision() -> str:
    """Random, and so tells nothing of a token."""
    return secrets.token_hex(8)


def _page(kind: Kind, page: Mapping[str, Any]) -> Page:
    """Items of a list don't say their kind: the list does. One of metadata may have null."""
    named = {"apiVersion": kind.api_version, "kind": kind.name}
    items = [item | named for item in page["items"] or ()]
    return Page(items, int(page["metadata"]["resourceVersion"]))
