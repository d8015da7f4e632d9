"""What the gate makes of Ollama's answers (decision G2), byte by byte."""

import asyncio
import socket

import pytest

from component.gate.rig import BEARER, Connection, Loop, Rig
from ollamaserve_sidecar import config, upstream

GET = b"GET /api/tags HTTP/1.1\r\nHost: x\r\n" + BEARER + b"\r\n"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
)
# The first chunk's data ends as a chunked body does: only a parser can tell.
TRAP = CHUNKED + b'6\r\nA0\r\n\r\n\r\n7\r\n{"b":1}\r\n0\r\n\r\n'
COUNTED = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nA0\r\n\r\nEND"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


async def served_again(rig: Rig, server: Connection) -> bool:
    """True if the gate sends the next request on the same upstream connection."""
    client = await rig.connect()
    await client.send(GET)
    again = asyncio.create_task(server.reader.readuntil(b"\r\n\r\n"))
    fresh = asyncio.create_task(rig.upstream.accept())
    done, pending = await asyncio.wait(
        (again, fresh), return_when=asyncio.FIRST_COMPLETED, timeout=10
    )
    for task in pending:
        task.cancel()
    await asyncio.gather(again, fresh, return_exceptions=True)
    client.abort()
    return again in done and again.exception() is None


@pytest.mark.parametrize(
    ("message", "body"),
    [(TRAP, b'A0\r\n\r\n{"b":1}'), (COUNTED, b"A0\r\n\r\nEND")],
    ids=["chunked", "counted"],
)
async def test_split_at_every_byte(rig: Rig, message: bytes, body: bytes) -> None:
    """G2: wherever a read ends, the answer is whole and the client's connection goes on."""
    client, closed = await rig.connect(), True
    for cut in range(1, len(message)):
        await client.send(GET)
        if closed:
            server = await rig.upstream.accept()
        await server.until(b"\r\n\r\n")
        await server.send(message[:cut])
        await rig.settle()
        await server.send(message[cut:])

        answer = await client.answer()

        assert await rig.metrics.next() == ("AUTH_TOKEN", "/api/tags", 200)
        assert (answer.status, answer.body) == (200, body)
        assert not answer.truncated
        # Where the chunked end came in pieces, both connections are given up rather than trusted.
        closed = message is TRAP and cut > len(message) - 5
        if closed:
            assert await client.rest() == b""
            client = await rig.connect()


async def test_chunk_boundaries_are_kept(rig: Rig) -> None:
    """P14: a chunk of Ollama's reaches the client as that chunk, framing included."""
    client, server, _ = await rig.exchange(GET)
    await server.send(TRAP)
    await client.until(b"\r\n\r\n")

    assert await client.exactly(len(TRAP) - len(CHUNKED)) == TRAP[len(CHUNKED) :]


async def test_chunks_pass_as_they_come(rig: Rig) -> None:
    """P13: each chunk reaches the client before the next one is made."""
    client, server, _ = await rig.exchange(GET)
    await server.send(CHUNKED)
    await client.until(b"\r\n\r\n")
    for number in range(3):
        await server.send(b"2\r\n%d\n\r\n" % number)
        assert await client.exactly(7) == b"2\r\n%d\n\r\n" % number


@pytest.mark.parametrize("message", [TRAP, COUNTED, EMPTY], ids=["chunked", "counted", "empty"])
async def test_the_connection_is_used_again(rig: Rig, message: bytes) -> None:
    """G2: after an exchange by the book, the next request goes over the same connection."""
    client, server, _ = await rig.exchange(GET)
    await server.send(message)
    await client.answer()

    assert await served_again(rig, server)


@pytest.mark.parametrize(
    "message",
    [
        COUNTED + b"X",
        EMPTY + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother",
        EMPTY.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"),
        COUNTED.replace(b"HTTP/1.1", b"HTTP/1.0"),
        TRAP[:-2] + b"X-Trailer: 1\r\n\r\n",
    ],
    ids=["a byte too many", "an answer too many", "close", "HTTP/1.0", "trailers"],
)
async def test_a_doubtful_connection_is_not_used_again(rig: Rig, message: bytes) -> None:
    """G2: whatever followed the answer is never another client's."""
    client, server, _ = await rig.exchange(GET)
    await server.send(message)
    answer = await client.answer()

    assert answer.status == 200
    assert b"other" not in answer.body
    assert not await served_again(rig, server)


