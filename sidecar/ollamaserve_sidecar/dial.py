"""Connecting to where Ollama is: at once over loopback, or once the handshake is through.

Entered by `upstream`.
"""

from __future__ import annotations

import errno
import select
import socket
from typing import TYPE_CHECKING

from ollamaserve_sidecar.sockets import Socket

if TYPE_CHECKING:
    from collections.abc import Callable

    from ollamaserve_sidecar.poller import Poller
    from ollamaserve_sidecar.transport import Address, Endpoint

    Place = tuple[int, Address]


def connect(
    poller: Poller,
    place: Place,
    endpoint: Endpoint,
    failed: Callable[[], None],
    deadline: float,
) -> None:
    """`connection_made` or `failed` follows, by `deadline` of the loop's time; maybe at once.

    `place` is an address's family and the address.
    """
    family, address = place
    try:
        end = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        poller.loop.call_soon(failed)
        return
    if poller.closed or not _begun(end, address):
        end.close()
        poller.loop.call_soon(failed)
    elif _connected(end):  # over loopback the handshake is a matter of the call
        poller.begin(Socket(poller, end, endpoint))
    else:
        Attempt(poller, end, endpoint, failed, deadline)


def _begun(end: socket.socket, address: Address) -> bool:
    try:
        end.setblocking(False)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return end.connect_ex(address) in (0, errno.EINPROGRESS)
    except OSError:
        return False


def _connected(end: socket.socket) -> bool:
    try:
        end.getpeername()
    except OSError:
        return False
    return True


class Attempt:
    """A connection that isn't there yet."""

    fresh = True

    def __init__(
        self,
        poller: Poller,
        end: socket.socket,
        endpoint: Endpoint,
        failed: Callable[[], None],
        deadline: float,
    ) -> None:
        self._poller, self._end, self._endpoint, self._failed = poller, end, endpoint, failed
        self._timer = poller.loop.call_at(deadline, self._give_up)
        poller.watch(end.fileno(), self, 0, select.EPOLLOUT)

    def ready(self, mask: int) -> None:  # noqa: ARG002 the socket is asked
        if self._end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._give_up()
        elif _connected(self._end):
            self._leave()
            self._poller.begin(Socket(self._poller, self._end, self._endpoint))
        # Else the event was of a connection that had this descriptor before.

    def abort(self) -> None:
        self._leave()
        self._end.close()

    def _give_up(self) -> None:
        self.abort()
        self._failed()

    def _leave(self) -> None:
        self._timer.cancel()
        self._poller.watch(self._end.fileno(), self, select.EPOLLOUT, 0)
