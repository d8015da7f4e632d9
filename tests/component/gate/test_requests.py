"""What the gate makes of clients' requests (decision G1)."""

import asyncio

import pytest

from component.gate.rig import BEARER, Rig

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UPLOAD = b"POST /api/blobs/sha256:0 HTTP/1.1\r\nHost: x\r\n" + BEARER


async def test_the_head_is_written_anew(rig: Rig) -> None:
    """P1, A8, 4b: Host is Ollama's; what belongs to the gate or to this connection is gone."""
    _, _, head = await rig.exchange(
        b"GET /api/tags?a=b HTTP/1.1\r\nHost: ollama.example.com\r\nAccept: */*\r\n"
        b"Origin: http://x.example\r\nCookie: a=b\r\nConnection: X-Mine, keep-alive, Upgrade\r\n"
        b"X-Mine: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nTrailer: X\r\nUpgrade: websocket\r\n"
        b"HTTP2-Settings: AAAA\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\n"
        b"X_Forwarded_User: root\r\nTransfer_Encoding: chunked\r\nContent_Length: 5\r\n"
        b"X-Api-Key: a-token-of-the-tests\r\nX-Kept:  caf\xe9 \r\nX-Request-ID: id-1\r\n"
        + BEARER
        + b"\r\n"
    )
    host = f"Host: 127.0.0.1:{rig.upstream.port}\r\n".encode()

    assert head == (
        b"GET /api/tags?a=b HTTP/1.1\r\n"
        + host
        + b"Accept: */*\r\nX-Kept: caf\xe9\r\nX-Request-Id: id-1\r\n\r\n"
    )


async def test_connection_cannot_remove_the_gates_own_fields(rig: Rig) -> None:
    """P1 (CVE-2025-48865): naming Host or Content-Length in Connection changes nothing."""
    client = await rig.connect()
    await client.send(UPLOAD + b"Content-Length: 2\r\nConnection: Host, Content-Length\r\n\r\n{}")
    head = await (await rig.upstream.accept()).until(b"\r\n\r\n{}")

    assert b"Host: 127.0.0.1" in head
    assert b"Content-Length: 2\r\n" in head


@pytest.mark.parametrize("method", [b"DELETE", b"GET", b"POST"])
async def test_bodies_pass_with_any_method(rig: Rig, method: bytes) -> None:
    """P17: Ollama's DELETE carries JSON."""
    client = await rig.connect()
    await client.send(
        method
        + b" /api/delete HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n"
        + BEARER
        + b'\r\n{"model":"x"}'
    )
    server = await rig.upstream.accept()
    assert await server.until(b'{"model":"x"}')
    await server.send(OK)

    assert (await client.answer()).body == b"ok"


async def test_an_explicit_empty_body_stays_explicit(rig: Rig) -> None:
    """Content-Length: 0 is forwarded, as servers may ask for a length on POST."""
    _, _, head = await rig.exchange(UPLOAD + b"Content-Length: 0\r\n\r\n")

    assert b"Content-Length: 0\r\n" in head


