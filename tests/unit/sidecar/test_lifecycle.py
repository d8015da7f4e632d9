"""The drain of decision 7 and G8, with its waits made short."""

import asyncio

from ollamaserve_sidecar.lifecycle import Drain

BOUND = 10.0


def drain(*, timeout: float = BOUND, hook_wait: float = BOUND) -> Drain:
    return Drain(timeout, grace=0.01, hook_wait=hook_wait)


async def test_it_waits_for_the_last_request_in_flight() -> None:
    """Decision 7: what was accepted before and during the grace is finished."""
    ending = drain()
    ending.entered()
    shut = asyncio.Event()
    running = asyncio.create_task(ending.run(shut.set))
    await asyncio.wait_for(shut.wait(), BOUND)
    ending.entered()
    ending.left()

    assert ending.draining
    assert not running.done()

    ending.left()

    assert await asyncio.wait_for(running, BOUND)


async def test_it_shuts_the_door_only_after_the_grace() -> None:
    """G8: endpoints take seconds to change, so new requests are accepted meanwhile."""
    ending = Drain(BOUND, grace=BOUND)
    shut = asyncio.Event()
    running = asyncio.create_task(ending.run(shut.set))
    await asyncio.sleep(0)

    assert ending.draining
    assert not shut.is_set()

    running.cancel()


async def test_it_gives_up_after_its_time() -> None:
    """Decision 7: GATE_DRAIN_TIMEOUT ends the wait for a stream that doesn't."""
    ending = drain(timeout=0.05)
    ending.entered()

    assert not await asyncio.wait_for(ending.run(lambda: None), BOUND)
    assert ending.in_flight == 1


async def test_a_hook_is_answered_after_the_drain() -> None:
    """Decision 7: Ollama's preStop returns when nothing needs Ollama any more."""
    ending = drain()
    ending.entered()
    hook = asyncio.create_task(ending.hook())
    running = asyncio.create_task(ending.run(lambda: None))
    farewell = asyncio.create_task(ending.farewell(BOUND))
    await asyncio.sleep(0.05)

    assert not hook.done()
    assert not farewell.done()

    ending.left()

    assert await asyncio.wait_for(hook, BOUND)
    assert await asyncio.wait_for(running, BOUND)
    await asyncio.wait_for(farewell, BOUND)


async def test_a_hook_without_a_drain_is_answered_and_starts_none() -> None:
    """Decision 7, G8: Ollama alone may be restarting; the gate goes on serving."""
    ending = drain(hook_wait=0.01)

    assert not await asyncio.wait_for(ending.hook(), BOUND)
    assert not ending.draining


async def test_the_farewell_is_short_where_nobody_waits() -> None:
    """Decision 7: without a hook, 7861 stays open for a moment only."""
    ending = drain()
    await ending.run(lambda: None)

    await asyncio.wait_for(ending.farewell(0.01), BOUND)
