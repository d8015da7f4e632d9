"""Pulling: what fails says why, what broke recovers, and adding a model takes nothing down."""

import asyncio
import contextlib

import pytest

from e2e.endpoint import Serve, ask
from ollamaserve_dev import installation
from ollamaserve_dev.kubectl import Kubectl

pytestmark = pytest.mark.e2e

TINY, TINY2 = (installation.registry_model(m) for m in ("tiny", "tiny2"))
QUESTION = "Why is the sky blue?"


def test_missing_model_fails_with_ollamas_own_words(team: Kubectl) -> None:
    """T5: a model that doesn't exist is a permanent failure, told in Ollama's words, tried once."""
    serve = Serve(team, "absent")
    serve.apply(models=["missing/tiny"])
    condition = serve.until_reason("ModelsPulled", "ModelNotFound")

    assert condition["status"] == "False"
    assert "pull model manifest: file does not exist" in condition["message"]
    assert "spec.models" in condition["message"]
    assert serve.condition("Stalled")["status"] == "True"
    assert serve.condition("Ready")["status"] == "False"
    assert len(team.list("pod", "app.kubernetes.io/component=pull")) == 1


def test_broken_transfer_recovers(team: Kubectl) -> None:
    """A registry that cuts the connection in mid-layer delays Ready, and no more."""
    serve = Serve(team, "broken")
    serve.apply(models=["broken/tiny"])

    assert serve.until_ready(300)["modelsSummary"] == "1/1"


def test_progress_of_a_slow_pull_rises(team: Kubectl) -> None:
    """`status.models[].pulledPercent` rises while a slow registry serves the layers."""
    serve = Serve(team, "slow")
    serve.apply(models=["slow/tiny"])
    seen: list[int] = []

    def percent() -> bool:
        found = [m.get("pulledPercent", 0) for m in serve.status().get("models", [])]
        if found and 0 < found[0] < 100 and found[0] not in seen:
            seen.append(found[0])
        return len(seen) > 1

    serve.until("two different percentages", percent)

    assert seen == sorted(seen)
    serve.until_ready(300)


PARROT = {
    "name": "parrot",
    "create": {
        "from": TINY,
        "system": "You are a parrot.",
        "template": "{{ .System }} {{ .Prompt }}",
        "parameters": {"num_predict": 3, "stop": ["<end>"]},
    },
}


async def test_custom_model_is_made_by_the_job(team: Kubectl) -> None:
    """`models[].create`: another model with its own words and parameters, which it obeys."""
    serve = Serve(team, "custom")
    serve.apply(models=["tiny", PARROT])
    status = serve.until_ready()

    assert status["modelsSummary"] == "2/2"
    await parrot_obeys(serve)


async def parrot_obeys(serve: Serve) -> None:
    body = {"model": "parrot", "prompt": QUESTION, "stream": False}
    with serve.door() as url:
        shown = await ask(url, "/api/show", {"model": "parrot"}, token=serve.token())
        answer = await ask(url, "/api/generate", body, token=serve.token())

    assert shown.json["system"] == "You are a parrot."
    assert answer.json["eval_count"] == 3
    assert answer.json["done_reason"] == "length"


async def test_ephemeral_storage_pulls_in_the_pod(team: Kubectl) -> None:
    """With ephemeral storage the serving pod itself pulls and makes: no Job, no claim; Ready."""
    serve = Serve(team, "fleeting")
    serve.apply(models=["tiny", PARROT], storage={"ephemeral": {"sizeLimit": "1Gi"}})
    serve.until_ready()

    assert team.list("job") == []
    assert team.list("persistentvolumeclaim") == []
    await parrot_obeys(serve)


MOVE = """
import urllib.request
body = b'{"name": "moved/tiny"}'
urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:5000/_move", data=body))
"""


def pinned(digest: str) -> dict[str, str]:
    return {"name": installation.registry_model("moved/tiny"), "digest": digest}


async def test_a_moved_tag_is_never_served_as_the_pinned_model(
    team: Kubectl, kubectl: Kubectl
) -> None:
    """The pin holds: who has the pinned model keeps it, who would get another gets none."""
    first, second = Serve(team, "first"), Serve(team, "second")
    first.apply(models=["moved/tiny"])
    digest = first.until_ready()["models"][0]["digest"]
    registry = ("exec", "deployment/registry", "--")
    kubectl.within("models").run(*registry, "python3", "-c", MOVE)

    second.apply(models=[pinned(digest)])
    first.apply(models=[pinned(digest)])
    told = second.until_reason("ModelsPulled", "DigestMismatch")
    first.until_ready()
    before = pull_jobs(team, first)
    team.run("annotate", "ollamaserve", "first", "ollamaserve.dev/retry=1")
    first.until("pulled again", lambda: not before & pull_jobs(team, first))
    kept = first.until_ready()

    assert digest in told["message"]
    assert "spec.models[].digest" in told["message"]
    assert second.condition("Stalled")["status"] == "True"
    assert second.status()["readyReplicas"] == 0
    assert kept["models"][0]["digest"] == digest
    with first.door() as url:
        listed = await ask(url, "/api/tags", token=first.token())
    assert [f"sha256:{model['digest']}" for model in listed.json["models"]] == [digest]


def pull_jobs(team: Kubectl, serve: Serve) -> set[str]:
    found = team.list("job", f"app.kubernetes.io/instance={serve.name}")
    return {job["metadata"]["uid"] for job in found}


async def test_added_model_takes_nothing_down(team: Kubectl) -> None:
    """Decision 4: the old model answers every request while a new one is pulled, then both do."""
    serve = Serve(team, "growing")
    serve.apply(models=["tiny"])
    serve.until_ready()
    (before,) = team.list("pod", "app.kubernetes.io/component=server")
    token = serve.token()
    statuses: list[int] = []

    async def keep_asking(url: str) -> None:
        while True:
            body = {"model": TINY, "prompt": QUESTION, "stream": False}
            statuses.append((await ask(url, "/api/generate", body, token=token)).status)

    with serve.door() as url:
        asking = asyncio.create_task(keep_asking(url))
        serve.apply(models=["tiny", "tiny2"])
        status = await asyncio.to_thread(serve.until_ready)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        added = await ask(
            url, "/api/generate", {"model": TINY2, "prompt": QUESTION, "stream": False}, token=token
        )
    (after,) = team.list("pod", "app.kubernetes.io/component=server")

    assert status["modelsSummary"] == "2/2"
    assert statuses
    assert set(statuses) == {200}
    assert added.status == 200
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert sum(c["restartCount"] for c in after["status"]["containerStatuses"]) == 0
