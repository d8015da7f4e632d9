"""One request and its answer: a table's row made into HTTP, an answer made into a body or an error.

`cluster` alone enters. Requests are made by hand on aiohttp: a write costs half the CPU of the
official client's and no 20 MiB of imports (docs/architecture.md).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import urlencode

import aiohttp

from ollamaserve_operator import answers
from ollamaserve_operator.errors import Transient
from ollamaserve_operator.kinds import Kind, Verb
from ollamaserve_operator.pace import Pace

Body = dict[str, Any]
Observe = Callable[[str, str, int], None]

JSON = "application/json"
APPLY = "application/apply-patch+yaml"  # JSON is YAML
MERGE = "application/merge-patch+json"

_METHODS = {
    Verb.GET: "GET",
    Verb.LIST: "GET",
    Verb.CREATE: "POST",
    Verb.PATCH: "PATCH",
    Verb.DELETE: "DELETE",
}


class Sender(Protocol):
    """One exchange with the API server: `connection.Connection`, or a test's stand-in."""

    async def send(
        self, method: str, path: str, *, headers: dict[str, str], body: bytes | None = None
    ) -> tuple[int, dict[str, str], bytes]: ...

    def forget(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Request:
    """`may_be_gone`: that there is no such object is an answer, not an error."""

    verb: Verb
    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    query: Mapping[str, str] = field(default_factory=dict)
    content: str = JSON
    accept: str = JSON
    may_be_gone: bool = False

    @property
    def path(self) -> str:
        """Its address; what is created is posted to the collection."""
        name = "" if self.verb is Verb.CREATE else self.name
        query = f"?{urlencode(self.query)}" if self.query else ""
        return self.kind.path(self.namespace, name, self.subresource) + query

    @property
    def headers(self) -> dict[str, str]:
        content = {"Content-Type": self.content} if self.body is not None else {}
        return {"Accept": self.accept} | content

    def encoded(self) -> bytes | None:
        if self.body is None:
            return None
        return json.dumps(self.body, separators=(",", ":")).encode()


class Exchange:
    """`observe` is told the verb, the kind and the HTTP status of each call; 0: no answer."""

    def __init__(self, sender: Sender, *, pace: Pace, observe: Observe) -> None:
        self._sender = sender
        self._pace = pace
        self._observe = observe

    async def send(self, request: Request) -> Body | None:
        """The answer's body; None where the object, or its whole namespace, is gone or going.

        Raises Transient (Outdated on 409) and Refused; LookupError where `kinds` has no such call.
        """
        verb, kind = request.verb, request.kind
        if not kind.allows(verb, request.subresource):
            raise LookupError(f"{verb} {kind.plural} {request.subresource} isn't in the table")
        if request.body is not None:
            await self._pace.turn()
        code, headers, raw = await self._answer(request)
        self._observe(verb, kind.name, code)
        if code < HTTPStatus.MULTIPLE_CHOICES:
            return _parsed(raw)
        if code == HTTPStatus.UNAUTHORIZED:
            self._sender.forget()
        if request.may_be_gone and code == HTTPStatus.NOT_FOUND:
            return None
        if answers.vanishing(code, raw):
            return None
        raise answers.error(code, headers, raw, kind=kind.name, name=request.name)

    async def _answer(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        try:
            return await self._sender.send(
                _METHODS[request.verb],
                request.path,
                headers=request.headers,
                body=request.encoded(),
            )
        except (aiohttp.ClientError, OSError) as error:
            self._observe(request.verb, request.kind.name, 0)
            what = f"{request.verb} {request.kind.name} {request.name}".strip()
            raise Transient(f"{what}: {type(error).__name__}") from None


def _parsed(raw: bytes) -> Body:
    """A 2xx without JSON is some proxy's: its words are nobody's business here."""
    try:
        parsed: Body = json.loads(raw)
    except ValueError:
        raise Transient("an answer that isn't the API server's") from None
    return parsed
