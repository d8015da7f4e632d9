"""Custom models: what `create` makes of another model in a real Ollama, and when it does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from component.pull.conftest import Left
from ollamaserve_sidecar import pulljob
from ollamaserve_sidecar.config import Creation, ExpectedModel, GateConfig, PullConfig
from ollamaserve_sidecar.failures import Cause, Failure
from ollamaserve_sidecar.models import canonical
from ollamaserve_sidecar.ollama import Ollama
from ollamaserve_sidecar.pull import Puller
from ollamaserve_sidecar.pulljob import Exit, Job, Settings

BOUND = 60.0
Ended = tuple[Exit, Failure | None]
Made = Callable[..., Awaitable[Ended]]


async def run(ollama: Ollama, *models: ExpectedModel) -> Ended:
    """One run of the Job, in a process of its own as far as its memory goes."""
    job = Job(Settings(models, insecure=True), ollama, Puller(ollama, delays=(0.01,)))
    failure = await job.run()
    return pulljob.end(failure), failure


@pytest.fixture
def made(ollama: Ollama, registry: str) -> Made:
    """Runs the job for one custom model, made of one of the registry's."""

    async def make(name: str, *, source: str, **creation: Any) -> Ended:
        wanted = Creation(f"{registry}/{source}", **creation)
        return await run(ollama, ExpectedModel(name, create=wanted))

    return make


async def shown(ollama: Ollama, name: str) -> Mapping[str, Any]:
    body = {"model": name}
    async with aiohttp.request("POST", f"{ollama.origin}/api/show", json=body) as response:
        found: Mapping[str, Any] = await response.json()
        return found


async def digest(ollama: Ollama, name: str) -> str:
    return (await ollama.installed())[canonical(name)].digest


async def test_a_model_is_made_of_another_one(ollama: Ollama, registry: str) -> None:
    """`from` is pulled though no list names it; system, template and parameters are the spec's."""
    source = f"{registry}/library/tiny-source"
    wanted = Creation(source, "You are Ada.", "{{ .System }}{{ .Prompt }}", {"temperature": 0.5})

    assert await run(ollama, ExpectedModel("ada", create=wanted)) == (Exit.DONE, None)

    found = await shown(ollama, "ada")
    assert found["system"] == "You are Ada."
    assert found["template"] == "{{ .System }}{{ .Prompt }}"
    assert ["temperature", "0.5"] in [line.split() for line in found["parameters"].splitlines()]
    assert canonical(source) in await ollama.installed()


async def test_a_changed_creation_is_made_and_an_equal_one_is_the_same(
    ollama: Ollama, registry: str
) -> None:
    """Idempotent: the digest is that of what was asked for, however often that is."""
    source = f"{registry}/library/tiny-again"
    first = ExpectedModel("eva", create=Creation(source, "You are Eva."))
    await run(ollama, first)
    once = await digest(ollama, "eva")
    await run(ollama, first)
    again = await digest(ollama, "eva")
    await run(ollama, ExpectedModel("eva", create=Creation(source, "You are Evi.")))

    assert once == again != await digest(ollama, "eva")
    assert (await shown(ollama, "eva"))["system"] == "You are Evi."


async def test_a_made_model_can_be_pinned(ollama: Ollama, registry: str) -> None:
    """What Ollama makes of the same is the same: a pin holds for custom models too."""
    wanted = Creation(f"{registry}/library/tiny-pinned-source", "You are Pia.")
    await run(ollama, ExpectedModel("pia", create=wanted))
    pin = await digest(ollama, "pia")

    assert await run(ollama, ExpectedModel("pia", pin, create=wanted)) == (Exit.DONE, None)
    _, failure = await run(ollama, ExpectedModel("pia", "0" * 64, create=wanted))
    assert failure is not None
    assert (failure.cause, failure.permanent) == (Cause.DIGEST_MISMATCH, True)


@pytest.mark.parametrize(
    ("creation", "cause", "words"),
    [
        (
            {"source": "missing/tiny"},
            Cause.MODEL_NOT_FOUND,
            "missing/tiny: pull model manifest: file does not exist",
        ),
        (
            {"source": "library/tiny", "template": "{{ .Prompt"},
            Cause.CREATE_FAILED,
            "template error: template: :1: unclosed action",
        ),
        ({"source": "library/tiny:a:b"}, Cause.INVALID_CONFIGURATION, "invalid model name"),
    ],
    ids=["no such source", "a broken template", "no name"],
)
async def test_what_cannot_be_made_says_why(
    made: Made, left: Left, creation: dict[str, str], cause: Cause, words: str
) -> None:
    """Permanent, in Ollama's words, and the model that they are about is the one of the list."""
    ended, failure = await made("nobody", **creation)

    assert failure is not None
    assert (failure.cause, failure.permanent) == (cause, True)
    assert ended in {Exit.PERMANENT, Exit.CONFIGURATION}
    assert (left()["model"], left()["reason"]) == ("nobody", cause)
    assert words in left()["message"]


class Gate:
    """A serving gate's puller whose configuration can be changed."""

    def __init__(self, ollama: Ollama, *models: ExpectedModel) -> None:
        self.puller = Puller(ollama, delays=())
        self.config = GateConfig(tokens={}, models=models, pull=PullConfig(insecure=True))

    def change(self, *models: ExpectedModel) -> None:
        self.config = GateConfig(tokens={}, models=models, pull=PullConfig(insecure=True))
        self.puller.wake()


@asynccontextmanager
async def following(gate: Gate) -> AsyncIterator[None]:
    task = asyncio.create_task(gate.puller.follow(lambda: gate.config))
    yield
    task.cancel()


async def until_made(gate: Gate, model: ExpectedModel) -> None:
    async with asyncio.timeout(BOUND):
        while True:
            pull = gate.puller.pulls.get(canonical(model.name))
            if pull and not pull.running and model.as_wanted(pull.made) and not pull.failure:
                return
            await asyncio.sleep(0.01)


async def test_a_gate_makes_anew_what_it_has_not_made_itself(ollama: Ollama, registry: str) -> None:
    """A pod's disk may hold what an older spec made: the name alone is never taken for it."""
    source = f"{registry}/library/tiny-gate"
    await run(ollama, ExpectedModel("ida", create=Creation(source, "You are old.")))
    wanted = ExpectedModel("ida", create=Creation(source, "You are new."))
    changed = ExpectedModel("ida", create=Creation(source, "You are newer."))
    gate = Gate(ollama, wanted)
    async with following(gate):
        await until_made(gate, wanted)
        assert (await shown(ollama, "ida"))["system"] == "You are new."
        gate.change(changed)
        await until_made(gate, changed)

    assert (await shown(ollama, "ida"))["system"] == "You are newer."
