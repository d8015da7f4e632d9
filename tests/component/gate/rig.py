"""A gate on loopback between a raw client and a raw upstream.

Both ends are scripted in bytes, because what matters here is what goes over the wire. h11, a strict
parser that shares no code with the gate's, reads the answers.
"""

import asyncio
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import h11

from ollamaserve_sidecar import config, reload
from ollamaserve_sidecar.accesslog import AccessLog
from ollamaserve_sidecar.gate import Gate
from ollamaserve_sidecar.ledger import Ledger
from ollamaserve_sidecar.meter import Meter
from ollamaserve_sidecar.record import Record

TOKEN = "a-token-of-the-tests"
BEARER = f"Authorization: Bearer {TOKEN}\r\n".encode()
PATIENCE = 10.0


class Connection:
    """One end of a connection; every wait is bounded."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        async with asyncio.timeout(PATIENCE):
            await self.writer.drain()

    async def until(self, mark: bytes) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(mark)

    async def exactly(self, count: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(count)

    async def rest(self) -> bytes:
        """All bytes up to the end of the connection, by FIN or by RST."""
        seen = b""
        try:
            async with asyncio.timeout(PATIENCE):
                while data := await self.reader.read(1 << 16):
                    seen += data
        except ConnectionError:
            pass
        return seen

    def close(self) -> None:
        self.writer.close()

    def abort(self) -> None:
        transport: asyncio.WriteTransport = self.writer.transport
        if not transport.is_closing():
            transport.abort()


class Loop:
    """The event loop, of which a derived class changes something."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    informational: list[int] = field(default_factory=list)
    truncated: bool = False


class Client(Connection):
    """A raw client; `answer` reads one response as strictly as h11 does."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self._left = b""
        self.closed = False

    async def answer(self, method: str = "GET") -> Answer:
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        parser.send(h11.EndOfMessage())
        if self._left:
            parser.receive_data(self._left)
        answer = Answer(0, {}, b"")
        parts: list[bytes] = []
        while True:
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError:
                answer.truncated = True
                answer.body = b"".join(parts)
                return answer
            match event:
                case h11.NEED_DATA:
                    parser.receive_data(await self._some())
                case h11.InformationalResponse():
                    answer.informational.append(event.status_code)
                case h11.Response():
                    answer.status = event.status_code
                    answer.headers = {k.decode(): v.decode() for k, v in event.headers}
                case h11.Data():
                    parts.append(bytes(event.data))
                case h11.EndOfMessage() | h11.ConnectionClosed():
                    self._left = parser.trailing_data[0]
                    answer.body = b"".join(parts)
                    return answer

    async def _some(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read(1 << 16)
            except ConnectionError:
                return b""

    async def ask(self, request: bytes, method: str = "GET") -> Answer:
        await self.send(request)
        return await self.answer(method)


class Upstream:
    """A server that hands each connection to the test: `accept` waits for the next one."""

    def __init__(self) -> None:
        self._accepted: asyncio.Queue[Connection] = asyncio.Queue()
        self.connections: list[Connection] = []
        self.port = 0

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._arrived, "127.0.0.1", 0, limit=1 << 26)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _arrived(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        self.connections.append(connection)
        self._accepted.put_nowait(connection)

    async def accept(self) -> Connection:
        async with asyncio.timeout(PATIENCE):
            return await self._accepted.get()


class Drain:
    def __init__(self) -> None:
        self.draining = False
        self.in_flight = 0

    def entered(self) -> None:
        self.in_flight += 1

    def left(self) -> None:
        self.in_flight -= 1


class Metrics(Ledger):
    """Remembers every record, and wakes whoever waits for the next one's end."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        super().__init__(lambda model: model, Lines(self.lines))
        self.requests: asyncio.Queue[tuple[str, str, int]] = asyncio.Queue()

    @property
    def errors(self) -> list[str]:
        return list(self.tally.errors.elements())

    def close(self, record: Record, meter: Meter | None = None) -> None:
        assert record.ended >= record.begun
        self.requests.put_nowait((record.token, record.route, record.status))
        super().close(record, meter)

    async def next(self) -> tuple[str, str, int]:
        async with asyncio.timeout(PATIENCE):
            return await self.requests.get()

    async def line(self) -> dict[str, Any]:
        """The next line of the access log, as its reader has it."""
        async with asyncio.timeout(PATIENCE):
            while not self.lines:
                await _another_round()
        line: dict[str, Any] = json.loads(self.lines.pop(0))
        return line


class Lines(AccessLog):
    """An access log that a test reads line by line."""

    def __init__(self, lines: list[bytes]) -> None:
        super().__init__(-1)
        self._kept = lines

    def add(self, line: bytes) -> None:
        self._kept.append(line)


@dataclass
class Rig:
    """The gate with what is around it, and every connection that a test has made.

    `tls` is what clients speak to the door with, None where it is plain.
    """

    gate: Gate
    upstream: Upstream
    drain: Drain
    metrics: Metrics
    live: reload.Live
    tls: ssl.SSLContext | None = None
    clients: list[Client] = field(default_factory=list)

    async def connect(self) -> Client:
        before = len(self.gate.clients)
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", self.gate.port, limit=1 << 26, ssl=self.tls
            )
        client = Client(reader, writer)
        self.clients.append(client)
        if self.tls:  # a client of TLS 1.3 is through with the handshake before the gate is
            await self.settle_until(lambda: len(self.gate.clients) != before)
        return client

    async def settle(self) -> None:
        """Return once the gate has read whatever was sent before: a round trip of its loop."""
        before = len(self.gate.clients)
        client = await self.connect()
        assert (await client.ask(b"GET / HTTP/1.1\r\nHost: settle\r\n\r\n")).status == 401
        assert await self.metrics.next() == ("", "-", 401)
        client.abort()
        await self.settle_until(lambda: len(self.gate.clients) <= before)

    async def settle_until(self, condition: Callable[[], bool]) -> None:
        """Return once the condition holds, which it comes to by the loop's own work."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await _another_round()

    async def exchange(self, request: bytes) -> tuple[Client, Connection, bytes]:
        """Send a bodiless request; both ends' connections and the head that the upstream got."""
        client = await self.connect()
        await client.send(request)
        server = await self.upstream.accept()
        return client, server, await server.until(b"\r\n\r\n")


async def _another_round() -> None:
    await asyncio.sleep(0)


async def open_gate(upstream_port: int, **environ: str) -> tuple[Gate, Drain, Metrics, reload.Live]:
    parsed = config.load(
        environ
        | {"GATE_LISTEN": "127.0.0.1:0", "GATE_UPSTREAM": f"http://127.0.0.1:{upstream_port}"}
    )
    live, drain, metrics = reload.Live(parsed), Drain(), Metrics()
    gate = Gate(parsed, live, drain, metrics)
    await gate.start()
    return gate, drain, metrics, live
