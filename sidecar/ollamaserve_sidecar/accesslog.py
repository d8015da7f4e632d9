"""The access log: one line of JSON per request on standard output, without ever waiting for it.

`ledger` enters. Lines are gathered for a tenth of a second and written by a thread, because who
reads the other end of a pipe may stop. Then up to LIMIT bytes wait, and what comes after is lost
and counted.
"""

from __future__ import annotations

import asyncio
import os
import select
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

GATHERED = 0.1
"""Seconds from a line to its writing, at most, while the other end reads."""
LIMIT = 1 << 20
FLUSH = 2.0
ATOMIC = select.PIPE_BUF
"""Bytes that a pipe takes as a whole: so what Ollama writes to it as well breaks no line."""
TOGETHER = 8
"""Lines that are written at once; most have some 300 bytes."""


class AccessLog:
    """Writes to the file descriptor `fd` from the first line on; `close` flushes."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lines: list[bytes] = []
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._batches: SimpleQueue[list[bytes]] = SimpleQueue()
        self._idle = asyncio.Event()
        self._idle.set()
        self._thread: Thread | None = None
        self.dropped = 0

    def add(self, line: bytes) -> None:
        if self._size + len(line) > LIMIT:
            self.dropped += 1
            return
        self._lines.append(line)
        self._size += len(line)
        if self._timer is None and self._idle.is_set():
            self._timer = asyncio.get_running_loop().call_later(GATHERED, self._hand_over)

    async def close(self) -> None:
        """Write what there is, for FLUSH seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH):
                while self._lines or not self._idle.is_set():
                    self._hand_over()
                    await self._idle.wait()

    def _hand_over(self) -> None:
        """Give the thread its next batch; it has one at a time."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if not self._lines or not self._idle.is_set():
            return
        if self._thread is None:
            # Not waited for at the end of the process: it may be stuck in a write for ever.
            self._thread = Thread(target=self._write, name="access-log", daemon=True)
            self._loop = asyncio.get_running_loop()
            self._thread.start()
        self._idle.clear()
        lines, self._lines, self._size = self._lines, [], 0
        self._batches.put(lines)

    def _written(self, lost: int) -> None:
        self.dropped += lost
        self._idle.set()
        if self._lines:
            self._timer = self._loop.call_later(GATHERED, self._hand_over)

    # In the thread.

    def _write(self) -> None:
        while True:
            lines = self._batches.get()
            lost = 0
            for part, count in _parts(lines):
                if not self._whole(part):
                    lost += count
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._written, lost)

    def _whole(self, part: bytes) -> bool:
        while part:
            try:
                part = part[os.write(self._fd, part) :]
            except BlockingIOError:
                select.select([], [self._fd], [])
            except OSError:
                return False
        return True


def _parts(lines: list[bytes]) -> Iterator[tuple[bytes, int]]:
    """What is written at once, and how many lines that is: several, unless they are long."""
    for some in (lines[start : start + TOGETHER] for start in range(0, len(lines), TOGETHER)):
        together = b"".join(some)
        if len(together) <= ATOMIC:
            yield together, len(some)
        else:
            yield from ((line, 1) for line in some)
