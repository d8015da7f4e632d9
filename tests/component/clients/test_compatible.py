"""OpenAI's and Anthropic's clients, unmodified, through the gate to a real Ollama."""

from collections.abc import Iterator

import anthropic
import openai
import pytest

from component.clients.conftest import TOKEN

QUESTION, ANSWER = "Who wrote Hamlet?", "William Shakespeare wrote Hamlet."


@pytest.fixture
def oai(gate: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gate}/v1", api_key=TOKEN, timeout=60, max_retries=0) as client:
        yield client


@pytest.fixture
def claude(gate: str) -> Iterator[anthropic.Anthropic]:
    """It sends `x-api-key`."""
    with anthropic.Anthropic(base_url=gate, api_key=TOKEN, timeout=60, max_retries=0) as client:
        yield client


def test_openai_chat(oai: openai.OpenAI, model: str) -> None:
    """SSE, part by part."""
    stream = oai.chat.completions.create(
        model=model, messages=[{"role": "user", "content": QUESTION}], stream=True
    )
    parts = [part.choices[0].delta.content or "" for part in stream if part.choices]

    assert "".join(parts) == ANSWER
    assert len(parts) > 3


def test_openai_others(oai: openai.OpenAI, model: str) -> None:
    """Models, completions, embeddings and responses."""
    assert f"{model}:latest" in {listed.id for listed in oai.models.list()}
    assert oai.models.retrieve(model).id == model
    assert oai.completions.create(model=model, prompt=QUESTION).choices[0].text == ANSWER
    assert len(oai.embeddings.create(model=model, input=["one", "two"]).data) == 2
    assert oai.responses.create(model=model, input=QUESTION).output_text == ANSWER


def test_anthropic_messages(claude: anthropic.Anthropic, model: str) -> None:
    """G9: `x-api-key` is a token as good as `Authorization`; whole and streamed."""
    asked: anthropic.types.MessageParam = {"role": "user", "content": QUESTION}
    whole = claude.messages.create(model=model, max_tokens=64, messages=[asked])
    with claude.messages.stream(model=model, max_tokens=64, messages=[asked]) as stream:
        parts = list(stream.text_stream)

    assert whole.content[0].type == "text"
    assert whole.content[0].text == ANSWER
    assert "".join(parts) == ANSWER
    assert len(parts) > 3


def test_anthropic_with_a_bearer_token(gate: str, model: str) -> None:
    """What ANTHROPIC_AUTH_TOKEN makes the client send."""
    with anthropic.Anthropic(base_url=gate, auth_token=TOKEN, timeout=60) as client:
        asked: anthropic.types.MessageParam = {"role": "user", "content": QUESTION}
        answer = client.messages.create(model=model, max_tokens=64, messages=[asked])

    assert answer.stop_reason == "end_turn"


def test_errors_in_openais_shape(gate: str) -> None:
    """The client raises its own error with the gate's words."""
    with (
        openai.OpenAI(base_url=f"{gate}/v1", api_key="wrong-token", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError, match="isn't valid") as refused,
    ):
        stranger.models.list()
    assert refused.value.code == "invalid_token"


def test_errors_in_anthropics_shape(gate: str) -> None:
    """The client raises its own error with the gate's words."""
    with (
        anthropic.Anthropic(base_url=gate, api_key="wrong-token", max_retries=0) as stranger,
        pytest.raises(anthropic.AuthenticationError, match="isn't valid") as refused,
    ):
        stranger.messages.create(
            model="tiny", max_tokens=1, messages=[{"role": "user", "content": "hi"}]
        )
    assert refused.value.body["error"]["type"] == "authentication_error"  # type: ignore[index]
