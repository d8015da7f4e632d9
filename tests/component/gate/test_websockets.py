"""The `websockets` library on both sides of the gate: whatever passes without it passes with it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus

from component.gate.rig import PATIENCE, TOKEN, open_gate

LARGE = 8 << 20
MANY = 50
AUTHORISED = {"Authorization": f"Bearer {TOKEN}"}


@dataclass
class Echo:
    """The gate's address, and how the connections behind it ended."""

    url: str
    tls: ssl.SSLContext | None
    closed: asyncio.Queue[tuple[int, str]]

    def connect(
        self, path: str = "/", headers: Mapping[str, str] = AUTHORISED
    ) -> AbstractAsyncContextManager[ClientConnection]:
        return connect(
            self.url + path,
            additional_headers=headers,
            ssl=self.tls,
            max_size=2 * LARGE,
            open_timeout=PATIENCE,
            subprotocols=["chat"],  # type: ignore[list-item] # a NewType of str
        )


@pytest.fixture(params=["plain", "tls"])
async def echo(request: pytest.FixtureRequest, certificate: Path) -> AsyncIterator[Echo]:
    pair = {
        "GATE_TLS_CERT": str(certificate / "tls.crt"),
        "GATE_TLS_KEY": str(certificate / "tls.key"),
    }
    async with echoing(pair if request.param == "tls" else {}, certificate) as echo:
        yield echo


@asynccontextmanager
async def echoing(pair: dict[str, str], certificate: Path) -> AsyncIterator[Echo]:
    closed: asyncio.Queue[tuple[int, str]] = asyncio.Queue()

    async def handler(connection: ServerConnection) -> None:
        path = connection.request.path if connection.request else ""
        if path == "/bye":
            await connection.close(4001, "enough")
            return
        try:
            while True:
                await connection.send(await connection.recv())
        except (ConnectionClosedOK, ConnectionClosedError) as end:
            received = end.rcvd
            closed.put_nowait((received.code, received.reason) if received else (1006, ""))

    options = {"max_size": 2 * LARGE, "subprotocols": ["chat"]}
    async with serve(handler, "127.0.0.1", 0, **options) as server:  # type: ignore[arg-type]
        port = next(iter(server.sockets)).getsockname()[1]
        gate, _, _, _ = await open_gate(port, AUTH_TOKEN=TOKEN, **pair)
        tls = ssl.create_default_context(cafile=certificate / "tls.crt") if pair else None
        try:
            yield Echo(f"{'wss' if tls else 'ws'}://127.0.0.1:{gate.port}", tls, closed)
        finally:
            await gate.close()


@pytest.mark.parametrize(
    "message",
    ["", "words", "\u00fc\u4e16\U0001f600", b"", b"\x00\xff", "x" * LARGE, bytes(LARGE)],
    ids=["empty", "text", "unicode", "no bytes", "bytes", "large text", "large bytes"],
)
async def test_messages(echo: Echo, message: str | bytes) -> None:
    """P21: each comes back as it was, compressed on its way as both sides agreed."""
    async with asyncio.timeout(PATIENCE), echo.connect() as connection:
        assert connection.subprotocol == "chat"
        assert connection.protocol.extensions
        await connection.send(message)
        assert await connection.recv() == message


async def test_fragments_and_pings(echo: Echo) -> None:
    """P21: a message in many frames with a ping between them."""
    async with asyncio.timeout(PATIENCE), echo.connect() as connection:

        async def parts() -> AsyncIterator[str]:
            for number in range(100):
                if number == 50:
                    await connection.ping()
                yield f"{number} "

        await connection.send(parts())
        assert await connection.recv() == "".join(f"{number} " for number in range(100))
        await (await connection.ping())


async def test_many_at_once(echo: Echo) -> None:
    """P21: nobody gets another's messages."""

    async def one(name: str) -> None:
        async with echo.connect() as connection:
            for number in range(20):
                await connection.send(f"{name} {number}")
                assert await connection.recv() == f"{name} {number}"

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        for name in range(MANY):
            group.create_task(one(str(name)))


async def test_close_codes_pass(echo: Echo) -> None:
    """P21: who closes, and why, arrives at the other side."""
    async with asyncio.timeout(PATIENCE):
        async with echo.connect() as connection:
            await connection.close(4002, "done")
        assert await echo.closed.get() == (4002, "done")
        async with echo.connect("/bye") as connection:
            with pytest.raises(ConnectionClosedError) as end:
                await connection.recv()
        assert end.value.rcvd
        assert (end.value.rcvd.code, end.value.rcvd.reason) == (4001, "enough")


async def test_who_breaks_off_is_missed(echo: Echo) -> None:
    """P10: a client that vanishes is known at once behind the gate."""
    async with asyncio.timeout(PATIENCE):
        async with echo.connect() as connection:
            connection.transport.abort()
        assert await echo.closed.get() == (1006, "")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong-token"}])
async def test_nobody_without_a_token(echo: Echo, headers: dict[str, str]) -> None:
    """P21: the client reads the gate's 401."""
    with pytest.raises(InvalidStatus) as refusal:
        async with asyncio.timeout(PATIENCE), echo.connect(headers=headers):
            pass

    assert refusal.value.response.status_code == 401
