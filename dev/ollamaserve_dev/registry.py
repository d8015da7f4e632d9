"""A model registry for tests and the demo: what Ollama's puller needs, and the faults it may meet.

It serves the one GGUF file of a folder under every name that begins with `tiny` (`library/tiny`,
`slow/tiny-2:v1`), each with a digest of its own. Faults strike a layer of padding that belongs to
the name alone and that Ollama ignores; the namespace chooses, so tests can share a registry and an
Ollama. What Ollama 0.17.4 says of each is in tests/component/registry/test_faults.py.

| namespace      | what happens                                                              |
|----------------|---------------------------------------------------------------------------|
| `slow`         | the padding comes at REGISTRY_RATE bytes per second                       |
| `broken`       | the connection is cut in the middle of the padding, REGISTRY_CUTS times   |
| `alwaysbroken` | likewise, every time, and never a byte beyond the middle                  |
| `stalled`      | half of the padding comes, and then nothing more, every time              |
| `silent`       | no answer to the question for the manifest                                |
| `corrupt`      | the padding isn't what its digest says                                    |
| `denied`       | 401, with a token on offer that doesn't help                              |
| `missing`      | 404                                                                       |
| `failing`      | 500                                                                       |
| `moved`        | nothing, until `POST /_move {"name": "moved/tiny"}` gives it a new digest |
| any other      | nothing                                                                   |

Who pushes needs `pushes`. `GET /_requests` lists what was asked for. It runs as a module, or as a
single file with aiohttp alone (`python registry.py`, in a pod too), and prints its address when it
listens.
"""

import asyncio
import json
import os
import socket
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from aiohttp import web

MEDIA = "application/vnd.ollama.image"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
# One thread: on busy cores two of them spin, and a token of so small a model takes 0.1 s.
PARAMETERS = {"num_ctx": 512, "num_predict": 256, "num_thread": 1, "temperature": 0}
# As the model was trained (tests/models/train.py). Only the last message goes in: it can't talk.
TEMPLATE = (
    "{{ range $i, $_ := .Messages }}{{ if eq (len (slice $.Messages $i)) 1 }}"
    "Question: {{ .Content }}\nAnswer:\n{{ end }}{{ end }}"
)


class Fault(StrEnum):
    """The namespaces in which something goes wrong."""

    SLOW = "slow"
    BROKEN = "broken"
    ALWAYS_BROKEN = "alwaysbroken"
    STALLED = "stalled"
    SILENT = "silent"
    CORRUPT = "corrupt"
    DENIED = "denied"
    MISSING = "missing"
    FAILING = "failing"


FAULTS = {fault.value: fault for fault in Fault}


@dataclass(frozen=True, slots=True)
class Settings:
    """Each field is the variable REGISTRY_<FIELD>; sizes in bytes, the rate in bytes per second.

    `blob_host` (host or host:port) is a second name of this server: Ollama wants a blob redirected
    to another host name than the registry's (server/download.go of v0.17.4, `CheckRedirect`).
    """

    models: Path = Path("tests/models")
    listen: str = "127.0.0.1:5000"
    blob_host: str = "localhost"
    padding: int = 4 << 20
    rate: int = 512 << 10
    cuts: int = 2

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Self:
        read: dict[str, Callable[[str], Any]]
        read = {"models": Path, "listen": str, "blob_host": str}
        read |= dict.fromkeys(("padding", "rate", "cuts"), int)
        given = {name: env.get(f"REGISTRY_{name.upper()}") for name in read}
        return cls(**{name: read[name](text) for name, text in given.items() if text is not None})


@dataclass(frozen=True, slots=True)
class Blob:
    """A layer's bytes, and the fault that strikes who downloads it."""

    media: str
    content: bytes
    fault: Fault | None = None

    @property
    def digest(self) -> str:
        return f"sha256:{sha256(self.content).hexdigest()}"

    @property
    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media, "digest": self.digest, "size": len(self.content)}


def config(*layers: Blob) -> Blob:
    """What `/api/tags` tells of a model (ConfigV2 in Ollama's types/model)."""
    content = {
        "model_format": "gguf",
        "model_family": "llama",
        "model_families": ["llama"],
        "model_type": "133K",
        "file_type": "F16",
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
    }
    return Blob(CONFIG, compact(content))


def manifest(layers: tuple[Blob, ...], settled: Blob) -> bytes:
    """The manifest, byte for byte as Ollama writes it: it has the digest that `/api/tags` says."""
    return compact(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": settled.descriptor,
            "layers": [layer.descriptor for layer in layers],
        }
    )


