"""The gate in front of a real Ollama, with its own and OpenAI's clients."""

import hashlib
import json
import secrets
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import httpx
import ollama
import openai
import pytest

from component.gate.rig import TOKEN, Metrics, open_gate

HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def model(ollama_server: str, registry: str) -> str:
    """The tiny model's name in this module's Ollama, pulled from its registry."""
    name = f"{registry}/library/tiny"
    body = json.dumps({"model": name, "insecure": True, "stream": False}).encode()
    with urllib.request.urlopen(f"{ollama_server}/api/pull", body, timeout=60) as answer:
        assert json.load(answer) == {"status": "success"}
    return name.removeprefix("http://")


@pytest.fixture
async def opened(ollama_server: str) -> AsyncIterator[tuple[str, Metrics]]:
    port = int(ollama_server.rpartition(":")[2])
    gate, _, metrics, _ = await open_gate(port, AUTH_TOKEN=TOKEN)
    yield f"http://127.0.0.1:{gate.port}", metrics
    await gate.close()


@pytest.fixture
async def client(opened: tuple[str, Metrics]) -> AsyncIterator[ollama.AsyncClient]:
    client = ollama.AsyncClient(host=opened[0], headers=HEADERS, timeout=60)
    yield client
    await client._client.aclose()


@pytest.fixture
async def http(opened: tuple[str, Metrics]) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=opened[0], headers=HEADERS, timeout=60) as client:
        yield client


async def test_tags_and_version(http: httpx.AsyncClient, model: str) -> None:
    """Plain answers arrive unchanged, the Host that the client used notwithstanding."""
    tags = (await http.get("/api/tags", headers={"Host": "ollama.example.com"})).json()

    assert [entry["name"] for entry in tags["models"]] == [f"{model}:latest"]
    assert (await http.head("/")).status_code == 200
    assert (await http.get("/api/%76ersion", headers={"Origin": "http://evil"})).status_code == 200


async def test_generate_streams(client: ollama.AsyncClient, model: str) -> None:
    """NDJSON arrives line by line, to its final line."""
    stream = await client.generate(model, "hi", stream=True, options={"num_predict": 8, "seed": 1})
    parts = [part async for part in stream]

    assert len(parts) > 1
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]


async def test_chat_as_openai_does(opened: tuple[str, Metrics], model: str) -> None:
    """SSE with OpenAI's client, the token as its API key."""
    async with openai.AsyncOpenAI(base_url=f"{opened[0]}/v1", api_key=TOKEN, timeout=60) as client:
        stream = await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "hi"}], stream=True, max_tokens=8
        )
        chunks = [chunk async for chunk in stream]

    assert chunks[-1].choices[0].finish_reason
    async with openai.AsyncOpenAI(
        base_url=f"{opened[0]}/v1", api_key="wrong", timeout=60
    ) as client:
        with pytest.raises(openai.AuthenticationError, match="isn't valid"):
            await client.models.list()


async def test_ollamas_errors_arrive(
    client: ollama.AsyncClient, opened: tuple[str, Metrics]
) -> None:
    """Ollama's own status and words for a model that isn't there; its client reads ours too."""
    with pytest.raises(ollama.ResponseError, match="not found"):
        await client.generate("nothing", "hi")
    stranger = ollama.AsyncClient(host=opened[0], timeout=60)
    with pytest.raises(ollama.ResponseError, match="no token came"):
        await stranger.list()
    await stranger._client.aclose()


@pytest.mark.parametrize("chunked", [False, True], ids=["counted", "chunked"])
async def test_blobs(http: httpx.AsyncClient, *, chunked: bool) -> None:
    """T12: 64 MiB go up, with a length or in chunks; wrong digests and known blobs are told."""
    blob = secrets.token_bytes(8) * (8 << 20)
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(blob), 1 << 20):
            yield blob[start : start + (1 << 20)]

    async def upload(digest: str) -> httpx.Response:
        return await http.post(f"/api/blobs/{digest}", content=pieces() if chunked else blob)

    assert (await http.head(f"/api/blobs/{digest}")).status_code == 404
    assert (await upload(digest)).status_code == 201
    assert (await http.head(f"/api/blobs/{digest}")).status_code == 200
    assert (await upload(digest)).status_code == 200
    wrong = await upload("sha256:" + "0" * 64)
    assert (wrong.status_code, "digest mismatch" in wrong.text) == (400, True)


SAID = [{"role": "user", "content": "hi"}]
COUNTED: list[tuple[str, dict[str, Any]]] = [
    ("/api/generate", {"prompt": "hi", "stream": True}),
    ("/api/generate", {"prompt": "hi", "stream": False}),
    ("/api/chat", {"messages": SAID, "stream": True}),
    ("/api/chat", {"messages": SAID, "stream": False}),
    (
        "/v1/chat/completions",
        {"messages": SAID, "stream": True, "stream_options": {"include_usage": True}},
    ),
    ("/v1/chat/completions", {"messages": SAID}),
    ("/v1/completions", {"prompt": "hi"}),
    ("/v1/responses", {"input": "hi", "stream": True}),
    ("/v1/messages", {"messages": SAID, "max_tokens": 4, "stream": True}),
    ("/v1/messages", {"messages": SAID, "max_tokens": 4}),
]


@pytest.mark.parametrize(("path", "body"), COUNTED, ids=range(len(COUNTED)))
async def test_tokens_are_counted(
    http: httpx.AsyncClient,
    opened: tuple[str, Metrics],
    model: str,
    path: str,
    body: dict[str, Any],
) -> None:
    """G13: what Ollama reports in each API's own shape is in the log, with the model's name."""
    limits = {"max_tokens": 4, "max_output_tokens": 4, "options": {"num_predict": 4}}
    answer = await http.post(path, json={"model": model, **limits, **body})
    line = await opened[1].line()

    assert answer.status_code == 200
    assert line["promptTokens"] > 0
    assert 0 < line["generatedTokens"] <= 4
    assert line["model"] == model
    streamed = answer.headers["content-type"].startswith(("application/x-ndjson", "text/event"))
    assert ("ttftMs" in line) is streamed is body.get("stream", path.startswith("/api/"))


async def test_leaving_stops_the_generation(
    client: ollama.AsyncClient, opened: tuple[str, Metrics], model: str
) -> None:
    """P10: a client that leaves in mid-stream frees Ollama for the next one."""
    options = {"num_predict": 100_000, "num_ctx": 256}
    stream = await client.generate(model, "hi", stream=True, options=options)
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]

    assert await opened[1].next() == ("AUTH_TOKEN", "/api/generate", 200)
    assert (await client.generate(model, "hi", options={"num_predict": 1})).done
