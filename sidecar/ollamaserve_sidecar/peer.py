"""A client's connection below HTTP: what lies here unread, how long it may stay, how it closes.

`client` builds on it. Reading stops while more than 64 KiB lie here that nobody can take; a close
lets a client that is still sending read its answer before the reset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from ollamaserve_sidecar.transport import Transport

BUFFER_LIMIT = 64 << 10
KEEP_ALIVE = 75.0
STALL_TIMEOUT = 60.0
LINGER = 1.0
UPLOAD_LINGER = 30.0


class Peer:
    """Times are in seconds, of the loop's clock. `full` is backpressure of what is written."""

    __slots__ = (
        "_buffer",
        "_deadline",
        "_lingering",
        "_loop",
        "_mark",
        "_marked",
        "_paused",
        "_swallows",
        "full",
        "transport",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buffer = b""
        self._deadline = self._marked = 0.0
        self._mark: object = None
        self._lingering = self._paused = self._swallows = False
        self.full = False
        self.transport: Transport

    def _stay(self, seconds: float) -> None:
        self._deadline = self._loop.time() + seconds

    def _stalls(self, mark: object, now: float) -> bool:
        """Whether `mark`, which has to change while it is the client's turn to act, stood still."""
        if mark is None or mark != self._mark:
            self._mark, self._marked = mark, now
            return False
        return now - self._marked >= STALL_TIMEOUT

    def _part(self, *, at_once: bool, admitted: bool) -> None:
        """Close; at once where the client has sent its request in full, and nothing behind it.

        Many read only when they have sent everything, so what an admitted one sends is swallowed
        for longer; who wasn't let in is read for 64 KiB more at most.
        """
        self._lingering, self._swallows = True, admitted
        if at_once and not self._buffer:
            self.transport.close()
            return
        self._buffer = b""
        self._stay(UPLOAD_LINGER if admitted and not at_once else LINGER)
        self._pace()
        # TLS has no half-closed connections: there the answer's length says that it is complete.
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()

    def _pace(self) -> None:
        """Read the socket unless too much lies here."""
        paused = len(self._buffer) > BUFFER_LIMIT
        if paused is not self._paused and not self.transport.is_closing():
            self._paused = paused
            if paused:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()
