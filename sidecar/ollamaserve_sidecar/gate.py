"""The door on port 7860: it listens, and keeps the time for all connections.

`__main__` builds one `Gate`; nothing else enters. The hot path is `client` (heads and verdicts),
`exchange` (forwarding) and `upstream` (connections to Ollama), which all run in protocol callbacks.
"""

from __future__ import annotations

import asyncio
import resource
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, cast

from ollamaserve_sidecar import wire
from ollamaserve_sidecar.client import HEAD_TIMEOUT, Client
from ollamaserve_sidecar.entrance import Entrance
from ollamaserve_sidecar.listener import BACKLOG, Listener, bind
from ollamaserve_sidecar.poller import Poller
from ollamaserve_sidecar.status import Door
from ollamaserve_sidecar.tls import SHUTDOWN_TIMEOUT, Certificate
from ollamaserve_sidecar.upstream import Pool

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from ollamaserve_sidecar.config import Config
    from ollamaserve_sidecar.errors import Problem
    from ollamaserve_sidecar.meter import Meter
    from ollamaserve_sidecar.record import Record
    from ollamaserve_sidecar.reload import Live

SWEEP = 1.0
FLUSH = 2.0


class Drain(Protocol):
    """What the gate needs of `lifecycle`: a mark around each request in flight (G8)."""

    @property
    def draining(self) -> bool: ...

    def entered(self) -> None: ...

    def left(self) -> None: ...


class Ledger(Protocol):
    """What the gate tells `ledger`, once per request and never per chunk."""

    def close(self, record: Record, meter: Meter | None = None) -> None: ...

    def meter(self, route: str) -> Meter | None: ...

    def upstream_failed(self, kind: str) -> None: ...


class Gate:
    """`start` binds GATE_LISTEN, and `port` is then the one bound; `close` ends everything.

    `closed` is the entrance's. The constructor raises ConfigError where the certificate and its key
    are no pair.
    """

    port: int

    def __init__(
        self,
        config: Config,
        live: Live,
        drain: Drain,
        ledger: Ledger,
        closed: Callable[[str], Problem | None] = lambda _: None,
    ) -> None:
        self.drain, self.ledger = drain, ledger
        self.authority = config.upstream.authority.encode()
        self.pool = Pool(config.upstream)
        self.entrance = Entrance(live, closed)
        self.certificate = Certificate(config.key_pair) if config.key_pair else None
        self.clients: set[Client] = set()
        self._empty = asyncio.Event()
        self.loop: asyncio.AbstractEventLoop
        self._listen = config.listen
        self._poller: Poller | None = None
        self._doors: list[Listener | asyncio.Server] = []
        self._sweeper: asyncio.TimerHandle | None = None
        live.on_change.append(self.recheck)

    async def start(self) -> None:
        """Raises OSError where GATE_LISTEN can't be bound, WireError without aiohttp's C parser."""
        wire.check_parser()
        _allow_descriptors()
        self.loop = asyncio.get_running_loop()
        ends = await bind(self.loop, self._listen)
        self.port = ends[0].getsockname()[1]
        self.pool.poller = self._poller = poller = Poller(self.loop)
        for end in ends:
            self._doors.append(await self._open(end, poller))
        self._sweep()

    async def _open(self, end: socket.socket, poller: Poller) -> Listener | asyncio.Server:
        if self.certificate is None:
            return Listener(poller, end, lambda: Client(self))
        return await self.loop.create_server(
            cast("Any", lambda: Client(self)),
            sock=end,
            backlog=BACKLOG,
            ssl=self.certificate.context,
            ssl_handshake_timeout=HEAD_TIMEOUT,
            ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
        )

    def door(self) -> Door:
        """What `/status` and `/metrics` say of this port."""
        slots, tls = self.entrance.slots, self.certificate
        return Door(
            connections=len(self.clients),
            served=slots.served,
            queued=slots.waiting,
            certificates={"Success": tls.reloads, "Refused": tls.failures} if tls else None,
            certificate_error=tls.error if tls else "",
        )

    def stop_listening(self) -> None:
        """Refuse new connections and close those that wait for nothing (decision G8)."""
        for door in self._doors:
            door.close()
        for client in list(self.clients):
            client.close_if_idle()

    async def close(self) -> None:
        """Cut exchanges, but let answers that are written arrive, for FLUSH seconds at most."""
        if self._sweeper:
            self._sweeper.cancel()
        for door in self._doors:
            door.close()
        for client in list(self.clients):
            client.close()
        self.pool.close()
        if self.clients:
            self._empty.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH):
                    await self._empty.wait()
        for client in list(self.clients):
            client.transport.abort()
        if self._poller:
            self._poller.close()

    def recheck(self) -> None:
        for client in list(self.clients):
            client.recheck()

    def leave(self, client: Client) -> None:
        self.clients.discard(client)
        if not self.clients:
            self._empty.set()

    def _sweep(self) -> None:
        """One timer for all connections is cheaper than several for each request."""
        now = self.loop.time()
        for client in list(self.clients):
            client.sweep(now)
        self.entrance.sweep(now)
        if self.certificate:
            self.certificate.check()
        self._sweeper = self.loop.call_later(SWEEP, self._sweep)


def _allow_descriptors() -> None:
    """As many as the system lets this process have, as Go's programs do: each exchange takes two.

    Where containerd 2 or a shell starts it, 1024 would be all (the soft limit).
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
