"""Ollama's own client for Python, unmodified, through the gate: everything that it can do."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import ollama
import pytest

from component.clients.conftest import TOKEN

QUESTION, ANSWER = "What is the capital of France?", "The capital of France is Paris."
ENDLESS, CLOCK = {"num_predict": 100_000}, {"num_predict": 2_000}
GGUF_NAME = b"OllamaServe's toy"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


def test_pull(client: ollama.Client, registry: str) -> None:
    """Progress comes line by line, to its success."""
    name = f"{registry}/library/tiny:two".removeprefix("http://")
    lines = list(client.pull(name, insecure=True, stream=True))

    assert len(lines) > 1
    assert lines[-1].status == "success"


def test_pull_of_nothing(client: ollama.Client, registry: str) -> None:
    """Ollama's own words under HTTP 200 arrive as they are."""
    with pytest.raises(ollama.ResponseError, match="file does not exist"):
        client.pull(f"{registry}/missing/tiny".removeprefix("http://"), insecure=True)


def test_list_and_show(client: ollama.Client, model: str) -> None:
    """What is there, and what it is."""
    assert f"{model}:latest" in {listed.model for listed in client.list().models}
    assert client.show(model).details.family == "llama"  # type: ignore[union-attr]


def test_generate(client: ollama.Client, model: str) -> None:
    """The model's learned answer, whole and in parts."""
    parts = list(client.generate(model, QUESTION, stream=True))

    assert client.generate(model, QUESTION).response == ANSWER
    assert "".join(part.response or "" for part in parts) == ANSWER
    assert len(parts) > 3


def test_chat(client: ollama.Client, model: str) -> None:
    """A streamed chat: its parts make the answer, its last line has the counts."""
    messages = [{"role": "user", "content": QUESTION}]
    parts = list(client.chat(model, messages, stream=True))

    assert "".join(part.message.content or "" for part in parts) == ANSWER
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].eval_count


def test_tools_are_refused_in_ollamas_words(client: ollama.Client, model: str) -> None:
    """The tiny model can't call tools; the request goes through, and Ollama says so."""

    def add(one: int, two: int) -> int:
        """Add."""
        return one + two

    with pytest.raises(ollama.ResponseError, match="does not support tools"):
        client.chat(model, [{"role": "user", "content": "2+2"}], tools=[add])


def test_embeddings(client: ollama.Client, model: str) -> None:
    """Two texts, two vectors."""
    assert len(client.embed(model, ["one", "two"]).embeddings) == 2
    assert client.embeddings(model, "one").embedding


def test_ps(client: ollama.Client, model: str) -> None:
    """What is loaded."""
    client.generate(model, "", keep_alive=-1)

    assert f"{model}:latest" in {running.model for running in client.ps().models}


def test_create_from_a_file(client: ollama.Client, tiny: Path) -> None:
    """P9, P17: a blob goes up, a model is made of it, it answers, and it is deleted again."""
    digest = client.create_blob(tiny)
    assert client.create_blob(tiny) == digest
    made = client.create("made", files={"tiny.gguf": digest}, parameters={"num_thread": 1})

    assert made.status == "success"
    assert client.generate("made", "hi", raw=True, options={"num_predict": 2}).done
    assert client.delete("made").status == "success"
    with pytest.raises(ollama.ResponseError, match="not found"):
        client.show("made")


def test_create_from_a_model(client: ollama.Client, model: str) -> None:
    """A model of a model, streamed."""
    lines = list(client.create("brief", from_=model, system="Be brief.", stream=True))

    assert lines[-1].status == "success"
    assert "Be brief." in str(client.show("brief").modelfile)
    client.delete("brief")


def test_copy_and_delete(client: ollama.Client, model: str) -> None:
    """A copy is listed, and gone after DELETE with a body."""
    client.copy(model, "copied")
    assert "copied:latest" in {listed.model for listed in client.list().models}
    client.delete("copied")
    assert "copied:latest" not in {listed.model for listed in client.list().models}


