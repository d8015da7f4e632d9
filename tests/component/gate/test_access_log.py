"""One line of JSON for each request, however it ends, and nothing in it that is secret.

`ends` is the law: what a request's end is called, with which status and reason, exactly once.
"""

import asyncio
import json
import os
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from component.gate.configured import EMPTY, Configured, bearer, configured, get, post
from component.gate.rig import Client
from ollamaserve_sidecar import peer
from ollamaserve_sidecar.accesslog import AccessLog
from ollamaserve_sidecar.client import HEAD_TIMEOUT
from ollamaserve_sidecar.ledger import Ledger

STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
)
TOKEN_LINE = b'{"model":"llama2","message":{"content":"a prompt-like answer"},"done":false}\n'
LAST_LINE = (
    b'{"model":"llama2","done":true,"done_reason":"stop","total_duration":5,'
    b'"prompt_eval_count":26,"eval_count":298}\n'
)
CHUNKED_END = b"0\r\n\r\n"
ALWAYS = {
    *("time", "requestId", "token", "access", "method", "route", "path", "status", "outcome"),
    *("durationMs", "bytesIn", "bytesOut"),
}


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Configured]:
    async with configured(tmp_path, healthPath="/healthz") as gate:
        yield gate


async def ended(gate: Configured, outcome: str, status: int, reason: str = "") -> dict[str, Any]:
    """The one line of the one request that has ended, which ended so."""
    line = await gate.rig.metrics.line()
    assert (line["outcome"], line["status"], line.get("reason", "")) == (outcome, status, reason)
    assert set(line) >= ALWAYS
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert line["durationMs"] >= 0
    await gate.rig.settle_until(lambda: not gate.rig.drain.in_flight)
    assert gate.rig.metrics.lines == []
    return line


async def ask(gate: Configured, request: bytes, method: str = "GET") -> Client:
    client = await gate.rig.connect()
    await client.send(request)
    await client.answer(method)
    return client


async def test_a_stream_that_was_served(gate: Configured) -> None:
    """Who, what, how it ended, how long it took to the first token and in all, and its tokens."""
    client, server = await gate.begun("ada")
    await server.send(STREAM + chunk(TOKEN_LINE))
    await client.until(b"false}\n\r\n")
    await server.send(chunk(LAST_LINE) + CHUNKED_END)
    await client.until(CHUNKED_END)

    line = await ended(gate, "served", 200)
    body = chunk(TOKEN_LINE) + chunk(LAST_LINE) + CHUNKED_END
    assert 0 < line.pop("ttftMs") <= line.pop("durationMs")
    assert line.pop("time")
    assert line.pop("requestId")
    assert line == {
        "token": "ada",
        "access": "infer",
        "method": "POST",
        "route": "/api/chat",
        "path": "/api/chat",
        "status": 200,
        "outcome": "served",
        "bytesIn": 2,
        "bytesOut": len(body),
        "promptTokens": 26,
        "generatedTokens": 298,
        "model": "llama2",
    }


async def test_other_answers_of_ollama(gate: Configured) -> None:
    """Served is what Ollama answered in full, an error of its own included; no tokens are told."""
    client, server, _ = await gate.rig.exchange(get("root"))
    await server.send(EMPTY)
    await client.answer()
    await ended(gate, "served", 200)
    for name, status in (("ada", 200), ("bob", 404)):
        await client.send(get(name))
        await server.until(b"\r\n\r\n")
        await server.send(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n{}" % status)
        await client.answer()
        line = await ended(gate, "served", status)
        assert (line["token"], line["bytesOut"]) == (name, 2)
        assert not {"ttftMs", "promptTokens", "model", "client"} & set(line)


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        (get(), 401, "missing_token"),
        (get(more=b"Authorization: Basic x\r\n"), 401, "malformed_authorization"),
        (get("nobody"), 401, "invalid_token"),
        (get("ada", more=bearer("bob")), 400, "ambiguous_credentials"),
        (b"NONSENSE\r\n\r\n", 400, "bad_request"),
        (b"get / HTTP/1.1\r\n", 400, "bad_request"),
        (b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 33_000, 431, "bad_request"),
    ],
    ids=range(8),
)
async def test_strangers(gate: Configured, request_: bytes, status: int, reason: str) -> None:
    """Nobody was identified: nothing is told of what they wrote, but where they came from."""
    await ask(gate, request_)
    line = await ended(gate, "refused", status, reason)

    assert (line["token"], line["access"], line["path"], line["route"]) == ("", "", "", "-")
    assert line["client"] == "127.0.0.1"
    assert line["bytesOut"] > 0