@pytest.mark.parametrize(
    "extra", [b"X", b"0\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother", b"\x00"]
)
async def test_bytes_after_the_last_chunk_never_reach_a_client(rig: Rig, extra: bytes) -> None:
    """G2: a chunked answer that doesn't end where its read does is cut, extra bytes unseen."""
    client, server, _ = await rig.exchange(GET)
    await server.send(CHUNKED + b"5\r\nfirst\r\n")
    await client.until(b"first\r\n")
    await server.send(b"0\r\n\r\n" + extra)

    assert await client.rest() == b""
    assert not await served_again(rig, server)


async def test_bytes_between_exchanges_close_the_connection(rig: Rig) -> None:
    """G2: an answer that nobody asked for isn't kept for the next client."""
    client, server, _ = await rig.exchange(GET)
    await server.send(EMPTY)
    await client.answer()
    await server.send(EMPTY)

    assert await server.rest() == b""
    second = await rig.connect()
    await second.send(GET)
    await (await rig.upstream.accept()).until(b"\r\n\r\n")


@pytest.mark.parametrize(
    "message", [TRAP[:-5], TRAP[:-9], COUNTED[:-1]], ids=["no end", "in a chunk", "short"]
)
async def test_truncation_shows(rig: Rig, message: bytes) -> None:
    """P19: where Ollama breaks off, the client gets what there was, and no end."""
    client, server, _ = await rig.exchange(GET)
    await server.send(message)
    server.close()
    answer = await client.answer()

    assert answer.status == 200
    assert answer.truncated
    assert rig.metrics.errors == ["truncated"]


@pytest.mark.parametrize(
    "message",
    [
        CHUNKED + b"zz\r\n",
        CHUNKED + b"5\r\nfirstX",
    ],
)
async def test_broken_chunks_cut_the_answer(rig: Rig, message: bytes) -> None:
    """G2: a body that the parser refuses is not passed on."""
    client, server, _ = await rig.exchange(GET)
    await server.send(message)
    answer = await client.answer()

    assert answer.truncated
    assert answer.body == b""


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * (70 << 10),
    ],
    ids=["nothing", "half a head", "ssh", "gzip", "both", "two lengths", "101", "endless head"],
)
async def test_no_valid_answer_is_a_502(rig: Rig, message: bytes) -> None:
    """P20: an answer that isn't HTTP, or none, becomes a 502 in JSON with Retry-After."""
    client, server, _ = await rig.exchange(GET)
    await server.send(message)
    server.close()
    answer = await client.answer()

    assert answer.status == 502
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["content-type"] == "application/json"
    assert (await rig.metrics.next())[2] == 502


async def test_a_refused_connection_is_a_503(rig: Rig) -> None:
    """P20: while nothing listens at GATE_UPSTREAM, the answer is a 503 with Retry-After."""
    rig.gate.pool._place = (socket.AF_INET, ("127.0.0.1", 1))
    client = await rig.connect()
    answer = await client.ask(GET)

    assert answer.status == 503
    assert answer.headers["retry-after"] == "5"
    assert rig.metrics.errors == ["connect"]


@pytest.mark.parametrize("host", [f"{'a' * 64}.invalid", "no-such-host.invalid"])
async def test_a_name_without_an_address_is_a_503(rig: Rig, host: str) -> None:
    """No DNS knows it, or can."""
    named(rig, host)
    client = await rig.connect()

    assert (await client.ask(GET)).status == 503


