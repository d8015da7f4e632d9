"""The pull Job's promise: exit status, reason and message for everything a registry may do."""

import asyncio
from dataclasses import replace
from hashlib import sha256
from typing import Any

import aiohttp
import pytest

from component.pull.conftest import Left, Pull
from ollamaserve_sidecar.config import ExpectedModel, PullConfig
from ollamaserve_sidecar.failures import Cause
from ollamaserve_sidecar.models import canonical
from ollamaserve_sidecar.ollama import Ollama
from ollamaserve_sidecar.pull import Puller
from ollamaserve_sidecar.pulljob import Exit, Job, Settings

OTHER_DIGEST = "0" * 64


async def manifest_digest(registry: str, name: str) -> str:
    """The digest under which Ollama would list what the registry has now."""
    async with aiohttp.request("GET", f"{registry}/v2/{name}/manifests/latest") as response:
        return sha256(await response.read()).hexdigest()


async def requests(registry: str, name: str) -> list[dict[str, Any]]:
    """What the registry was asked for under this name."""
    async with aiohttp.request("GET", f"{registry}/_requests") as response:
        return [entry for entry in await response.json() if f"/{name}/" in entry["path"]]


async def test_a_model_is_pulled_and_found(
    pull: Pull, registry: str, ollama: Ollama, left: Left
) -> None:
    """T5: exit 0 means that Ollama lists the model; there is no termination message then."""
    name = f"{registry}/library/tiny-plain"

    assert await pull(name) == (Exit.DONE, None)

    assert canonical(name) in await ollama.installed()
    assert left() is None


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (
            "missing/tiny",
            (
                Exit.PERMANENT,
                Cause.MODEL_NOT_FOUND,
                "pull model manifest: file does not exist",
            ),
        ),
        (
            "denied/tiny",
            (
                Exit.PERMANENT,
                Cause.PULL_DENIED,
                "pull model manifest: unauthorized: access denied",
            ),
        ),
        (
            "failing/tiny",
            (
                Exit.TRANSIENT,
                Cause.PULL_FAILED,
                "pull model manifest: 500: the registry is out of order",
            ),
        ),
        (
            "corrupt/tiny",
            (
                Exit.TRANSIENT,
                Cause.DIGEST_MISMATCH,
                "digest mismatch, file must be downloaded again",
            ),
        ),
        (
            "library/tiny:a:b",
            (Exit.CONFIGURATION, Cause.INVALID_CONFIGURATION, "invalid model name"),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_failed_pull_says_why(
    pull: Pull, registry: str, left: Left, model: str, expected: tuple[Exit, Cause, str]
) -> None:
    """Decision 3, T5: HTTP 200 with an error in it fails, with Ollama's words for the operator."""
    name = f"{registry}/{model}"

    ended, _ = await pull(name)

    status, cause, words = expected
    assert (status, cause, name) == (ended, left()["reason"], left()["model"])
    assert words in left()["message"]


async def test_plain_http_needs_to_be_asked_for(pull: Pull, registry: str) -> None:
    """Without PULL_INSECURE Ollama speaks TLS, whatever the name says: nobody waits for that."""
    ended, failure = await pull(f"{registry}/library/tiny", insecure=False)

    assert failure is not None
    assert ended is Exit.CONFIGURATION
    assert "server gave HTTP response to HTTPS client" in failure.message


async def test_what_may_pass_is_tried_again_and_what_will_not_is_not(
    pull: Pull, registry: str
) -> None:
    """Decision 3: retries in the process, before the Job's own."""
    await pull(f"{registry}/failing/tiny-count")
    await pull(f"{registry}/missing/tiny-count")

    assert len(await requests(registry, "failing/tiny-count")) == 2
    assert len(await requests(registry, "missing/tiny-count")) == 1


async def test_a_broken_download_goes_on_where_it_was(pull: Pull, registry: str) -> None:
    """A connection cut in mid-layer costs no byte twice."""
    assert await pull(f"{registry}/broken/tiny") == (Exit.DONE, None)

    ranges = [entry["range"] for entry in await requests(registry, "broken/tiny")]
    begins = {int(asked.removeprefix("bytes=").partition("-")[0]) for asked in ranges if asked}
    assert len(begins) > 1


async def test_a_pinned_digest_is_compared(pull: Pull, registry: str) -> None:
    """A pin that fits is done; one that doesn't is permanent, and the message names both."""
    name = f"{registry}/library/tiny-pinned"
    digest = await manifest_digest(registry, "library/tiny-pinned")

    assert await pull(name, digest) == (Exit.DONE, None)

    ended, failure = await pull(name, OTHER_DIGEST)
    assert failure is not None
    assert (ended, failure.cause) == (Exit.PERMANENT, Cause.DIGEST_MISMATCH)
    assert f"sha256:{digest}, sha256:{OTHER_DIGEST} was asked for" in failure.message


async def test_what_a_moved_tag_brings_never_stays_under_the_pinned_name(
    pull: Pull, registry: str, ollama: Ollama
) -> None:
    """A pin that doesn't fit leaves what was there, or nothing; pods may be serving from it."""
    name, fresh = f"{registry}/moved/tiny-kept", f"{registry}/library/tiny-fresh"
    await pull(name)
    old = (await ollama.installed())[canonical(name)].digest
    move = {"name": "moved/tiny-kept"}
    async with aiohttp.request("POST", f"{registry}/_move", json=move) as response:
        assert response.status == 204
    before = set(await ollama.installed())

    for _ in range(2):
        ended, _ = await pull(name, OTHER_DIGEST)
        assert ended is Exit.PERMANENT
        assert (await ollama.installed())[canonical(name)].digest == old
    ended, _ = await pull(fresh, OTHER_DIGEST)
    assert ended is Exit.PERMANENT
    assert set(await ollama.installed()) == before
    await ollama.load(name)


async def test_a_model_that_is_there_is_not_asked_for(pull: Pull, registry: str) -> None:
    """Decision 3: nothing to do costs nothing, and works while the registry is away."""
    name = f"{registry}/library/tiny-there"
    digest = await manifest_digest(registry, "library/tiny-there")
    await pull(name)
    before = await requests(registry, "library/tiny-there")

    assert await pull(name) == await pull(name, digest) == (Exit.DONE, None)
    assert before == await requests(registry, "library/tiny-there")


async def test_a_tag_that_moved_is_pulled_only_where_the_new_one_is_pinned(
    pull: Pull, registry: str, ollama: Ollama
) -> None:
    """Without a pin the model that is there is the model; with one it becomes that."""
    name = f"{registry}/moved/tiny"
    await pull(name)
    old = (await ollama.installed())[canonical(name)].digest
    move = {"name": "moved/tiny"}
    async with aiohttp.request("POST", f"{registry}/_move", json=move) as response:
        assert response.status == 204
    new = await manifest_digest(registry, "moved/tiny")

    assert await pull(name) == (Exit.DONE, None)
    assert old == (await ollama.installed())[canonical(name)].digest
    assert await pull(name, new) == (Exit.DONE, None)
    assert new == (await ollama.installed())[canonical(name)].digest


async def test_an_ollama_that_never_comes_is_named(unused_tcp_port: int) -> None:
    """The wait is bounded, and ends as a failure that may pass."""
    async with Ollama(f"http://127.0.0.1:{unused_tcp_port}") as nobody:
        wanted = Settings((ExpectedModel("tiny"),))

        failure = await asyncio.wait_for(Job(wanted, nobody, Puller(nobody)).run(0.1), 10)

    assert failure is not None
    assert (failure.cause, failure.permanent) == (Cause.OLLAMA_UNREACHABLE, False)
    assert "Cannot connect" in failure.message


async def test_a_gate_gives_up_what_cannot_succeed_until_it_is_asked_otherwise(
    ollama: Ollama, registry: str
) -> None:
    """A permanent failure stops, and shows; another `retry`, or another pin, is another chance."""
    name = f"{registry}/missing/tiny-gate"
    how = PullConfig(insecure=True)
    puller = Puller(ollama, delays=())

    async def tried(model: ExpectedModel, how: PullConfig) -> int:
        assert not await puller._all((model,), how)
        return len(await requests(registry, "missing/tiny-gate"))

    assert await tried(ExpectedModel(name), how) == 1
    assert await tried(ExpectedModel(name), how) == 1
    failure = puller.pulls[canonical(name)].failure
    assert failure is not None
    assert failure.permanent
    assert await tried(ExpectedModel(name), replace(how, retry="1")) == 2
    assert await tried(ExpectedModel(name, OTHER_DIGEST), replace(how, retry="1")) == 3


async def test_a_gate_forgets_a_failure_that_somebody_else_has_mended(
    ollama: Ollama, registry: str, pull: Pull
) -> None:
    """A client with the right to may pull it meanwhile: nothing is amiss then."""
    model = ExpectedModel(f"{registry}/library/tiny-mended")
    puller = Puller(ollama, delays=())

    await puller._all((model,), PullConfig(insecure=False))
    assert puller.pulls[canonical(model.name)].failure is not None
    await pull(model.name)
    await puller._all((model,), PullConfig(insecure=False))

    assert puller.pulls[canonical(model.name)].failure is None


@pytest.mark.parametrize("fault", ["stalled", "silent"])
async def test_a_registry_that_stalls_is_left(registry: str, ollama: Ollama, fault: str) -> None:
    """T5: Ollama would ask again without end; the puller has had enough, and may try again."""
    puller = Puller(ollama, delays=(), patience=2)
    failure = await asyncio.wait_for(
        puller.pull(ExpectedModel(f"{registry}/{fault}/tiny"), insecure=True), 60
    )

    assert failure
    assert (failure.cause, failure.permanent) == (Cause.PULL_FAILED, False)
    assert failure.message == "the registry has delivered nothing for 2 seconds"
