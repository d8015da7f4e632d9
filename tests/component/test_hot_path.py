"""What a request, a refusal and a token cost in calls: the gate's speed, guarded without a clock.

A fixed input goes through the gate between two transports that do nothing, and every call is
counted, of Python and of C. The figures kept here are the most that is allowed; they were counted
on Python 3.11, and newer ones inline more. Who makes it dearer for a reason writes the new figure
down with the change; who makes it cheaper, too, so that it stays so.
"""

import asyncio
import sys
from collections.abc import Callable
from types import FrameType

import pytest

from ollamaserve_sidecar import config, reload
from ollamaserve_sidecar.client import Client
from ollamaserve_sidecar.gate import Gate
from ollamaserve_sidecar.ledger import Ledger
from ollamaserve_sidecar.lifecycle import Drain
from ollamaserve_sidecar.upstream import Connection

ALLOWED = {"a small request": 185.0, "a refusal": 121.0, "a token": 17.4}
SLACK = 1.02

TOKEN = "a-token-of-the-tests"
HEAD = (
    "%s HTTP/1.1\r\nHost: 127.0.0.1:7860\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n"
    "Connection: keep-alive\r\nUser-Agent: ollama/0.6.0\r\nAuthorization: Bearer %s\r\n%s\r\n"
)
ASKED = (HEAD % ("GET /api/version", TOKEN, "")).encode()
REFUSED = (HEAD % ("GET /api/version", "another-token", "")).encode()
CHAT = (HEAD % ("POST /api/chat", TOKEN, "Content-Length: 2\r\n")).encode() + b"{}"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
)
LINE = b'{"model":"m","message":{"role":"assistant","content":" sky"},"done":false}\n'
CHUNK = b"%x\r\n%b\r\n" % (len(LINE), LINE)


class Wire(asyncio.Transport):
    """Takes what is written and sends nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0


def calls(of: Callable[[], None], times: int = 50) -> float:
    """How many calls one run of `of` makes, once it has settled."""
    for _ in range(times):
        of()
    count = 0

    def seen(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(seen)
    try:
        for _ in range(times):
            of()
    finally:
        sys.setprofile(None)
    return (count - 1) / times  # the last is setprofile's own


@pytest.fixture
async def ends() -> tuple[Client, Wire, Connection]:
    """A client's connection, what it is sent, and Ollama's connection, which is idle."""
    parsed = config.load({"AUTH_TOKEN": TOKEN, "GATE_LISTEN": "127.0.0.1:0"})
    gate = Gate(parsed, reload.Live(parsed), Drain(1), Ledger(str))
    gate.loop = asyncio.get_running_loop()
    client, upstream, wire = Client(gate), Connection(gate.pool), Wire()
    client.connection_made(wire)
    upstream.connection_made(Wire())
    gate.pool.keep(upstream)
    return client, wire, upstream


async def test_a_small_request(ends: tuple[Client, Wire, Connection]) -> None:
    """A GET and its answer, in one read each, cost no more calls than what is on record."""
    client, wire, upstream = ends

    def request() -> None:
        client.data_received(ASKED)
        upstream.data_received(ANSWER)

    check("a small request", calls(request))
    assert wire.written[-1].startswith(b"HTTP/1.1 200")
    assert len(wire.written) == 100, "an answer is one write"


async def test_a_refusal(ends: tuple[Client, Wire, Connection]) -> None:
    """A 401 costs no more calls than what is on record."""
    client, wire, _ = ends

    check("a refusal", calls(lambda: client.data_received(REFUSED)))
    assert wire.written[-1].startswith(b"HTTP/1.1 401")


async def test_a_token(ends: tuple[Client, Wire, Connection]) -> None:
    """A chunk of a stream, metered, costs no more calls than what is on record."""
    client, wire, upstream = ends
    client.data_received(CHAT)
    upstream.data_received(STREAM + CHUNK)

    check("a token", calls(lambda: upstream.data_received(CHUNK)))
    assert wire.written[-1] == CHUNK
    assert len(wire.written) == 101, "each read is one write, and the head goes with the first"


def check(what: str, counted: float) -> None:
    assert counted <= ALLOWED[what] * SLACK, (
        f"{what} costs {counted:.1f} calls, {ALLOWED[what]} are on record:"
        " make it cheaper, or write the new figure into ALLOWED and why into the commit"
    )
    if sys.version_info[:2] == (3, 11):
        assert counted >= ALLOWED[what] / SLACK - 1, (
            f"{what} costs only {counted:.1f} calls now: write that into ALLOWED ({ALLOWED[what]})"
        )
