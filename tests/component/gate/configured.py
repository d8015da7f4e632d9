"""A gate that follows a GATE_CONFIG of the test; three tokens may infer, and one may all."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from component.gate.conftest import opened
from component.gate.rig import PATIENCE, Client, Connection, Rig

NAMES = {"ada": "infer", "bob": "infer", "cyd": "infer", "root": "full"}
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def bearer(name: str) -> bytes:
    return f"Authorization: Bearer token-of-{name}\r\n".encode()


def post(name: str, target: str = "/api/chat", body: bytes = b"{}", more: bytes = b"") -> bytes:
    head = f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n".encode()
    return head + bearer(name) + more + b"\r\n" + body


def get(name: str = "", target: str = "/api/tags", more: bytes = b"") -> bytes:
    head = f"GET {target} HTTP/1.1\r\nHost: x\r\n".encode()
    return head + (bearer(name) if name else b"") + more + b"\r\n"


@dataclass
class Configured:
    """The rig, and the file that its gate follows."""

    rig: Rig
    path: Path

    def configure(self, **settings: object) -> None:
        write(self.path, settings)
        assert self.rig.live.check()

    async def begun(self, name: str) -> tuple[Client, Connection]:
        """A request that has reached Ollama."""
        client = await self.rig.connect()
        await client.send(post(name))
        return client, await self.served()

    async def served(self) -> Connection:
        """The connection on which the next request's head and body `{}` have arrived."""
        server = await self.rig.upstream.accept()
        await server.until(b"\r\n\r\n{}")
        return server

    async def queued(self, name: str) -> Client:
        """A request that waits."""
        slots = self.rig.gate.entrance.slots
        before = slots.waiting
        client = await self.rig.connect()
        await client.send(post(name))
        await self.rig.settle_until(lambda: slots.waiting == before + 1)
        return client

    async def balanced(self) -> None:
        """Return once nobody is served or waits."""
        slots = self.rig.gate.entrance.slots
        async with asyncio.timeout(PATIENCE):
            await self.rig.settle_until(lambda: (slots.served, slots.waiting) == (0, 0))
        assert self.rig.drain.in_flight == 0


def write(path: Path, settings: dict[str, object]) -> None:
    tokens = {name: {"access": access} for name, access in NAMES.items()}
    path.write_text(json.dumps({"tokens": tokens, **settings}))


@asynccontextmanager
async def configured(folder: Path, **settings: object) -> AsyncIterator[Configured]:
    tokens = folder / "tokens"
    tokens.mkdir()
    for name in NAMES:
        (tokens / name).write_text(f"token-of-{name}")
    path = folder / "gate.json"
    write(path, settings)
    async with opened(GATE_TOKENS_DIR=str(tokens), GATE_CONFIG=str(path)) as rig:
        yield Configured(rig, path)
