"""Time and pressure: who leaves, who stalls, who is slow, and the end of the gate itself."""

import asyncio
from typing import Any

import pytest

from component.gate.rig import BEARER, Rig
from ollamaserve_sidecar import client as client_room
from ollamaserve_sidecar import config, peer, reload
from ollamaserve_sidecar.gate import Gate

GET = b"GET /api/tags HTTP/1.1\r\nHost: x\r\n" + BEARER + b"\r\n"
UPLOAD = (
    b"POST /api/blobs/sha256:0 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" + BEARER + b"\r\n"
)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("begun", [False, True], ids=["before the first byte", "in mid-stream"])
async def test_a_client_that_leaves_is_known_upstream_at_once(
    rig: Rig, how: str, *, begun: bool
) -> None:
    """P10: the connection to Ollama is closed, which cancels the generation there."""
    client, server, _ = await rig.exchange(GET)
    if begun:
        await server.send(CHUNKED + b"1\r\nx\r\n")
        await client.until(b"x\r\n")
    if how == "fin":
        client.close()
    else:
        client.abort()

    assert await server.rest() == b""
    assert await rig.metrics.next() == ("AUTH_TOKEN", "/api/tags", 200 if begun else 499)
    assert rig.drain.in_flight == 0
    assert rig.gate.pool.idle == 0


async def test_a_client_that_shuts_down_its_side_has_left(plain: Rig) -> None:
    """P10: who sends no more counts as gone, as in Go's net/http; TLS doesn't know this half."""
    client, server, _ = await plain.exchange(GET)
    await server.send(CHUNKED + b"1\r\nx\r\n")
    await client.until(b"x\r\n")
    client.writer.write_eof()

    assert await server.rest() == b""
    assert await plain.metrics.next() == ("AUTH_TOKEN", "/api/tags", 200)


async def test_a_client_that_leaves_during_an_upload(rig: Rig) -> None:
    """P10: Ollama sees the upload break off."""
    client = await rig.connect()
    await client.send(UPLOAD % 100 + b"some")
    server = await rig.upstream.accept()
    await server.until(b"some")
    client.close()

    assert await server.rest() == b""


async def test_a_slow_reader_slows_ollama(rig: Rig) -> None:
    """P11: what a client doesn't read stays with Ollama; nothing is buffered without limit."""
    client, server, _ = await rig.exchange(GET)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await server.send(CHUNKED)
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    total = 512
    sending = asyncio.create_task(server.send(chunk * total + b"0\r\n\r\n"))
    (held,) = rig.gate.clients
    await rig.settle_until(lambda: held.full)
    assert held.transport.get_write_buffer_size() < 2 << 20
    assert not sending.done()
    client.writer.transport.resume_reading()  # type: ignore[attr-defined]
    answer = await client.answer()
    await sending

    assert (len(answer.body), answer.truncated) == (total * 0x10000, False)


async def test_a_slow_ollama_slows_the_upload(rig: Rig) -> None:
    """P11: an upload that Ollama doesn't take stays with the client."""
    client = await rig.connect()
    size = 64 << 20
    sending = asyncio.create_task(client.send(UPLOAD % size + b"x" * size))
    server = await rig.upstream.accept()
    server.writer.transport.pause_reading()  # type: ignore[attr-defined]
    (held,) = rig.gate.clients
    await rig.settle_until(lambda: held._paused)
    assert len(held._buffer) < 1 << 20
    server.writer.transport.resume_reading()  # type: ignore[attr-defined]
    await server.until(b"\r\n\r\n")
    await server.exactly(size)
    await sending
    await server.send(EMPTY)

    assert (await client.answer("POST")).status == 200


async def test_an_early_answer_lets_a_held_up_upload_go_on(rig: Rig) -> None:
    """P9: Ollama answers and reads no more; who sends everything before reading gets the answer."""
    client = await rig.connect()
    size = 64 << 20
    sending = asyncio.create_task(client.send(UPLOAD % size + b"x" * size))
    server = await rig.upstream.accept()
    server.writer.transport.pause_reading()  # type: ignore[attr-defined]
    (held,) = rig.gate.clients
    await rig.settle_until(lambda: held._paused)
    await server.send(EMPTY)
    await sending

    assert (await client.answer("POST")).status == 200


async def test_a_stalled_reader_is_let_go(rig: Rig) -> None:
    """P11, G12: 60 s without the write buffer shrinking end the exchange."""
    client, server, _ = await rig.exchange(GET)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await server.send(CHUNKED)
    server.writer.write(b"4000000\r\n" + b"x" * 0x4000000)
    (held,) = rig.gate.clients
    await rig.settle_until(lambda: held.full)
    now = rig.gate.loop.time()
    held.sweep(now)
    held.sweep(now + peer.STALL_TIMEOUT - 1)
    assert held in rig.gate.clients
    held.sweep(now + peer.STALL_TIMEOUT)
    await server.rest()

    assert (await rig.metrics.next())[2] == 200
    assert rig.drain.in_flight == 0


