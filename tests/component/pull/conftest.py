"""The pull command, in this process or as one of its own, against a real Ollama and registry."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ollamaserve_sidecar import pulljob
from ollamaserve_sidecar.config import ExpectedModel
from ollamaserve_sidecar.failures import Failure
from ollamaserve_sidecar.ollama import Ollama
from ollamaserve_sidecar.pull import Puller
from ollamaserve_sidecar.pulljob import Exit, Job, Settings

Pulled = tuple[Exit, Failure | None]
Pull = Callable[..., Awaitable[Pulled]]
Left = Callable[[], Any]


@pytest.fixture
async def ollama(ollama_server: str) -> AsyncIterator[Ollama]:
    """The gate's own client of the module's Ollama."""
    async with Ollama(ollama_server) as client:
        yield client


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Left:
    """The termination message, decoded, or None; a file stands for /dev/termination-log."""
    log = tmp_path / "termination-log"
    monkeypatch.setattr(pulljob, "TERMINATION_LOG", log)
    return lambda: json.loads(log.read_text()) if log.exists() else None


@pytest.fixture
def pull(ollama: Ollama, left: Left) -> Pull:
    """Runs the job for one model, with short waits; its exit status and failure."""

    async def run(name: str, digest: str = "", *, insecure: bool = True) -> Pulled:
        wanted = Settings((ExpectedModel(name, digest),), insecure)
        failure = await Job(wanted, ollama, Puller(ollama, delays=(0.01,))).run()
        return pulljob.end(failure), failure

    return run


@pytest.fixture
def environment(ollama_server: str) -> Callable[..., dict[str, str]]:
    """The environment of a pull container that wants the named models."""

    def of(*names: str, status_port: int) -> dict[str, str]:
        return {
            "PULL_MODELS": json.dumps([{"name": name} for name in names]),
            "PULL_INSECURE": "true",
            "GATE_UPSTREAM": ollama_server,
            "GATE_STATUS_LISTEN": f"127.0.0.1:{status_port}",
        }

    return of
