"""The rig of the gate's tests, in each event loop that the gate runs on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from component.gate.rig import TOKEN, Rig, Upstream, open_gate


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A gate whose one token has full access."""
    async with opened(AUTH_TOKEN=TOKEN) as rig:
        yield rig


@pytest.fixture
async def limited(tmp_path: Path) -> AsyncIterator[Rig]:
    """A gate whose one token, a file, has access `infer`."""
    (tmp_path / "AUTH_TOKEN").write_text(TOKEN)
    async with opened(GATE_TOKENS_DIR=str(tmp_path)) as rig:
        yield rig


@asynccontextmanager
async def opened(**environ: str) -> AsyncIterator[Rig]:
    upstream = Upstream()
    server = await upstream.start()
    gate, drain, metrics, live = await open_gate(upstream.port, **environ)
    rig = Rig(gate, upstream, drain, metrics, live)
    try:
        yield rig
    finally:
        for end in (*rig.clients, *upstream.connections):
            end.abort()
        server.close()
        await gate.close()