@pytest.mark.parametrize(
    ("request_", "status", "reason", "route"),
    [
        (post("ada", "/api/pull"), 403, "access_denied", "/api/pull"),
        (get("ada", "/api/nothing"), 403, "access_denied", "other"),
        (get("ada", "/api/../tags"), 400, "bad_request", "-"),
        (post("ada", body=b"x" * 20), 413, "request_too_large", "/api/chat"),
        (post("root", "/api/pull"), 403, "no_egress", "/api/pull"),
    ],
    ids=range(5),
)
async def test_refusals(
    gate: Configured, request_: bytes, status: int, reason: str, route: str
) -> None:
    """Whoever was identified is named, with the path; its address isn't kept."""
    gate.configure(limits={"bodyBytes": 10}, egress=False)
    await ask(gate, request_, "POST")
    line = await ended(gate, "refused", status, reason)

    assert line["token"] in ("ada", "root")
    assert (line["route"], line["path"]) == (route, request_.split()[1].decode())
    assert "client" not in line


async def test_what_the_gate_answers_by_itself(gate: Configured) -> None:
    """Probes and preflights."""
    await ask(gate, get(target="/healthz"))
    await ended(gate, "answered", 200)
    preflight = b"Origin: http://x.example\r\nAccess-Control-Request-Method: GET\r\n\r\n"
    await ask(gate, b"OPTIONS /api/tags HTTP/1.1\r\nHost: x\r\n" + preflight, "OPTIONS")
    await ended(gate, "answered", 204)


async def test_a_crowd(gate: Configured) -> None:
    """A connection too many is one line, though it asked for nothing."""
    gate.configure(limits={"connections": 1})
    await gate.rig.connect()
    second = await gate.rig.connect()
    assert (await second.answer()).status == 503

    line = await ended(gate, "refused", 503, "too_many_connections")
    assert line["requestId"]


async def test_too_fast(gate: Configured) -> None:
    """The pace of a token and a full queue are told apart, though both are a 429."""
    gate.configure(limits={"requestsPerMinute": 1, "concurrentRequests": 1, "queue": 0})
    client, server = await gate.begun("ada")
    await ask(gate, post("ada"), "POST")
    line = await gate.rig.metrics.line()
    assert (line["outcome"], line["status"], line["reason"]) == ("refused", 429, "rate_limit")
    await ask(gate, post("bob"), "POST")
    line = await gate.rig.metrics.line()
    assert (line["outcome"], line["status"], line["reason"]) == ("refused", 429, "queue_full")
    await server.send(EMPTY)
    await client.answer("POST")
    await ended(gate, "served", 200)


async def test_waiting_for_too_long(gate: Configured) -> None:
    """Who waited in vain is told from who was sent away at once."""
    gate.configure(limits={"concurrentRequests": 1, "queueWaitSeconds": 5})
    client, server = await gate.begun("ada")
    waiting = await gate.queued("bob")
    gate.rig.gate.entrance.sweep(gate.rig.gate.loop.time() + 6)
    assert (await waiting.answer("POST")).status == 429
    line = await gate.rig.metrics.line()
    assert (line["outcome"], line["status"], line["reason"]) == ("timed_out", 429, "queue_timeout")
    await server.send(EMPTY)
    await client.answer("POST")
    await ended(gate, "served", 200)


async def test_a_slow_head(gate: Configured) -> None:
    """It is a request once its head has begun; a silent connection is none."""
    silent, slow = await gate.rig.connect(), await gate.rig.connect()
    await slow.send(b"GET / HTTP/1.1\r\n")
    clients = gate.rig.gate.clients
    await gate.rig.settle_until(lambda: any(held._buffer for held in clients))
    for held in list(clients):
        held.sweep(gate.rig.gate.loop.time() + HEAD_TIMEOUT)

    await ended(gate, "timed_out", 408, "slow_head")
    silent.close()
    slow.close()
    await gate.rig.settle_until(lambda: not clients)
    assert gate.rig.metrics.lines == []


async def test_a_slow_body(gate: Configured) -> None:
    """With what came of it."""
    client = await gate.rig.connect()
    await client.send(post("ada", body=b"x" * 20_000)[:-19_000])
    server = await gate.rig.upstream.accept()
    await server.until(b"x" * 1000)
    (held,) = gate.rig.gate.clients
    now = gate.rig.gate.loop.time()
    held.sweep(now)
    held.sweep(now + peer.STALL_TIMEOUT)

    assert (await ended(gate, "timed_out", 408, "slow_body"))["bytesIn"] == 1000


