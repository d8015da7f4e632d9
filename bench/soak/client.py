"""A raw client over TLS that reads answers chunk by chunk, as slowly as they come."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from bench.soak.rig import secret

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

PATIENCE = 120.0


class TruncatedError(Exception):
    """The connection ended in the middle of an answer."""


class Client:
    """One connection; every wait is bounded by PATIENCE."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, head: str, token: str = "", body: bytes = b"", more: str = "") -> int:
        """Send a request; the status of its answer, whose head has been read."""
        lines = f"{head} HTTP/1.1\r\nHost: soak\r\n{more}"
        if token:
            lines += f"Authorization: Bearer {secret(token)}\r\n"
        if body:
            lines += f"Content-Length: {len(body)}\r\n"
        return await self.say(lines.encode() + b"\r\n" + body)

    async def say(self, data: bytes) -> int:
        self._writer.write(data)
        answer = await self._until(b"\r\n\r\n")
        self.chunked = b"\r\ntransfer-encoding: chunked\r\n" in answer.lower()
        self.length = 0
        for line in answer.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                self.length = int(line[15:])
        return int(answer[9:12])

    async def skip(self) -> None:
        """The rest of the answer."""
        if self.chunked:
            while await self.chunk():
                pass
        elif self.length:
            await self._exactly(self.length)

    async def chunk(self) -> bytes:
        """The next chunk; empty at the end."""
        size = int(await self._until(b"\r\n"), 16)
        return (await self._exactly(size + 2))[:size]

    async def echoed(self, data: bytes) -> bool:
        self._writer.write(data)
        return await self._exactly(len(data)) == data

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def ended(self) -> None:
        """Wait until the peer has ended the connection."""
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionError):
                while await self._reader.read(1 << 16):
                    pass

    async def stall(self, seconds: float) -> None:
        """Read nothing for so long."""
        transport = self._writer.transport
        transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(seconds)
        transport.resume_reading()  # type: ignore[attr-defined]

    def abort(self) -> None:
        self._writer.transport.abort()

    async def _until(self, mark: bytes) -> bytes:
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._reader.readuntil(mark)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise TruncatedError from None

    async def _exactly(self, count: int) -> bytes:
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._reader.readexactly(count)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise TruncatedError from None


@asynccontextmanager
async def connected(port: int, context: ssl.SSLContext) -> AsyncIterator[Client]:
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, limit=1 << 20
        )
    client = Client(reader, writer)
    try:
        yield client
    finally:
        client.abort()
