"""The only room that speaks to the Kubernetes API: reads, creates, applies, deletes, tells.

`reconcile` and the start-up enter here. Bodies go in and come out as plain dicts; what goes wrong
comes out as one of the three errors of `errors`. Requests are made by hand on aiohttp: a write
costs half the CPU of the official client's and no 20 MiB of imports (docs/architecture.md).
"""

import json
import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import urlencode

import aiohttp

from ollamaserve_operator import answers, kinds, names
from ollamaserve_operator.answers import Outdated
from ollamaserve_operator.api import Identity
from ollamaserve_operator.errors import NameConflict, Transient
from ollamaserve_operator.kinds import Kind, Verb
from ollamaserve_operator.manifests import Manifest
from ollamaserve_operator.pace import Pace
from ollamaserve_operator.plan import Apply, Create, Delete, Issue
from ollamaserve_operator.status import Event

Body = dict[str, Any]
Observe = Callable[[str, str, int], None]

PAGE = 500
TOKEN_BYTES = 32  # 256 bits
LONGEST_NOTE = 1024  # of an events.k8s.io/v1 Event
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

_METHODS = {
    Verb.GET: "GET",
    Verb.LIST: "GET",
    Verb.CREATE: "POST",
    Verb.PATCH: "PATCH",
    Verb.DELETE: "DELETE",
}
_JSON = "application/json"
_APPLY = "application/apply-patch+yaml"  # JSON is YAML
_MERGE = "application/merge-patch+json"
_FORCED = {"fieldManager": names.FIELD_MANAGER, "force": "true"}
_MANAGED = {"fieldManager": names.FIELD_MANAGER}


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list; `resource_version` is that of the whole list, the same on each page."""

    items: Sequence[Body]
    resource_version: int


class Sender(Protocol):
    """One exchange with the API server: `connection.Connection`, or a test's stand-in."""

    async def send(
        self, method: str, path: str, *, headers: dict[str, str], body: bytes | None = None
    ) -> tuple[int, dict[str, str], bytes]: ...

    def forget(self) -> None: ...


class _AnswerError(Exception):
    """An answer other than 2xx, on its way to becoming one of the three errors."""

    def __init__(self, code: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(code)
        self.code = code
        self.headers = headers
        self.body = body


class Cluster:
    """The verbs. A write returns the object as it now is, or None where nothing is left of it."""

    def __init__(
        self, connection: Sender, *, pace: Pace, observe: Observe = lambda *_: None
    ) -> None:
        self._connection = connection
        self._pace = pace
        self._observe = observe

    async def create(self, step: Create) -> Body | None:
        """Decision 1: never adopt. What is there already goes on only if its controller is ours."""
        kind, name = _named(step.manifest)
        try:
            if step.issue:
                fresh = dict(step.manifest) | {"stringData": _tokens(step.issue)}
                within = step.manifest["metadata"]["namespace"]
                return await self._send(Verb.CREATE, kind, within, body=fresh, query=_MANAGED)
            absent = _with_metadata(step.manifest, resourceVersion=names.ABSENT)
            return await self._apply(kind, absent)
        except _AnswerError as answer:
            if answer.code != HTTPStatus.CONFLICT:
                _give_up(answer, kind, name)
                return None
        return await self._ours(step.manifest)

    async def apply(self, step: Apply) -> Body | None:
        """Raises Outdated where the object with this uid is no longer there."""
        kind, name = _named(step.manifest)
        try:
            return await self._apply(kind, _with_metadata(step.manifest, uid=step.uid))
        except _AnswerError as answer:
            _give_up(answer, kind, name)
            return None

    async def issue(self, namespace: str, step: Issue) -> Body | None:
        """New tokens for our Secret; Outdated where it has changed meanwhile."""
        metadata = {
            "uid": step.uid,
            "resourceVersion": step.resource_version,
            "annotations": dict(step.annotations),
        }
        body = {"metadata": metadata, "stringData": _tokens(step.keys)}
        try:
            return await self._send(
                Verb.PATCH,
                kinds.SECRET,
                namespace,
                step.name,
                body=body,
                query=_MANAGED,
                content=_MERGE,
            )
        except _AnswerError as answer:
            _give_up(answer, kinds.SECRET, step.name)
            return None

    async def delete(self, namespace: str, step: Delete) -> None:
        """Delete the object with this uid; that it is gone already is what was wanted."""
        kind = kinds.BY_NAME[step.kind]
        body = {"propagationPolicy": step.propagation, "preconditions": {"uid": step.uid}}
        try:
            await self._send(Verb.DELETE, kind, namespace, step.name, body=body)
        except _AnswerError as answer:
            if answer.code != HTTPStatus.NOT_FOUND:
                _give_up(answer, kind, step.name)

    async def get(self, kind: Kind, namespace: str, name: str) -> Body | None:
        """The object as it is now, read past every cache; None where it isn't."""
        try:
            return await self._send(Verb.GET, kind, namespace, name)
        except _AnswerError as answer:
            if answer.code == HTTPStatus.NOT_FOUND:
                return None
            _give_up(answer, kind, name)
            return None

    async def write_status(self, identity: Identity, status: Mapping[str, Any]) -> Body | None:
        """Apply the whole status; None where the resource is gone."""
        kind = kinds.OLLAMA_SERVE
        metadata = {"name": identity.name, "namespace": identity.namespace, "uid": identity.uid}
        body = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}
        try:
            return await self._apply(kind, body | {"status": status}, "status")
        except _AnswerError as answer:
            if answer.code == HTTPStatus.NOT_FOUND:
                return None
            _give_up(answer, kind, identity.name)
            return None

    async def post_event(self, identity: Identity, event: Event, at: datetime) -> None:
        """An events.k8s.io/v1 Event about the resource."""
        body = _event(identity, event, at)
        try:
            await self._send(Verb.CREATE, kinds.EVENT, identity.namespace, body=body)
        except _AnswerError as answer:
            _give_up(answer, kinds.EVENT, identity.name)

    async def list(
        self, kind: Kind, namespace: str = "", *, metadata_only: bool = False
    ) -> AsyncIterator[Page]:
        """Every object of the kind; of the children's kinds only those with our label.

        A list that has expired in the middle raises Outdated: begin again.
        """
        selector = {} if kind is kinds.OLLAMA_SERVE else {"labelSelector": names.OWNED_SELECTOR}
        query = {"limit": str(PAGE)} | selector
        accept = METADATA_ONLY if metadata_only else _JSON
        while True:
            try:
                page = await self._send(Verb.LIST, kind, namespace, query=query, accept=accept)
            except _AnswerError as answer:
                _give_up(answer, kind, "")
                return
            yield _page(kind, page)
            if not (more := page["metadata"].get("continue")):
                return
            query["continue"] = more

    async def _apply(self, kind: Kind, body: Mapping[str, Any], subresource: str = "") -> Body:
        where = body["metadata"]["namespace"], body["metadata"]["name"], subresource
        return await self._send(Verb.PATCH, kind, *where, body=body, query=_FORCED, content=_APPLY)

    async def _ours(self, manifest: Manifest) -> Body | None:
        """The live object behind a 409: applied to if it is ours, else the conflict's name."""
        kind, name = _named(manifest)
        live = await self.get(kind, manifest["metadata"]["namespace"], name)
        if live is None:
            raise Outdated(f"{kind.name} {name} went away while it was looked at")
        if _belongs(live, manifest):
            return await self.apply(Apply(manifest, live["metadata"]["uid"]))
        if _leftover(live, manifest):
            raise Transient(f"{kind.name} {name} of a deleted resource is not yet collected")
        raise NameConflict(kind.name, name)

    async def _send(
        self,
        verb: Verb,
        kind: Kind,
        namespace: str,
        name: str = "",
        subresource: str = "",
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        content: str = _JSON,
        accept: str = _JSON,
    ) -> Body:
        if not kind.allows(verb, subresource):
            raise LookupError(f"{verb} {kind.plural} {subresource} isn't in the operator's table")
        if body is not None:
            await self._pace.turn()
        path = kind.path(namespace, name, subresource) + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": accept} | ({"Content-Type": content} if body is not None else {})
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        try:
            code, answered, raw = await self._connection.send(
                _METHODS[verb], path, headers=headers, body=data
            )
        except (aiohttp.ClientError, OSError) as error:
            self._observe(verb, kind.name, 0)
            what = f"{verb} {kind.name} {name}".strip()
            raise Transient(f"{what}: {type(error).__name__}") from None
        self._observe(verb, kind.name, code)
        if code == HTTPStatus.UNAUTHORIZED:
            self._connection.forget()
        if code >= HTTPStatus.MULTIPLE_CHOICES:
            raise _AnswerError(code, answered, raw)
        parsed: Body = json.loads(raw)
        return parsed


