"""The epoll under the gate's plain connections, which the event loop watches as one descriptor.

Its entries are `sockets`, `listener` and `dial`. An event loop's transport takes part in each read
and each write; here one call from the loop serves every connection that is ready, and what they
wrote goes out at its end.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

READY = 128
"""Connections served before the event loop has its turn again."""
SLICE = 0.01
"""Seconds that a stream is held back at a time, where a crowd waits for its first token."""


class Entry(Protocol):
    """What the poller has under a descriptor; it may be told of something that is over.

    `fresh` while nothing has been read since it was made or written to: a request, or the first
    token of an answer.
    """

    fresh: bool

    def ready(self, mask: int) -> None: ...

    def abort(self) -> None: ...


class Written(Entry, Protocol):
    """A connection; `flush` sends what it was given during a call."""

    def begin(self) -> None: ...

    def flush(self) -> None: ...


class Poller:
    """`close` ends what is being waited for; a fault of one entry ends that one."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.serving = False
        self._epoll = select.epoll()
        self._entries: dict[int, Entry] = {}
        self._written: list[Written] = []
        loop.add_reader(self._epoll.fileno(), self._serve)

    @property
    def closed(self) -> bool:
        return self._epoll.closed

    def close(self) -> None:
        if self.closed:
            return
        entries = list(self._entries.values())
        self.loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        for entry in entries:
            entry.abort()

    # Called by entries.

    def watch(self, fd: int, entry: Entry, before: int, mask: int) -> None:
        """Change what is waited for on a descriptor; 0 is nothing at all, a hang-up included."""
        if self.closed:
            return
        if not before:
            self._epoll.register(fd, mask)
            self._entries[fd] = entry
        elif mask:
            self._epoll.modify(fd, mask)
        else:
            del self._entries[fd]
            self._epoll.unregister(fd)

    def forget(self, fd: int) -> None:
        """The descriptor is about to be closed, which ends its watch as well."""
        self._entries.pop(fd, None)

    def begin(self, arrived: Written) -> None:
        try:
            arrived.begin()
        except Exception as error:  # noqa: BLE001 one connection's fault ends no other
            self._broken(arrived, error)

    def postpone(self, written: Written) -> None:
        self._written.append(written)

    def _serve(self) -> None:
        entries, events = self._entries, self._epoll.poll(0, READY)
        # Writes in a row wake their readers less often; a single one has nothing to wait for.
        self.serving = len(events) > 1
        # In a crowd, every other slice of time is for first tokens; then next ones have theirs.
        if len(events) == READY and self.loop.time() % (2 * SLICE) < SLICE:
            events = [event for event in events if self._fresh(event[0])] or events
        for fd, mask in events:
            entry = entries.get(fd)
            if entry is not None:
                try:
                    entry.ready(mask)
                except Exception as error:  # noqa: BLE001 likewise
                    self._broken(entry, error)
        self.serving = False
        written, self._written = self._written, []
        for each in written:
            try:
                each.flush()
            except Exception as error:  # noqa: BLE001 likewise
                self._broken(each, error)

    def _fresh(self, fd: int) -> bool:
        entry = self._entries.get(fd)
        return entry is not None and entry.fresh

    def _broken(self, entry: Entry, error: Exception) -> None:
        message = "a connection's handler failed"
        self.loop.call_exception_handler({"message": message, "exception": error})
        entry.abort()
