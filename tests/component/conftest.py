"""Real processes for the component tests: an Ollama and a model registry, both on loopback.

`ollama_server` and `registry` are origins (`http://127.0.0.1:PORT`). A model's name for `/api/pull`
is `f"{registry}/library/tiny"` with `"insecure": true`; Ollama then lists it without the scheme.
The registry's docstring says which namespaces fail and how.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.error import URLError

import pytest

from ollamaserve_dev import registry as script
from ollamaserve_dev import tools

MODELS = Path(__file__).parents[1] / "models"
SCRIPT = script.__file__


@pytest.fixture(scope="session")
def ollama_binary() -> Path:
    """The `ollama` program: prebuilt where there is such a folder, otherwise built from source."""
    return tools.path("ollama")


@pytest.fixture(scope="module")
def ollama_server(ollama_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The origin of an Ollama of the module's own, without models, on the CPU."""
    home = tmp_path_factory.mktemp("ollama")
    address = f"127.0.0.1:{free_port()}"
    environment = {
        "HOME": str(home),
        "OLLAMA_HOST": address,
        "OLLAMA_MODELS": str(home / "models"),
        "OLLAMA_NOPRUNE": "1",
        "OLLAMA_NO_CLOUD": "1",
        "PATH": os.environ["PATH"],
    }
    log = home / "log"
    with log.open("w") as output, process([ollama_binary, "serve"], environment, output):
        await_answer(f"http://{address}/api/version", log)
        yield f"http://{address}"


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    """The origin of a model registry of the module's own, which serves the tiny model."""
    environment = os.environ | {"REGISTRY_LISTEN": "127.0.0.1:0", "REGISTRY_MODELS": str(MODELS)}
    command = [sys.executable, "-P", SCRIPT]  # as a pod runs it: one file, nothing else on the path
    with process(command, environment, subprocess.PIPE) as running:
        assert running.stdout is not None
        yield running.stdout.readline().strip()


@pytest.fixture(scope="module")
def room() -> Iterator[str]:
    """The same, which also takes what is pushed to names that begin with `pushed`."""
    environment = os.environ | {"REGISTRY_LISTEN": "127.0.0.1:0", "REGISTRY_MODELS": str(MODELS)}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, "-m", "ollamaserve_dev.pushes"]
    with process(command, environment, subprocess.PIPE) as running:
        assert running.stdout is not None
        yield running.stdout.readline().strip()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def process(
    command: Sequence[str | Path], environment: dict[str, str], output: int | IO[str]
) -> Iterator[subprocess.Popen[str]]:
    """A program that runs inside the `with` block; it is killed if it doesn't end within 10 s."""
    with subprocess.Popen(
        command, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True
    ) as running:
        try:
            yield running
        finally:
            running.terminate()
            try:
                running.wait(10)
            except subprocess.TimeoutExpired:
                running.kill()


def await_answer(url: str, log: Path, seconds: float = 60) -> None:
    """Return as soon as the URL answers; fail with the end of the log where it never does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except URLError:
            time.sleep(0.05)
    pytest.fail(f"no answer from {url} within {seconds:.0f} s:\n{log.read_text()[-2000:]}")
