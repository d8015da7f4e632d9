"""When each child of each resource was first seen to be there, by watches of our own.

They see metadata only, so that the observer costs little beside what it observes.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.operator.api import Api
from ollamaserve_operator import kinds, names

Child = tuple[str, str, str]
"""Kind, namespace, and the resource's name."""


class Sightings:
    def __init__(self) -> None:
        self.at: dict[Child, float] = {}
        self._changed = asyncio.Event()

    def see(self, kind: str, namespace: str, name: str) -> None:
        self.at.setdefault((kind, namespace, name), time.monotonic())
        self._changed.set()

    def of(self, kind: str) -> dict[tuple[str, str], float]:
        """The first sight of this kind of child, by the resource's namespace and name."""
        return {(ns, name): at for (found, ns, name), at in self.at.items() if found == kind}

    async def until(self, count: int, seconds: float) -> float:
        """The moment at which so many children had been seen; TimeoutError after `seconds`."""
        async with asyncio.timeout(seconds):
            while len(self.at) < count:
                self._changed.clear()
                await self._changed.wait()
        return max(self.at.values())


@asynccontextmanager
async def sightings(api: Api) -> AsyncIterator[Sightings]:
    """Watch every kind of child while inside."""
    found = Sightings()
    ready = [asyncio.Event() for _ in kinds.CHILDREN]
    async with asyncio.TaskGroup() as tasks:
        watches = [
            tasks.create_task(_watch(api, kind, found, event))
            for kind, event in zip(kinds.CHILDREN, ready, strict=True)
        ]
        await asyncio.gather(*(event.wait() for event in ready))
        yield found
        for watch in watches:
            watch.cancel()


async def _watch(api: Api, kind: kinds.Kind, found: Sightings, ready: asyncio.Event) -> None:
    async for event in api.watch(kind.path(), ready):
        metadata = event["object"]["metadata"]
        instance = (metadata.get("labels") or {}).get(names.INSTANCE)
        if event["type"] == "ADDED" and instance:
            found.see(kind.name, metadata["namespace"], instance)
    raise RuntimeError(f"the watch of {kind.plural} has ended: what came after it wasn't seen")
