"""The gate as a process of its own before a real Ollama, for clients as people install them."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ollama
import pytest

from component.conftest import await_answer, free_port, process

TOKEN = "a-token-of-the-tests"


@pytest.fixture(scope="module")
def gate(ports: tuple[str, str]) -> str:
    """The gate's origin; its one token has full access."""
    return ports[0]


@pytest.fixture(scope="module")
def status(ports: tuple[str, str]) -> str:
    """The origin of its other port."""
    return ports[1]


@pytest.fixture(scope="module")
def ports(
    ollama_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    folder = tmp_path_factory.mktemp("gate")
    with serving(folder, ollama_server, {"AUTH_TOKEN": TOKEN}) as ports:
        yield ports


@contextmanager
def serving(folder: Path, upstream: str, credentials: dict[str, str]) -> Iterator[tuple[str, str]]:
    """A gate as a process; the origins of its door and of its other port."""
    door, status = free_port(), free_port()
    log = folder / "log"
    environment = os.environ | {
        "GATE_LISTEN": f"127.0.0.1:{door}",
        "GATE_STATUS_LISTEN": f"127.0.0.1:{status}",
        "GATE_UPSTREAM": upstream,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-m", "ollamaserve_sidecar", "serve"]
    with log.open("w") as output, process(command, environment | credentials, output) as running:
        await_answer(f"http://127.0.0.1:{status}/livez", log)
        yield f"http://127.0.0.1:{door}", f"http://127.0.0.1:{status}"
        running.kill()  # draining takes seconds and is tested elsewhere
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def client(gate: str) -> Iterator[ollama.Client]:
    with ollama.Client(gate, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def model(client: ollama.Client, registry: str) -> str:
    """The tiny model, pulled through the gate; its short name."""
    name = f"{registry}/library/tiny".removeprefix("http://")
    assert client.pull(name, insecure=True).status == "success"
    client.copy(name, "tiny")
    return "tiny"


@pytest.fixture(scope="session")
def tiny() -> Path:
    return Path(__file__).parents[2] / "models/tiny.gguf"
