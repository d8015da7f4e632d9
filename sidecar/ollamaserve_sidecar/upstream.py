"""Connections to Ollama: the only room that opens them, and that decides which may be used again.

A connection serves one exchange at a time. It is kept only after an exchange that ended by the
book (decision G2); any other is cut, which is also how Ollama learns that a client has left.
"""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Protocol, cast

from ollamaserve_sidecar.dial import connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from ollamaserve_sidecar.config import Upstream
    from ollamaserve_sidecar.dial import Place
    from ollamaserve_sidecar.poller import Poller
    from ollamaserve_sidecar.transport import Address, Transport

CONNECT_TIMEOUT = 5.0
"""Seconds for a name's look-up and all of its addresses together."""
PARTING = 5.0
"""Seconds in which the last bytes of a tunnel may still be taken."""
IDLE_LIMIT = 1024


class Exchange(Protocol):
    """What this room tells the exchange that a connection is for."""

    def connected(self, connection: Connection) -> None: ...

    def unreachable(self) -> None: ...

    def upstream_lost(self, *, cleanly: bool) -> None: ...

    def upstream_full(self) -> None: ...

    def upstream_drained(self) -> None: ...


class Connection:
    """One connection. `sink` takes each read while an exchange owns it; `full` is backpressure.

    `ended` is told that Ollama's side sends no more, and says whether it may still be sent to.
    """

    __slots__ = (
        "_dialled",
        "_held",
        "_pool",
        "ended",
        "exchange",
        "full",
        "reused",
        "sink",
        "transport",
    )

    def __init__(self, pool: Pool, dialled: Exchange | None = None) -> None:
        """`dialled` is who waits for it."""
        self._pool = pool
        self._dialled: Exchange | None = dialled
        self.exchange: Exchange | None = None
        self.sink: Callable[[bytes], None] = self._unasked
        self.ended: Callable[[], bool] = _not_a_tunnel
        self.full = self._held = False
        self.reused = False
        self.transport: Transport

    def own(self, exchange: Exchange, sink: Callable[[bytes], None]) -> None:
        self.exchange, self.sink = exchange, sink

    def release(self, *, reusable: bool) -> None:
        """The exchange is over; a connection that isn't reusable is cut at once."""
        self.exchange, self.sink = None, self._unasked
        if reusable:
            self.go_on()
            self._pool.keep(self)
        else:
            self.transport.abort()

    def part(self) -> None:
        """A tunnel is over: what was sent still arrives, and the connection ends."""
        self.exchange, self.ended = None, _not_a_tunnel
        self.sink = _ignored
        self.transport.close()
        asyncio.get_running_loop().call_later(PARTING, self._abort)

    def _abort(self) -> None:
        if self in self._pool.open:  # asyncio can't abort what has closed by itself
            self.transport.abort()

    def hold(self) -> None:
        """Read no more of the response: the client is slower."""
        if not (self._held or self.transport.is_closing()):
            self._held = True
            self.transport.pause_reading()

    def go_on(self) -> None:
        if self._held and not self.transport.is_closing():
            self._held = False
            self.transport.resume_reading()

    def _unasked(self, _: bytes) -> None:
        """Bytes that nobody asked for: what follows could be taken for the next answer."""
        self._pool.forget(self)
        self.transport.abort()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._pool.open.add(self)
        exchange, self._dialled = self._dialled, None
        if exchange:
            exchange.connected(self)

    def data_received(self, data: bytes) -> None:
        self.sink(data)

    def eof_received(self) -> bool:
        return self.ended()

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.forget(self)
        self._pool.open.discard(self)
        self.sink, self.ended = _ignored, _not_a_tunnel  # not methods of its own: no cycle is left
        exchange, self.exchange = self.exchange, None
        if exchange:
            exchange.upstream_lost(cleanly=exc is None)

    def pause_writing(self) -> None:
        self.full = True
        if self.exchange:
            self.exchange.upstream_full()

    def resume_writing(self) -> None:
        self.full = False
        if self.exchange:
            self.exchange.upstream_drained()


def _not_a_tunnel() -> bool:
    return False


def _ignored(_: bytes) -> None:
    """A tunnel's bytes that nobody is there to read."""


class Pool:
    """Connections to one origin: as many as are needed, the idle ones used last-in first-out."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._place = _literal(upstream)
        self._idle: list[Connection] = []
        self._dialing: set[asyncio.Task[None]] = set()
        self.open: set[Connection] = set()
        self.poller: Poller

    @property
    def idle(self) -> int:
        return len(self._idle)

    def take(self) -> Connection | None:
        """An idle connection, without waiting."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.transport.is_closing():
                connection.reused = True
                return connection
        return None

    def dial(self, exchange: Exchange) -> None:
        """Open a connection; the exchange is told when there is one, or none to be had."""
        loop = self.poller.loop
        deadline = loop.time() + CONNECT_TIMEOUT
        if self._place:
            self._connect(exchange, [self._place], deadline)
        else:
            task = loop.create_task(self._find(exchange, deadline))
            self._dialing.add(task)
            task.add_done_callback(self._dialing.discard)

    async def _find(self, exchange: Exchange, deadline: float) -> None:
        """Look the name up, each time: the address behind it may change."""
        try:
            async with asyncio.timeout_at(deadline):
                found = await self.poller.loop.getaddrinfo(
                    self._upstream.host, self._upstream.port, type=socket.SOCK_STREAM
                )
        except (OSError, UnicodeError):  # TimeoutError is an OSError
            found = []
        places = [(int(family), cast("Address", address)) for family, _, _, _, address in found]
        self._connect(exchange, places, deadline)

    def _connect(self, exchange: Exchange, places: list[Place], deadline: float) -> None:
        """Try one place after the other."""
        if not places:
            exchange.unreachable()
            return

        def failed() -> None:
            self._connect(exchange, places[1:], deadline)

        connect(self.poller, places[0], Connection(self, exchange), failed, deadline)

    def keep(self, connection: Connection) -> None:
        if len(self._idle) < IDLE_LIMIT and not connection.transport.is_closing():
            self._idle.append(connection)
        else:
            connection.transport.abort()

    def forget(self, connection: Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        for task in self._dialing:
            task.cancel()
        for connection in self.open:
            connection.transport.abort()


def _literal(upstream: Upstream) -> Place | None:
    """Where Ollama is, if that needs no name to be looked up."""
    try:
        version = ip_address(upstream.host).version
    except ValueError:
        return None
    family = socket.AF_INET if version == 4 else socket.AF_INET6  # noqa: PLR2004 IPv4
    return family, (upstream.host, upstream.port)
