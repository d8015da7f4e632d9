"""`python -m ollamaserve_sidecar standalone` as a process, with a real Ollama and a registry."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from component.conftest import free_port

BOUND = 60.0
TOKEN = "a-token-of-the-tests"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = BOUND) -> None:
    """Return as soon as it holds; TimeoutError where it never does."""
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110 other processes signal nothing
            await asyncio.sleep(0.05)


@dataclass(slots=True)
class Standalone:
    """The command, with a home folder that outlives it as a volume does."""

    program: Path
    home: Path
    port: int = field(default_factory=free_port)
    status_port: int = field(default_factory=free_port)
    ollama_port: int = field(default_factory=free_port)
    process: Process | None = None

    @property
    def log(self) -> str:
        return (self.home / "log").read_text()

    async def start(self, *models: str, **environment: str) -> None:
        """Start it; it listens, or it has ended, when this returns."""
        given = {
            "HOME": str(self.home),
            "AUTH_TOKEN": TOKEN,
            "OLLAMA_MODEL": ",".join(models),
            "OLLAMA_BIN": str(self.program),
            "PULL_INSECURE": "true",
            "GATE_LISTEN": f"127.0.0.1:{self.port}",
            "GATE_STATUS_LISTEN": f"127.0.0.1:{self.status_port}",
            "GATE_UPSTREAM": f"http://127.0.0.1:{self.ollama_port}",
        }
        command = (sys.executable, "-m", "ollamaserve_sidecar", "standalone")
        with (self.home / "log").open("w") as output:
            self.process = await asyncio.create_subprocess_exec(
                *command, env=os.environ | given | environment, stdout=output, stderr=output
            )
        await until(self.listens)

    async def listens(self) -> bool:
        assert self.process is not None
        if self.process.returncode is not None:
            return True
        try:
            async with aiohttp.request("GET", f"http://127.0.0.1:{self.status_port}/livez") as live:
                return live.status == 200
        except aiohttp.ClientError:
            return False

    async def ready(self) -> None:
        async def holds() -> bool:
            return bool((await self.status())["ready"])

        await until(holds)

    async def status(self) -> dict[str, Any]:
        async with aiohttp.request("GET", f"http://127.0.0.1:{self.status_port}/status") as answer:
            document: dict[str, Any] = await answer.json()
            return document

    async def ask(self, path: str, **body: Any) -> tuple[int, Any, str]:
        """Status, document and Retry-After of a request; a body makes it a POST."""
        async with aiohttp.request(
            "POST" if body else "GET",
            f"http://127.0.0.1:{self.port}{path}",
            json=body or None,
            headers=HEADERS,
        ) as answer:
            return (
                answer.status,
                json.loads(await answer.read()),
                answer.headers.get("Retry-After", ""),
            )

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self) -> int:
        """The exit status, within the bound."""
        assert self.process is not None
        return await asyncio.wait_for(self.process.wait(), BOUND)

    def ollama(self) -> int:
        """The process id of its Ollama."""
        assert self.process is not None
        (child,) = children(self.process.pid)
        return child

    async def close(self) -> None:
        """What a failed test may have left: the process, its Ollama, and the runners."""
        if self.process is None:
            return
        for child in children(self.process.pid):
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


def children(pid: int) -> list[int]:
    """The processes that this one has started and not yet waited for."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def environment(pid: int) -> list[bytes]:
    """The variables that a process was started with, as NAME=value."""
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def session(leader: int) -> list[int]:
    """Every living process of the session that `leader` began (proc_pid_stat(5), field 6)."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(FileNotFoundError, ProcessLookupError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if fields[3] == str(leader) and fields[0] != "Z":
                    found.append(int(folder.name))
    return found


@pytest.fixture
async def standalone(ollama_binary: Path, tmp_path: Path) -> AsyncIterator[Standalone]:
    """The command, not started yet."""
    command = Standalone(ollama_binary, tmp_path)
    yield command
    await command.close()
