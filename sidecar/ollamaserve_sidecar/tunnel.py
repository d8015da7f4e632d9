"""An exchange that may become a tunnel: a WebSocket, once Ollama's side has answered 101.

Made by `client` in place of an `Exchange` for a request that `websocket` knows. Until the 101, and
after any other answer, it is an exchange like others: nothing that the client sends is forwarded,
and what follows is a request. After it, bytes pass both ways and are never read as requests.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from ollamaserve_sidecar import websocket, wire
from ollamaserve_sidecar.exchange import Exchange
from ollamaserve_sidecar.heads import response_head
from ollamaserve_sidecar.wire import Framing

if TYPE_CHECKING:
    import asyncio

    from ollamaserve_sidecar.exchange import Client
    from ollamaserve_sidecar.transport import Transport
    from ollamaserve_sidecar.upstream import Pool
    from ollamaserve_sidecar.wire import Request, Response

HALF_CLOSED = 60.0
"""Seconds without a byte after which a tunnel ends, once one side has ended."""
KEEP_IDLE, KEEP_INTERVAL, KEEP_COUNT = 60, 10, 6
"""TCP's own look, in seconds and tries, whether an idle client is still there (tcp(7))."""


class Tunnel(Exchange):
    """`upload.received` and `sent` count bytes from and to the client. Time has no limit."""

    __slots__ = ("_accept", "_client_over", "_upstream_over", "open")

    def __init__(
        self,
        client: Client,
        request: Request,
        pool: Pool,
        authority: bytes,
        loop: asyncio.AbstractEventLoop,
        *,
        accept: bytes,
    ) -> None:
        """`accept` is what `websocket.asked` said of the request."""
        request.fields.lines += websocket.FIELDS
        super().__init__(client, request, pool, authority, loop)
        self._accept = accept
        self._client_over = self._upstream_over = self.open = False

    # The answer: 101, or one like any other.

    def _answer(self, response: Response) -> None:
        if response.status != websocket.SWITCHING:
            super()._answer(response)
            return
        if not websocket.granted(response, self._accept):
            raise wire.WireError("Ollama switched protocols to what nobody had asked for")
        self.response, response.framing = response, Framing.NONE
        response.fields.lines += websocket.FIELDS + self._client.lines
        self._client.transport.write(response_head(response, b""))

    def _begin_body(self, response: Response) -> None:
        connection = self._connection
        if response.status != websocket.SWITCHING or connection is None:
            super()._begin_body(response)
            return
        self.open = True
        _keep_watch(self._client.transport)
        connection.sink, connection.ended = self._down, self._upstream_ended
        seen, self._seen = self._seen, b""
        if seen:
            self._down(seen)
        self._client.pump()

    # Bytes.

    @property
    def wants_body(self) -> bool:
        connection = self._connection
        return self.open and connection is not None and not connection.full

    def take(self, data: bytes) -> bytes:
        self.upload.received += len(data)
        self._send(data)
        return b""

    def _down(self, data: bytes) -> None:
        self.sent += len(data)
        self._client.transport.write(data)

    # Ends. Each side may go on after the other has ended, where it can be told so.

    def client_ended(self, rest: bytes) -> None:
        """The client sends no more; `rest` is what Ollama's side wasn't yet willing to take."""
        self._client_over = True
        if rest:
            self.take(rest)
        if self._connection:
            self._connection.transport.write_eof()
        self._half_closed()

    def _upstream_ended(self) -> bool:
        self._upstream_over = True
        if self._client.transport.can_write_eof():
            self._client.transport.write_eof()
        self._half_closed()
        return self._connection is not None

    def _half_closed(self) -> None:
        both = self._client_over and self._upstream_over
        if both or not self._client.transport.can_write_eof():  # TLS knows no half of an end
            self._close_both()
        else:
            self._watch(-1)

    def _watch(self, moved: int) -> None:
        if self._connection is None:
            return
        now = self.upload.received + self.sent
        if now == moved:
            self._close_both()
        else:
            self._loop.call_later(HALF_CLOSED, self._watch, now)

    def _close_both(self) -> None:
        self._release(reusable=False)
        self._client.over(close=True)

    def upstream_lost(self, *, cleanly: bool) -> None:
        if not self.open:
            super().upstream_lost(cleanly=cleanly)
            return
        self._connection = None
        if cleanly or self._upstream_over:
            self._client.over(close=True)
        else:
            self._client.cut("truncated", abort=True)

    def _release(self, *, reusable: bool) -> None:
        connection = self._connection
        if self.open and connection:
            self._connection = None
            connection.part()
        else:
            super()._release(reusable=reusable)


def _keep_watch(transport: Transport) -> None:
    """An idle tunnel has no stalled write that would tell that its client has vanished."""
    if transport.is_closing():
        return
    end = transport.get_extra_info("socket")
    end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEP_IDLE)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEP_INTERVAL)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEP_COUNT)
