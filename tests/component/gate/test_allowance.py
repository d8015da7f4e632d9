"""Tokens that are for some models only: what passes, and what Ollama is then sent (G11)."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from component.gate.conftest import opened
from component.gate.rig import Answer, Client, Connection, Rig

BOUND, FREE = "a-token-for-one-model", "a-token-for-all-models"
CASES = ["/api/generate", "/api/chat", "/api/embed", "/v1/chat/completions", "/v1/messages"]
ENTRIES = [{"name": "llama2:latest", "size": 1}, {"name": "mistral:latest", "size": 2}]


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Rig]:
    """A gate with one token that is for llama2, and one that is for every model."""
    folder, config = tmp_path / "tokens", tmp_path / "gate.json"
    folder.mkdir()
    (folder / "bound").write_text(BOUND)
    (folder / "free").write_text(FREE)
    tokens = {"bound": {"access": "infer", "models": ["llama2"]}, "free": {"access": "infer"}}
    config.write_text(json.dumps({"tokens": tokens}))
    async with opened(GATE_TOKENS_DIR=str(folder), GATE_CONFIG=str(config)) as rig:
        yield rig


def head(method: str, target: str, *fields: str, token: str = BOUND) -> bytes:
    lines = (f"{method} {target} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", *fields)
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def post(target: str, body: bytes, *fields: str, token: str = BOUND) -> bytes:
    return head("POST", target, f"Content-Length: {len(body)}", *fields, token=token) + body


async def refused(rig: Rig, raw: bytes) -> Answer:
    client = await rig.connect()
    answer = await client.ask(raw, raw.split()[0].decode())
    assert not rig.upstream.connections
    return answer


async def forwarded(rig: Rig, raw: bytes) -> tuple[Client, Connection, bytes, bytes]:
    """Both connections, and the head and the body that Ollama was sent."""
    client = await rig.connect()
    await client.send(raw)
    server = await rig.upstream.accept()
    sent = await server.until(b"\r\n\r\n")
    length = next(line for line in sent.split(b"\r\n") if line.startswith(b"Content-Length: "))
    return client, server, sent, await server.exactly(int(length.split()[1]))


@pytest.mark.parametrize("target", CASES)
async def test_an_allowed_model(door: Rig, target: str) -> None:
    """What was checked is what Ollama gets, whichever API it was asked for."""
    body = b' {"MODEL" : "registry.ollama.ai/library/LLAMA2:latest",\n"x": [1.5, "\\u00e9"]}  '
    client, server, sent, got = await forwarded(door, post(target, body))
    await server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    assert json.loads(got) == json.loads(body)
    assert got.startswith(b'{"MODEL":"registry')
    assert sent.count(b"Content-Length") == 1
    assert ((await client.answer()).body, await door.metrics.next()) == (
        b"{}",
        ("bound", target, 200),
    )


async def test_a_chunked_body(door: Rig) -> None:
    """A body without a length is read as well, and gets one."""
    raw = head("POST", "/api/chat", "Transfer-Encoding: chunked")
    raw += b'9\r\n{"model":\r\na\r\n"llama2"}\n\r\n0\r\n\r\n'
    _, _, sent, got = await forwarded(door, raw)

    assert got == b'{"model":"llama2"}'
    assert b"Transfer-Encoding" not in sent


async def test_byte_by_byte(door: Rig) -> None:
    """However the body arrives; and the next request on the connection is read afterwards."""
    client = await door.connect()
    raw = post("/api/chat", b'{"model":"llama2"}')
    for i in range(len(raw)):
        await client.send(raw[i : i + 1])
    server = await door.upstream.accept()
    await server.until(b'{"model":"llama2"}')
    await server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert (await client.answer("POST")).status == 200
    await client.send(post("/api/chat", b'{"model":"llama2:latest"}') * 2)
    for _ in range(2):
        await server.until(b'{"model":"llama2:latest"}')
        await server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert (await client.answer("POST")).status == 200


async def test_expect(door: Rig) -> None:
    """A client that waits for 100 Continue gets one, for the gate has to see the body."""
    client = await door.connect()
    body = b'{"model":"llama2"}'
    await client.send(post("/api/chat", body, "Expect: 100-continue")[: -len(body)])
    await client.until(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert not door.upstream.connections
    await client.send(body)
    server = await door.upstream.accept()
    await server.until(body)
    await server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    answer = await client.answer("POST")
    assert (answer.status, answer.informational) == (200, [])


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b'{"model":"mistral"}', 403, "isn't for the model"),
        (b'{"model":"llama2:7b"}', 403, "isn't for the model"),
        (b'{"model":"llama2","Model":"mistral"}', 400, "stands there twice"),
        (b'{"prompt":"hi"}', 400, "names no model"),
        (b"model=llama2", 400, "one JSON object"),
        (b"", 400, "one JSON object"),
        (b'{"model":"llama2"}' + b" " * (4 << 20), 413, "4 MiB"),
    ],
)
async def test_other_bodies(door: Rig, body: bytes, status: int, message: str) -> None:
    """Nothing of them reaches Ollama, and the client is told why."""
    answer = await refused(door, post("/api/chat", body))

    assert (answer.status, message in json.loads(answer.body)["error"]) == (status, True)
    assert await door.metrics.next() == ("bound", "/api/chat", status)


@pytest.mark.parametrize("size", [1, 0x10000])
async def test_a_chunked_body_that_is_too_long(door: Rig, size: int) -> None:
    """4 MiB on the wire are the end of a body without a length too, in chunks of any size."""
    chunk = b"%x\r\n%b\r\n" % (size, b" " * size)
    body = chunk * ((4 << 20) // len(chunk) + 1)
    answer = await refused(door, head("POST", "/api/chat", "Transfer-Encoding: chunked") + body)

    assert answer.status == 413


async def test_a_broken_chunk(door: Rig) -> None:
    raw = head("POST", "/api/chat", "Transfer-Encoding: chunked") + b"nonsense\r\n"
    assert (await refused(door, raw)).status == 400


@pytest.mark.parametrize("coding", ["zstd", "gzip", "identity"])
async def test_encoded_bodies(door: Rig, coding: str) -> None:
    """Ollama unpacks zstd on /v1/responses: what the gate can't read, it doesn't pass."""
    raw = post("/v1/responses", b'{"model":"llama2"}', "A: b", f"content-Encoding: {coding}")

    assert (await refused(door, raw)).status == 415


@pytest.mark.parametrize(
    "raw",
    [
        head("HEAD", "/api/blobs/sha256:0"),
        post("/v1/audio/transcriptions", b'{"model":"llama2"}'),
        head("GET", "/api/experimental/model-recommendations"),
        head("GET", "/v1/models/mistral"),
        head("GET", "/v1/models/llama2%3A7b"),
        head("GET", "/v1/models/llama2%20"),
    ],
)
async def test_other_routes(door: Rig, raw: bytes) -> None:
    """G11: what isn't bound to a model is closed."""
    assert (await refused(door, raw)).status == 403


