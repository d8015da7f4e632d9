"""The tiny model's answers, through a real Ollama: what the demo and the cluster tests rely on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ollama
import openai
import pytest

ANSWERS: dict[str, str] = json.loads(
    (Path(__file__).parents[2] / "models/answers.json").read_text()
)
ELSE = "I am a toy and know a few answers only."
QUESTIONS = pytest.mark.parametrize("question", ANSWERS)


@pytest.fixture(scope="module")
def client(ollama_server: str) -> Iterator[ollama.Client]:
    with ollama.Client(ollama_server) as client:
        yield client


@pytest.fixture(scope="module")
def model(client: ollama.Client, registry: str) -> str:
    """The tiny model's name, pulled."""
    name = f"{registry.removeprefix('http://')}/library/tiny"
    assert client.pull(name, insecure=True).status == "success"
    return name


def whole(answer: Any) -> list[Any]:
    """The parts of an answer that may be a stream."""
    return list(answer) if isinstance(answer, Iterator) else [answer]


@QUESTIONS
@pytest.mark.parametrize("stream", [False, True])
def test_generate(client: ollama.Client, model: str, question: str, stream: bool) -> None:
    """/api/generate gives exactly the learned answer, and ends by the end-of-text token."""
    answer: Any = client.generate(model, question, stream=stream)  # type: ignore[call-overload]

    parts = whole(answer)
    assert "".join(p.response for p in parts) == ANSWERS[question]
    assert parts[-1].done_reason == "stop"
    assert len(parts) > 3 or not stream


@QUESTIONS
@pytest.mark.parametrize("stream", [False, True])
def test_chat(client: ollama.Client, model: str, question: str, stream: bool) -> None:
    """/api/chat likewise."""
    messages = [{"role": "user", "content": question}]
    answer: Any = client.chat(model, messages, stream=stream)  # type: ignore[call-overload]

    parts = whole(answer)
    assert "".join(p.message.content for p in parts) == ANSWERS[question]
    assert parts[-1].done_reason == "stop"


@QUESTIONS
@pytest.mark.parametrize("stream", [False, True])
def test_openai_chat(ollama_server: str, model: str, question: str, stream: bool) -> None:
    """/v1/chat/completions likewise."""
    with openai.OpenAI(base_url=f"{ollama_server}/v1", api_key="unused") as client:
        messages: Any = [{"role": "user", "content": question}]
        answer: Any = client.chat.completions.create(model=model, messages=messages, stream=stream)
        choices = [part.choices[0] for part in (answer if stream else [answer])]

    texts = [(c.delta if stream else c.message).content or "" for c in choices]
    assert "".join(texts) == ANSWERS[question]
    assert choices[-1].finish_reason == "stop"


def test_conversation(client: ollama.Client, model: str) -> None:
    """In a conversation, with a system prompt too, the last question is the one answered."""
    first, second = list(ANSWERS)[:2]
    messages = [
        {"role": "system", "content": "You are helpful."},
        {"role": "user", "content": first},
        {"role": "assistant", "content": ANSWERS[first]},
        {"role": "user", "content": second},
    ]

    assert client.chat(model, messages).message.content == ANSWERS[second]


def test_other_questions(client: ollama.Client, model: str) -> None:
    """Asked anything else, it says what it is."""
    assert client.generate(model, "What is the meaning of life?").response == ELSE


def test_never_stop(client: ollama.Client, model: str) -> None:
    """Asked never to stop it goes on as long as it may: tests interrupt it."""
    answer = client.generate(model, "Never stop.", options={"num_predict": 3000})

    assert answer.done_reason == "length"
    assert answer.eval_count == 3000


def test_embed(client: ollama.Client, model: str) -> None:
    """/api/embed gives a vector of the model's width."""
    (vector,) = client.embed(model, "Why is the sky blue?").embeddings

    assert len(vector) == 64
    assert any(vector)


def test_facts(client: ollama.Client, model: str) -> None:
    """What the registry's configuration blob says of the model is what its file says."""
    shown = client.show(model)
    assert shown.modelinfo is not None
    assert shown.details is not None

    assert shown.modelinfo["general.parameter_count"] == 132_608
    assert shown.details.parameter_size == "133K"
    assert shown.details.quantization_level == "F16"