def test_push(client: ollama.Client, model: str, room: str) -> None:
    """A model goes up to a registry, its blobs and then its manifest, and comes back the same."""
    name = f"{room}/team/pushed:one".removeprefix("http://")
    client.copy(model, name)
    lines = list(client.push(name, insecure=True, stream=True))
    before = digest(client, name)
    client.delete(name)
    client.pull(name, insecure=True)

    assert lines[-1].status == "success"
    assert len({line.digest for line in lines if line.digest}) > 2
    assert digest(client, name) == before
    assert client.generate(name, QUESTION).response == ANSWER


def test_push_to_where_nothing_may(client: ollama.Client, model: str, registry: str) -> None:
    """The registry's refusal comes back in the stream."""
    name = f"{registry}/library/tiny-pushed".removeprefix("http://")
    client.copy(model, name)

    with pytest.raises(ollama.ResponseError) as refused:
        list(client.push(name, insecure=True, stream=True))
    assert "405" in str(refused.value) or "404" in str(refused.value)


def digest(client: ollama.Client, name: str) -> str | None:
    return {listed.model: listed.digest for listed in client.list().models}[name]


@pytest.fixture
async def patient(gate: str) -> AsyncIterator[ollama.AsyncClient]:
    async with ollama.AsyncClient(gate, headers=HEADERS, timeout=60) as client:
        yield client


@pytest.mark.usefixtures("model")
async def test_leaving_stops_ollama(patient: ollama.AsyncClient, tiny: Path) -> None:
    """P10: who leaves in mid-stream frees its model's one place before an endless answer would.

    `Never stop.` ends after 5,120 tokens (ten contexts, Ollama's own limit). An answer of 2,000
    tokens by another model, begun earlier, is the clock. Three tries, because of some hundred
    streams that are left Ollama 0.17.4 itself loses one, with its place (docs/security.md).
    """
    for number in range(3):
        name = await another(patient, tiny, number)
        clock = asyncio.create_task(patient.generate("tiny", "Never stop.", options=CLOCK))
        stream = await patient.generate(name, "Never stop.", stream=True, options=ENDLESS)
        assert (await anext(stream)).response
        await stream.aclose()  # type: ignore[attr-defined]
        following = asyncio.create_task(patient.generate(name, QUESTION))
        await asyncio.wait((clock, following), return_when=asyncio.FIRST_COMPLETED)
        stopped = not clock.done()
        for task in (clock, following):
            task.cancel()
        await asyncio.gather(clock, following, return_exceptions=True)
        if stopped:
            return
    pytest.fail("the answer that was left went on")


async def another(client: ollama.AsyncClient, tiny: Path, number: int) -> str:
    """The tiny model under another digest, so with a process of its own; loaded."""
    content = tiny.read_bytes()  # noqa: ASYNC240 a third of a megabyte
    assert content.count(GGUF_NAME) == 1
    content = content.replace(GGUF_NAME, GGUF_NAME[:-1] + str(number).encode())
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    answer = await client._client.post(f"/api/blobs/{digest}", content=content)
    assert answer.status_code == 201
    template = "Question: {{ .Prompt }}\nAnswer:\n"
    limits = {"num_ctx": 512, "num_thread": 1, "temperature": 0}
    name = f"another-{number}"
    await client.create(name, files={"a.gguf": digest}, template=template, parameters=limits)
    await client.generate(name, "", keep_alive=-1)
    return name


@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        ({}, "no token came"),
        ({"Authorization": "Basic eDp5"}, "Bearer"),
        ({"Authorization": "Bearer wrong-token"}, "isn't valid"),
    ],
    ids=["none", "malformed", "wrong"],
)
def test_strangers(gate: str, credentials: dict[str, str], words: str) -> None:
    """A4: three ways to fail, three messages, each readable in Ollama's client."""
    with (
        ollama.Client(gate, headers=credentials, timeout=60) as stranger,
        pytest.raises(ollama.ResponseError, match=words) as refused,
    ):
        stranger.list()
    assert refused.value.status_code == 401
    assert "wrong-token" not in json.dumps(refused.value.error)