async def test_a_stalled_reader(gate: Configured) -> None:
    """The status is the one that was sent; that it ended otherwise, the outcome says."""
    client, server = await gate.begun("ada")
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    server.writer.write(STREAM + b"4000000\r\n" + b"x" * 0x4000000)
    (held,) = gate.rig.gate.clients
    await gate.rig.settle_until(lambda: held.full)
    now = gate.rig.gate.loop.time()
    held.sweep(now)
    held.sweep(now + peer.STALL_TIMEOUT)

    line = await ended(gate, "timed_out", 200, "stalled_reader")
    assert line["bytesOut"] > 0
    assert "promptTokens" not in line


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_leaves(gate: Configured, *, begun: bool) -> None:
    """499 where nothing was answered, as nginx has it."""
    client, server = await gate.begun("ada")
    if begun:
        await server.send(STREAM + chunk(TOKEN_LINE))
        await client.until(b"\n\r\n")
    client.abort()

    line = await ended(gate, "client_gone", 200 if begun else 499)
    assert ("ttftMs" in line) is begun
    assert gate.rig.metrics.tally.unknown["/api/chat"] == begun


async def test_a_client_that_leaves_the_queue(gate: Configured) -> None:
    """It was admitted, so it is told."""
    gate.configure(limits={"concurrentRequests": 1})
    client, server = await gate.begun("ada")
    waiting = await gate.queued("bob")
    waiting.abort()
    line = await gate.rig.metrics.line()
    assert (line["token"], line["outcome"], line["status"]) == ("bob", "client_gone", 499)
    await server.send(EMPTY)
    await client.answer("POST")
    await ended(gate, "served", 200)


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [(b"", 502, "lost"), (b"HTTP/1.1 200 OK\r\nBad\r\n\r\n", 502, "malformed")],
)
async def test_an_ollama_that_fails(
    gate: Configured, answer: bytes, status: int, reason: str
) -> None:
    """Before a byte of an answer: the gate's own error."""
    client, server = await gate.begun("ada")
    if answer:
        await server.send(answer)
    server.close()
    await client.answer("POST")

    await ended(gate, "upstream_failed", status, reason)


async def test_no_ollama(gate: Configured) -> None:
    """Nobody listens there."""
    probe = socket.create_server(("127.0.0.1", 0))
    free = probe.getsockname()[1]
    probe.close()
    gate.rig.gate.pool._place = (socket.AF_INET, ("127.0.0.1", free))
    await ask(gate, post("ada"), "POST")

    await ended(gate, "upstream_failed", 503, "connect")


async def test_an_answer_that_breaks_off(gate: Configured) -> None:
    """In the middle of a stream; no tokens are guessed."""
    client, server = await gate.begun("ada")
    await server.send(STREAM + chunk(LAST_LINE))
    await client.until(b"\n\r\n")
    server.close()
    await client.rest()

    assert "promptTokens" not in await ended(gate, "truncated", 200, "truncated")


async def test_the_end_of_the_gate(gate: Configured) -> None:
    """What waits and what is under way when the drain's time is over."""
    gate.configure(limits={"concurrentRequests": 1})
    await gate.begun("ada")
    await gate.queued("bob")
    await gate.rig.gate.close()
    lines = [await gate.rig.metrics.line() for _ in range(2)]

    told = {(line["token"], line["outcome"], line["status"], line["reason"]) for line in lines}
    assert told == {
        ("ada", "shut_down", 499, "drain_timeout"),
        ("bob", "shut_down", 503, "shutting_down"),
    }
    assert gate.rig.metrics.lines == []


@pytest.mark.parametrize(
    ("given", "echoed"),
    [
        (b"X-Request-Id: From-a.client_1\r\n", True),
        (b"X-Request-ID: " + b"x" * 64 + b"\r\n", True),
        (b"X-Request-Id: " + b"x" * 65 + b"\r\n", False),
        (b"X-Request-Id: \r\n", False),
        (b"X-Request-Id: a b\r\n", False),
        (b'X-Request-Id: "}{"\r\n', False),
        (b"X-Request-Id: caf\xc3\xa9\r\n", False),
        (b"X-Request-Id: a\r\nX-Request-Id: b\r\n", False),
        (b"", False),
    ],
    ids=range(9),
)
async def test_request_ids(gate: Configured, given: bytes, *, echoed: bool) -> None:
    """G14: a client's own id goes both ways if it looks like one, else a new one does."""
    client = await gate.rig.connect()
    await client.send(get("ada", more=given))
    server = await gate.rig.upstream.accept()
    head = await server.until(b"\r\n\r\n")
    await server.send(b"HTTP/1.1 200 OK\r\nX-Request-Id: theirs\r\nContent-Length: 0\r\n\r\n")
    answer = await client.answer()
    line = await ended(gate, "served", 200)

    name = line["requestId"]
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name)
    assert re.findall(rb"(?i)x-request-id: (.*)\r\n", head) == [name.encode()]
    assert answer.headers["x-request-id"] == name
    assert (given[14:-2] == name.encode()) is echoed


