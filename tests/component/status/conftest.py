"""The serving gate as a process of its own, and an Ollama that can be killed and started again."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest

BOUND = 60.0
MODELS = Path(__file__).parents[2] / "models"
TOKEN = "a-token-of-the-tests"
Condition = Callable[[dict[str, Any]], bool]


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = BOUND) -> None:
    """Return as soon as it holds; TimeoutError where it never does."""
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110 other processes signal nothing
            await asyncio.sleep(0.05)


@asynccontextmanager
async def process(
    *command: str | Path, out: Path | None = None, err: Path | None = None, **environment: str
) -> AsyncIterator[Process]:
    """A program with this environment beside ours; it and its children don't outlive the block.

    Standard output and error go to files, or nowhere.
    """
    files = [path.open("wb") if path else None for path in (out, err)]
    running = await asyncio.create_subprocess_exec(
        *command,
        env=os.environ | environment,
        stdout=files[0] or DEVNULL,
        stderr=files[1] or DEVNULL,
        start_new_session=True,
    )
    for file in files:
        if file:
            file.close()
    try:
        yield running
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        await running.wait()


@dataclass(slots=True)
class OllamaProcess:
    """An Ollama at a fixed address, with models that stay, started as often as asked."""

    program: Path
    home: Path
    port: int
    running: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        environment = {
            "HOME": str(self.home),
            "OLLAMA_HOST": f"127.0.0.1:{self.port}",
            "OLLAMA_KEEP_ALIVE": "-1",
            "OLLAMA_NOPRUNE": "1",
            "OLLAMA_NO_CLOUD": "1",
        }
        server = process(self.program, "serve", out=None, err=None, **environment)
        await self.running.enter_async_context(server)
        await until(self.answers)

    async def answers(self) -> bool:
        try:
            await self.ask("/api/version")
        except aiohttp.ClientError:
            return False
        return True

    async def create(self, name: str, changed: Callable[[bytes], bytes] = bytes) -> None:
        """Make a model of the tests' weights, at once and without a registry."""
        (path,) = MODELS.glob("*.gguf")
        weights = changed(path.read_bytes())
        digest = f"sha256:{sha256(weights).hexdigest()}"
        url = f"{self.origin}/api/blobs/{digest}"
        async with aiohttp.request("POST", url, data=weights, raise_for_status=True):
            pass
        await self.ask("/api/create", model=name, files={path.name: digest}, system=name)

    async def kill(self) -> None:
        """SIGKILL to all of it, as the end of its container does."""
        await self.running.aclose()

    async def ask(self, path: str, **body: Any) -> bytes:
        """The whole answer to a request; a body makes it a POST."""
        method = "POST" if body else "GET"
        async with aiohttp.request(
            method, self.origin + path, json=body or None, raise_for_status=True
        ) as response:
            return await response.read()


@dataclass(slots=True)
class Gate:
    """`python -m ollamaserve_sidecar serve`, with its configuration in files as in a pod."""

    folder: Path
    upstream: str
    port: int
    status_port: int
    process: Process | None = None
    running: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def access_log(self) -> Path:
        return self.folder / "access.log"

    @property
    def log(self) -> str:
        return (self.folder / "gate.log").read_text()

    def configure(self, *models: dict[str, Any], **more: Any) -> None:
        """Swap the configuration file as a whole, as kubelet does."""
        content = {"tokens": {"AUTH_TOKEN": {"access": "infer"}}, "models": models, **more}
        new = self.folder / "gate.json.new"
        new.write_text(json.dumps(content))
        new.replace(self.folder / "gate.json")

    async def start(self, **environment: str) -> None:
        tokens = self.folder / "tokens"
        tokens.mkdir()
        (tokens / "AUTH_TOKEN").write_text(TOKEN)
        self.process = await self.running.enter_async_context(
            process(
                sys.executable,
                "-m",
                "ollamaserve_sidecar",
                "serve",
                out=self.access_log,
                err=self.folder / "gate.log",
                **environment,
                GATE_CONFIG=str(self.folder / "gate.json"),
                GATE_TOKENS_DIR=str(tokens),
                GATE_LISTEN=f"127.0.0.1:{self.port}",
                GATE_STATUS_LISTEN=f"127.0.0.1:{self.status_port}",
                GATE_UPSTREAM=self.upstream,
            )
        )
        await until(self.listens)

    async def listens(self) -> bool:
        try:
            return (await self.get("/livez"))[0] == 200
        except aiohttp.ClientError:
            return False

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text of a path of the status port."""
        url = f"http://127.0.0.1:{self.status_port}{path}"
        async with aiohttp.request("GET", url) as response:
            return response.status, await response.text()

    async def status(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((await self.get("/status"))[1])
        return document

    async def until(self, condition: Condition) -> dict[str, Any]:
        """The first status document that fulfils the condition."""
        seen: dict[str, Any] = {}

        async def holds() -> bool:
            seen.update(await self.status())
            return condition(seen)

        try:
            await until(holds)
        except TimeoutError:
            pytest.fail(f"the status stayed {seen}")
        return seen

    def terminate(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    async def ended(self) -> int:
        """The exit status, within the bound."""
        assert self.process is not None
        return await asyncio.wait_for(self.process.wait(), BOUND)

    def ask(self, body: AsyncIterator[bytes]) -> Any:
        """A generation through the door, as aiohttp's response context."""
        return aiohttp.request(
            "POST",
            f"http://127.0.0.1:{self.port}/api/generate",
            data=body,
            headers={"Authorization": f"Bearer {TOKEN}"},
        )


@pytest.fixture
async def ollama(
    ollama_binary: Path, tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> AsyncIterator[OllamaProcess]:
    """A running Ollama of the test's own, without models."""
    home = tmp_path / "ollama"
    home.mkdir()
    server = OllamaProcess(ollama_binary, home, unused_tcp_port_factory())
    await server.start()
    yield server
    await server.kill()


@pytest.fixture
async def gate(
    ollama: OllamaProcess, tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> AsyncIterator[Gate]:
    """A gate in front of it, not started yet."""
    ports = unused_tcp_port_factory(), unused_tcp_port_factory()
    gate = Gate(tmp_path, ollama.origin, *ports)
    yield gate
    await gate.running.aclose()


@pytest.fixture
async def model(ollama: OllamaProcess) -> str:
    """The name of a model that the Ollama has."""
    await ollama.create("tiny")
    return "tiny"
