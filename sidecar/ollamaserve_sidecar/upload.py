"""A request's body as it arrives: counted, or decoded from its chunks (decision G1).

Pure. Each exchange has one; who forwards the body frames it anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ollamaserve_sidecar import errors
from ollamaserve_sidecar.wire import Framing, WireError

if TYPE_CHECKING:
    from ollamaserve_sidecar.errors import Problem
    from ollamaserve_sidecar.wire import Chunks, Request


class Upload:
    """`ended` once the body is here in full; `received` counts bytes on the wire, framing included.

    `clean` is false once a chunked body's end was read together with what followed it, which is
    lost in the parser: the client has to send it again, on another connection.
    """

    __slots__ = ("_chunks", "_left", "clean", "ended", "received", "rest")

    def __init__(self, request: Request) -> None:
        self._chunks = request.chunks
        self._left = request.length
        self.ended = request.framing is Framing.NONE
        self.clean = True
        self.received = 0
        self.rest = b""

    def take(self, data: bytes, limit: int | None) -> bytes | Problem:
        """What `data` adds to the body; `rest` is then what belongs to the next request."""
        self.received += len(data)
        if self._chunks:
            return self._decode(data, self._chunks, limit)
        part = data
        if len(data) > self._left:  # compiled, a slice copies, even a whole one
            part, self.rest = data[: self._left], data[self._left :]
        self._left -= len(part)
        self.ended = not self._left
        return part

    def _decode(self, data: bytes, chunks: Chunks, limit: int | None) -> bytes | Problem:
        try:
            decoded = chunks.feed(data)
        except WireError:
            return errors.BAD_BODY
        if limit is not None and self.received > limit:
            return errors.too_large(limit)
        if chunks.ended:
            self.ended, self.clean = True, chunks.clean()
        return decoded
