"""Plain TCP on an epoll of its own, which the event loop watches as one descriptor.

Entered by `gate`, for the door, and by `upstream`. An event loop's transport takes part in each
read and each write; here one call from the loop serves every connection that is ready, and what
they wrote goes out at its end. TLS stays with the event loop, whose transports look the same.
"""

from __future__ import annotations

import errno
import logging
import select
import socket
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    Address = tuple[str, int] | tuple[str, int, int, int]

_log = logging.getLogger(__name__)

HIGH, LOW = 64 << 10, 16 << 10
"""Bytes not taken by the peer: above HIGH its writer is told to pause, at LOW to go on."""
SMALL, LARGE = 16 << 10, 256 << 10
"""Bytes asked for in one read; a connection that fills its reads is given larger ones."""
READY = 128
"""Connections served before the event loop has its turn again."""
ACCEPTED = 64
CONNECT_TIMEOUT = 5.0
RESTED = 1.0
"""Seconds without an accept after one that failed: descriptors or memory have run out."""
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


class Transport(Protocol):
    """What the gate uses of asyncio.Transport, in its meaning; `Socket` is one, and TLS has one."""

    def write(self, data: bytes) -> None: ...

    def write_eof(self) -> None: ...

    def can_write_eof(self) -> bool: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...

    def is_closing(self) -> bool: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int: ...

    def get_extra_info(self, name: str) -> Any: ...


class Endpoint(Protocol):
    """What is told what happens on a connection, as asyncio.Protocol is."""

    def connection_made(self, transport: Any) -> None: ...

    def data_received(self, data: bytes) -> None: ...

    def eof_received(self) -> bool: ...

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


class Entry(Protocol):
    """What the poller has under a descriptor; it may be told of something that is over."""

    def ready(self, mask: int) -> None: ...

    def abort(self) -> None: ...


class Poller:
    """The epoll; `close` ends it, and with it every connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.serving = False
        self._epoll = select.epoll()
        self._entries: dict[int, Entry] = {}
        self._written: list[Socket] = []
        loop.add_reader(self._epoll.fileno(), self._serve)

    def close(self) -> None:
        if self._epoll.closed:
            return
        for entry in list(self._entries.values()):
            entry.abort()
        self.loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def listen(self, end: socket.socket, endpoint: Callable[[], Endpoint]) -> Listener:
        """Accept on a listening socket, and have it closed with the listener."""
        return Listener(self, end, endpoint)

    def connect(
        self, family: int, address: Address, endpoint: Endpoint, failed: Callable[[], None]
    ) -> None:
        """Connect; `connection_made` or `failed` follows, at once where the answer is known."""
        end = socket.socket(family, socket.SOCK_STREAM)
        end.setblocking(False)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if end.connect_ex(address) not in (0, errno.EINPROGRESS):
            end.close()
            self.loop.call_soon(failed)
        elif _connected(end):  # over loopback the handshake is a matter of the call
            Socket(self, end, endpoint).begin()
        else:
            Attempt(self, end, endpoint, failed)

    # Called by entries.

    def watch(self, fd: int, entry: Entry, before: int, mask: int) -> None:
        """Change what is waited for on a descriptor; 0 is nothing at all, a hang-up included."""
        if not before:
            self._entries[fd] = entry
            self._epoll.register(fd, mask)
        elif mask:
            self._epoll.modify(fd, mask)
        else:
            del self._entries[fd]
            self._epoll.unregister(fd)

    def forget(self, fd: int) -> None:
        """The descriptor is about to be closed, which ends its watch as well."""
        del self._entries[fd]

    def postpone(self, written: Socket) -> None:
        self._written.append(written)

    def _serve(self) -> None:
        entries, events = self._entries, self._epoll.poll(0, READY)
        # Writes in a row wake their readers less often; a single one has nothing to wait for.
        self.serving = len(events) > 1
        for fd, mask in events:
            entry = entries.get(fd)
            if entry is not None:
                try:
                    entry.ready(mask)
                except Exception as error:  # noqa: BLE001 one connection's fault ends no other
                    self._broken(entry, error)
        self.serving = False
        written, self._written = self._written, []
        for each in written:
            try:
                each.flush()
            except Exception as error:  # noqa: BLE001 likewise
                self._broken(each, error)

    def _broken(self, entry: Entry, error: Exception) -> None:
        message = "a connection's handler failed"
        self.loop.call_exception_handler({"message": message, "exception": error})
        entry.abort()


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
    )

    def __init__(
        self, poller: Poller, end: socket.socket, endpoint: Endpoint, peer: Address | None = None
    ) -> None:
        self._poller, self._end, self._endpoint = poller, end, endpoint
        self._peer = peer
        self._fd = end.fileno()
        self._mask, self._size = 0, SMALL
        self._out = b""
        self._reading = True
        self._closing = self._full = self._last = False

    def begin(self) -> None:
        self._endpoint.connection_made(self)
        self._watch()

    # The transport.

    def write(self, data: bytes) -> None:
        if self._closing or not data:
            return
        if self._out:
            self._out += data
            self._fill()
        elif self._poller.serving:
            self._out = data
            self._poller.postpone(self)
        else:
            self._out = data
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
        if mask & _OUT:
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


class Listener:
    """Accepts connections: a listening socket with TCP_NODELAY, which Linux hands on to each."""

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
            Socket(self._poller, end, self._endpoint(), peer).begin()

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
            self._watch(_IN)

    def _watch(self, mask: int) -> None:
        if mask != self._mask:
            self._poller.watch(self._fd, self, self._mask, mask)
            self._mask = mask


class Attempt:
    """A connection that isn't there yet."""

    def __init__(
        self, poller: Poller, end: socket.socket, endpoint: Endpoint, failed: Callable[[], None]
    ) -> None:
        self._poller, self._end, self._endpoint, self._failed = poller, end, endpoint, failed
        self._timer = poller.loop.call_later(CONNECT_TIMEOUT, self._give_up)
        poller.watch(end.fileno(), self, 0, _OUT)

    def ready(self, mask: int) -> None:  # noqa: ARG002 the socket is asked
        self._timer.cancel()
        self._poller.watch(self._end.fileno(), self, _OUT, 0)
        if _connected(self._end):
            Socket(self._poller, self._end, self._endpoint).begin()
        else:
            self._end.close()
            self._failed()

    def abort(self) -> None:
        self._give_up()

    def _give_up(self) -> None:
        self._timer.cancel()
        if self._end.fileno() >= 0:
            self._poller.watch(self._end.fileno(), self, _OUT, 0)
            self._end.close()
            self._failed()


def _connected(end: socket.socket) -> bool:
    try:
        end.getpeername()
    except OSError:
        return False
    return True
