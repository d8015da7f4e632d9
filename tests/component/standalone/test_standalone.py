"""Issue 4, section 4: the one container's promises, kept by the command on a bare machine."""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from component.conftest import free_port
from component.standalone.conftest import (
    BOUND,
    HEADERS,
    Standalone,
    environment,
    session,
    until,
)

QUESTION = "What do bees make?"
SHAPES: dict[str, Callable[[Any], str]] = {
    "/api/generate": lambda body: body["error"],
    "/v1/chat/completions": lambda body: body["error"]["message"],
    "/v1/messages": lambda body: body["error"]["message"],
}


async def test_it_says_how_far_the_pull_is_and_then_answers(
    standalone: Standalone, registry: str
) -> None:
    """503 in each API's shape with the percentage and Retry-After; listings pass; then answers."""
    name = f"{registry}/slow/tiny"
    await standalone.start(name)
    seen: list[int] = []

    async def half() -> bool:
        status, body, again = await standalone.ask("/api/generate", model=name, prompt="")
        found = re.search(r"(\d+) %", body["error"])
        seen.append(int(found[1]) if found else 0)
        assert (status, again) == (503, "10")
        return seen[-1] >= 30

    await until(half)
    for path, message in SHAPES.items():
        status, body, _ = await standalone.ask(path, model=name, messages=[])
        assert (status, f"{name} is being pulled" in message(body)) == (503, True)
    assert seen == sorted(seen)
    assert (await standalone.ask("/api/tags"))[:2] == (200, {"models": []})
    assert (await standalone.ask("/api/version"))[0] == 200
    assert not (await standalone.status())["ready"]

    await standalone.ready()
    local = name.removeprefix("http://")
    status, body, _ = await standalone.ask(
        "/api/generate", model=local, prompt=QUESTION, stream=False
    )
    assert (status, body["response"].strip()) == (200, "Bees make honey.")
    assert f"pulling {name}: " in standalone.log
    assert f"{name} is there" in standalone.log


async def test_the_token_comes_first_and_has_full_access(
    standalone: Standalone, registry: str
) -> None:
    """Nobody without the token is told about the pull; with it even unknown paths pass."""
    await standalone.start(f"{registry}/slow/tiny-guarded")
    url = f"http://127.0.0.1:{standalone.port}/api/generate"

    async with aiohttp.request("POST", url, json={}) as answer:
        assert (answer.status, "pulled" in await answer.text()) == (401, False)
    name = {"model": f"{registry}/library/tiny-asked", "insecure": True, "stream": False}
    await until(partial(_answers, standalone))
    assert (await standalone.ask("/api/pull", **name))[:2] == (200, {"status": "success"})


async def test_several_models(standalone: Standalone, registry: str) -> None:
    """Names with commas between them; only the first one is loaded at once."""
    names = [f"{registry}/library/tiny-{i}" for i in range(2)]
    await standalone.start(*names)
    await standalone.ready()

    models = (await standalone.status())["models"]
    assert [(model["present"], model["warm"]) for model in models] == [(True, True), (True, False)]
    assert (await standalone.ask("/api/show", model=names[1]))[0] == 200


async def test_a_model_that_is_there_needs_no_registry(
    standalone: Standalone, registry: str
) -> None:
    """A restart with the volume of before serves while the registry is away."""
    name = f"127.0.0.1:{free_port()}/library/tiny"
    await standalone.start(f"{registry}/library/tiny-kept")
    await standalone.ready()
    there = f"{registry.removeprefix('http://')}/library/tiny-kept"
    await _copy(standalone, there, name)
    standalone.signal()
    assert await standalone.ended() == 0

    await standalone.start(name)
    await standalone.ready()

    status, body, _ = await standalone.ask("/api/generate", model=name, prompt="", stream=False)
    assert (status, body["done"]) == (200, True)


async def test_a_pull_that_can_never_succeed_ends_it(standalone: Standalone, registry: str) -> None:
    """Exit 1, with Ollama's own words on the log, and no Ollama left."""
    await standalone.start(f"{registry}/missing/tiny")

    assert await standalone.ended() == 1
    assert "ModelNotFound: pull model manifest: file does not exist" in standalone.log
    assert "Traceback" not in standalone.log


async def test_ollamas_death_ends_it(standalone: Standalone, registry: str) -> None:
    """A killed Ollama is named with its signal, its runners go with it, and the exit is not 0."""
    await standalone.start(f"{registry}/library/tiny-killed")
    await standalone.ready()
    ollama = standalone.ollama()
    assert len(session(ollama)) > 1  # the runner of the warm model
    os.kill(ollama, signal.SIGKILL)

    assert await standalone.ended() == 1
    assert "Ollama was ended by signal 9 (SIGKILL)" in standalone.log
    assert "Traceback" not in standalone.log
    assert session(ollama) == []