async def test_chunks_are_decoded_and_written_anew(rig: Rig) -> None:
    """G1: no extension, trailer or odd spelling of a chunk reaches Ollama."""
    client = await rig.connect()
    await client.send(
        UPLOAD + b"Transfer-Encoding: Chunked\r\n\r\n"
        b'0005;name="v"\r\nhello\r\n1\r\n!\r\n000;x\r\nX-Trailer: Authorization\r\n\r\n'
    )
    server = await rig.upstream.accept()
    head = await server.until(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked\r\n" in head
    assert await server.until(b"0\r\n\r\n") == b"6\r\nhello!\r\n0\r\n\r\n"
    await server.send(OK)
    answer = await client.answer("POST")

    assert answer.status == 200
    assert "connection" not in answer.headers


async def test_chunks_split_at_every_byte(rig: Rig) -> None:
    """G1: however the bytes of a chunked body arrive, Ollama gets the same body."""
    body = b"6\r\n0\r\n\r\n!\r\n1\r\n.\r\n0\r\n\r\n"
    for cut in range(1, len(body)):
        client = await rig.connect()
        await client.send(UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n" + body[:cut])
        await rig.settle()
        await client.send(body[cut:])
        server = rig.upstream.connections[0] if cut > 1 else await rig.upstream.accept()
        await server.until(b"\r\n\r\n")
        seen = b""
        while len(seen) < 7:
            size = int(await server.until(b"\r\n"), 16)
            seen += (await server.exactly(size + 2))[:size]
        assert seen == b"0\r\n\r\n!."
        assert await server.until(b"\r\n\r\n") == b"0\r\n\r\n"
        await server.send(OK)
        assert (await client.answer("POST")).status == 200
        assert (await rig.metrics.next())[2] == 200


@pytest.mark.parametrize("body", [b"zz\r\n", b"-1\r\n", b"5\nhello\r\n", b"3\r\nabcX\r\n"])
async def test_broken_chunks_are_a_400(rig: Rig, body: bytes) -> None:
    """G1: a body that isn't chunked as it should be ends both connections."""
    client = await rig.connect()
    await client.send(UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n")
    server = await rig.upstream.accept()
    await server.until(b"\r\n\r\n")
    await client.send(body)
    answer = await client.answer("POST")

    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert b"0\r\n\r\n" not in await server.rest()


async def test_a_request_behind_a_chunked_body_has_to_be_sent_again(rig: Rig) -> None:
    """G1: where a chunked body ended inside a read isn't known, so nothing behind it is served."""
    client = await rig.connect()
    smuggled = b"GET /api/secret HTTP/1.1\r\nHost: x\r\n" + BEARER + b"\r\n"
    await client.send(UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n" + smuggled)
    server = await rig.upstream.accept()
    await server.until(b"0\r\n\r\n")
    await server.send(OK)
    answer = await client.answer("POST")

    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await client.rest() == b""
    assert rig.gate.pool.idle == 1
    assert not server.reader._buffer  # type: ignore[attr-defined]


async def test_heads_split_at_every_byte(rig: Rig) -> None:
    """G1: however a head arrives, it is one request."""
    request = b"\r\n" + UPLOAD + b"Content-Length: 4\r\n\r\nbody"
    client = await rig.connect()
    for cut in range(1, len(request)):
        await client.send(request[:cut])
        await rig.settle()
        await client.send(request[cut:])
        server = rig.upstream.connections[0] if cut > 1 else await rig.upstream.accept()
        assert (await server.until(b"\r\n\r\nbody")).count(b"POST") == 1
        await server.send(OK)
        assert (await client.answer("POST")).status == 200
        assert (await rig.metrics.next())[2] == 200


async def test_pipelined_requests_are_served_one_by_one(rig: Rig) -> None:
    """G1: Ollama sees the second request only after it has answered the first."""
    client = await rig.connect()
    first = UPLOAD + b"Content-Length: 4\r\n\r\nbody"
    second = b"GET /second HTTP/1.1\r\nHost: x\r\n" + BEARER + b"\r\n"
    await client.send(first + second + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    server = await rig.upstream.accept()
    await server.until(b"\r\n\r\nbody")
    await rig.settle()
    assert len(rig.upstream.connections) == 1
    await server.send(OK)
    assert (await server.until(b"\r\n\r\n")).startswith(b"GET /second ")
    await server.send(OK)

    assert [(await client.answer()).status for _ in range(3)] == [200, 200, 401]


async def test_a_body_is_never_parsed_as_a_request(rig: Rig) -> None:
    """G1: a counted body that looks like a request stays a body."""
    inner = b"GET /api/secret HTTP/1.1\r\nHost: x\r\n\r\n"
    client = await rig.connect()
    await client.send(UPLOAD + b"Content-Length: %d\r\n\r\n" % len(inner))
    server = await rig.upstream.accept()
    await server.until(b"\r\n\r\n")
    await client.send(inner)
    assert await server.until(b"\r\n\r\n") == inner
    await server.send(OK)

    assert (await client.answer("POST")).status == 200
    assert len(rig.upstream.connections) == 1


async def test_expect_is_answered_by_the_gate(rig: Rig) -> None:
    """P7: an admitted client is told to go on; Ollama never sees Expect."""
    client = await rig.connect()
    await client.send(UPLOAD + b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(b"body")
    server = await rig.upstream.accept()
    head = await server.until(b"\r\n\r\nbody")

    assert b"Expect" not in head


async def test_an_early_answer_is_delivered(rig: Rig) -> None:
    """P9: Ollama answers before the upload's end (blob exists): the client gets that answer."""
    client = await rig.connect()
    await client.send(UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    server = await rig.upstream.accept()
    await server.until(b"hello\r\n")
    await server.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 8\r\n\r\nmismatch")
    answer = await client.answer("POST")

    assert (answer.status, answer.body) == (400, b"mismatch")
    assert answer.headers["connection"] == "close"
    if not rig.tls:  # it has no half-closed connections: there the client ends it
        assert await client.rest() == b""
    await server.rest()


async def test_an_early_answer_with_a_close_is_delivered(rig: Rig) -> None:
    """P9: the same, where Ollama closes right behind it and more of the body is under way."""
    client = await rig.connect()
    await client.send(UPLOAD + b"Content-Length: 50000000\r\n\r\n" + b"x" * 100_000)
    server = await rig.upstream.accept()
    await server.until(b"\r\n\r\n")
    await server.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\nexists")
    server.close()
    client.writer.write(b"x" * 10_000_000)
    answer = await client.answer("POST")

    assert (answer.status, answer.body) == (200, b"exists")


async def test_more_than_a_hundred_at_once(rig: Rig) -> None:
    """T12, P5: aiohttp's limit of 100 connections isn't there."""
    clients = [await rig.connect() for _ in range(150)]
    for client in clients:
        await client.send(UPLOAD + b"Content-Length: 0\r\n\r\n")
    servers = [await rig.upstream.accept() for _ in clients]
    assert rig.drain.in_flight == 150
    for server in servers:
        await server.until(b"\r\n\r\n")
        await server.send(OK)

    assert [(await client.answer("POST")).status for client in clients] == [200] * 150
    assert rig.drain.in_flight == 0


async def test_large_bodies_pass_unchanged_in_both_directions(rig: Rig) -> None:
    """T12, P2, P24: no limit of 1 MiB, no decompression: 8 MiB go up and come back."""
    body = bytes(range(256)) * (8 << 12)
    client = await rig.connect()
    request = UPLOAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    sending = asyncio.create_task(client.send(request + body))
    server = await rig.upstream.accept()
    assert b"Content-Encoding: gzip" in await server.until(b"\r\n\r\n")
    assert await server.exactly(len(body)) == body
    await sending
    answering = asyncio.create_task(
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    )

    assert (await client.answer("POST")).body == body
    await answering


async def test_http_1_0_requests_end_their_connection(rig: Rig) -> None:
    """P16: HTTP/1.0 gets its answer and the close, also where it asks for keep-alive."""
    client = await rig.connect()
    await client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n" + BEARER + b"\r\n")
    server = await rig.upstream.accept()
    head = await server.until(b"\r\n\r\n")
    await server.send(OK)

    assert head.startswith(b"GET / HTTP/1.1\r\nHost: 127.0.0.1")
    assert (await client.answer()).headers["connection"] == "close"
    assert await client.rest() == b""


async def test_connection_close_is_honoured(rig: Rig) -> None:
    """RFC 9112, 9.6: the client's close ends its connection, not Ollama's."""
    client, server, _ = await rig.exchange(
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + BEARER + b"\r\n"
    )
    await server.send(OK)

    assert (await client.answer()).headers["connection"] == "close"
    assert await client.rest() == b""
    assert rig.gate.pool.idle == 1


async def test_an_early_answer_reaches_a_client_that_reads_last(rig: Rig) -> None:
    """P9: many clients read only when all is sent: the rest of an upload is swallowed for them."""
    client = await rig.connect()
    size = 32 << 20
    await client.send(UPLOAD + b"Content-Length: %d\r\n\r\n" % size)
    server = await rig.upstream.accept()
    await server.until(b"\r\n\r\n")
    await server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nexists")
    await rig.metrics.next()
    await client.send(b"x" * size)

    assert (await client.answer("POST")).body == b"exists"
