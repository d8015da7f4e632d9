"""The end of a serving gate: from SIGTERM to exit without cutting an answer (decision 7, G8).

Kubernetes takes some seconds to stop sending requests to a pod that is going, so the gate goes on
accepting them for `GRACE`, unready, and then finishes what is in flight. Ollama would close every
connection on its own SIGTERM; its preStop hook therefore waits on `/drained`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

GRACE = 5.0
"""Seconds after SIGTERM in which new requests are still accepted."""
HOOK_WAIT = 5.0
"""Seconds that `/drained` waits for a drain to begin: Ollama alone may be restarting."""
FAREWELL = 2.0
"""Seconds that 7861 stays open for a hook to be answered after the drain."""


class Drain:
    """Counts the requests in flight and says when the last one has ended; fulfils `gate.Drain`.

    `timeout` is in seconds from the beginning of the drain (GATE_DRAIN_TIMEOUT).
    """

    def __init__(
        self, timeout: float, *, grace: float = GRACE, hook_wait: float = HOOK_WAIT
    ) -> None:
        self._timeout, self._grace, self._hook_wait = timeout, grace, hook_wait
        self.in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.draining = False
        self._begun = asyncio.Event()
        self._finished = asyncio.Event()
        self._answered = asyncio.Event()

    def entered(self) -> None:
        if not self.in_flight:
            self._idle.clear()
        self.in_flight += 1

    def left(self) -> None:
        self.in_flight -= 1
        if not self.in_flight:
            self._idle.set()

    async def run(self, shut: Callable[[], None]) -> bool:
        """Drain, and call `shut` after the grace; whether everything ended within the time."""
        self.draining = True
        self._begun.set()
        await asyncio.sleep(self._grace)
        shut()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0, self._timeout - self._grace)):
                await self._idle.wait()
        self._finished.set()
        return not self.in_flight

    async def hook(self) -> bool:
        """Answer `/drained`: after a drain, or at once if none begins; whether one has ended."""
        try:
            async with asyncio.timeout(self._hook_wait):
                await self._begun.wait()
        except TimeoutError:
            return False
        await self._finished.wait()
        self._answered.set()
        return True

    async def farewell(self, seconds: float = FAREWELL) -> None:
        """Wait until a hook has been answered, for so many seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._answered.wait()
