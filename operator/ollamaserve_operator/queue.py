"""Keys to reconcile, each at its time: never one twice at once, never two entries for one key.

`handlers` and `reports` add keys, N workers take what is due. A key that fails comes back after a
delay that doubles from one second to five minutes; one that succeeds, when it says so, and at the
latest after the resync (10 min ± 20 %). Nothing is persisted: a restart looks at everything.
"""

import asyncio
import heapq
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from ollamaserve_operator.errors import Transient

K = TypeVar("K")
Reconcile = Callable[[K], Awaitable[float | None]]

WORKERS = 12
CROWD = 2 * WORKERS
RESYNC = 600.0
SPREAD = 0.2
FIRST_RETRY = 1.0
LONGEST_RETRY = 300.0

logger = logging.getLogger(__name__)


class Queue(Generic[K]):
    def __init__(self, *, workers: int = WORKERS, rng: random.Random | None = None) -> None:
        self._slots = asyncio.Semaphore(workers)
        self._rng = rng or random.Random()  # noqa: S311 (jitter is no secret)
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = 0
        self._running: dict[K, float] = {}
        self._failures: dict[K, int] = {}
        self._changed = asyncio.Event()
        self.finished_at = 0.0

    def add(self, key: K, delay: float = 0.0) -> None:
        """Look at the key in `delay` seconds; of two times for one key the earlier one counts."""
        when = asyncio.get_running_loop().time() + delay
        if self._due.get(key, float("inf")) <= when:
            return
        self._due[key] = when
        if key not in self._running:
            self._push(key, when)

    async def run(self, reconcile: Reconcile[K]) -> None:
        """Work until cancelled.

        `reconcile` returns the seconds until the key's next turn, or None to forget it.
        """
        self.finished_at = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._slots.acquire()
                key = await self._next()
                self._running[key] = asyncio.get_running_loop().time()
                tasks.create_task(self._work(key, reconcile))

    def depth(self) -> int:
        """Keys that are due and wait for a worker."""
        now = asyncio.get_running_loop().time()
        return sum(when <= now for key, when in self._due.items() if key not in self._running)

    def crowded(self) -> bool:
        """Whether more keys are due than all workers take in two turns."""
        return self.depth() > CROWD

    def oldest(self) -> float:
        """Seconds that the longest waiting key is overdue."""
        now = asyncio.get_running_loop().time()
        waiting = (when for key, when in self._due.items() if key not in self._running)
        return max(0.0, now - min(waiting, default=now))

    def idle(self) -> float:
        """Seconds since a worker last finished a key."""
        return asyncio.get_running_loop().time() - self.finished_at

    def longest(self) -> float:
        """Seconds that the longest of the present turns has lasted."""
        now = asyncio.get_running_loop().time()
        return now - min(self._running.values(), default=now)

    async def _next(self) -> K:
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            if (key := self._take(loop.time())) is not None:
                return key
            timer = loop.call_at(self._heap[0][0], self._changed.set) if self._heap else None
            try:
                await self._changed.wait()
            finally:
                if timer is not None:
                    timer.cancel()

    def _take(self, now: float) -> K | None:
        while self._heap and self._heap[0][0] <= now:
            when, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == when and key not in self._running:
                del self._due[key]
                return key
        return None

    async def _work(self, key: K, reconcile: Reconcile[K]) -> None:
        try:
            self._later(key, await self._attempt(key, reconcile))
        finally:
            self._running.pop(key, None)
            self._slots.release()
            self.finished_at = asyncio.get_running_loop().time()
            if (when := self._due.get(key)) is not None:
                self._push(key, when)

    async def _attempt(self, key: K, reconcile: Reconcile[K]) -> float | None:
        try:
            delay = await reconcile(key)
        except Transient as error:
            logger.warning("%s; will try again", error, extra={"key": key})
            return max(self._backoff(key), error.retry_after or 0.0)
        except Exception:  # the loop must survive any key
            logger.exception("reconcile failed unexpectedly", extra={"key": key})
            return self._backoff(key)
        self._failures.pop(key, None)
        resync = RESYNC * self._rng.uniform(1 - SPREAD, 1 + SPREAD)
        return None if delay is None else min(delay, resync)

    def _backoff(self, key: K) -> float:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        longest = min(LONGEST_RETRY, FIRST_RETRY * 2.0 ** min(failures, 30))
        return longest * self._rng.uniform(0.5, 1.0)

    def _later(self, key: K, delay: float | None) -> None:
        if delay is not None:
            self.add(key, delay)

    def _push(self, key: K, when: float) -> None:
        if len(self._heap) > 2 * len(self._due) + 64:  # mostly times that no longer count
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)
        self._order += 1
        heapq.heappush(self._heap, (when, self._order, key))
        self._changed.set()
