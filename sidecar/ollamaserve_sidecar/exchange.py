"""One request and its response, between a client's connection and one of Ollama's.

Made by `client` for a request that was admitted. The request is written anew (decision G1); of the
response the head is, and `delivery` passes the body on (decision G2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ollamaserve_sidecar import errors, wire
from ollamaserve_sidecar.delivery import Delivery
from ollamaserve_sidecar.errors import Problem
from ollamaserve_sidecar.heads import CONTINUE, request_head, response_framing, response_head
from ollamaserve_sidecar.upload import Upload
from ollamaserve_sidecar.wire import END, LAST_CHUNK, Framing

if TYPE_CHECKING:
    import asyncio

    from ollamaserve_sidecar.meter import Meter
    from ollamaserve_sidecar.transport import Transport
    from ollamaserve_sidecar.upstream import Connection, Pool
    from ollamaserve_sidecar.wire import Request, Response

_CONTINUE, _SWITCHING, _FINAL, _OK = 100, 101, 200, 200


class Client(Protocol):
    """What an exchange needs of the connection that its request came on."""

    transport: Transport
    full: bool
    lines: bytes
    body_limit: int | None

    @property
    def draining(self) -> bool: ...

    @property
    def waiting(self) -> bool:
        """True if no byte of a body has arrived yet."""

    def pump(self) -> None:
        """Offer what has arrived of the body to `Exchange.take`."""

    def over(self, *, close: bool) -> None:
        """The response has been written in full."""

    def fail(self, problem: Problem, kind: str) -> None:
        """No response will come; say so, then close."""

    def cut(self, kind: str, *, abort: bool) -> None:
        """The response broke off after it had begun."""


class Exchange:
    """`meter` watches an answer of inference; `sent` counts what the client got of a body."""

    __slots__ = (
        "_client",
        "_close",
        "_connection",
        "_gone",
        "_head",
        "_loop",
        "_pool",
        "_reused",
        "_seen",
        "_unsent",
        "meter",
        "request",
        "response",
        "sent",
        "upload",
    )

    def __init__(
        self,
        client: Client,
        request: Request,
        pool: Pool,
        authority: bytes,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._client, self._pool, self._loop = client, pool, loop
        self.request = request
        self.upload = Upload(request)
        self.response: Response | None = None
        self.meter: Meter | None = None
        self.sent = 0
        self._head = request_head(request, authority)
        self._connection: Connection | None = None
        self._gone = self._reused = False
        self._close = request.close
        self._seen = b""
        # The head at hand, which goes out together with what follows it: a write costs more than
        # all else that is done for a token.
        self._unsent = b""

    def begin(self) -> None:
        connection = self._pool.take()
        if connection:
            self.connected(connection)
        else:
            self._pool.dial(self)

    # Called by `upstream`.

    def connected(self, connection: Connection) -> None:
        if self._gone:
            connection.release(reusable=True)
            return
        self._connection, self._reused = connection, connection.reused
        connection.own(self, self._response_head)
        if self._client.full:
            connection.hold()
        self._unsent = self._head
        if not self.upload.ended:
            if self.request.expects and self._client.waiting:
                self._client.transport.write(CONTINUE)
            self._client.pump()
        if self._unsent:
            self._send(b"")

    def unreachable(self) -> None:
        if not self._gone:
            self._client.fail(errors.UNREACHABLE, "connect")

    def upstream_lost(self, *, cleanly: bool) -> None:
        self._connection = None
        if self.response is None:
            self._lost_before_response()
        elif self.response.framing is Framing.CLOSE and cleanly:
            self._client.over(close=True)
        else:
            self.truncated()

    def upstream_full(self) -> None:
        """Nothing to do: `wants_body` is false from now on."""

    def upstream_drained(self) -> None:
        self._client.pump()

    # Called by `client`.

    @property
    def wants_body(self) -> bool:
        connection = self._connection
        return connection is not None and not (self.upload.ended or connection.full)

    def take(self, data: bytes) -> bytes:
        """Send on what belongs to the request's body; what is left belongs to the next request."""
        body = self.upload.take(data, self._client.body_limit)
        if isinstance(body, Problem):
            self._client.fail(body, "")
        elif self.request.chunks:
            self._send_chunk(body)
        else:
            self._send(body)
        return self.upload.rest

    def client_full(self) -> None:
        if self._connection:
            self._connection.hold()

    def client_drained(self) -> None:
        if self._connection:
            self._connection.go_on()

    def abandon(self) -> None:
        """The client is gone, or has been refused: Ollama learns it at once."""
        self._gone = True
        self._release(reusable=False)

    # The request's body.

    def _send_chunk(self, body: bytes) -> None:
        if body:
            self._send(b"%x\r\n%b\r\n" % (len(body), body))
        if self.upload.ended:
            self._close = self._close or not self.upload.clean
            self._send(LAST_CHUNK)

    def _send(self, data: bytes) -> None:
        if self._connection:
            head, self._unsent = self._unsent, b""
            self._connection.transport.write(head + data if head else data)

    # The response's head; until it is complete this is the connection's sink.

    def _response_head(self, data: bytes) -> None:
        self._seen += data
        while self.response is None:
            end = self._seen.find(END)
            if end < 0 and len(self._seen) <= wire.RESPONSE_HEAD_LIMIT:
                return
            head, self._seen = self._seen[: end + len(END)], self._seen[end + len(END) :]
            try:
                self._answer(
                    wire.response(head, bodiless=self.request.method == "HEAD", loop=self._loop)
                )
            except wire.WireError:
                self._client.fail(errors.BROKEN, "malformed")
                return
            if self._gone:
                return
        self._begin_body(self.response)

    def _answer(self, response: Response) -> None:
        if response.status == _SWITCHING:
            raise wire.WireError("Ollama switched protocols, though nobody had asked")
        if response.status >= _FINAL:
            self.response = response
            response.fields.lines += self._client.lines
            self._close = self._closes(response)
            framing = response_framing(response, http10=self.request.http10)
            self._unsent = response_head(response, framing, close=self._close)
        elif response.status > _CONTINUE and not self.request.http10:
            self._client.transport.write(response_head(response, b""))

    def _closes(self, response: Response) -> bool:
        return (
            self._close
            or not self.upload.ended
            or response.framing is Framing.CLOSE
            or self._client.draining
        )

    def _begin_body(self, response: Response) -> None:
        if self.meter and response.status == _OK:
            self.meter.begin(response)
        else:
            self.meter = None
        delivery = Delivery(self, self._client.transport.write, self.meter, self._unsent)
        sink = delivery.sink(response, http10=self.request.http10)
        seen, self._seen, self._unsent = self._seen, b"", b""
        if sink is None:
            delivery.flush()
            self.finish(tidy=not seen)
            return
        if self._connection:
            self._connection.sink = sink
        if seen:
            sink(seen)
        else:
            delivery.flush()

    # The end; the first two are called by `delivery`.

    def finish(self, *, tidy: bool, last: bool = False) -> None:
        ended, response = self.upload.ended, self.response
        self._release(reusable=tidy and ended and response is not None and response.reusable)
        self._client.over(close=self._close or last)

    def truncated(self) -> None:
        """A length or chunks show the client that the end is missing; a bare close wouldn't."""
        self._release(reusable=False)
        silent = self.request.http10 or (
            self.response is not None and self.response.framing is Framing.CLOSE
        )
        self._client.cut("truncated", abort=silent)

    def _lost_before_response(self) -> None:
        """Once more where Ollama can't have begun: a pooled connection that it had closed (G12)."""
        if self._reused and not self._seen and not self.upload.received:
            self._pool.dial(self)
        else:
            self._client.fail(errors.BROKEN, "lost")

    def _release(self, *, reusable: bool) -> None:
        connection, self._connection = self._connection, None
        if connection:
            connection.release(reusable=reusable)
