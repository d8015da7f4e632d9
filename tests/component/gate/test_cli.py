"""The `ollama` program, unmodified, through the gate with its own key (decision G4)."""

import asyncio
import json
import os
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from component.conftest import await_answer, free_port, process
from component.gate.rig import TOKEN, Metrics, open_gate
from ollamaserve_sidecar import reload

PATIENCE = 120


@dataclass
class Person:
    """Somebody with the program, a home of their own, and the gate's address."""

    binary: Path
    home: Path
    host: str
    metrics: Metrics
    live: reload.Live
    config: Path

    async def ollama(self, *arguments: str) -> tuple[int, str]:
        """The exit status and everything that the program printed."""
        environment = {
            "HOME": str(self.home),
            "OLLAMA_HOST": self.host,
            "OLLAMA_AUTH": "1",
            "PATH": os.environ["PATH"],
            "NO_PROXY": "*",
        }
        running = await asyncio.create_subprocess_exec(
            self.binary,
            *arguments,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(PATIENCE):
            output, _ = await running.communicate()
        return running.returncode or 0, output.decode()

    def authorise(self, **grant: object) -> None:
        """Put the key that the program has made for itself into GATE_CONFIG."""
        key = (self.home / ".ollama" / "id_ed25519.pub").read_text()
        document = {"authorizedKeys": [{"name": "ada", "key": key} | grant]}
        self.config.write_text(json.dumps(document))
        assert self.live.check()

    def seen(self) -> list[tuple[str, str, int]]:
        return [self.metrics.requests.get_nowait() for _ in range(self.metrics.requests.qsize())]


@pytest.fixture(scope="module")
def model(ollama_server: str, registry: str) -> str:
    """The tiny model's name in this module's Ollama, which also has it under the name `other`."""
    name = f"{registry}/library/tiny"
    post(f"{ollama_server}/api/pull", {"model": name, "insecure": True, "stream": False})
    post(f"{ollama_server}/api/copy", {"source": name, "destination": "other"})
    return name.removeprefix("http://")


def post(url: str, document: object) -> None:
    with urllib.request.urlopen(url, json.dumps(document).encode(), timeout=60) as answer:
        assert answer.status == 200


@pytest.fixture(scope="module")
def home(ollama_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the program has run as a server once, which is when it makes its key."""
    home = tmp_path_factory.mktemp("ada")
    address, log = f"127.0.0.1:{free_port()}", home / "log"
    environment = {"HOME": str(home), "OLLAMA_HOST": address, "PATH": os.environ["PATH"]}
    with log.open("w") as output, process([ollama_binary, "serve"], environment, output):
        await_answer(f"http://{address}/api/version", log)
    return home


@pytest.fixture
async def ada(
    ollama_server: str, ollama_binary: Path, home: Path, tmp_path: Path
) -> AsyncIterator[Person]:
    """A person whose key isn't authorised yet."""
    folder, config = tmp_path / "tokens", tmp_path / "gate.json"
    folder.mkdir()
    (folder / "AUTH_TOKEN").write_text(TOKEN)
    config.write_text(json.dumps({"tokens": {"AUTH_TOKEN": {"access": "infer"}}}))
    gate, _, metrics, live = await open_gate(
        int(ollama_server.rpartition(":")[2]),
        GATE_TOKENS_DIR=str(folder),
        GATE_CONFIG=str(config),
    )
    yield Person(ollama_binary, home, f"http://127.0.0.1:{gate.port}", metrics, live, config)
    await gate.close()


async def test_a_key_that_is_not_authorised(ada: Person, model: str) -> None:
    """Whoever has the program has a key: it opens nothing."""
    assert [(await ada.ollama(*words))[0] for words in (("list",), ("run", model, "hi"))] == [1, 1]
    assert ada.seen() == [("", "-", 401)] * 2


async def test_an_authorised_key_may_infer(ada: Person, model: str) -> None:
    """G4: list, show, ps and run work, whatever needs more says so, and `infer` is the default."""
    ada.authorise()

    assert model in (await ada.ollama("list"))[1]
    assert "architecture" in (await ada.ollama("show", model))[1]
    assert "toy" in (await ada.ollama("run", model, "hi"))[1]
    assert model in (await ada.ollama("ps"))[1]
    assert {entry[0] for entry in ada.seen()} == {"ada"}
    for words in (("pull", model), ("cp", model, "copy"), ("push", model)):
        status, output = await ada.ollama(*words)
        assert (status, "this request needs 'manage'" in output) == (1, True)


async def test_equal_calls_within_a_second(ada: Person, model: str) -> None:
    """G4: several runs on a warm model sign equal challenges, and all of them are answered."""
    ada.authorise()
    await ada.ollama("run", model, "hi")
    runs = await asyncio.gather(*(ada.ollama("run", model, "hi") for _ in range(4)))

    assert [(status, "toy" in output) for status, output in runs] == [(0, True)] * 4


async def test_a_key_for_one_model(ada: Person, model: str) -> None:
    """G11: such a key lists, shows and runs its model alone."""
    ada.authorise(models=[model])
    _, listed = await ada.ollama("list")

    assert (model in listed, "other" in listed) == (True, False)
    assert "toy" in (await ada.ollama("run", model, "hi"))[1]
    for words in (("run", "other", "hi"), ("show", "other")):
        status, output = await ada.ollama(*words)
        assert (status, "isn't for the model" in output) == (1, True)
