"""WebSockets (P21): a tunnel after Ollama's 101, asked for by the book and with a token; else none.

Behind every refused or dropped upgrade stands a whole request, as an attacker would smuggle one.
"""

import asyncio
import base64
import hashlib
import socket
import struct
from pathlib import Path

import pytest

from component.gate.configured import bearer, configured
from component.gate.rig import BEARER, Client, Connection, Rig
from ollamaserve_sidecar import peer, tunnel, upstream

KEY = base64.b64encode(b"sixteen bytes of")
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
ACCEPT = base64.b64encode(hashlib.sha1(KEY + GUID, usedforsecurity=False).digest())
CONNECTION, UPGRADE = b"Connection: Upgrade\r\n", b"Upgrade: websocket\r\n"
ASKED = CONNECTION + UPGRADE + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n"
LINE = b"GET /socket HTTP/1.1\r\nHost: x\r\n"
OPENING = LINE + BEARER + ASKED + b"\r\n"
ACCEPTED = b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\n" + CONNECTION + UPGRADE + ACCEPTED + b"\r\n"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: x\r\n" + BEARER + b"\r\n"


async def opened(rig: Rig) -> tuple[Client, Connection]:
    client, server, _ = await rig.exchange(OPENING)
    await server.send(SWITCHED)
    assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    return client, server


async def over(rig: Rig) -> None:
    """The tunnel is counted, and nothing of it is left."""
    assert await rig.metrics.next() == ("AUTH_TOKEN", "other", 101)
    assert rig.drain.in_flight == 0
    await rig.settle_until(lambda: not rig.gate.pool.open)
    assert rig.gate.pool.idle == 0


async def test_the_handshake(rig: Rig) -> None:
    """P21: the fields of the handshake pass both ways; what is the gate's own stays that."""
    more = b"Sec-WebSocket-Protocol: a, b\r\nOrigin: http://x.example\r\nCookie: a=b\r\n"
    name = b"X-Request-Id: id-1\r\n"
    opening = LINE + BEARER + more + name + ASKED + b"\r\n"
    client, server, head = await rig.exchange(opening)
    await server.send(SWITCHED[:-2] + b"Sec-WebSocket-Protocol: b\r\nSet-Cookie: a=b\r\n\r\n")
    answer = await client.until(b"\r\n\r\n")

    host = f"Host: 127.0.0.1:{rig.upstream.port}\r\n".encode()
    version = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n"
    protocol = b"Sec-WebSocket-Protocol: a, b\r\n"
    passed = protocol + version + name
    assert head == (b"GET /socket HTTP/1.1\r\n" + host + passed + CONNECTION + UPGRADE + b"\r\n")
    assert answer == SWITCHED[: -2 - len(CONNECTION + UPGRADE + ACCEPTED)] + (
        ACCEPTED + b"Sec-WebSocket-Protocol: b\r\n" + CONNECTION + UPGRADE + name + b"\r\n"
    )


async def test_bytes_pass_both_ways(rig: Rig) -> None:
    """P21: whatever they are; what looks like a request is none, with or without a token."""
    client, server = await opened(rig)
    await client.send(HIDDEN)
    assert await server.exactly(len(HIDDEN)) == HIDDEN
    await server.send(EMPTY + b"\0\xff")
    assert await client.exactly(len(EMPTY) + 2) == EMPTY + b"\0\xff"
    await client.send(b"GET /refused HTTP/1.1\r\n\r\n")
    assert await server.until(b"\r\n\r\n") == b"GET /refused HTTP/1.1\r\n\r\n"
    assert rig.metrics.requests.empty()
    assert len(rig.upstream.connections) == 1
    client.close()
    assert await server.rest() == b""
    server.close()
    await over(rig)


async def test_early_bytes_are_kept(rig: Rig) -> None:
    """P21: what came with a head belongs to the tunnel; the client's waits for the 101."""
    client = await rig.connect()
    await client.send(OPENING + b"early")
    server = await rig.upstream.accept()
    assert (await server.until(b"\r\n\r\n")).endswith(b"\r\n\r\n")
    await rig.settle()
    await server.send(SWITCHED + b"too")

    assert await server.exactly(5) == b"early"
    assert (await client.until(b"\r\n\r\ntoo")).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize("split", range(1, len(SWITCHED) + 3, 7))
async def test_a_101_in_two_reads(rig: Rig, split: int) -> None:
    """G2: it makes no difference where the bytes of the answer were cut."""
    client, server, _ = await rig.exchange(OPENING)
    answer = SWITCHED + b"too"
    await server.send(answer[:split])
    await rig.settle()
    await server.send(answer[split:])

    assert await client.until(b"\r\n\r\ntoo")