@pytest.mark.parametrize("target", ["/", "/api/version", "/v1/models/llama2%3Alatest"])
async def test_open_routes(door: Rig, target: str) -> None:
    _, _, sent = await door.exchange(head("GET", target))

    assert sent.startswith(f"GET {target} HTTP/1.1\r\n".encode())


def lists() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    ids = [{"id": entry["name"], "object": "model"} for entry in ENTRIES]
    return [
        ("/api/tags", {"models": ENTRIES}, {"models": ENTRIES[:1]}),
        ("/api/ps", {"models": ENTRIES[::-1]}, {"models": ENTRIES[:1]}),
        ("/api/tags", {"models": None}, {"models": []}),
        ("/v1/models", {"object": "list", "data": ids}, {"object": "list", "data": ids[:1]}),
    ]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("target", "whole", "part"), lists())
async def test_lists(
    door: Rig, target: str, whole: dict[str, Any], part: dict[str, Any], *, chunked: bool
) -> None:
    """G11: a list shows the token's models alone; the upstream connection is used again."""
    body = json.dumps(whole).encode()
    framed = b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    if chunked:
        framed = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    client, server, _ = await door.exchange(head("GET", target))
    for _ in range(2):
        await server.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
        for i in range(0, len(framed), 7):
            await server.send(framed[i : i + 7])
        answer = await client.answer()
        assert (answer.status, json.loads(answer.body)) == (200, part)
        assert answer.headers["content-type"] == "application/json"
        await client.send(head("GET", target))
        await server.until(b"\r\n\r\n")

    assert len(door.upstream.connections) == 1


async def test_the_head_of_a_list(door: Rig) -> None:
    """HEAD doesn't tell how long the whole list is."""
    client, server, _ = await door.exchange(head("HEAD", "/api/tags"))
    await server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")
    answer = await client.answer("HEAD")

    assert (answer.status, "content-length" in answer.headers) == (200, False)


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nno!",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps({"models": ENTRIES}).encode(),
    ],
)
async def test_a_list_that_is_none(door: Rig, response: bytes) -> None:
    """What the gate can't read isn't passed on."""
    client, server, _ = await door.exchange(head("GET", "/api/tags"))
    await server.send(response)
    answer = await client.answer()

    assert (answer.status, b"mistral" in answer.body) == (502, False)


async def test_a_list_that_breaks_off(door: Rig) -> None:
    """Nothing was written yet, so the client gets an answer."""
    client, server, _ = await door.exchange(head("GET", "/api/tags"))
    await server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")
    server.close()

    assert (await client.answer()).status == 502


async def test_an_error_instead_of_a_list(door: Rig) -> None:
    client, server, _ = await door.exchange(head("GET", "/api/tags"))
    await server.send(b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno")
    answer = await client.answer()

    assert (answer.status, answer.body) == (500, b"no")


async def test_a_client_that_leaves_while_its_body_is_read(door: Rig) -> None:
    client = await door.connect()
    await client.send(post("/api/chat", b'{"model":"llama2"}')[:-1])
    client.close()

    assert await door.metrics.next() == ("bound", "/api/chat", 499)
    assert not door.upstream.connections


async def test_all_other_tokens_stream_untouched(door: Rig) -> None:
    """G11: their bodies aren't looked at, whatever they are."""
    body = b'{"model":"mistral","Model":NaN'
    _, _, _, got = await forwarded(door, post("/api/chat", body, token=FREE))

    assert got == body


async def test_a_body_that_waits_for_a_slot(door: Rig) -> None:
    """G12: a queued request goes to Ollama once, in its turn, and a refused one frees its slot."""
    source = door.live._source.gate_config
    assert source
    document = json.loads(source.read_text())
    source.write_text(json.dumps(document | {"limits": {"concurrentRequests": 1}}))
    assert door.live.check()
    first, server, _, _ = await forwarded(door, post("/api/chat", b'{"model":"llama2"}'))
    others = [await door.connect() for _ in range(2)]
    for client, model in zip(others, (b"mistral", b"llama2"), strict=True):
        raw = post("/api/chat", b'{"model":"' + model + b'"}')
        await client.send(raw[:-4])
        await door.settle()
        await client.send(raw[-4:])
        await door.settle()
    assert len(door.upstream.connections) == 1
    await server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert (await first.answer("POST")).status == 200
    assert (await others[0].answer("POST")).status == 403
    await server.until(b'{"model":"llama2"}')
    await server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    assert (await others[1].answer("POST")).status == 200
    assert len(door.upstream.connections) == 1
