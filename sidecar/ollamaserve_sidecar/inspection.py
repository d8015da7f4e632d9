"""An exchange of a token that is for some models only: bodies are read before they pass.

Made by `client` in place of an `Exchange` for such tokens alone, so that all others' bodies stream
untouched. What a body or a list may say is decided in `allowance`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ollamaserve_sidecar import allowance, errors, wire
from ollamaserve_sidecar.exchange import Exchange
from ollamaserve_sidecar.heads import CONTINUE, request_head, response_head
from ollamaserve_sidecar.wire import LAST_CHUNK, Framing

if TYPE_CHECKING:
    import asyncio

    from ollamaserve_sidecar.admission import Admitted
    from ollamaserve_sidecar.exchange import Client
    from ollamaserve_sidecar.upstream import Connection, Pool
    from ollamaserve_sidecar.wire import Request, Response

LIST_LIMIT = 8 << 20
"""Bytes of a list of models; Ollama's takes about 400 for each."""
_OK = 200


class Inspection(Exchange):
    __slots__ = ("_admitted", "_authority", "_held", "_holding", "_reading", "_size")

    def __init__(
        self,
        client: Client,
        request: Request,
        pool: Pool,
        authority: bytes,
        loop: asyncio.AbstractEventLoop,
        *,
        admitted: Admitted,
    ) -> None:
        super().__init__(client, request, pool, authority, loop)
        self._admitted, self._authority = admitted, authority
        self._reading = self._holding = False
        self._held: list[bytes] = []
        self._size = 0

    # The request's body is read in full before Ollama hears of it.

    def begin(self) -> None:
        if self._admitted.label not in allowance.CHECKED:
            super().begin()
            return
        problem = allowance.unreadable(self.request.fields, self.request.length)
        if problem:
            self._client.fail(problem, "")
        elif self.upload.ended:
            self._client.fail(allowance.NOT_JSON, "")
        else:
            self._reading = True
            if self.request.expects and self._client.waiting:
                self._client.transport.write(CONTINUE)
            self._client.pump()

    def connected(self, connection: Connection) -> None:
        super().connected(connection)
        if self.upload.received:
            self._head = b""  # a body in it can't be sent again, and may be 4 MiB

    @property
    def wants_body(self) -> bool:
        return self._reading or super().wants_body

    def take(self, data: bytes) -> bytes:
        if not self._reading:
            return super().take(data)
        upload = self.upload
        body = upload.take(data, self._client.body_limit)
        if isinstance(body, errors.Problem):
            self._client.fail(body, "")
        elif upload.received > allowance.BODY_LIMIT and self.request.chunks:
            self._client.fail(allowance.TOO_LONG, "")
        else:
            self._keep(body)
            if upload.ended:
                self._check()
        return upload.rest

    def _keep(self, data: bytes) -> None:
        self._held.append(data)
        self._size += len(data)

    def _check(self) -> None:
        self._reading = False
        self._close = self._close or not self.upload.clean
        body = allowance.checked(self._joined(), self._models)
        if isinstance(body, errors.Problem):
            self._client.fail(body, "")
            return
        self.request.framing, self.request.length = Framing.COUNTED, len(body)
        self._head = request_head(self.request, self._authority) + body
        super().begin()

    @property
    def _models(self) -> frozenset[str]:
        return self._admitted.models or frozenset()

    def _joined(self) -> bytes:
        joined = b"".join(self._held)
        self._held, self._size = [], 0
        return joined

    # A list of models is held back until it is here in full, and sent on without the others.

    def _answer(self, response: Response) -> None:
        listing = self._admitted.label in allowance.LISTS and response.status == _OK
        if not listing:
            super()._answer(response)
        elif self.request.method == "HEAD":
            response.length = None  # it would be that of the whole list
            super()._answer(response)
        else:
            self.response, self._holding = response, True

    def _begin_body(self, response: Response) -> None:
        if not self._holding:
            super()._begin_body(response)
        elif response.framing is Framing.CHUNKED or response.length:
            if self._connection:
                self._connection.sink = self._hold
            seen, self._seen = self._seen, b""
            self._hold(seen)
        else:
            self._broken("malformed")

    def _hold(self, data: bytes) -> None:
        response = self.response
        if response is None:
            return
        try:
            self._keep(response.chunks.feed(data) if response.chunks else data)
        except wire.WireError:
            self._broken("malformed")
            return
        length, chunks = response.length, response.chunks
        ended = chunks.ended if chunks else self._size >= (length or 0)
        if self._size > LIST_LIMIT:
            self._broken("malformed")
        elif ended:
            clean = chunks.clean() and data.endswith(LAST_CHUNK) if chunks else self._size == length
            self._send_list(response, tidy=clean)

    def _send_list(self, response: Response, *, tidy: bool) -> None:
        body = allowance.listed(self._admitted.label, self._joined(), self._models)
        if body is None:
            self._broken("malformed")
            return
        self._holding = False
        self._close = self._closes(response)
        length = b"Content-Length: %d\r\n" % len(body)
        response.fields.lines += self._client.lines
        head = response_head(response, length, close=self._close)
        self._client.transport.write(head + body)
        self.sent += len(body)
        self.finish(tidy=tidy)

    def truncated(self) -> None:
        if self._holding:
            self._broken("truncated")
        else:
            super().truncated()

    def _broken(self, kind: str) -> None:
        """Nothing of the response has been written, so that the client can be told."""
        self.response, self._holding = None, False
        self._client.fail(errors.BROKEN, kind)