DROPPED = {
    "no token for Connection": LINE + BEARER + ASKED.replace(CONNECTION, b""),
    "h2c": LINE + BEARER + ASKED.replace(b"websocket", b"h2c"),
    "h2c besides": LINE + BEARER + ASKED.replace(b"websocket", b"websocket, h2c"),
    "h2c in a second field": LINE + BEARER + ASKED + b"Upgrade: h2c\r\n",
    "no key": LINE + BEARER + ASKED.replace(KEY, b""),
    "no real key": LINE + BEARER + ASKED.replace(KEY, b"c2hvcnQ="),
    "two keys": LINE + BEARER + ASKED + b"sec-websocket-key: " + KEY + b"\r\n",
    "a key named in Connection": LINE + BEARER + ASKED + b"Connection: Sec-WebSocket-Key\r\n",
    "HTTP/1.0": LINE.replace(b"1.1", b"1.0") + BEARER + ASKED,
    "close": LINE + BEARER + ASKED + b"Connection: close\r\n",
    "HEAD": LINE.replace(b"GET", b"HEAD") + BEARER + ASKED,
    "Expect": LINE + BEARER + ASKED + b"Expect: 100-continue\r\n",
}


@pytest.mark.parametrize("case", DROPPED)
async def test_dropped(rig: Rig, case: str) -> None:
    """P21, 4b: no other upgrade is forwarded, and a 101 to such a request is a 502."""
    client, server, head = await rig.exchange(DROPPED[case] + b"\r\n")
    assert b"upgrade" not in head.lower()
    await server.send(SWITCHED + HIDDEN)

    assert (await client.answer("HEAD" if case == "HEAD" else "GET")).status == 502
    assert await server.rest() == b""
    assert rig.metrics.errors == ["malformed"]


