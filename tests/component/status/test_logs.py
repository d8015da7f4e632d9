"""What a serving gate writes: its access log on standard output, its own log on standard error."""

import json
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from component.status.conftest import TOKEN, Gate, OllamaProcess, until

PROMPT = "a-prompt-of-the-tests"
BODY: dict[str, Any] = {"prompt": PROMPT, "options": {"num_predict": 4, "seed": 1}}


async def ask(gate: Gate, path: str, token: str = TOKEN, **body: Any) -> tuple[int, str]:
    """Status and request id of an answer that was read to its end."""
    url = f"http://127.0.0.1:{gate.port}{path}"
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.request(
        "POST" if body else "GET", url, json=body or None, headers=headers
    ) as response:
        await response.read()
        return response.status, response.headers["X-Request-Id"]


def lines(gate: Gate) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gate.access_log.read_text().splitlines()]


async def metrics(gate: Gate) -> dict[tuple[str, frozenset[str]], float]:
    """Each sample by its name and its labels' values."""
    families = text_string_to_metric_families((await gate.get("/metrics"))[1])
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture
async def serving(gate: Gate, model: str) -> Gate:
    gate.configure({"name": model, "warm": True})
    await gate.start()
    await gate.until(lambda status: status["ready"])
    return gate


async def test_a_line_per_request(serving: Gate, model: str) -> None:
    """While it runs, and the rest when it ends; with the model and Ollama's own counts."""
    asked = [
        await ask(serving, "/api/generate?secret", model=model, **BODY),
        await ask(serving, "/v1/models"),
        await ask(serving, "/api/generate", model="no-such-model", **BODY),
        await ask(serving, "/api/tags", token="another-token"),
    ]

    async def written() -> bool:
        return len(lines(serving)) == 4

    await until(written)
    asked.append(await ask(serving, "/api/version"))
    found = await metrics(serving)
    serving.terminate()
    assert await serving.ended() == 0
    told = lines(serving)

    assert [(line["status"], line["requestId"]) for line in told] == asked
    assert [line["status"] for line in told] == [200, 200, 404, 401, 200]
    assert [line["outcome"] for line in told] == ["served", "served", "served", "refused", "served"]
    generated = told[0]
    assert (generated["token"], generated["access"]) == ("AUTH_TOKEN", "infer")
    assert (generated["model"], generated["path"]) == (model, "/api/generate")
    assert generated["promptTokens"] > 0
    assert generated["generatedTokens"] == 4
    labels = frozenset({"AUTH_TOKEN", model})
    assert found["ollamaserve_generated_tokens_total", labels] == 4
    assert found["ollamaserve_prompt_tokens_total", labels] == generated["promptTokens"]
    assert found["ollamaserve_first_token_seconds_count", frozenset({"/api/generate"})] == 1
    assert found["ollamaserve_access_log_dropped_total", frozenset()] == 0
    for text in (serving.access_log.read_text(), serving.log, repr(found)):
        assert not any(secret in text for secret in (TOKEN, PROMPT, "another-token", "secret"))


async def test_the_log_may_be_off(gate: Gate, model: str) -> None:
    """GATE_ACCESS_LOG=off writes nothing there, and counts as before."""
    gate.configure({"name": model})
    await gate.start(GATE_ACCESS_LOG="off")
    await ask(gate, "/api/version")
    found = await metrics(gate)
    gate.terminate()
    assert await gate.ended() == 0

    assert gate.access_log.read_bytes() == b""
    key = frozenset({"AUTH_TOKEN", "/api/version", "200"})
    assert found["ollamaserve_requests_total", key] == 1


async def test_readiness_is_logged_when_it_changes(
    serving: Gate, ollama: OllamaProcess, model: str
) -> None:
    """Why it was lost and that it is back, once each."""
    await ollama.kill()
    await serving.until(lambda status: status["reason"] == "OllamaUnreachable")
    await ollama.start()
    await serving.until(lambda status: status["ready"])
    changes = [line for line in serving.log.splitlines() if "ready" in line]

    assert "INFO ready: Ready: " in changes[-1]
    (lost,) = [line for line in changes if "not ready any more" in line]
    assert "WARNING not ready any more: OllamaUnreachable: " in lost
    assert sum(": Ready: " in line for line in changes) == 2
