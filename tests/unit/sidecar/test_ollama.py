"""The gate's client holds against an Ollama that answers in unusual ways."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ollamaserve_sidecar.ollama import (
    LINE_LIMIT,
    Installed,
    Ollama,
    OllamaRefusedError,
    OllamaUnreachableError,
    Running,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def client(handler: Handler) -> AsyncIterator[Ollama]:
    """A client of a server that answers everything with `handler`."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.Request)
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server, Ollama(str(server.make_url("/"))) as ollama:
        yield ollama


def says(text: str, status: int = 200) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(text=text, status=status)

    return handler


async def lines(ollama: Ollama) -> list[Any]:
    return [event async for event in ollama.pull("tiny", insecure=False)]


async def test_listings_are_read_by_canonical_name() -> None:
    """Facts of /api/tags and /api/ps; null lists and missing fields are no error."""
    tags = {
        "models": [
            {
                "name": "Tiny:latest",
                "digest": "a" * 64,
                "size": 7,
                "details": {"parameter_size": "142K", "quantization_level": "F16"},
            },
            {"name": "bare", "details": None, "size": "7"},
            {"digest": "nameless"},
        ]
    }
    key, bare = "registry.ollama.ai/library/tiny:latest", "registry.ollama.ai/library/bare:latest"
    async with client(says(json.dumps(tags))) as ollama:
        assert await ollama.installed() == {
            key: Installed("a" * 64, 7, "142K", "F16", "Tiny:latest"),
            bare: Installed("", name="bare"),
        }
    running = {"models": [{"name": "tiny", "size": 9, "size_vram": 4}]}
    async with client(says(json.dumps(running))) as ollama:
        assert await ollama.running() == {key: Running(9, 4)}
    async with client(says('{"models": null}')) as ollama:
        assert not await ollama.installed()
        assert not await ollama.running()


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        ('{"error":"server busy"}', 503, "server busy"),
        ("<html>no</html>", 502, "<html>no</html>"),
        ("", 500, "no error text"),
        ("[]", 200, "no JSON object"),
        ("no JSON", 200, "no JSON object"),
    ],
)
async def test_a_refusal_has_ollamas_words(text: str, status: int, words: str) -> None:
    """Errors are told in Ollama's own text, whatever shape it came in."""
    async with client(says(text, status)) as ollama:
        with pytest.raises(OllamaRefusedError, match=words):
            await ollama.version()


async def test_an_error_in_a_pull_is_an_error_under_http_200() -> None:
    """T5: the last line decides, not the status."""
    stream = '{"status":"pulling manifest"}\n{"error":"file does not exist"}\n'
    async with client(says(stream)) as ollama:
        with pytest.raises(OllamaRefusedError, match="file does not exist"):
            await lines(ollama)


async def test_lines_may_come_in_any_pieces() -> None:
    """NDJSON is split at newlines, not at reads; the last line may lack one."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in (b'{"status"', b':"a"}', b'\n{"status":"b"}\n{"st', b'atus":"success"}'):
            await response.write(piece)
            await asyncio.sleep(0)
        return response

    async with client(handler) as ollama:
        assert [line["status"] for line in await lines(ollama)] == ["a", "b", "success"]


async def test_a_line_without_end_is_refused() -> None:
    """Memory is bounded, whoever answers in Ollama's place."""
    async with client(says("x" * (LINE_LIMIT + 1))) as ollama:
        with pytest.raises(OllamaRefusedError, match=f"more than {LINE_LIMIT} bytes"):
            await lines(ollama)


async def test_a_stream_that_breaks_off_is_no_answer() -> None:
    """A connection cut in mid-pull is told from an error that Ollama reports."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"status":"pulling"}\n')
        assert request.transport is not None
        request.transport.abort()
        return response

    async with client(handler) as ollama:
        with pytest.raises(OllamaUnreachableError):
            await lines(ollama)


async def test_redirects_and_proxies_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the configured Ollama is ever spoken to."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.headers["Accept-Encoding"] == "identity"
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with client(handler) as ollama:
        with pytest.raises(OllamaRefusedError) as refusal:
            await ollama.version()

    assert refusal.value.status == 307


async def test_an_absent_ollama_is_unreachable(unused_tcp_port: int) -> None:
    """Nobody listens: it is starting, or gone."""
    async with Ollama(f"http://127.0.0.1:{unused_tcp_port}") as ollama:
        with pytest.raises(OllamaUnreachableError, match="Cannot connect"):
            await ollama.version()