@pytest.mark.parametrize("framing", ["a length", "chunks"])
async def test_an_upgrade_with_a_body_is_dropped(rig: Rig, framing: str) -> None:
    """4b: its body is a body, and what follows it is a request of its own."""
    body = b"5\r\nhello\r\n0\r\n\r\n" if framing == "chunks" else b"hello"
    field = b"Transfer-Encoding: chunked" if framing == "chunks" else b"Content-Length: 5"
    client = await rig.connect()
    await client.send(LINE + BEARER + ASKED + field + b"\r\n\r\n" + body)
    server = await rig.upstream.accept()
    head = await server.until(b"\r\n\r\n")
    assert b"upgrade" not in head.lower()
    assert await server.exactly(len(body)) == body
    await server.send(EMPTY)

    assert (await client.answer()).status == 200
    assert (await client.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")).status == 401


NOT_GRANTED = {
    "another protocol": SWITCHED.replace(b"websocket", b"h2c"),
    "two protocols": SWITCHED.replace(b"websocket", b"websocket, h2c"),
    "no Upgrade": SWITCHED.replace(UPGRADE, b""),
    "no Connection": SWITCHED.replace(CONNECTION, b""),
    "another key's": SWITCHED.replace(ACCEPT, base64.b64encode(bytes(20))),
    "two keys'": SWITCHED.replace(ACCEPTED, ACCEPTED * 2),
    "no key's": SWITCHED.replace(ACCEPTED, b""),
    "chunks": SWITCHED[:-2] + b"Transfer-Encoding: chunked\r\n\r\n",
    "HTTP/2": SWITCHED.replace(b"HTTP/1.1", b"HTTP/2.0"),
}


@pytest.mark.parametrize("case", NOT_GRANTED)
async def test_not_granted(rig: Rig, case: str) -> None:
    """P21: a 101 that doesn't answer this request is a 502, and the connection is never reused."""
    client, server, _ = await rig.exchange(OPENING)
    await server.send(NOT_GRANTED[case])

    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (502, "close")
    assert await server.rest() == b""
    assert rig.gate.pool.idle == 0


@pytest.mark.parametrize("status", [b"200 OK", b"404 Not Found", b"426 Upgrade Required"])
async def test_another_answer_is_one_like_any_other(rig: Rig, status: bytes) -> None:
    """P21: without a 101 there is no tunnel: what follows is a request, and needs a token."""
    client = await rig.connect()
    await client.send(OPENING + b"GET /refused HTTP/1.1\r\nHost: x\r\n\r\n" + HIDDEN)
    server = await rig.upstream.accept()
    await server.until(b"\r\n\r\n")
    await rig.settle()
    await server.send(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n" + CONNECTION + b"\r\nok")
    answer = await client.answer()
    assert (answer.status, answer.body) == (int(status[:3]), b"ok")
    assert "upgrade" not in answer.headers
    assert (await client.answer()).status == 401
    assert (await server.until(b"\r\n\r\n")).startswith(b"GET /hidden ")
    await server.send(EMPTY)

    assert (await client.answer()).status == 200


async def test_hints_may_come_first(rig: Rig) -> None:
    """RFC 9110, 15.2: other 1xx don't decide."""
    client, server, _ = await rig.exchange(OPENING)
    await server.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + SWITCHED)

    assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 103 ")
    assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize("token", [b"", b"Authorization: Bearer another-token\r\n"])
async def test_nobody_without_a_token(rig: Rig, token: bytes) -> None:
    """P21: the token comes before the upgrade, and nothing goes upstream without one."""
    client = await rig.connect()
    answer = await client.ask(LINE + token + ASKED + b"\r\n")

    assert answer.status == 401
    assert not rig.upstream.connections


async def test_a_path_that_is_unknown_needs_full(limited: Rig) -> None:
    """P21: the policy decides as for any request."""
    client = await limited.connect()
    answer = await client.ask(OPENING)

    assert answer.status == 403
    assert not limited.upstream.connections


async def test_none_for_a_token_of_some_models(tmp_path: Path) -> None:
    """G11: nobody could say which model a tunnel is for, so there is none."""
    async with configured(tmp_path) as gate:
        names = {"ada": {"access": "infer", "models": ["llama2"]}, "bob": {"access": "infer"}}
        gate.configure(tokens=names)
        for name, passes in (("ada", False), ("bob", True)):
            line = b"GET /api/version HTTP/1.1\r\nHost: x\r\n"
            _, _, head = await gate.rig.exchange(line + bearer(name) + ASKED + b"\r\n")
            assert (b"Upgrade: websocket\r\n" in head) is passes


async def test_a_token_is_missed_during_the_tunnel(rig: Rig) -> None:
    """Revocation ends tunnels: they may never end by themselves."""
    client, server = await opened(rig)
    rig.gate.recheck()
    await client.send(b"still")
    assert await server.exactly(5) == b"still"
    rig.live.tokens = type(rig.live.tokens)((), ())
    rig.gate.recheck()

    assert await client.rest() == b""
    assert await server.rest() == b""
    await over(rig)


async def test_a_stream_goes_on_after_its_token(rig: Rig) -> None:
    """An answer that has begun is finished; only tunnels are asked again."""
    client, server, _ = await rig.exchange(LINE + BEARER + b"\r\n")
    rig.live.tokens = type(rig.live.tokens)((), ())
    rig.gate.recheck()
    await server.send(EMPTY)

    assert (await client.answer()).status == 200


# Ends.


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_the_client_ends(rig: Rig, how: str) -> None:
    """P10: Ollama's side learns it at once, after everything that had been sent."""
    client, server = await opened(rig)
    await client.send(b"last words")
    assert await server.exactly(10) == b"last words"
    if how == "fin":
        client.close()
    else:
        client.abort()
    assert await server.rest() == b""
    server.close()
    await over(rig)


async def test_the_server_ends(rig: Rig) -> None:
    """What it had sent arrives, then the end; the tunnel is over once the client has ended too."""
    client, server = await opened(rig)
    await server.send(b"last words")
    server.close()
    assert await client.rest() == b"last words"
    client.close()
    await over(rig)


async def test_the_server_breaks(rig: Rig) -> None:
    """P19: an end that is none looks like none."""
    client, server = await opened(rig)
    reset = struct.pack("ii", 1, 0)
    server.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    server.abort()
    await client.rest()
    await over(rig)
    assert rig.metrics.errors == ["truncated"]


async def test_each_side_may_end_first(plain: Rig) -> None:
    """Half-closed either way, the other direction goes on until its own end."""
    client, server = await opened(plain)
    client.writer.write_eof()
    assert await server.rest() == b""
    await server.send(b"an answer")
    assert await client.exactly(9) == b"an answer"
    server.close()
    assert await client.rest() == b""
    await over(plain)

    client, server = await opened(plain)
    server.writer.write_eof()
    assert await client.rest() == b""
    await client.send(b"an answer")
    assert await server.exactly(9) == b"an answer"
    client.close()
    assert await server.rest() == b""
    await over(plain)


async def test_half_a_tunnel_that_is_idle_ends(plain: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose other side has ended doesn't stay for ever: so long without a byte, and it is over."""
    monkeypatch.setattr(tunnel, "HALF_CLOSED", 0.01)
    client, server = await opened(plain)
    client.writer.write_eof()
    assert await server.rest() == b""
    await over(plain)
    assert await client.rest() == b""


async def test_before_the_101_an_end_is_an_end(plain: Rig) -> None:
    """P10: a client that has shut down its side before the tunnel is open counts as gone."""
    client, server, _ = await plain.exchange(OPENING)
    client.writer.write_eof()

    assert await server.rest() == b""
    assert await plain.metrics.next() == ("AUTH_TOKEN", "other", 499)


async def test_one_line_in_the_access_log(rig: Rig) -> None:
    """A tunnel is one request that was served, with the bytes of both ways and 101."""
    client, server = await opened(rig)
    await client.send(HIDDEN)
    assert await server.exactly(len(HIDDEN)) == HIDDEN
    await server.send(b"answer")
    assert await client.exactly(6) == b"answer"
    client.close()
    assert await server.rest() == b""
    server.close()
    line = await rig.metrics.line()

    assert (line["outcome"], line["status"], line["path"]) == ("served", 101, "/socket")
    assert (line["bytesIn"], line["bytesOut"]) == (len(HIDDEN), 6)
    assert rig.metrics.lines == []


# Time and pressure.


async def test_idle_for_days(rig: Rig) -> None:
    """P4: a tunnel has no limit of time, and no minimum rate."""
    client, server = await opened(rig)
    await client.send(b"a")
    assert await server.exactly(1) == b"a"
    (held,) = rig.gate.clients
    now = rig.gate.loop.time()
    for hours in range(1, 48):
        held.sweep(now + hours * 3600)
    await client.send(b"b")

    assert await server.exactly(1) == b"b"


async def test_a_stalled_reader_is_let_go(rig: Rig) -> None:
    """P11: as on streams, 60 s without the write buffer shrinking end the tunnel."""
    client, server = await opened(rig)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    server.writer.write(b"x" * 0x4000000)
    (held,) = rig.gate.clients
    await rig.settle_until(lambda: held.full)
    now = rig.gate.loop.time()
    held.sweep(now)
    held.sweep(now + peer.STALL_TIMEOUT - 1)
    assert held in rig.gate.clients
    held.sweep(now + peer.STALL_TIMEOUT)
    await server.rest()
    await over(rig)


SIZE = 32 << 20


async def test_a_slow_client_slows_the_server(rig: Rig) -> None:
    """P11: what the client doesn't read stays with the server, and arrives when it reads."""
    client, server = await opened(rig)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    sending = asyncio.create_task(server.send(b"x" * SIZE))
    (held,) = rig.gate.clients
    await rig.settle_until(lambda: held.full)
    assert held.transport.get_write_buffer_size() < 2 << 20
    assert not sending.done()
    client.writer.transport.resume_reading()  # type: ignore[attr-defined]
    assert await client.exactly(SIZE) == b"x" * SIZE
    await sending


async def test_a_slow_server_slows_the_client(rig: Rig) -> None:
    """P11: and the other way round."""
    client, server = await opened(rig)
    server.writer.transport.pause_reading()  # type: ignore[attr-defined]
    sending = asyncio.create_task(client.send(b"x" * SIZE))
    (held,) = rig.gate.clients
    await rig.settle_until(lambda: held._paused)
    assert len(held._buffer) < 1 << 20
    server.writer.transport.resume_reading()  # type: ignore[attr-defined]
    assert await server.exactly(SIZE) == b"x" * SIZE
    await sending


async def test_the_last_bytes_of_a_client_that_was_held_up_arrive(rig: Rig) -> None:
    """What a client had sent before its end is delivered, though the server was slow to take it."""
    client, server = await opened(rig)
    server.writer.transport.pause_reading()  # type: ignore[attr-defined]
    client.writer.write(b"x" * SIZE)
    client.close()
    (held,) = rig.gate.clients
    await rig.settle_until(lambda: held._paused)
    server.writer.transport.resume_reading()  # type: ignore[attr-defined]

    assert await server.exactly(SIZE) == b"x" * SIZE
    assert await server.rest() == b""
    server.close()
    await over(rig)


async def test_who_never_takes_the_last_bytes_is_cut(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that reads no more keeps nothing here for longer than its last chance."""
    monkeypatch.setattr(upstream, "PARTING", 0.01)
    client, server = await opened(rig)
    server.writer.transport.pause_reading()  # type: ignore[attr-defined]
    client.writer.write(b"x" * SIZE)
    (held,) = rig.gate.clients
    await rig.settle_until(lambda: held._paused)
    held.transport.abort()
    await over(rig)


async def test_a_tunnel_is_in_flight_until_the_drain_ends(rig: Rig) -> None:
    """P22: the drain waits for tunnels; those that are left at its end are cut."""
    client, server = await opened(rig)
    rig.drain.draining = True
    rig.gate.stop_listening()
    assert rig.drain.in_flight == 1
    await client.send(b"still")
    assert await server.exactly(5) == b"still"
    await rig.gate.close()
    assert await client.rest() == b""
    assert await server.rest() == b""
    await over(rig)
