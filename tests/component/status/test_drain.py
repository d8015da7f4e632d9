"""Decision 7 and G8: a pod that goes away cuts no answer, and Ollama waits for the gate."""

import asyncio
import json
from contextlib import suppress

import aiohttp
import pytest

from component.status.conftest import BOUND, Gate


@pytest.fixture
async def serving(gate: Gate, model: str) -> Gate:
    """A ready gate."""
    gate.configure({"name": model, "warm": True})
    await gate.start()
    await gate.until(lambda status: status["ready"])
    return gate


async def test_a_stream_in_flight_ends_complete(serving: Gate, model: str) -> None:
    """An accepted stream is finished, a hook waits for it, new requests are taken meanwhile."""
    name = model.removeprefix("http://")
    async with serving.ask(model=name, prompt="?", options={"num_predict": 300}) as stream:
        await stream.content.readline()
        hook = asyncio.create_task(serving.get("/drained"))
        serving.terminate()
        seen = await serving.until(lambda status: status["draining"])

        assert (seen["ready"], seen["reason"]) == (False, "Draining")
        assert (await serving.get("/readyz"))[0] == 503
        async with serving.ask(model=name, prompt="", stream=False) as during:
            assert during.status == 200
        lines = [json.loads(line) async for line in stream.content]

    assert lines[-1]["done"]
    assert await asyncio.wait_for(hook, BOUND) == (200, '{"drained": true}')
    assert await serving.ended() == 0


async def test_the_door_is_shut_in_the_end(serving: Gate) -> None:
    """After the grace nothing new is accepted, and without a hook the exit status is 0 as well."""
    serving.terminate()

    assert await serving.ended() == 0
    with pytest.raises(aiohttp.ClientConnectorError):
        await serving.get("/livez")


async def test_a_hook_alone_starts_no_drain(serving: Gate) -> None:
    """Ollama's container restarting by itself is answered soon, and the gate goes on serving."""
    assert await asyncio.wait_for(serving.get("/drained"), BOUND) == (200, '{"drained": false}')
    assert (await serving.status())["ready"]


async def test_a_second_signal_ends_it_at_once(serving: Gate, model: str) -> None:
    """Who presses Ctrl-C twice means it."""
    name = model.removeprefix("http://")
    async with serving.ask(model=name, prompt="?", options={"num_predict": 100_000}) as stream:
        await stream.content.readline()
        serving.terminate()
        await serving.until(lambda status: status["draining"])
        serving.terminate()

        assert await serving.ended() == 128 + 15
        with suppress(aiohttp.ClientError):
            await stream.read()
