"""Watching an answer of inference go by: when its first token came, the gaps, its last lines.

Made by `client` for the routes of inference alone; `delivery` shows it each read after it was
written. Per read it costs one clock, one histogram entry and one copy into a kilobyte.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from time import monotonic
from typing import TYPE_CHECKING

from ollamaserve_sidecar import usage

if TYPE_CHECKING:
    from ollamaserve_sidecar.usage import Usage
    from ollamaserve_sidecar.wire import Response

GAPS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Seconds between two reads of a stream; tokens come every 5 to 100 ms, a stall is longer."""
LINE_LIMIT = 256 << 10
KEPT = 512
"""Bytes of an end, and of an event stream's beginning, that are kept at least."""
_STREAM = re.compile(rb"(?im)^content-type: *(?:application/x-ndjson|text/event-stream)")


class Meter:
    """`first` and `last` are monotonic seconds; `first` is 0 until a byte of the body came."""

    __slots__ = ("_gaps", "_opening", "_tail", "_torn", "first", "last", "streamed")

    def __init__(self, gaps: list[int]) -> None:
        """`gaps` are the counts of a histogram over GAPS, shared by a route's requests."""
        self._gaps = gaps
        self._opening: bytes | None = None
        self._tail = bytearray()
        self._torn = self.streamed = False
        self.first = self.last = 0.0

    def begin(self, response: Response) -> None:
        self.streamed = bool(_STREAM.search(response.fields.lines))

    def take(self, text: bytes) -> None:
        """More of the body, without what frames it; empty where a read had framing alone."""
        if not text:
            return
        now = monotonic()
        if self.streamed and self.first:
            self._gaps[bisect_left(GAPS, now - self.last)] += 1
        elif not self.first:
            self.first = now
        self.last = now
        tail = self._tail
        tail += text
        if len(tail) > KEPT << 1:
            self._trim()

    def usage(self) -> Usage | None:
        """What the last lines say of a body that is complete."""
        ending = bytes(self._tail)
        opening = ending if self._opening is None else self._opening
        return usage.read(opening, ending.partition(b"\n")[2] if self._torn else ending)

    def _trim(self) -> None:
        """Let go of whole lines, so that KEPT bytes and the line that they begin in are left."""
        tail = self._tail
        if self._opening is None:
            self._opening = bytes(tail[:KEPT]) if tail.startswith(b"event:") else b""
        end = tail.rfind(b"\n", 0, -KEPT) + 1
        if end:
            del tail[:end]
            self._torn = False
        elif len(tail) > LINE_LIMIT:
            del tail[:-KEPT]
            self._torn = True
