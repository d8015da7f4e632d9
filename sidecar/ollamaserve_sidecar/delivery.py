"""A response's body on its way to the client: bytes pass as they come, their end is watched for.

Made by `exchange` once it has a response's head; one of the methods is then the sink of Ollama's
connection (decision G2). Per read there is one look for the end and one write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ollamaserve_sidecar.wire import LAST_CHUNK, Chunks, Framing, WireError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ollamaserve_sidecar.meter import Meter
    from ollamaserve_sidecar.wire import Response

    Sink = Callable[[bytes], None]


class Exchange(Protocol):
    """Who learns how the body ended, and how many of its bytes were `sent`."""

    sent: int

    def finish(self, *, tidy: bool, last: bool = False) -> None:
        """It is complete; `tidy` if nothing followed it, `last` if the client's connection ends."""

    def truncated(self) -> None:
        """Its end is missing, or can't be known any more."""


class Delivery:
    """`head` goes out together with the first bytes of the body, or by `flush`."""

    __slots__ = ("_chunks", "_exchange", "_head", "_left", "_meter", "_plain", "_write")

    _chunks: Chunks

    def __init__(self, exchange: Exchange, write: Sink, meter: Meter | None, head: bytes) -> None:
        self._exchange, self._plain, self._meter = exchange, write, meter
        self._write: Sink = self._first
        self._head = head
        self._left = 0

    def sink(self, response: Response, *, http10: bool) -> Sink | None:
        """What takes the body's bytes; None where there is no body."""
        match response.framing:
            case Framing.COUNTED if response.length:
                self._left = response.length
                return self._counted
            case Framing.CHUNKED if response.chunks:
                self._chunks = response.chunks
                return self._decoded if http10 else self._spliced
            case Framing.CLOSE:
                return self._passed
        return None

    def flush(self) -> None:
        if self._head:
            self._first(b"")

    def _first(self, data: bytes) -> None:
        head, self._head, self._write = self._head, b"", self._plain
        self._plain(head + data)

    def _counted(self, data: bytes) -> None:
        # Compiled, a slice copies, even a whole one.
        part = data if len(data) <= self._left else data[: self._left]
        self._left -= len(part)
        self._passed(part)
        if not self._left:
            self._exchange.finish(tidy=len(part) == len(data))

    def _spliced(self, data: bytes) -> None:
        chunks = self._chunks
        try:
            text = chunks.feed(data)
        except WireError:
            self._broken()
            return
        if chunks.ended and not chunks.clean():
            self._broken()
            return
        self._write(data)
        self._exchange.sent += len(data)
        if self._meter:
            self._meter.take(text)
        if chunks.ended:
            # An end in several reads or with trailers may have stray empty lines behind it.
            tidy = data.endswith(LAST_CHUNK)
            self._exchange.finish(tidy=tidy, last=not tidy)

    def _decoded(self, data: bytes) -> None:
        """Without its chunks, for a client of HTTP/1.0."""
        try:
            self._passed(self._chunks.feed(data))
        except WireError:
            self._broken()
            return
        if self._chunks.ended:
            self._exchange.finish(tidy=False)

    def _passed(self, data: bytes) -> None:
        self._write(data)
        self._exchange.sent += len(data)
        if self._meter:
            self._meter.take(data)

    def _broken(self) -> None:
        self.flush()
        self._exchange.truncated()
