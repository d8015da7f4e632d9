"""The pull command's environment, exit statuses and termination message."""

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer
from hypothesis import given
from hypothesis import strategies as st

from ollamaserve_sidecar import pulljob
from ollamaserve_sidecar.config import ConfigError, Creation, ExpectedModel
from ollamaserve_sidecar.failures import Cause, Failure
from ollamaserve_sidecar.ollama import Ollama
from ollamaserve_sidecar.pull import Puller
from ollamaserve_sidecar.pulljob import Exit, Job, Settings, message, settings

DIGEST = "a" * 64


def test_the_models_are_read_from_the_environment() -> None:
    """The contract's PULL_MODELS and PULL_INSECURE."""
    wanted = [
        {"name": "llama2:7b", "digest": f"sha256:{DIGEST}"},
        {"name": "ada", "create": {"from": "tiny", "template": "t"}},
    ]

    parsed = settings({"PULL_MODELS": json.dumps(wanted), "PULL_INSECURE": "true"})

    ada = ExpectedModel("ada", create=Creation("tiny", template="t"))
    expected = (ExpectedModel("llama2:7b", DIGEST), ada)
    assert Settings(expected, insecure=True) == parsed


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "PULL_MODELS is empty"),
        ({"PULL_MODELS": "[]"}, "PULL_MODELS is empty"),
        ({"PULL_MODELS": "llama2"}, "PULL_MODELS: "),
        ({"PULL_MODELS": '["llama2"]'}, "PULL_MODELS: models[0] is 'llama2'"),
        ({"PULL_MODELS": '[{"nam": "x"}]'}, "PULL_MODELS: models[0]"),
        ({"PULL_MODELS": '[{"name": "x", "digest": "1"}]'}, "sha256:"),
        ({"PULL_MODELS": '[{"name": "x"}]', "PULL_INSECURE": "yes"}, "write true or false"),
    ],
)
def test_a_wrong_environment_is_named(environment: dict[str, str], words: str) -> None:
    """One line that names the variable, its value and the remedy."""
    with pytest.raises(ConfigError) as refusal:
        settings(environment)

    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (None, Exit.DONE),
        (Failure(Cause.PULL_FAILED, "unexpected EOF"), Exit.TRANSIENT),
        (Failure(Cause.OLLAMA_UNREACHABLE, "refused"), Exit.TRANSIENT),
        (Failure(Cause.DIGEST_MISMATCH, "corrupt"), Exit.TRANSIENT),
        (Failure(Cause.DIGEST_MISMATCH, "pinned", permanent=True), Exit.PERMANENT),
        (Failure(Cause.MODEL_NOT_FOUND, "none", permanent=True), Exit.PERMANENT),
        (Failure(Cause.DISK_FULL, "full", permanent=True), Exit.PERMANENT),
        (Failure(Cause.INVALID_CONFIGURATION, "name", permanent=True), Exit.CONFIGURATION),
    ],
)
def test_the_exit_status_tells_the_job_whether_to_go_on(
    failure: Failure | None, status: Exit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Decision 3: podFailurePolicy reads 2 and 3 as final. A missing folder is no error."""
    monkeypatch.setattr(pulljob, "TERMINATION_LOG", tmp_path / "none" / "termination-log")

    assert status is pulljob.end(failure)


@given(st.text(), st.text(max_size=500), st.integers(0, 9000))
def test_the_termination_message_is_one_line_that_kubelet_takes_whole(
    words: str, model: str, repeat: int
) -> None:
    """At most 4,096 bytes, and still JSON: kubelet would cut in the middle."""
    line = message(Failure(Cause.PULL_FAILED, words * repeat, model))

    assert len(line) <= 4096
    assert b"\n" not in line
    parsed = json.loads(line)
    assert ("PullFailed", model) == (parsed["reason"], parsed["model"])
    assert (words * repeat).startswith(parsed["message"])


def test_a_name_of_any_length_fits_too() -> None:
    """Whoever writes PULL_MODELS by hand can't make the message unreadable."""
    line = message(Failure(Cause.PULL_FAILED, "no", "x" * 9000))

    assert json.loads(line)["message"] == "no"


def test_the_termination_message_is_left_for_the_operator(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The contract's example, byte for byte in content."""
    monkeypatch.setattr(pulljob, "TERMINATION_LOG", tmp_path / "termination-log")
    words = "pull model manifest: file does not exist"

    pulljob.end(Failure(Cause.MODEL_NOT_FOUND, words, "llama9:1b", permanent=True))

    left = json.loads((tmp_path / "termination-log").read_text())
    assert left == {"reason": "ModelNotFound", "model": "llama9:1b", "message": words}


async def test_it_waits_for_ollama_to_come_up(unused_tcp_port: int) -> None:
    """The native sidecar beside it may start later; then what is there is not pulled again."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        listed = {"version": "0.17.4", "models": [{"name": "tiny:latest", "digest": DIGEST}]}
        assert request.method == "GET"
        return web.json_response(listed)

    async with Ollama(f"http://127.0.0.1:{unused_tcp_port}") as ollama:
        job = Job(Settings((ExpectedModel("tiny", DIGEST),)), ollama, Puller(ollama))
        running = asyncio.create_task(job.run(patience=20))
        async with asyncio.timeout(20):
            while not job.verdict().message.startswith("http://"):  # noqa: ASYNC110 it has no event
                await asyncio.sleep(0.01)
        assert job.document()["reason"] == "OllamaUnreachable"

        async with RawTestServer(answer, port=unused_tcp_port):
            assert await asyncio.wait_for(running, 20) is None

    assert job.document()["ready"]
    assert job.document()["models"][0]["present"]
