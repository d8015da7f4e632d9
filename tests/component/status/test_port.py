"""The status port itself: who is answered, with what, and who is not (G14)."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from ollamaserve_sidecar import health
from ollamaserve_sidecar.config import Address
from ollamaserve_sidecar.health import CONNECTIONS, Port
from ollamaserve_sidecar.status import Reason, Verdict

BOUND = 20.0


class Subject:
    """A process to speak for, with an end of its drain that tests decide."""

    def __init__(self) -> None:
        self.state = Verdict(Reason.LOADING, "llama2 is being loaded")
        self.end = asyncio.Event()

    def verdict(self) -> Verdict:
        return self.state

    def document(self) -> dict[str, Any]:
        return {"mode": "serve"}

    def exposition(self) -> bytes:
        return b"ollamaserve_ready 0.0\n"

    async def drained(self) -> bool:
        return await self.end.wait()


@pytest.fixture
async def subject() -> Subject:
    return Subject()


@pytest.fixture
async def port(subject: Subject) -> AsyncIterator[Port]:
    port = Port(subject, Address("127.0.0.1", 0))
    await port.start()
    yield port
    await port.close()


async def ask(port: Port, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{port.port}{path}"
    async with aiohttp.request(method, url, headers=headers) as response:
        return response.status, await response.text()


async def test_readiness_has_its_reason(port: Port, subject: Subject) -> None:
    """T9: /livez only says that the loop runs; /readyz says why not in one sentence."""
    assert await ask(port, "/livez") == (200, "ok")
    assert await ask(port, "/readyz") == (503, "Loading: llama2 is being loaded")

    subject.state = Verdict(Reason.READY, "serving")

    assert await ask(port, "/readyz") == (200, "Ready: serving")


@pytest.mark.parametrize("path", ["/status", "/metrics"])
async def test_browsers_get_no_facts(port: Port, path: str) -> None:
    """G14: a page that a user has open can't read them, whatever name it reached the pod by."""
    assert (await ask(port, path))[0] == 200
    assert (await ask(port, path, Origin="https://evil.example"))[0] == 403


async def test_nothing_else_is_there(port: Port) -> None:
    """No other path, and no method that could change anything."""
    assert (await ask(port, "/"))[0] == 404
    assert (await ask(port, "/status/"))[0] == 404
    assert (await ask(port, "/status", "POST"))[0] == 405
    assert await ask(port, "/livez", "HEAD") == (200, "")


async def test_it_is_open_until_the_hook_is_answered(port: Port, subject: Subject) -> None:
    """Decision 7: a waiting /drained is answered even if the port is being closed."""
    hook = asyncio.create_task(ask(port, "/drained"))
    assert (await ask(port, "/livez"))[0] == 200
    assert not hook.done()

    subject.end.set()
    await asyncio.sleep(0)
    await port.close()

    assert await asyncio.wait_for(hook, BOUND) == (200, '{"drained": true}')


async def test_the_number_of_connections_is_limited(port: Port) -> None:
    """G14: the 65th connection is closed, and one that ends makes room."""
    async with AsyncExitStack() as stack:
        open_ones = [await connected(port, stack) for _ in range(CONNECTIONS)]
        reader, _ = await connected(port, stack)
        assert await ended(reader)

        open_ones[0][1].close()
        await open_ones[0][1].wait_closed()

        async with asyncio.timeout(BOUND):
            while await refused(port):  # noqa: ASYNC110 the server's side has no event for us
                await asyncio.sleep(0.01)


async def test_a_head_that_never_ends_is_cut(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    """G14: 5 s for a request's head, here shorter."""
    monkeypatch.setattr(health, "HEAD_SECONDS", 0.1)
    hasty = Port(Subject(), Address("127.0.0.1", 0))
    await hasty.start()
    async with AsyncExitStack() as stack:
        reader, writer = await connected(hasty, stack)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n")

        assert await asyncio.wait_for(ended(reader), BOUND)
    await hasty.close()


async def test_an_empty_host_means_every_address_family() -> None:
    """The operator's GATE_STATUS_LISTEN=:7861 serves IPv4 and, where there is any, IPv6 pods."""
    everywhere = Port(Subject(), Address(None, unused_port()))  # 0 would be one port per family
    await everywhere.start()
    try:
        assert (await ask(everywhere, "/livez"))[0] == 200
    finally:
        await everywhere.close()


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


async def connected(
    port: Port, stack: AsyncExitStack
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
    stack.callback(writer.close)
    return reader, writer


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the server closes this connection without a word."""
    try:
        return not await asyncio.wait_for(reader.read(), BOUND)
    except ConnectionError:
        return True


async def refused(port: Port) -> bool:
    try:
        return (await ask(port, "/livez"))[0] != 200
    except aiohttp.ClientError:
        return True
