"""A plain connection: a connected socket, with the methods of asyncio's transports.

Made by `listener` for clients, and by `dial` for Ollama; `poller` says when it is ready.
"""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ollamaserve_sidecar.poller import Poller
    from ollamaserve_sidecar.transport import Address, Endpoint

HIGH, LOW = 64 << 10, 16 << 10
"""Bytes not taken by the peer: above HIGH its writer is told to pause, at LOW to go on."""
SMALL, LARGE = 16 << 10, 256 << 10
"""Bytes asked for in one read; a connection that fills its reads is given larger ones."""
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


class Socket:
    """A connected socket: a `Transport`."""

    __slots__ = (
        "_closing",
        "_end",
        "_endpoint",
        "_fd",
        "_full",
        "_last",
        "_mask",
        "_out",
        "_peer",
        "_poller",
        "_reading",
        "_size",
        "fresh",
    )

    def __init__(
        self, poller: Poller, end: socket.socket, endpoint: Endpoint, peer: Address | None = None
    ) -> None:
        self._poller, self._end, self._endpoint = poller, end, endpoint
        self._peer = peer
        self._fd = end.fileno()
        self._mask, self._size = 0, SMALL
        self._out = b""
        self._reading = self.fresh = True
        self._closing = self._full = self._last = False

    def begin(self) -> None:
        self._endpoint.connection_made(self)
        self._watch()

    # The transport.

    def write(self, data: bytes) -> None:
        if self._closing or not data:
            return
        self.fresh = True
        if self._out:
            self._out += data
            self._fill()
            return
        self._out = data
        if self._poller.serving and len(data) <= SMALL:
            self._poller.postpone(self)
        else:
            self.flush()

    def write_eof(self) -> None:
        if not (self._closing or self._last):
            self._last = True
            if not self._out:
                self._shut()

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        if not self._closing:
            self._closing, self._reading = True, False
            if self._out:
                self._watch()
            else:
                self._over(None)

    def abort(self) -> None:
        if self._fd >= 0:
            self._over(None)

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        if not self._closing:
            self._reading = False
            self._watch()

    def resume_reading(self) -> None:
        if not self._closing:
            self._reading = True
            self._watch()

    def get_write_buffer_size(self) -> int:
        return len(self._out)

    def get_extra_info(self, name: str) -> Any:
        return {"peername": self._peer, "socket": self._end}.get(name)

    # The poller's.

    def ready(self, mask: int) -> None:
        if self._reading and mask != _OUT:
            self._read()
        elif self._out and not mask & _OUT:
            self.flush()  # nothing is read, and a hang-up would be told for ever
        # What a peer said before it hung up is read to its end first.
        if mask & _OUT and not (self._reading and mask & ~(_IN | _OUT)):
            self.flush()

    def flush(self) -> None:
        """Send what was written, as far as the peer takes it."""
        out = self._out
        if not out:
            return
        try:
            sent = self._end.send(out)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._over(error)
            return
        self._out = out = out[sent:] if sent < len(out) else b""
        if out or self._mask & _OUT:
            self._watch()
        if self._full:
            if len(out) <= LOW:
                self._full = False
                self._endpoint.resume_writing()
        else:
            self._fill()
        if not self._out:
            self._sent()

    def _fill(self) -> None:
        if len(self._out) > HIGH and not self._full:
            self._full = True
            self._endpoint.pause_writing()

    def _sent(self) -> None:
        if self._closing:
            self.abort()
        elif self._last:
            self._shut()

    def _read(self) -> None:
        try:
            data = self._end.recv(self._size)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._over(error)
            return
        if not data:
            self._ended()
            return
        if len(data) == self._size and self._size < LARGE:
            self._size <<= 2
        self.fresh = False
        self._endpoint.data_received(data)

    def _ended(self) -> None:
        """The peer sends no more."""
        self.pause_reading()
        if not self._endpoint.eof_received():
            self.close()

    def _shut(self) -> None:
        try:
            self._end.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._over(error)

    def _watch(self) -> None:
        mask = (_IN if self._reading else 0) | (_OUT if self._out else 0)
        if mask != self._mask and self._fd >= 0:
            self._poller.watch(self._fd, self, self._mask, mask)
            self._mask = mask

    def _over(self, error: OSError | None) -> None:
        """The connection is no more: the endpoint learns it in the event loop's next round."""
        self._closing, self._reading, self._out = True, False, b""
        if self._mask:
            self._poller.forget(self._fd)
        self._mask, self._fd = 0, -1
        self._end.close()
        endpoint, self._endpoint = self._endpoint, _GONE  # which refers to this: no cycle is left
        self._poller.loop.call_soon(endpoint.connection_lost, error)


class _Gone:
    """The endpoint of a connection that is over."""

    def connection_made(self, transport: Any) -> None: ...

    def data_received(self, data: bytes) -> None: ...

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


_GONE = _Gone()
