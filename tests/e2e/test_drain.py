"""The end of a serving pod under a real kubelet: who is being answered, is answered in full."""

import asyncio
import json

import aiohttp
import pytest

from e2e.endpoint import Serve
from ollamaserve_dev import installation
from ollamaserve_dev.kubectl import Kubectl

pytestmark = pytest.mark.e2e

TOKENS = 5_000  # Ollama ends by itself at ten times the model's context, 5,120
ENDLESS = {
    "model": installation.registry_model("tiny"),
    "prompt": "Never stop.",
    "options": {"num_predict": TOKENS},
}


async def test_a_stream_outlives_the_deletion_of_its_pod(team: Kubectl) -> None:
    """Decision 7: SIGTERM drains the gate, then Ollama gets its own; the stream ends complete."""
    serve = Serve(team, "draining")
    serve.apply(models=["tiny"])
    serve.until_ready()
    (pod,) = team.list("pod", "app.kubernetes.io/component=server")
    name = pod["metadata"]["name"]

    with team.port_forward(f"pod/{name}", 7860) as port:
        headers = {"Authorization": f"Bearer {serve.token()}"}
        url = f"http://127.0.0.1:{port}/api/generate"
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(url, json=ENDLESS) as response,
        ):
            await response.content.readline()
            await asyncio.to_thread(team.run, "delete", "pod", name, "--wait=false")
            lines = [json.loads(line) async for line in response.content]

    assert response.status == 200
    assert lines[-1]["done_reason"] == "length"
    assert lines[-1]["eval_count"] == TOKENS
    serve.until_ready()