async def test_an_ollama_that_can_not_start_is_named(
    standalone: Standalone, registry: str, tmp_path: Path
) -> None:
    """Its exit status is on the log: a broken volume or a taken port must not hang in silence."""
    broken = tmp_path / "ollama"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    await standalone.start(f"{registry}/library/tiny", OLLAMA_BIN=str(broken))

    assert await standalone.ended() == 1
    assert "Ollama ended with exit status 3" in standalone.log


async def test_what_is_in_flight_on_sigterm_ends_complete(
    standalone: Standalone, registry: str
) -> None:
    """Decision 7 without Kubernetes: the stream first, then Ollama, and the exit status is 0.

    The request is kept in flight by the end of its own body, which comes after the signal.
    """
    name = f"{registry}/library/tiny-drained"
    await standalone.start(name)
    await standalone.ready()
    ollama = standalone.ollama()
    release = asyncio.Event()
    accepted = asyncio.create_task(_generation(standalone, name, release))
    await until(partial(_in_flight, standalone))
    standalone.signal()
    await until(partial(_draining, standalone))
    at_once = asyncio.Event()
    at_once.set()
    assert (await _generation(standalone, name, at_once))[-1]["done"]
    release.set()

    assert (await asyncio.wait_for(accepted, BOUND))[-1]["done"]
    assert await standalone.ended() == 0
    assert session(ollama) == []
    assert "stopped or is restarting" not in standalone.log


async def test_a_second_signal_ends_it_at_once(standalone: Standalone, registry: str) -> None:
    """Who presses Ctrl-C twice means it; Ollama goes too."""
    await standalone.start(f"{registry}/slow/tiny-interrupted")
    ollama = standalone.ollama()
    standalone.signal(signal.SIGINT)
    await until(partial(_draining, standalone))
    standalone.signal(signal.SIGINT)

    assert await standalone.ended() == 128 + signal.SIGINT
    assert session(ollama) == []


async def test_ollama_is_told_no_token_and_is_bound_to_loopback(
    standalone: Standalone, registry: str
) -> None:
    """Whatever OLLAMA_HOST says (Ollama's image has 0.0.0.0); a GPU's variables pass."""
    await standalone.start(
        f"{registry}/library/tiny", OLLAMA_HOST="0.0.0.0:11434", CUDA_VISIBLE_DEVICES="7"
    )
    variables = environment(standalone.ollama())

    assert f"OLLAMA_HOST=127.0.0.1:{standalone.ollama_port}".encode() in variables
    assert b"CUDA_VISIBLE_DEVICES=7" in variables
    assert not any(b"AUTH_TOKEN" in variable for variable in variables)


async def _copy(standalone: Standalone, source: str, destination: str) -> None:
    url = f"http://127.0.0.1:{standalone.port}/api/copy"
    names = {"source": source, "destination": destination}
    async with aiohttp.request("POST", url, json=names, headers=HEADERS) as answer:
        assert answer.status == 200


async def _answers(standalone: Standalone) -> bool:
    return (await standalone.ask("/api/version"))[0] == 200


async def _in_flight(standalone: Standalone) -> bool:
    return bool((await standalone.status())["inFlight"] == 1)


async def _draining(standalone: Standalone) -> bool:
    return bool((await standalone.status())["draining"])


async def _generation(
    standalone: Standalone, name: str, release: asyncio.Event
) -> list[dict[str, Any]]:
    """The lines of a streamed answer to a request whose body ends after `release`."""
    model = name.removeprefix("http://")
    content = json.dumps({"model": model, "prompt": QUESTION}).encode()

    async def body() -> AsyncIterator[bytes]:
        yield content[:10]
        await release.wait()
        yield content[10:]

    url = f"http://127.0.0.1:{standalone.port}/api/generate"
    async with aiohttp.request("POST", url, data=body(), headers=HEADERS) as answer:
        assert answer.status == 200
        return [json.loads(line) async for line in answer.content]


@pytest.mark.parametrize("signalled", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_during_the_pull_ends_it(
    standalone: Standalone, registry: str, signalled: signal.Signals
) -> None:
    """`docker stop` of a container that is still pulling: exit 0, and the next start goes on."""
    await standalone.start(f"{registry}/slow/tiny-{signalled.name.lower()}")
    standalone.signal(signalled)

    assert await standalone.ended() == 0
