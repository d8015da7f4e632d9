"""`python -m ollamaserve_sidecar pull` as the Job's container runs it."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

BOUND = 60.0
Environment = Callable[..., dict[str, str]]


@asynccontextmanager
async def command(environment: dict[str, str]) -> AsyncIterator[Process]:
    """The running command; it doesn't outlive the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ollamaserve_sidecar",
        "pull",
        env=os.environ | environment,
        stderr=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def status(port: int) -> dict[str, Any] | None:
    """The status document, or None while nobody listens."""
    try:
        async with aiohttp.request("GET", f"http://127.0.0.1:{port}/status") as response:
            document: dict[str, Any] = await response.json()
            return document
    except aiohttp.ClientError:
        return None


async def until(port: int, condition: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Every document seen, up to the first that fulfils the condition."""
    seen: list[dict[str, Any]] = []
    async with asyncio.timeout(BOUND):
        while not (seen and condition(seen[-1])):
            document = await status(port)
            seen += [document] if document else []
            await asyncio.sleep(0.05)
    return seen


def percent(document: dict[str, Any]) -> int:
    value: int = document["models"][0].get("pulledPercent", 0)
    return value


async def test_it_shows_its_progress_and_ends_with_success(
    environment: Environment, registry: str, unused_tcp_port: int
) -> None:
    """The contract's /status in mode `pull`: a rising percentage, not ready meanwhile; exit 0."""
    name = f"{registry}/slow/tiny"
    async with command(environment(name, status_port=unused_tcp_port)) as process:
        seen = await until(unused_tcp_port, lambda document: percent(document) >= 30)
        last = seen[-1]

        assert sorted(map(percent, seen)) == [percent(document) for document in seen]
        assert (last["mode"], last["ready"], last["reason"]) == ("pull", False, "Pulling")
        assert name in last["message"]
        assert last["ollama"]["reachable"]
        assert await asyncio.wait_for(process.wait(), BOUND) == 0


async def test_a_signal_ends_it_at_once_as_a_failure_that_may_pass(
    environment: Environment, registry: str, unused_tcp_port: int
) -> None:
    """An evicted or deleted pod's pull goes on in the next one, where Ollama left off."""
    name = f"{registry}/slow/tiny-stopped"
    async with command(environment(name, status_port=unused_tcp_port)) as process:
        await until(unused_tcp_port, lambda document: percent(document) > 0)
        process.send_signal(signal.SIGTERM)

        assert await asyncio.wait_for(process.wait(), BOUND) == 1


async def test_a_wrong_environment_is_one_line_and_exit_status_2(
    environment: Environment, unused_tcp_port: int
) -> None:
    """Exit status 2: the Job fails at once, and the log says what to write."""
    wrong = environment(status_port=unused_tcp_port)
    async with command(wrong) as process:
        _, errors = await asyncio.wait_for(process.communicate(), BOUND)

    assert process.returncode == 2
    assert errors.decode().startswith("ollamaserve_sidecar: PULL_MODELS is empty")
    assert errors.count(b"\n") == 1
