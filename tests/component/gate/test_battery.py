"""Raw bytes at the door: an answer or a close, and nothing upstream without a token.

The heads themselves are refused by `wire` (tests/contract/test_wire.py has the battery); here it is
what a connection does around them.
"""

import random

import pytest

from component.gate.rig import BEARER, Rig

GET = b"GET /api/tags HTTP/1.1\r\nHost: x\r\n" + BEARER + b"\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"get / HTTP/1.1\r\n", 400),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (33 << 10), 431),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET http://evil/ HTTP/1.1\r\nHost: x\r\n" + BEARER + b"\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\nGET ", 401),
    ],
)
async def test_no_request(rig: Rig, raw: bytes, status: int) -> None:
    """4b: bytes that are no request get a 4xx or 5xx in JSON at once, without an echo of them."""
    client = await rig.connect()
    answer = await client.ask(raw)

    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert b"evil" not in answer.body
    if status != 401:
        assert answer.headers["connection"] == "close"
        assert await client.rest() == b""
    assert not rig.upstream.connections


async def test_nothing_behind_a_refused_request_is_served(rig: Rig) -> None:
    """G1: where a request's framing is in doubt, the bytes behind it are never a request."""
    client = await rig.connect()
    doubtful = (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    answer = await client.ask(doubtful + b"0\r\n\r\n" + GET)

    assert answer.status == 400
    assert await client.rest() == b""
    assert not rig.upstream.connections


async def test_random_mutations(plain: Rig) -> None:
    """Mutated requests without a valid token never reach Ollama, and never break the gate."""
    chance = random.Random(7860)  # noqa: S311 a repeatable sequence
    seed = (
        b"POST /api/chat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong-token\r\n"
        b"Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    )
    for _ in range(300):
        mutated = bytearray(seed)
        for _ in range(chance.randrange(1, 6)):
            place = chance.randrange(len(mutated))
            match chance.randrange(3):
                case 0:
                    mutated[place] = chance.randrange(256)
                case 1:
                    del mutated[place : place + chance.randrange(1, 9)]
                case 2:
                    mutated[place:place] = chance.choice([b"\r", b"\n", b"\x00", b" ", b":", seed])
        client = await plain.connect()
        await client.send(bytes(mutated))
        client.writer.write_eof()
        seen = await client.rest()
        assert not seen or seen.startswith((b"HTTP/1.1 4", b"HTTP/1.1 50"))
        client.abort()
    assert not plain.upstream.connections

    client, server, _ = await plain.exchange(GET)
    await server.send(OK)
    assert (await client.answer()).status == 200


async def test_a_pipelined_flood_is_not_buffered_without_limit(rig: Rig) -> None:
    """Backpressure on refusals: a client that sends and never reads is not read either."""
    client = await rig.connect()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    client.writer.write(request * 400_000)
    (held,) = rig.gate.clients
    await rig.settle_until(lambda: held._paused)

    assert held.transport.get_write_buffer_size() < 4 << 20
    assert len(held._buffer) < 1 << 20
