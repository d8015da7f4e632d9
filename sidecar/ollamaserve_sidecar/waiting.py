"""The one way in which the loops of this package pause: for a while, or until they are woken."""

from __future__ import annotations

import asyncio
from contextlib import suppress


async def signalled(event: asyncio.Event, seconds: float) -> bool:
    """Wait for `event`, for so many seconds at most, and clear it; whether it was set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    was_set = event.is_set()
    event.clear()
    return was_set
