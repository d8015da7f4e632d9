"""The `ollama` program, unmodified, through the gate with its own key (decision G4)."""

import asyncio
import json
import os
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from component.certificates import mount
from component.conftest import MODELS, await_answer, free_port, process
from component.gate.rig import TOKEN, Metrics, open_gate
from ollamaserve_dev.certificate import pair
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
    authority: str

    async def ollama(self, *arguments: str) -> tuple[int, str]:
        """The exit status and everything that the program printed."""
        environment = {
            "HOME": str(self.home),
            "OLLAMA_HOST": self.host,
            "OLLAMA_AUTH": "1",
            "PATH": os.environ["PATH"],
            "NO_PROXY": "*",
            "SSL_CERT_FILE": self.authority,
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
    async with person(ollama_server, ollama_binary, home, tmp_path) as ada:
        yield ada


@pytest.fixture
async def secured(
    ollama_server: str, ollama_binary: Path, home: Path, tmp_path: Path
) -> AsyncIterator[Person]:
    """The same person, before a gate with TLS."""
    mount(tmp_path / "tls", *pair("gate"))
    files = {"GATE_TLS_CERT": "tls/tls.crt", "GATE_TLS_KEY": "tls/tls.key"}
    environ = {name: str(tmp_path / file) for name, file in files.items()}
    async with person(ollama_server, ollama_binary, home, tmp_path, **environ) as ada:
        yield ada


@asynccontextmanager
async def person(
    ollama_server: str, binary: Path, home: Path, folder: Path, **environ: str
) -> AsyncIterator[Person]:
    tokens, config = folder / "tokens", folder / "gate.json"
    tokens.mkdir()
    (tokens / "AUTH_TOKEN").write_text(TOKEN)
    config.write_text(json.dumps({"tokens": {"AUTH_TOKEN": {"access": "infer"}}}))
    files = {"GATE_TOKENS_DIR": str(tokens), "GATE_CONFIG": str(config)}
    port = int(ollama_server.rpartition(":")[2])
    gate, _, metrics, live = await open_gate(port, **files, **environ)
    scheme = "https" if environ else "http"
    address = f"{scheme}://127.0.0.1:{gate.port}"
    yield Person(binary, home, address, metrics, live, config, environ.get("GATE_TLS_CERT", ""))
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


async def test_a_key_that_may_manage(secured: Person, room: str, tmp_path: Path) -> None:
    """G4: over TLS a key may do more: pull, create with an upload, copy, push and remove."""
    secured.authorise(access="manage")
    name, pushed = f"{room}/library/tiny", f"{room}/ada/pushed"
    (tmp_path / "Modelfile").write_text(f"FROM {MODELS / 'tiny.gguf'}\n")
    for words in (
        ("pull", "--insecure", name),
        ("create", "made", "-f", str(tmp_path / "Modelfile")),
        ("cp", "made", "copy"),
        ("cp", "made", pushed),
        ("push", "--insecure", pushed),
        ("rm", "made", "copy", pushed),
        ("pull", "--insecure", pushed),
        ("show", pushed),
        ("rm", pushed),
    ):
        status, output = await secured.ollama(*words)
        assert (words, status) == (words, 0), output

    assert "made" not in (await secured.ollama("list"))[1]
    assert {entry[0] for entry in secured.seen()} == {"ada"}


async def test_a_key_that_may_manage_needs_tls(ada: Person, model: str) -> None:
    """G4: without TLS such a configuration isn't taken, and the last good one stays in force."""
    ada.authorise()
    with pytest.raises(AssertionError):
        ada.authorise(access="manage")

    assert "without TLS" in ada.live.status.error
    assert (await ada.ollama("list"))[0] == 0
