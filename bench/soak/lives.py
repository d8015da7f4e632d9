"""What one visitor does at the door, and how it ended; `TABLE` says how many of each there are.

Streams are of a line every PAUSE. Each life opens its own connection but `chatting`, which asks for
several streams on one; those who are sent away for want of a place come again.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.soak.client import Client, TruncatedError, connected

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    Life = Callable[["Place"], Awaitable[str]]

CHAT = b'{"model":"soak","messages":[{"role":"user","content":"on and on"}],"stream":true}'
LINES, PAUSE = 120, "2s"
FINE = frozenset({"complete", "left", "let go", "truncated", "refused", "sent away"})
"""Ends that are as they should be."""
STALLED = 100.0
"""Seconds after which the gate has let go of who reads no more: its 60, and a while before."""
TOO_MANY, WAITED = 429, 503
_OK, _SWITCHED = 200, 101
_TUNNEL = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the gate is."""

    door: int
    context: ssl.SSLContext

    def connected(self) -> AbstractAsyncContextManager[Client]:
        return connected(self.door, self.context)


async def chatting(place: Place) -> str:
    """Several streams to their ends, one after the other."""
    async with place.connected() as client:
        for _ in range(3):
            end = await _stream(client, "/api/chat", random.choice(["ada", "bob"]))  # noqa: S311
            if end != "complete":
                return end
            await asyncio.sleep(1)
    return "complete"


async def openai(place: Place) -> str:
    """A stream of server-sent events."""
    async with place.connected() as client:
        return await _stream(client, "/v1/chat/completions", "ada")


async def limited(place: Place) -> str:
    """With a token that is for one model only, whose bodies the gate reads."""
    async with place.connected() as client:
        return await _stream(client, "/api/chat", "limited")


async def _stream(client: Client, path: str, token: str) -> str:
    head = f"POST {path}?lines={LINES}&pause={PAUSE}"
    status = await client.ask(head, token, CHAT, "Content-Type: application/json\r\n")
    if status != _OK:
        return await _away(client, status)
    lines = 0
    while await client.chunk():
        lines += 1
    return "complete" if lines >= LINES else f"{lines} lines"


async def _away(client: Client, status: int) -> str:
    await client.skip()
    return "sent away" if status in (TOO_MANY, WAITED) else f"status {status}"


async def leaving(place: Place) -> str:
    """Somewhere in mid-stream."""
    async with place.connected() as client:
        status = await client.ask(f"POST /api/chat?lines={LINES}&pause={PAUSE}", "bob", CHAT)
        if status != _OK:
            return await _away(client, status)
        for _ in range(random.randrange(LINES)):  # noqa: S311 not a secret
            await client.chunk()
    return "left"


async def stalling(place: Place) -> str:
    """Reads no more after a while, until the gate has had enough."""
    async with place.connected() as client:
        status = await client.ask("POST /api/chat?lines=2000&width=50000&pause=50ms", "ada", CHAT)
        if status != _OK:
            return await _away(client, status)
        for _ in range(10):
            await client.chunk()
        # The kernel tells of an end only when what came before it has been read.
        await client.stall(STALLED)
        with suppress(TruncatedError):
            while await client.chunk():
                pass
            return "complete after a stall"
    return "let go"


async def broken(place: Place) -> str:
    """An answer that Ollama breaks off."""
    async with place.connected() as client:
        after = random.randrange(1, 60)  # noqa: S311 not a secret
        status = await client.ask(
            f"POST /api/chat?lines={LINES}&pause={PAUSE}&break={after}", "ada", CHAT
        )
        if status != _OK:
            return await _away(client, status)
        with suppress(TruncatedError):
            while await client.chunk():
                pass
            return "a break that looked complete"
    return "truncated"


async def tunnelling(place: Place) -> str:
    """A WebSocket that says something now and then, and leaves one way or the other."""
    async with place.connected() as client:
        status = await client.ask("GET /socket", "root", more=_TUNNEL)
        if status != _SWITCHED:
            return await _away(client, status)
        for number in range(random.randrange(10, 100)):  # noqa: S311 not a secret
            if not await client.echoed(b"message %d" % number):
                return "another echo"
            await asyncio.sleep(2)
    return "complete"


async def listing(place: Place) -> str:
    """Small things on one connection."""
    async with place.connected() as client:
        for target in ("GET /api/tags", "GET /api/version", "GET /api/ps") * 10:
            if await client.ask(target, "limited") != _OK:
                return target
            await client.skip()
            await asyncio.sleep(1)
    return "complete"


async def uploading(place: Place) -> str:
    """A blob of a mebibyte."""
    async with place.connected() as client:
        status = await client.ask("POST /api/blobs/sha256:0", "root", bytes(1 << 20))
        await client.skip()
        await asyncio.sleep(5)
    return "complete" if status == _OK else f"status {status}"


REFUSALS: dict[str, tuple[bytes, int]] = {
    "no token": (b"GET /api/tags HTTP/1.1\r\nHost: x\r\n\r\n", 401),
    "a wrong one": (b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong-token\r\n\r\n", 401),
    "no HTTP": (b"\x00\x01\x02\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 2\r\n\r\n", 400),
    "an upload": (b"POST /api/blobs/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n12", 401),
    "a slow head": (b"GET /api/tags HTTP/1.1\r\nHost: x\r\n", 408),
    "a preflight": (
        (
            b"OPTIONS /api/chat HTTP/1.1\r\nHost: x\r\nOrigin: https://app.example\r\n"
            b"Access-Control-Request-Method: POST\r\n\r\n"
        ),
        204,
    ),
    "a probe": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200),
}


async def refused(place: Place) -> str:
    """Whatever the gate answers by itself."""
    name = random.choice(list(REFUSALS))  # noqa: S311 not a secret
    data, expected = REFUSALS[name]
    async with place.connected() as client:
        status = await client.say(data)
        await client.skip()
    return "refused" if status == expected else f"{name}: {status}"


TABLE: dict[Life, int] = {
    chatting: 300,
    openai: 60,
    limited: 40,
    leaving: 40,
    stalling: 20,
    broken: 20,
    tunnelling: 40,
    listing: 5,
    uploading: 2,
    refused: 6,
}
