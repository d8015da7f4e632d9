"""The rig of the gate's tests, in each event loop that the gate runs on, without and with TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from component.certificates import mount
from component.gate.rig import TOKEN, Rig, Upstream, open_gate
from ollamaserve_dev.certificate import pair
from ollamaserve_sidecar import wire


def pytest_report_header() -> str:
    """Which gate is tried: the source, or its compiled form (`test_compiled`)."""
    return f"gate: {wire.__file__}"


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a certificate for 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("tls")
    mount(folder, *pair("gate"))
    return folder


@pytest.fixture(params=["plain", "tls"])
async def rig(request: pytest.FixtureRequest, certificate: Path) -> AsyncIterator[Rig]:
    """A gate whose one token has full access."""
    environ = {
        "GATE_TLS_CERT": str(certificate / "tls.crt"),
        "GATE_TLS_KEY": str(certificate / "tls.key"),
    }
    encrypted = request.param == "tls"
    async with opened(AUTH_TOKEN=TOKEN, **(environ if encrypted else {})) as rig:
        if encrypted:
            rig.tls = ssl.create_default_context(cafile=certificate / "tls.crt")
        yield rig


@pytest.fixture
async def plain() -> AsyncIterator[Rig]:
    """The same, without TLS, for what TLS doesn't have: half-closed connections."""
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