async def test_every_answer_has_an_id(gate: Configured) -> None:
    """Refusals, the gate's own answers and heads that nobody can read included."""
    seen = set()
    for request in (get(), get(target="/healthz"), b"NONSENSE\r\n\r\n", get("ada", "/api/x")):
        client = await gate.rig.connect()
        await client.send(request)
        seen.add((await client.answer()).headers["x-request-id"])
        assert (await gate.rig.metrics.line())["requestId"] in seen

    assert len(seen) == 4


async def test_nothing_secret_is_told(gate: Configured) -> None:
    """A7: no token, query, field or body is in the log or the metrics, whoever sends it where."""
    secret = "hunter2secret"
    told = secret.encode()
    hostile = [
        post("ada", "/api/chat?key=" + secret, body=told),
        get(more=b"Authorization: Bearer " + told + b"\r\n"),
        get(more=b"X-Api-Key: " + told + b"\r\nX-Request-Id: " + told + b"!\r\n"),
        get(target="/" + secret + "/api/tags"),
        get(target="/api/tags", more=b"Cookie: " + told + b"\r\n"),
        told + b" / HTTP/1.1\r\n\r\n",
        get("ada", "/api/tags?" + secret, more=b"Referer: " + told + b"\r\n"),
    ]
    lines = []
    for request in hostile:
        client = await gate.rig.connect()
        await client.send(request)
        if b"token-of-ada" in request:
            server = await gate.rig.upstream.accept()
            await server.until(b"\r\n\r\n")
            await server.send(STREAM + chunk(told + b"\n") + CHUNKED_END)
            await client.until(CHUNKED_END)
            server.close()
        else:
            assert (await client.answer()).status in (400, 401)
        lines.append(json.dumps(await gate.rig.metrics.line()))
    tally = gate.rig.metrics.tally

    assert len(lines) == len(hostile)
    kept = [getattr(tally, name) for name in dir(tally) if not name.startswith("__")]
    for text in (*lines, repr(kept)):
        assert secret not in text
        assert "token-of-" not in text


async def test_paths_are_escaped_and_cut(gate: Configured) -> None:
    """What is told of a path can't break a line or fill a disk."""
    for target in ('/"quotes"\'{}', "/" + "x" * 5000):
        await ask(gate, get("ada", target))
        line = await ended(gate, "refused", 403, "access_denied")
        assert line["path"] == target[:256]


async def test_strangers_add_no_series(gate: Configured) -> None:
    """Whatever is sent without a token is one series per status."""
    for number in range(50):
        await ask(gate, get(target=f"/{number}", more=b"X: %d\r\n" % number))
        await ask(gate, get(f"{number}", target=f"/api/{number}"))
        await ask(gate, b"GET /%d HTTP/3.%d\r\nHost: x\r\n\r\n" % (number, number % 10))
    tally = gate.rig.metrics.tally

    assert {(token, route) for token, route, _ in tally.requests} == {("", "-")}
    assert set(tally.durations) == {"-"}
    assert {status for _, _, status in tally.requests} == {400, 401}


async def test_a_log_that_nobody_reads_holds_up_nobody(gate: Configured) -> None:
    """A stopped reader of standard output costs lines, which are counted, and no stream."""
    reading, writing = os.pipe()
    log = AccessLog(writing)
    gate.rig.gate.ledger = Ledger(lambda model: model, log)
    client, server = await gate.begun("ada")
    await server.send(STREAM + chunk(TOKEN_LINE))
    await client.until(b"\n\r\n")
    line = b"x" * 1000 + b"\n"
    async with asyncio.timeout(30):
        while not log.dropped:
            log.add(line)
            await asyncio.sleep(0)
        await asyncio.sleep(0.2)  # the thread has its batch, and stands still in the full pipe
        while log.dropped < 3000:
            log.add(line)
    await server.send(chunk(LAST_LINE) + CHUNKED_END)
    await client.until(CHUNKED_END)
    async with asyncio.timeout(5):
        await log.close()  # gives up after a while
    os.close(reading)
    await log.close()  # lets go of everything now, as it is lost
    os.close(writing)
    assert log.dropped > 3000
