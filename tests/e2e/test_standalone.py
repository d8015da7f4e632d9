"""The one container (issue 4, section 4), built and run as a user does, on a network of its own."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from ollamaserve_dev import cache, engine, images

pytestmark = pytest.mark.e2e

BOUND = 120.0
TOKEN = "a-token-of-the-tests"
PREFIX = f"ollamaserve-test-{os.getpid()}"
MODEL = f"http://{PREFIX}-registry:5000/library/tiny"
QUESTION, ANSWER = "What is the capital of France?", "The capital of France is Paris."
COMPOSED = yaml.safe_load((cache.CHECKOUT / "compose.yaml").read_text())["services"]["ollama"]
CONFINED = (
    f"--read-only={COMPOSED['read_only']}".lower(),
    *(f"--tmpfs={folder}" for folder in COMPOSED["tmpfs"]),
    *(f"--cap-drop={capability}" for capability in COMPOSED["cap_drop"]),
    *(f"--security-opt={option}" for option in COMPOSED["security_opt"]),
    f"--stop-timeout={COMPOSED['stop_grace_period'].removesuffix('s')}",
)
VOLUME, DOOR = COMPOSED["volumes"][0].partition(":")[2], COMPOSED["ports"][0].partition(":")[2]
# Python programs to be run inside, where there is neither ps nor kill.
KILL = """
import os, pathlib
for status in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    if status.read_bytes() == b"/usr/bin/ollama\\0serve\\0":
        os.kill(int(status.parent.name), 9)
"""
ORPHAN = """
import os
child = os.fork()
if child:
    print(child)
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A network with a registry in it, a volume, and the engine that knows them."""

    engine: engine.Engine
    image: str

    def run(self, name: str, *words: str) -> str:
        """Start a container in the background; its name."""
        self.engine.run(
            *("run", "--detach", f"--name={PREFIX}-{name}", f"--network={PREFIX}", *words),
            log=f"standalone-{name}",
        )
        return f"{PREFIX}-{name}"

    def serve(self, name: str, *options: str) -> str:
        return self.run(
            name,
            *(f"--publish=127.0.0.1::{DOOR}", f"--volume={PREFIX}:{VOLUME}", *CONFINED),
            *("--env=PULL_INSECURE=true", f"--env=AUTH_TOKEN={TOKEN}"),
            *(f"--env=OLLAMA_MODEL={MODEL}", *options, self.image),
        )

    def asked(self, *words: str) -> str:
        answer = self.engine.ask(*words)
        assert answer is not None, words
        return answer

    def remove(self, name: str) -> None:
        self.asked("rm", "--force", "--time=0", name)

    def request(self, name: str, path: str, **body: Any) -> tuple[int, Any]:
        """Status and document of a request through the published port; 0 while nobody listens."""
        port = self.asked("port", name, f"{DOOR}/tcp").rpartition(":")[2]
        content = json.dumps(body).encode() if body else None
        asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", content)
        asked.add_header("Authorization", f"Bearer {TOKEN}")
        try:
            with urllib.request.urlopen(asked, timeout=BOUND) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refusal:
            return refusal.code, json.load(refusal)
        except OSError:
            return 0, None

    def answer(self, name: str) -> str:
        """What the model says to QUESTION, as soon as it is there."""
        body = {
            "model": MODEL.removeprefix("http://"),
            "messages": [{"role": "user", "content": QUESTION}],
        }
        until(lambda: self.request(name, "/api/chat", **body, stream=False)[0] == 200)
        _, answer = self.request(name, "/v1/chat/completions", **body)
        said: str = answer["choices"][0]["message"]["content"]
        return said


def until(holds: Callable[[], bool]) -> None:
    """Return as soon as it holds; fail where it never does."""
    deadline = time.monotonic() + BOUND
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail("not within the bound")
        time.sleep(0.1)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    current = engine.current()
    made = Place(current, images.standalone())
    with cache.locked(engine.LOCK, shared=True):
        current.run("network", "create", PREFIX, log="standalone-network")
        made.run(
            "registry",
            f"--volume={cache.CHECKOUT}/dev/ollamaserve_dev/registry.py:/registry.py:ro",
            f"--volume={cache.CHECKOUT}/tests/models:/models:ro",
            *("--env=REGISTRY_LISTEN=0.0.0.0:5000", "--env=REGISTRY_MODELS=/models"),
            *(f"--network-alias={PREFIX}-blobs", f"--env=REGISTRY_BLOB_HOST={PREFIX}-blobs"),
            *("--entrypoint=python3", made.image, "-P", "/registry.py"),
        )
        try:
            yield made
        finally:
            current.ask("rm", "--force", "--time=0", f"{PREFIX}-registry")
            current.ask("volume", "rm", "--force", PREFIX)
            current.ask("network", "rm", "--force", PREFIX)
    engine.leave_nothing(current)


@pytest.fixture
def container(place: Place) -> Iterator[str]:
    """One that serves the tiny model on the module's volume, confined as in compose.yaml."""
    name = place.serve("serve")
    yield name
    place.engine.ask("rm", "--force", "--time=0", name)


def test_it_pulls_answers_and_stops(place: Place, container: str) -> None:
    """As in the original: two variables, one port; stopping it is an orderly end with status 0."""
    assert place.answer(container) == ANSWER
    assert f"{MODEL} is there" in logs(place, container)
    until(lambda: place.engine.ask("exec", container, *COMPOSED["healthcheck"]["test"][1:]) == "")
    place.asked("stop", container)
    assert exit_status(place, container) == "0"


def test_the_volume_outlives_container_and_registry(place: Place) -> None:
    """A new container on the same volume serves what is there, with no registry to ask."""
    first = place.serve("first")
    place.answer(first)
    place.remove(first)
    place.asked("stop", "--time=0", f"{PREFIX}-registry")
    second = place.serve("second")
    try:
        assert place.answer(second) == ANSWER
        assert "downloading" not in logs(place, second)
    finally:
        place.remove(second)
        place.asked("start", f"{PREFIX}-registry")


def test_ollamas_death_ends_the_container(place: Place, container: str) -> None:
    """Its restart policy then does the rest; the log says what happened."""
    place.answer(container)
    place.asked("exec", container, "python3", "-c", KILL)

    place.asked("wait", container)
    assert exit_status(place, container) == "1"
    assert "Ollama was ended by signal 9 (SIGKILL)" in logs(place, container)


def test_orphans_are_collected(place: Place, container: str) -> None:
    """It is process 1, and inherits what `exec` leaves behind: no zombie stays."""
    until(lambda: "is up" in logs(place, container))
    orphan = place.asked("exec", container, "python3", "-c", ORPHAN)

    until(lambda: place.engine.ask("exec", container, "test", "-e", f"/proc/{orphan}") is None)


@pytest.mark.parametrize("missing", ["AUTH_TOKEN", "OLLAMA_MODEL"])
def test_a_missing_variable_is_one_line(place: Place, missing: str) -> None:
    """Exit status 2, and the one line names it."""
    name = place.serve("refused", f"--env={missing}=")
    try:
        place.asked("wait", name)
        assert exit_status(place, name) == "2"
        assert logs(place, name).startswith(f"ollamaserve_sidecar: {missing} is missing or empty")
        assert "\n" not in logs(place, name)
    finally:
        place.remove(name)


def logs(place: Place, name: str) -> str:
    """All that it has written."""
    written = subprocess.run(
        [place.engine.name, "logs", name],
        env=place.engine.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BOUND,
        check=True,
    )
    return written.stdout.strip()


def exit_status(place: Place, name: str) -> str:
    return place.asked("inspect", "--format={{.State.ExitCode}}", name)