async def test_a_name_that_nobody_looks_up_is_a_503(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DNS that gives no answer is waited for as long as a connection is, and no longer."""
    monkeypatch.setattr(upstream, "CONNECT_TIMEOUT", 0.05)
    monkeypatch.setattr(rig.gate.pool.poller, "loop", Mute(rig.gate.loop))
    named(rig, "slow.invalid")
    client = await rig.connect()

    assert (await client.ask(GET)).status == 503


class Mute(Loop):
    """It gets no answer from DNS."""

    async def getaddrinfo(self, *_: object, **__: object) -> None:
        await asyncio.Event().wait()


async def test_a_name_with_several_addresses(rig: Rig) -> None:
    """localhost may be ::1 first, where nobody listens: the next one is tried."""
    port = rig.upstream.port
    named(rig, "localhost", port)
    client = await rig.connect()
    await client.send(GET)
    server = await rig.upstream.accept()
    await server.until(b"\r\n\r\n")
    await server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    assert (await client.answer()).status == 200


def named(rig: Rig, host: str, port: int = 1) -> None:
    """Ollama is behind a name."""
    rig.gate.pool._place = None
    rig.gate.pool._upstream = config.Upstream(host, port)


async def test_a_stale_connection_is_tried_once_more(rig: Rig) -> None:
    """G12: a pooled connection that closes before an answer costs the client nothing."""
    client, server, _ = await rig.exchange(GET)
    await server.send(EMPTY)
    await client.answer()
    await client.send(GET)
    await server.until(b"\r\n\r\n")
    server.close()
    second = await rig.upstream.accept()
    await second.until(b"\r\n\r\n")
    await second.send(EMPTY)

    assert (await client.answer()).status == 200


async def test_a_fresh_connection_is_not_tried_again(rig: Rig) -> None:
    """G12: an Ollama that closes a fresh connection has failed."""
    client, server, _ = await rig.exchange(GET)
    server.close()

    assert (await client.answer()).status == 502
    assert len(rig.upstream.connections) == 1


async def test_a_body_that_was_sent_is_not_sent_again(rig: Rig) -> None:
    """G12: a request whose body was taken is never repeated."""
    client, server, _ = await rig.exchange(GET)
    await server.send(EMPTY)
    await client.answer()
    await client.send(
        b"POST /api/generate HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n" + BEARER + b"\r\n{}"
    )
    await server.until(b"\r\n\r\n{}")
    server.close()

    assert (await client.answer("POST")).status == 502
    assert len(rig.upstream.connections) == 1


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body(rig: Rig, status: int) -> None:
    """P15: 204 and 304 end with their head, and the connection goes on."""
    client, server, _ = await rig.exchange(GET)
    await server.send(b"HTTP/1.1 %d X\r\nETag: a\r\n\r\n" % status)
    answer = await client.answer()

    assert (answer.status, answer.body) == (status, b"")
    assert "connection" not in answer.headers
    assert await served_again(rig, server)


async def test_head(rig: Rig) -> None:
    """P15: HEAD is forwarded as HEAD; the length passes, a body is not waited for."""
    client, server, head = await rig.exchange(GET.replace(b"GET", b"HEAD"))
    await server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")
    answer = await client.answer("HEAD")

    assert head.startswith(b"HEAD /api/tags HTTP/1.1\r\n")
    assert answer.headers["content-length"] == "1234"
    assert await served_again(rig, server)


async def test_informational_answers_are_not_final(rig: Rig) -> None:
    """G2: a 1xx is passed on (but a 100 nobody asked for), and the answer is still to come."""
    client, server, _ = await rig.exchange(GET)
    await server.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n")
    await server.send(COUNTED)
    answer = await client.answer()

    assert answer.informational == [103]
    assert (answer.status, len(answer.body)) == (200, 9)


async def test_an_answer_that_ends_with_the_connection(rig: Rig) -> None:
    """RFC 9112, 6.3: without length or chunks the body ends at the close, the client's too."""
    client, server, _ = await rig.exchange(GET)
    await server.send(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
    server.close()
    answer = await client.answer()

    assert (answer.body, answer.headers["connection"]) == (b"until the end", "close")


async def test_http_1_0_clients_get_no_chunks(rig: Rig) -> None:
    """P16: for HTTP/1.0 the chunks are taken out, and the close is the end."""
    client, server, head = await rig.exchange(GET.replace(b"HTTP/1.1", b"HTTP/1.0"))
    await server.send(TRAP)
    answer = await client.answer()

    assert head.startswith(b"GET /api/tags HTTP/1.1\r\n")
    assert answer.body == b'A0\r\n\r\n{"b":1}'
    assert answer.headers["connection"] == "close"
    assert "transfer-encoding" not in answer.headers


async def test_hop_by_hop_fields_and_cookies_end_at_the_gate(rig: Rig) -> None:
    """P1, G16: fields of the connection to Ollama, and cookies, don't reach the client."""
    client, server, _ = await rig.exchange(GET[:-2] + b"X-Request-Id: id-1\r\n\r\n")
    await server.send(
        b"HTTP/1.1 200 OK\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
        b"X-Request-Id: theirs\r\nSet-Cookie: a=b\r\nDate: today\r\nX-Kept: caf\xc3\xa9\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    raw = await client.until(b"\r\n\r\n")

    assert raw == (
        b"HTTP/1.1 200 OK\r\nDate: today\r\nX-Kept: caf\xc3\xa9\r\n"
        b"X-Request-Id: id-1\r\nContent-Length: 0\r\n\r\n"
    )


async def test_compressed_bodies_pass_untouched(rig: Rig) -> None:
    """P3, T12: a gzip body is neither decoded nor relabelled."""
    body = b"\x1f\x8b\x08\x00not really gzip"
    client, server, _ = await rig.exchange(GET)
    await server.send(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
        + body
    )
    answer = await client.answer()

    assert (answer.headers["content-encoding"], answer.body) == ("gzip", body)