def _give_up(answer: _AnswerError, kind: Kind, name: str) -> None:
    """Nothing left to do in a namespace that goes away; for the rest one of the three errors."""
    if answers.vanishing(answer.code, answer.body):
        return
    raise answers.error(
        answer.code, answer.headers, answer.body, kind=kind.name, name=name
    ) from None


def _named(manifest: Manifest) -> tuple[Kind, str]:
    return kinds.BY_NAME[manifest["kind"]], manifest["metadata"]["name"]


def _with_metadata(manifest: Manifest, **fields: str) -> Body:
    return dict(manifest) | {"metadata": dict(manifest["metadata"]) | fields}


def _tokens(keys: Sequence[str]) -> dict[str, str]:
    return {key: secrets.token_urlsafe(TOKEN_BYTES) for key in keys}


def _controller(body: Mapping[str, Any]) -> Mapping[str, Any]:
    owners = body["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), {})


def _belongs(live: Mapping[str, Any], manifest: Manifest) -> bool:
    """Ours by the controller's uid; a retained volume, which has none, by its label."""
    if there := _controller(live):
        return bool(there.get("uid") == _controller(manifest).get("uid"))
    mark = (live["metadata"].get("labels") or {}).get(names.RETAINED_FOR)
    return mark is not None and mark == manifest["metadata"]["labels"][names.INSTANCE]


def _leftover(live: Mapping[str, Any], manifest: Manifest) -> bool:
    """Whether garbage collection is about to take it: its owner had the same name, and is gone."""
    there, wanted = _controller(live), _controller(manifest)
    return bool(wanted) and all(there.get(key) == wanted[key] for key in ("kind", "name"))


def _page(kind: Kind, page: Mapping[str, Any]) -> Page:
    """Items of a list don't say their kind: the list does."""
    named = {"apiVersion": kind.api_version, "kind": kind.name}
    items = [item | named for item in page["items"]]
    return Page(items, int(page["metadata"]["resourceVersion"]))


def _event(identity: Identity, event: Event, at: datetime) -> Body:
    regarding = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "namespace": identity.namespace,
        "name": identity.name,
        "uid": identity.uid,
    }
    return {
        "apiVersion": kinds.EVENT.api_version,
        "kind": kinds.EVENT.name,
        "metadata": {
            "name": f"{identity.name}.{uuid.uuid4().hex[:16]}",
            "namespace": identity.namespace,
        },
        "eventTime": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "type": event.type,
        "reason": event.reason,
        "note": event.message[:LONGEST_NOTE],
        "action": "Reconcile",
        "regarding": regarding,
        "reportingController": f"{names.GROUP}/operator",
        "reportingInstance": names.FIELD_MANAGER,
    }
