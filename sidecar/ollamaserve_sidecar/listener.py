"""The door's listening sockets: where they are bound, and what they accept.

Entered by `gate`. With TLS the event loop accepts on the same sockets.
"""

from __future__ import annotations

import errno
import logging
import select
import socket
from typing import TYPE_CHECKING

from ollamaserve_sidecar.sockets import Socket

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from ollamaserve_sidecar.config import Address
    from ollamaserve_sidecar.poller import Poller
    from ollamaserve_sidecar.transport import Endpoint

_log = logging.getLogger(__name__)

BACKLOG = 4096
ACCEPTED = 64
"""Connections taken in a row before those that are there have their turn."""
RESTED = 1.0
"""Seconds without an accept after one that failed: descriptors or memory have run out."""
_NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


class Listener:
    """Accepts connections: a listening socket with TCP_NODELAY, which Linux hands on to each."""

    fresh = True

    def __init__(
        self, poller: Poller, end: socket.socket, endpoint: Callable[[], Endpoint]
    ) -> None:
        self._poller, self._end, self._endpoint = poller, end, endpoint
        self._fd, self._mask = end.fileno(), 0
        end.setblocking(False)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._listen()

    def ready(self, mask: int) -> None:  # noqa: ARG002 there is one thing that it can be
        for _ in range(ACCEPTED):
            try:
                end, peer = self._end.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._rest(error)
                return
            end.setblocking(False)
            self._poller.begin(Socket(self._poller, end, self._endpoint(), peer))

    def abort(self) -> None:
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            self._watch(0)
            self._fd = -1
            self._end.close()

    def _rest(self, error: OSError) -> None:
        _log.error("new connections have to wait: %s", error)
        self._watch(0)
        self._poller.loop.call_later(RESTED, self._listen)

    def _listen(self) -> None:
        if self._fd >= 0:
            self._watch(select.EPOLLIN)

    def _watch(self, mask: int) -> None:
        if mask != self._mask:
            self._poller.watch(self._fd, self, self._mask, mask)
            self._mask = mask


async def bind(loop: asyncio.AbstractEventLoop, listen: Address) -> list[socket.socket]:
    """One listening socket for each address that the host has, of the families that there are."""
    found = await loop.getaddrinfo(
        listen.host or None, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    ends: list[socket.socket] = []
    failed: OSError | None = None
    for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
        try:
            ends.append(socket.create_server(address, family=family, backlog=BACKLOG))
        except OSError as error:
            failed = error
            if error.errno not in _NO_SUCH_FAMILY:
                break
    if failed and (not ends or failed.errno not in _NO_SUCH_FAMILY):
        for end in ends:
            end.close()
        raise failed
    return ends