def compact(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


@dataclass(slots=True)
class Registry:
    """The server's handlers, and the little that it remembers."""

    settings: Settings
    weights: bytes
    blobs: dict[str, Blob] = field(default_factory=dict)
    moves: Counter[str] = field(default_factory=Counter)
    cuts: Counter[str] = field(default_factory=Counter)
    requests: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=10_000))

    def app(self) -> web.Application:
        app = web.Application()
        self.serve(app)
        return app

    def serve(self, app: web.Application) -> None:
        app.on_response_prepare.append(self.record)
        name = "/{namespace}/{model}"
        app.router.add_get(f"/v2{name}/manifests/{{tag}}", self.manifest)
        app.router.add_head(f"/v2{name}/blobs/{{digest}}", self.size)
        app.router.add_get(f"/v2{name}/blobs/{{digest}}", self.redirect, allow_head=False)
        app.router.add_get(f"/data{name}/{{digest}}", self.download)
        app.router.add_get("/token", self.token)
        app.router.add_get("/_requests", self.listing)
        app.router.add_post("/_move", self.move)

    async def record(self, request: web.Request, response: web.StreamResponse) -> None:
        entry = {"method": request.method, "path": request.path, "status": response.status}
        self.requests.append(entry | {"range": request.headers.get("Range", "")})

    async def manifest(self, request: web.Request) -> web.Response:
        namespace, model, tag = (request.match_info[k] for k in ("namespace", "model", "tag"))
        match namespace:
            case Fault.DENIED:
                challenge = f'Bearer realm="http://{request.host}/token",service="",scope="pull"'
                raise web.HTTPUnauthorized(headers={"WWW-Authenticate": challenge})
            case Fault.SILENT:
                await asyncio.Event().wait()
            case Fault.FAILING:
                raise web.HTTPInternalServerError(text="the registry is out of order")
        if namespace == Fault.MISSING or not model.startswith("tiny"):
            raise web.HTTPNotFound
        layers = self.layers(namespace, model, tag)
        settled = config(*layers)
        self.blobs |= {blob.digest: blob for blob in (*layers, settled)}
        return web.Response(body=manifest(layers, settled), content_type=MANIFEST)

    def layers(self, namespace: str, model: str, tag: str) -> tuple[Blob, ...]:
        """Five at most: Ollama takes a second for each. The padding comes first, as the biggest."""
        own = sha256(f"{namespace}/{model}:{tag} {self.moves[f'{namespace}/{model}']}".encode())
        layers = (
            Blob(f"{MEDIA}.model", self.weights),
            Blob(f"{MEDIA}.template", TEMPLATE.encode()),
            # The seed changes no answer, only the digest.
            Blob(f"{MEDIA}.params", compact(PARAMETERS | {"seed": int(own.hexdigest()[:6], 16)})),
        )
        if fault := FAULTS.get(namespace):
            padding = (own.digest() * (self.settings.padding // 32 + 1))[: self.settings.padding]
            return (Blob(f"{MEDIA}.padding", padding, fault), *layers)
        return layers

    def blob(self, request: web.Request) -> Blob:
        try:
            return self.blobs[request.match_info["digest"]]
        except KeyError:
            raise web.HTTPNotFound from None

    async def size(self, request: web.Request) -> web.Response:
        return web.Response(headers={"Content-Length": str(len(self.blob(request).content))})

    async def redirect(self, request: web.Request) -> web.Response:
        self.blob(request)
        host = self.settings.blob_host
        host = host if ":" in host else f"{host}:{request.url.port}"
        path = request.path.removeprefix("/v2").replace("/blobs/", "/")
        raise web.HTTPTemporaryRedirect(f"http://{host}/data{path}")

    async def download(self, request: web.Request) -> web.StreamResponse:
        """The bytes asked for, as 206 (RFC 9110 section 14): interrupted pulls go on from there."""
        blob, asked = self.blob(request), request.http_range
        total = len(blob.content)
        start, stop = asked.start or 0, min(asked.stop or total, total)
        response = web.StreamResponse()
        if "Range" in request.headers:
            response.set_status(206)
            response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{total}"
        response.content_length = stop - start
        await response.prepare(request)
        await self.send(request, response, blob, range(start, stop))
        return response

    async def send(
        self, request: web.Request, response: web.StreamResponse, blob: Blob, asked: range
    ) -> None:
        content = blob.content[asked.start : asked.stop]
        match blob.fault:
            case Fault.SLOW:
                for chunk in range(0, len(content), self.settings.rate // 10):
                    await response.write(content[chunk : chunk + self.settings.rate // 10])
                    await asyncio.sleep(0.1)
            case Fault.BROKEN if self.cuts[blob.digest] < self.settings.cuts:
                self.cuts[blob.digest] += 1
                await self.cut(request, response, content[: len(content) // 2])
            case Fault.ALWAYS_BROKEN:
                middle = max(len(blob.content) // 2 - asked.start, 0)
                await self.cut(request, response, content[:middle])
            case Fault.STALLED:
                await response.write(content[: max(len(blob.content) // 2 - asked.start, 0)])
                await asyncio.Event().wait()
            case Fault.CORRUPT:
                await response.write(bytes(len(content)))
            case _:
                await response.write(content)

    async def cut(self, request: web.Request, response: web.StreamResponse, content: bytes) -> None:
        await response.write(content)
        if request.transport:
            request.transport.close()

    async def token(self, _: web.Request) -> web.Response:
        return web.json_response({"token": "of no use"})

    async def listing(self, _: web.Request) -> web.Response:
        return web.json_response(list(self.requests))

    async def move(self, request: web.Request) -> web.Response:
        self.moves[(await request.json())["name"]] += 1
        return web.Response(status=204)


def run(kind: type[Registry], env: Mapping[str, str]) -> None:
    settings = Settings.from_environment(env)
    (weights,) = settings.models.glob("*.gguf")
    host, _, port = settings.listen.rpartition(":")
    listening = socket.create_server((host, int(port)))
    print("http://{}:{}".format(*listening.getsockname()), flush=True)
    app = kind(settings, weights.read_bytes()).app()
    web.run_app(app, sock=listening, print=None, shutdown_timeout=1, handler_cancellation=True)


if __name__ == "__main__":
    run(Registry, os.environ)
