"""The gate's own errands to Ollama: what is there, what is loaded, load this, pull that.

Small JSON calls and one line-wise stream, through aiohttp's client with the traps of its defaults
answered. Clients' requests never come through here: they take the hot path (`upstream`).
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from ollamaserve_sidecar.models import canonical

LINE_LIMIT = 1 << 20
"""Bytes of one NDJSON line; Ollama's progress lines have some 200."""
_QUICK = aiohttp.ClientTimeout(total=30, sock_connect=5)
_PATIENT = aiohttp.ClientTimeout(total=None, sock_connect=5)
"""A model may take many minutes to load, and Ollama answers only then."""
_STREAM = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=1800)
"""Between two lines: hashing a large model is silent for minutes, half an hour is a hang."""
_NO_COMPLETION = "does not support generate"


class OllamaUnreachableError(Exception):
    """No answer, or it broke off: Ollama is starting, restarting, or gone."""


class OllamaRefusedError(Exception):
    """Ollama answered with an error; `str()` is its own text, `status` the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Installed:
    """One model of `/api/tags`; `digest` is 64 hex digits, `size` bytes on disk.

    `name` is Ollama's own spelling.
    """

    digest: str
    size: int = 0
    parameter_size: str = ""
    quantization: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """One model of `/api/ps`, in bytes; `vram` is 0 where it runs on the CPU alone."""

    size: int
    vram: int


class Ollama:
    """A client of one Ollama; every call raises the two errors above and nothing else."""

    def __init__(self, origin: str) -> None:
        self.origin = origin.rstrip("/")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def version(self) -> str:
        return str((await self._call("GET", "/api/version")).get("version", ""))

    async def installed(self) -> Mapping[str, Installed]:
        """The models on disk, by canonical name."""
        answer = await self._call("GET", "/api/tags")
        return {name: _installed(model) for name, model in _models(answer)}

    async def running(self) -> Mapping[str, Running]:
        """The models in memory, those still loading included, by canonical name."""
        answer = await self._call("GET", "/api/ps")
        return {
            name: Running(_bytes(model.get("size")), _bytes(model.get("size_vram")))
            for name, model in _models(answer)
        }

    async def load(self, name: str) -> None:
        """Bring a model into memory; its stay is Ollama's own `OLLAMA_KEEP_ALIVE`.

        An empty prompt only loads (Ollama's API, "Load a model"); a model that can't generate is
        loaded by an embedding of nothing.
        """
        try:
            await self._call("POST", "/api/generate", {"model": name}, _PATIENT)
        except OllamaRefusedError as error:
            if _NO_COMPLETION not in str(error):
                raise
            await self._call("POST", "/api/embed", {"model": name}, _PATIENT)

    async def weights(self, name: str) -> str:
        """The files that a model runs from, or nothing where Ollama names none.

        Models with the same share one runner, and one line of `/api/ps` (server/sched.go).
        """
        shown = await self._call("POST", "/api/show", {"model": name})
        lines = str(shown.get("modelfile", "")).splitlines()
        return "\n".join(line for line in lines if line.startswith(("FROM ", "ADAPTER ")))

    def pull(self, name: str, *, insecure: bool) -> AsyncGenerator[Mapping[str, Any]]:
        """The lines of `/api/pull`."""
        return self._lines("/api/pull", {"model": name, "insecure": insecure})

    def create(self, name: str, wanted: Mapping[str, Any]) -> AsyncGenerator[Mapping[str, Any]]:
        """The lines of `/api/create`; `wanted` is its body, without the new model's name."""
        return self._lines("/api/create", {**wanted, "model": name})

    async def copy(self, source: str, destination: str) -> None:
        """Give a model another name; its files are shared."""
        await self._do("POST", "/api/copy", {"source": source, "destination": destination})

    async def delete(self, name: str) -> None:
        """Take a name away, and the files that no other name needs."""
        await self._do("DELETE", "/api/delete", {"model": name})

    async def _do(self, method: str, path: str, body: Mapping[str, Any]) -> None:
        """A request whose answer has no body."""
        async with self._answer(method, path, body, _QUICK) as response:
            await response.read()

    async def _lines(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[Mapping[str, Any]]:
        """A stream's lines; an `error` among them, under HTTP 200, is raised like any."""
        async with self._answer("POST", path, body, _STREAM) as response:
            while line := await response.content.readline(max_line_length=LINE_LIMIT):
                event = _object(line)
                if "error" in event:
                    raise OllamaRefusedError(response.status, str(event["error"]))
                yield event

    async def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        limits: aiohttp.ClientTimeout = _QUICK,
    ) -> Mapping[str, Any]:
        async with self._answer(method, path, body, limits) as response:
            return _object(await response.read())

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        limits: aiohttp.ClientTimeout,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._session.request(
                method, self.origin + path, json=body, timeout=limits, allow_redirects=False
            ) as response:
                if response.status != HTTPStatus.OK:
                    raise OllamaRefusedError(response.status, _words(await response.read()))
                yield response
        except HttpProcessingError as error:
            raise OllamaRefusedError(502, f"a line of more than {LINE_LIMIT} bytes") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise OllamaUnreachableError(
                f"{self.origin}: {error or type(error).__name__}"
            ) from error


def _models(answer: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The named models of a listing; null stands for none in Go's JSON."""
    listed = answer.get("models") or []
    return [(canonical(str(model["name"])), model) for model in listed if "name" in model]


def _installed(model: Mapping[str, Any]) -> Installed:
    details = model.get("details") or {}
    return Installed(
        digest=str(model.get("digest", "")),
        size=_bytes(model.get("size")),
        parameter_size=str(details.get("parameter_size", "")),
        quantization=str(details.get("quantization_level", "")),
        name=str(model["name"]),
    )


def _bytes(value: Any) -> int:
    """A size; whatever else an Ollama of another version may write there counts as none."""
    return value if isinstance(value, int) else 0


def _object(line: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise OllamaRefusedError(502, "an answer that is no JSON object")
    return value


def _words(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:500].decode("utf-8", "replace").strip() or "no error text"
