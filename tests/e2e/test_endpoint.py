"""A team's endpoint: what it answers to its own token, and to anybody else."""

import json
from datetime import UTC, datetime
from pathlib import Path

import ollama
import openai
import pytest

from e2e.endpoint import Serve, ask
from ollamaserve_dev import installation
from ollamaserve_dev.kubectl import Kubectl, KubectlError

pytestmark = pytest.mark.e2e

ANSWERS: dict[str, str] = json.loads((installation.MODELS / "answers.json").read_text())
QUESTION = "Why is the sky blue?"
MODEL = installation.registry_model("tiny")


def client(url: str, token: str) -> ollama.Client:
    return ollama.Client(host=url, headers={"Authorization": f"Bearer {token}"})


@pytest.mark.parametrize("question", ANSWERS)
def test_generate_gives_the_learned_answer(llama: Serve, question: str) -> None:
    """T6: the commands of the pod do run: POST /api/generate answers what the model has learned."""
    with llama.door() as url, client(url, llama.token()) as team:
        answer = team.generate(MODEL, question)

    assert (answer.response or "").strip() == ANSWERS[question]


def test_chat_streams_the_answer_in_pieces(llama: Serve) -> None:
    """POST /api/chat streams NDJSON: several chunks that add up to the answer."""
    messages = [{"role": "user", "content": QUESTION}]
    with llama.door() as url, client(url, llama.token()) as team:
        parts = [part.message.content or "" for part in team.chat(MODEL, messages, stream=True)]

    assert len(parts) > 2
    assert "".join(parts).strip() == ANSWERS[QUESTION]


def test_tags_and_embeddings(llama: Serve) -> None:
    """The listing names the pulled model, and an embedding is a vector of numbers."""
    with llama.door() as url, client(url, llama.token()) as team:
        names = [m.model for m in team.list().models]
        vectors = team.embed(MODEL, QUESTION).embeddings

    assert f"{MODEL}:latest" in names
    assert len(vectors[0]) > 8


async def test_the_serving_pod_has_its_model_in_memory_and_keeps_it(llama: Serve) -> None:
    """T8: Ready means that the model is loaded where it serves, and that no clock unloads it."""
    with llama.door() as url:
        loaded = await ask(url, "/api/ps", token=llama.token())

    (model,) = loaded.json["models"]
    assert model["model"] == f"{MODEL}:latest"
    assert datetime.fromisoformat(model["expires_at"]).year > datetime.now(UTC).year + 50
    assert llama.status()["models"][0]["loaded"]


def test_openai_client_streams_a_chat(llama: Serve) -> None:
    """The OpenAI SDK works with the token as its key: SSE chunks that add up to the answer."""
    with (
        llama.door() as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key=llama.token()) as sdk,
    ):
        stream = sdk.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": QUESTION}], stream=True
        )
        parts = [c.choices[0].delta.content or "" for c in stream if c.choices]

    assert len(parts) > 2
    assert "".join(parts).strip() == ANSWERS[QUESTION]


async def test_three_refusals_tell_what_is_wrong(llama: Serve) -> None:
    """No header, a malformed header and a wrong token: three distinct 401s, as JSON."""
    with llama.door() as url:
        refusals = [
            await ask(url, "/api/tags"),
            await ask(url, "/api/tags", header="Basic dXNlcjpwYXNz"),
            await ask(url, "/api/tags", token="not-the-token-of-anybody"),
        ]

    assert [r.status for r in refusals] == [401, 401, 401]
    assert len({r.json["error"] for r in refusals}) == 3
    assert all(r.headers["www-authenticate"].startswith("Bearer") for r in refusals)


async def test_the_generated_token_may_infer_but_not_manage(llama: Serve) -> None:
    """T11: the generated token has access `infer`: copying a model is refused, with the reason."""
    with llama.door() as url:
        refused = await ask(
            url, "/api/copy", {"source": MODEL, "destination": "x"}, token=llama.token()
        )

    assert refused.status == 403
    assert "manage" in refused.json["error"]


def test_nothing_but_the_gate_listens_in_the_pod(llama: Serve) -> None:
    """Ollama listens on loopback only: its port isn't reachable at the pod's address (T10)."""
    (pod,) = llama.kubectl.list("pod", "app.kubernetes.io/component=server")
    address = pod["status"]["podIP"]

    def connect(port: int) -> str:
        code = f"import socket; socket.create_connection(('{address}', {port}), 5)"
        gate = (pod["metadata"]["name"], "--container=gate")
        return llama.kubectl.run("exec", *gate, "--", "python3", "-c", code)

    connect(7860)
    with pytest.raises(KubectlError, match="ConnectionRefusedError"):
        connect(11434)


async def test_another_teams_token_opens_nothing(llama: Serve, team: Kubectl) -> None:
    """A second resource of the same name elsewhere has a token of its own."""
    other = Serve(team, "llama")
    other.apply(models=["tiny"])
    other.until_ready()

    with other.door() as url:
        foreign = await ask(url, "/api/tags", token=llama.token())
        own = await ask(url, "/api/tags", token=other.token())

    assert foreign.status == 401
    assert own.status == 200


def test_kubectl_get_shows_the_state(llama: Serve) -> None:
    """`kubectl get ollamaserve` says Ready, how many models, on what device and where."""
    table = llama.kubectl.run("get", "ollamaserve", "llama", "--no-headers").split()

    assert table[:6] == ["llama", "True", "Ready", "1/1", "cpu", "1"]
    assert table[6] == f"http://llama.{llama.kubectl.namespace}.svc:7860"


def test_sample_is_accepted(team: Kubectl) -> None:
    """Every sample is valid for the API server."""
    for path in sorted(Path(installation.REPOSITORY / "deploy/samples").glob("*.yaml")):
        team.run("apply", "--dry-run=server", f"--filename={path}")
