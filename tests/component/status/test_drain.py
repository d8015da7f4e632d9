"""Decision 7 and G8: a pod that goes away cuts no answer, and Ollama waits for the gate."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import aiohttp
import pytest

from component.status.conftest import BOUND, Gate, until


@pytest.fixture
async def serving(gate: Gate, model: str) -> Gate:
    """A ready gate."""
    gate.configure({"name": model, "warm": True})
    await gate.start()
    await gate.until(lambda status: status["ready"])
    return gate


async def test_what_is_in_flight_ends_complete(serving: Gate, model: str) -> None:
    """New requests are taken during the grace, then none; an accepted one ends, and the hook last.

    The request is kept in flight by the end of its own body, which comes after the door is shut.
    """
    release = asyncio.Event()
    accepted = asyncio.create_task(generation(serving, model, release))
    await serving.until(lambda status: status["inFlight"] == 1)
    hook = asyncio.create_task(serving.get("/drained"))
    serving.terminate()
    seen = await serving.until(lambda status: status["draining"])
    assert (seen["ready"], seen["reason"]) == (False, "Draining")
    assert (await serving.get("/readyz"))[0] == 503

    release_at_once = asyncio.Event()
    release_at_once.set()
    assert (await generation(serving, model, release_at_once))[-1]["done"]

    await until(partial(refuses, serving.port))
    assert (await serving.status())["inFlight"] == 1
    assert not hook.done()

    release.set()

    assert (await asyncio.wait_for(accepted, BOUND))[-1]["done"]
    assert await asyncio.wait_for(hook, BOUND) == (200, '{"drained": true}')
    assert await serving.ended() == 0


async def test_a_drain_without_a_hook_ends_by_itself(serving: Gate) -> None:
    """Without Kubernetes nobody asks /drained; the exit status is 0 as well."""
    serving.terminate()

    assert await serving.ended() == 0


async def test_a_hook_alone_starts_no_drain(serving: Gate) -> None:
    """Ollama's container restarting by itself is answered soon, and the gate goes on serving."""
    assert await asyncio.wait_for(serving.get("/drained"), BOUND) == (200, '{"drained": false}')
    assert (await serving.status())["ready"]


async def test_a_second_signal_ends_it_at_once(serving: Gate, model: str) -> None:
    """Who presses Ctrl-C twice means it."""
    accepted = asyncio.create_task(generation(serving, model, asyncio.Event()))
    await serving.until(lambda status: status["inFlight"] == 1)
    serving.terminate()
    await serving.until(lambda status: status["draining"])
    serving.terminate()

    assert await serving.ended() == 128 + 15
    with pytest.raises(aiohttp.ClientError):
        await asyncio.wait_for(accepted, BOUND)


async def generation(gate: Gate, model: str, release: asyncio.Event) -> list[dict[str, Any]]:
    """The lines of a streamed answer to a request whose body ends after `release`.

    As the model was trained: at a temperature it may repeat one word, and after 30 of the same
    Ollama ends an answer without its last line.
    """
    prompt = "Question: Why is the sky blue?\nAnswer:\n"
    asked = {"model": model, "prompt": prompt, "raw": True, "options": {"temperature": 0}}
    content = json.dumps(asked).encode()

    async def body() -> AsyncIterator[bytes]:
        yield content[:10]
        await release.wait()
        yield content[10:]

    async with gate.ask(body()) as answer:
        assert answer.status == 200
        return [json.loads(line) async for line in answer.content]


async def refuses(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False
