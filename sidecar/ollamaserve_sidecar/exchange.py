"""One request and its response, between a client's connection and one of Ollama's.

Made by `client` for a request that was admitted. The request is written anew (decision G1); of the
response the head is, and the body's bytes are passed on as they come while a parser watches for
their end (decision G2). Per chunk there is one parser call and one write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ollamaserve_sidecar import errors, wire
from ollamaserve_sidecar.wire import END, LAST_CHUNK, Framing

if TYPE_CHECKING:
    import asyncio

    from ollamaserve_sidecar.errors import Problem
    from ollamaserve_sidecar.upstream import Connection, Pool
    from ollamaserve_sidecar.wire import Request, Response

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE = b"Connection: close\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
# nginx, which may stand in front as an ingress, would else hold tokens back in its buffer.
STREAMED = CHUNKED + b"X-Accel-Buffering: no\r\n"
_CONTINUE, _SWITCHING, _FINAL, _NO_CONTENT = 100, 101, 200, 204


class Client(Protocol):
    """What an exchange needs of the connection that its request came on."""

    transport: asyncio.Transport
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
    __slots__ = (
        "_body_left",
        "_chunks",
        "_client",
        "_close",
        "_connection",
        "_gone",
        "_head",
        "_left",
        "_loop",
        "_pool",
        "_reused",
        "_seen",
        "received",
        "request",
        "response",
        "uploaded",
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
        self.response: Response | None = None
        self._head = request_head(request, authority)
        self._body_left = request.length
        self.uploaded = request.framing is Framing.NONE
        self.received = 0
        self._connection: Connection | None = None
        self._gone = self._reused = False
        self._close = request.close
        self._seen = b""
        self._left = 0
        self._chunks: wire.Chunks

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
        connection.transport.write(self._head)
        if not self.uploaded:
            if self.request.expects and self._client.waiting:
                self._client.transport.write(CONTINUE)
            self._client.pump()

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
            self._truncated()

    def upstream_full(self) -> None:
        """Nothing to do: `wants_body` is false from now on."""

    def upstream_drained(self) -> None:
        self._client.pump()

    # Called by `client`.

    @property
    def wants_body(self) -> bool:
        connection = self._connection
        return not self.uploaded and connection is not None and not connection.full

    def take(self, data: bytes) -> bytes:
        """Send on what belongs to the request's body; what is left belongs to the next request."""
        self.received += len(data)
        if self.request.chunks:
            self._take_chunks(data, self.request.chunks)
            return b""
        part = data[: self._body_left]
        self._body_left -= len(part)
        self.uploaded = not self._body_left
        self._write(part)
        return data[len(part) :]

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

    def _take_chunks(self, data: bytes, chunks: wire.Chunks) -> None:
        try:
            decoded = chunks.feed(data)
        except wire.WireError:
            self._client.fail(errors.BAD_BODY, "")
            return
        limit = self._client.body_limit
        if limit is not None and self.received > limit:
            self._client.fail(errors.too_large(limit), "")
            return
        if decoded:
            self._write(b"%x\r\n%b\r\n" % (len(decoded), decoded))
        if chunks.ended:
            self.uploaded = True
            # What follows in the same read is lost in the parser: the client has to send it again.
            self._close = self._close or not chunks.clean()
            self._write(LAST_CHUNK)

    def _write(self, data: bytes) -> None:
        if self._connection:
            self._connection.transport.write(data)

    # The response. Each of these is the connection's sink in its phase.

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
            framing = _framing(response, self.request)
            self._client.transport.write(response_head(response, framing, close=self._close))
        elif response.status > _CONTINUE and not self.request.http10:
            self._client.transport.write(response_head(response, b""))

    def _closes(self, response: Response) -> bool:
        return (
            self._close
            or not self.uploaded
            or response.framing is Framing.CLOSE
            or self._client.draining
        )

    def _begin_body(self, response: Response) -> None:
        match response.framing:
            case Framing.COUNTED if response.length:
                self._left = response.length
                sink = self._counted
            case Framing.CHUNKED if response.chunks:
                self._chunks = response.chunks
                sink = self._decoded if self.request.http10 else self._spliced
            case Framing.CLOSE:
                sink = self._client.transport.write
            case _:
                self._finish(tidy=not self._seen)
                return
        if self._connection:
            self._connection.sink = sink
        if self._seen:
            sink(self._seen)
            self._seen = b""

    def _counted(self, data: bytes) -> None:
        part = data[: self._left]
        self._left -= len(part)
        self._client.transport.write(part)
        if not self._left:
            self._finish(tidy=len(part) == len(data))

    def _spliced(self, data: bytes) -> None:
        chunks = self._chunks
        try:
            chunks.feed(data)
        except wire.WireError:
            self._truncated()
            return
        if not chunks.ended:
            self._client.transport.write(data)
        elif not chunks.clean():
            self._truncated()
        else:
            self._client.transport.write(data)
            # An end in several reads or with trailers may have stray empty lines behind it.
            tidy = data.endswith(LAST_CHUNK)
            self._close = self._close or not tidy
            self._finish(tidy=tidy)

    def _decoded(self, data: bytes) -> None:
        """Without its chunks, for a client of HTTP/1.0."""
        try:
            self._client.transport.write(self._chunks.feed(data))
        except wire.WireError:
            self._truncated()
            return
        if self._chunks.ended:
            self._finish(tidy=False)

    # The end.

    def _finish(self, *, tidy: bool) -> None:
        reusable = tidy and self.uploaded and self.response is not None and self.response.reusable
        self._release(reusable=reusable)
        self._client.over(close=self._close)

    def _lost_before_response(self) -> None:
        """Once more where Ollama can't have begun: a pooled connection that it had closed (G12)."""
        if self._reused and not self._seen and not self.received:
            self._pool.dial(self)
        else:
            self._client.fail(errors.BROKEN, "lost")

    def _truncated(self) -> None:
        """A length or chunks show the client that the end is missing; a bare close wouldn't."""
        self._release(reusable=False)
        silent = self.request.http10 or (
            self.response is not None and self.response.framing is Framing.CLOSE
        )
        self._client.cut("truncated", abort=silent)

    def _release(self, *, reusable: bool) -> None:
        connection, self._connection = self._connection, None
        if connection:
            connection.release(reusable=reusable)


def request_head(request: Request, authority: bytes) -> bytes:
    match request.framing:
        case Framing.CHUNKED:
            framing = CHUNKED
        case Framing.COUNTED:
            framing = b"Content-Length: %d\r\n" % request.length
        case _:
            framing = b"Content-Length: 0\r\n" if request.fields.values(b"content-length") else b""
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b%b\r\n" % (
        request.method.encode(),
        request.target.encode(),
        authority,
        request.fields.lines,
        framing,
    )


def _framing(response: Response, request: Request) -> bytes:
    if response.framing is Framing.CHUNKED:
        return b"" if request.http10 else STREAMED
    if response.length is None or response.status == _NO_CONTENT:
        return b""
    return b"Content-Length: %d\r\n" % response.length


def response_head(response: Response, framing: bytes, *, close: bool = False) -> bytes:
    return b"HTTP/1.1 %d %b\r\n%b%b%b\r\n" % (
        response.status,
        response.reason,
        response.fields.lines,
        framing,
        CLOSE if close else b"",
    )