async def test_a_long_wait_for_the_first_byte_is_no_stall(rig: Rig) -> None:
    """P4, T12: no clock runs while Ollama loads a model or thinks; there is no total limit."""
    client, server, _ = await rig.exchange(GET)
    (held,) = rig.gate.clients
    now = rig.gate.loop.time()
    for hours in range(1, 24):
        held.sweep(now + hours * 3600)
    await server.send(CHUNKED + b"1\r\nx\r\n")
    await client.until(b"x\r\n")
    for hours in range(24, 48):
        held.sweep(now + hours * 3600)
    await server.send(b"0\r\n\r\n")

    assert await client.until(b"0\r\n\r\n")


async def test_a_stalled_upload_is_a_408(rig: Rig) -> None:
    """P12: an upload that stops for 60 s frees what it holds."""
    client = await rig.connect()
    await client.send(UPLOAD % 100 + b"some")
    server = await rig.upstream.accept()
    await server.until(b"some")
    (held,) = rig.gate.clients
    now = rig.gate.loop.time()
    held.sweep(now)
    held.sweep(now + peer.STALL_TIMEOUT)
    answer = await client.answer("POST")

    assert (answer.status, answer.headers["connection"]) == (408, "close")
    await server.rest()


async def test_a_slow_head_is_a_408(rig: Rig) -> None:
    """P12: a head has 10 s from its first byte, however its bytes trickle in."""
    client = await rig.connect()
    await client.send(GET[:20])
    await rig.settle()
    (held,) = rig.gate.clients
    now = rig.gate.loop.time()
    held.sweep(now)
    await client.send(GET[20:30])
    await rig.settle()
    held.sweep(now + client_room.HEAD_TIMEOUT)
    answer = await client.answer()

    assert (answer.status, answer.headers["connection"]) == (408, "close")


async def test_an_idle_connection_is_closed(rig: Rig) -> None:
    """Keep-alive ends after 75 s; empty lines don't prolong it."""
    client = await rig.connect()
    await client.send(b"\r\n\r\n")
    await rig.settle()
    (held,) = rig.gate.clients
    now = rig.gate.loop.time()
    held.sweep(now)
    held.sweep(now + peer.KEEP_ALIVE + 1)

    assert await client.rest() == b""


async def test_a_slow_reader_gets_the_end_of_an_answer_that_closes(rig: Rig) -> None:
    """The time of an idle connection isn't that of one which is still being read."""
    client, server, _ = await rig.exchange(GET)
    transport: Any = client.writer.transport
    transport.pause_reading()
    (held,) = rig.gate.clients
    await server.send(b"HTTP/1.1 200 OK\r\n\r\n")
    sent = 0
    while not held.transport.get_write_buffer_size():
        await server.send(b"x" * 16_384)
        sent += 16_384
        await asyncio.sleep(0)
    server.close()
    await rig.metrics.next()
    held.sweep(rig.gate.loop.time() + peer.KEEP_ALIVE + 1)
    transport.resume_reading()

    assert (await client.rest()).count(b"x") == sent


async def test_draining_answers_with_close(rig: Rig) -> None:
    """G8: while draining, new requests are served, and each answer ends its connection."""
    client, server, _ = await rig.exchange(GET)
    rig.drain.draining = True
    await server.send(EMPTY)
    assert (await client.answer()).headers["connection"] == "close"
    assert await client.rest() == b""

    late = await rig.connect()
    answer = await late.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (answer.status, answer.headers["connection"]) == (401, "close")


async def test_stop_listening_spares_what_is_in_flight(rig: Rig) -> None:
    """G8: idle connections close, no new one is accepted, the one at work ends complete."""
    idle = await rig.connect()
    assert (await idle.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")).status == 401
    client, server, _ = await rig.exchange(GET)
    rig.gate.stop_listening()
    assert await idle.rest() == b""
    with pytest.raises(ConnectionError):
        await rig.connect()
    await server.send(EMPTY)

    assert (await client.answer()).status == 200


async def test_close_lets_written_answers_arrive(rig: Rig) -> None:
    """G8: an answer that Ollama has finished reaches its client although the gate ends."""
    client, server, _ = await rig.exchange(GET)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    body = b"x" * (3 << 20)
    await server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await rig.metrics.next()
    closing = asyncio.create_task(rig.gate.close())
    client.writer.transport.resume_reading()  # type: ignore[attr-defined]

    assert len((await client.answer()).body) == len(body)
    await closing


async def test_close_after_a_failed_start(rig: Rig) -> None:
    """A gate whose port is taken says so, and can be closed like any other."""
    environ = {
        "AUTH_TOKEN": "a-token-of-the-tests",
        "GATE_LISTEN": f"127.0.0.1:{rig.gate.port}",
    }
    parsed = config.load(environ)
    second = Gate(parsed, reload.Live(parsed), rig.drain, rig.metrics)
    with pytest.raises(OSError, match="Address already in use"):
        await second.start()

    await second.close()
