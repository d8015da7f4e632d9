"""A pace for writes, so that one operator never crowds out the API server's other clients.

The generic cell rate algorithm: a token bucket that needs no timer of its own.
"""

import asyncio


class Pace:
    """At most `burst` at once and `rate` per second on average, in order of arrival."""

    def __init__(self, *, rate: float, burst: int) -> None:
        self._interval = 1 / rate
        self._slack = (burst - 1) / rate
        self._next = float("-inf")

    async def turn(self) -> None:
        """Return when it's the caller's turn."""
        now = asyncio.get_running_loop().time()
        self._next = max(self._next, now - self._slack)
        wait = self._next - now
        self._next += self._interval
        if wait > 0:
            await asyncio.sleep(wait)
